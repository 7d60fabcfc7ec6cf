// The tests of a programming problem, read from its row in any of the layouts that data sets use.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include "base/types.h"
#include "rewards/code/compare.h"

namespace hone {

// The row has no tests, or they cannot be read: what and where.
struct BadTests : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct CodeTests {
  enum class Kind { stdio, call, asserts, check };
  Kind kind = Kind::stdio;

  // stdio: test i gives inputs[i] to the program and expects outputs[i] on standard output.
  std::vector<std::string> inputs, outputs;

  // call: test i calls `function` with the values of the list arguments[i] (tagged) and expects
  // expected[i] (tagged). If the solution has a class Solution, the function is its method.
  std::vector<Json> arguments, expected;
  bool wrapped = false;  // each expected value is a list of one, which may stand for its item

  // asserts: statements, each a test of its own, that run after `setup` where the solution's names
  // are defined.
  std::vector<std::string> asserts;

  // check: code that defines check(candidate), which is called with `function`, an expression in
  // the solution's names such as "add" or "Solution().add".
  std::string check;

  std::string function;  // of asserts: its name if the row tells it
  // Code before the tests: MBPP's test_setup_code or test_imports; of HumanEval's rows what the
  // prompt defines before its function, which `check` may use.
  std::string setup;
  // The row's own solution (MBPP's `code`) if it has one: tests may call what it defines even where
  // that is a built-in's name.
  std::string reference;

  std::string warning;  // what is wrong with the row although it can be used; "" if nothing

  // Tests that are scored one by one.
  size_t size() const;
};

// Layouts (README.md has examples): inputs and outputs, with or without fn_name (APPS, TACO, PRIME,
// verl, with assert_case); asserts, test_list, or a list of statements; check or test with
// entry_point (HumanEval); functional (LeetCode in rllm); a list of {input, output} (Codeforces)
// with testtype and metadata (LiveCodeBench). They stand in the field `tests`, or one of the names
// that public data sets have for it, or in the row itself; as JSON, or as a text of JSON or
// of Python's repr. Throws BadTests.
CodeTests read_code_tests(const Problem& problem);

// Whether the value that call i returned is the expected one.
bool passes_call(const CodeTests& tests, size_t i, const Json& actual,
                 const CompareOptions& options = {});

}  // namespace hone
