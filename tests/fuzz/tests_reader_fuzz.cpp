// libFuzzer target for the readers of code tests, of values that a sandbox returns, and of the
// program in a completion.
//
// Beyond "no crash": what is read equals itself, and survives being written and read again.

#include <cstdint>
#include <string>

#include "base/error.h"
#include "rewards/code/literal.h"
#include "rewards/code/solution.h"

using namespace hone;

namespace {

void check(bool condition) {
  if (!condition) __builtin_trap();
}

void check_value(const Json& value) {
  check(equal_values(value, value));
  const std::optional<Json> again = read_value(to_line(value));
  // Bytes that are not UTF-8 do not come back as they were.
  if (again) check(again->dump() == to_line(value));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  Problem problem;
  problem.fields["tests"] = text;
  try {
    const CodeTests tests = read_code_tests(problem);
    check(tests.size() > 0);
    for (size_t i = 0; i < tests.expected.size(); ++i) {
      check(passes_call(tests, i, tests.expected[i]));
    }
  } catch (const BadTests&) {
  }
  try {
    check_value(read_literal(text));
  } catch (const LiteralError&) {
  }
  if (const std::optional<Json> value = read_value(text)) check_value(*value);
  check(equal_stdout(text, text));

  Completion completion;
  completion.text = text;
  completion.finish_reason = size % 2 == 0 ? FinishReason::stop : FinishReason::length;
  const Solution solution = extract_solution({&problem, &completion, "", {}});
  CodeTests tests;
  tests.kind = CodeTests::Kind::check;
  tests.function = "f";
  tests.setup = code_before(text, "f");
  complete_program(solution, tests, text);
  return 0;
}
