// One program against one problem's tests. What the program says is compared here, in this
// process, as text and as tagged values; expected outputs never enter the sandbox that runs it, and
// an input does only when its turn comes.
//
// Tests that are code (asserts, check) run in a second sandbox and call the program's functions
// through this process, in exact built-in values; neither sees the other. Where a test passes
// objects that cannot travel (it needs the program's classes, or gives it functions), program and
// tests run in one process, which a program can cheat: CodeVerdict::one_process marks those.
#pragma once

#include <memory>
#include <string>

#include "rewards/code/compare.h"
#include "rewards/code/sandbox.h"
#include "rewards/code/tests.h"

namespace hone {

struct CodeOptions {
  SandboxOptions sandbox;
  SandboxLimits limits;
  CompareOptions compare;
  bool all_tests = false;  // go on after a failed test
  std::string compiler;    // of C++; default g++ of PATH
};

struct CodeVerdict {
  size_t passed = 0, total = 0;
  // "" if all passed; else why the first did not: wrong_answer, runtime_error, time_limit,
  // memory_limit, output_limit, process_limit, compile_error.
  std::string reason;
  std::string message;  // a line about it
  bool one_process = false;
};

class CodeJudge {
 public:
  explicit CodeJudge(const CodeOptions& options) : options_(options) {}

  // `cpp`: the source is C++ and not Python. Throws SandboxFailure (the judge failed), BadTests
  // (the tests do not run whatever the program), UserError (no sandbox).
  CodeVerdict judge(const CodeTests& tests, const std::string& source, bool cpp);

 private:
  CodeVerdict judge_output(const CodeTests& tests, const std::string& source, bool cpp);
  CodeVerdict judge_calls(const CodeTests& tests, const std::string& source);
  CodeVerdict judge_test_code(const CodeTests& tests, const std::string& source);
  enum class TestRun { over, program_ended, needs_one_process };
  // Runs the tests from number `first` on and leaves there the number of the first that was not
  // judged: the program ended in the one before it, or the tests themselves did.
  TestRun run_test_code(Json payload, size_t& first, CodeVerdict& verdict);
  Json call_program(const Json& request);
  Sandbox& program_sandbox();
  Sandbox& tests_sandbox();

  CodeOptions options_;
  std::unique_ptr<Sandbox> program_, tests_;
};

}  // namespace hone
