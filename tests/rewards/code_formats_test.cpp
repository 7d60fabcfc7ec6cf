// The tests of a problem, in every layout.

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>

#include "base/file.h"
#include "rewards/code/literal.h"
#include "rewards/code/tests.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Kind = CodeTests::Kind;
using Texts = std::vector<std::string>;

namespace {

CodeTests tests_of(const std::string& json) {
  return read_code_tests(problem_of({{"tests", Json::parse(json)}}));
}

CodeTests tests_of_text(const std::string& text) {
  return read_code_tests(problem_of({{"tests", text}}));
}

void refused(const Problem& problem, const std::string& part) {
  INFO(to_line(problem.fields));
  CHECK_THROWS_MATCHES(read_code_tests(problem), BadTests, MessageMatches(ContainsSubstring(part)));
}

void refused(const std::string& json, const std::string& part) {
  refused(problem_of({{"tests", Json::parse(json)}}), part);
}

std::string literal(const std::string& text) { return read_literal(text).dump(); }

std::string shared(const std::string& name) {
  const std::string path = std::string(HONE_TEST_DIR) + "/../../shared/" + name;
  if (!std::filesystem::exists(path)) SKIP("no file " << path);
  return path;
}

}  // namespace

TEST_CASE("inputs and outputs are standard input and output") {
  const CodeTests tests = tests_of(R"({"inputs": ["1 2\n", "3 4"], "outputs": ["3\n", "7"]})");
  CHECK(tests.kind == Kind::stdio);
  CHECK(tests.inputs == Texts{"1 2\n", "3 4"});
  CHECK(tests.outputs == Texts{"3\n", "7"});
  CHECK(tests.size() == 2);
}

TEST_CASE("a stream may be a list of lines, an input empty or null") {
  const CodeTests tests = tests_of(
      R"({"inputs": [null, "", ["1", "2 3"]], "outputs": ["a", ["x", "y"], ""], "fn_name": null})");
  CHECK(tests.kind == Kind::stdio);
  CHECK(tests.inputs == Texts{"", "", "1\n2 3"});
  CHECK(tests.outputs == Texts{"a", "x\ny", ""});
}

TEST_CASE("with fn_name a list is the arguments and outputs are values") {
  const CodeTests tests = tests_of(
      R"({"fn_name": "add", "inputs": [[1, 2], ["a", "b"], []], "outputs": [3, "ab", null]})");
  CHECK(tests.kind == Kind::call);
  CHECK(tests.function == "add");
  CHECK(tests.arguments[0].dump() == "[1,2]");
  CHECK(tests.arguments[2].dump() == "[]");
  CHECK(tests.expected[1].dump() == R"("ab")");
  CHECK(passes_call(tests, 0, 3));
  CHECK_FALSE(passes_call(tests, 0, "3"));
  CHECK(passes_call(tests, 2, nullptr));
}

TEST_CASE("with fn_name a text is one JSON value a line") {
  const CodeTests tests = tests_of(
      R"({"fn_name": "f", "inputs": ["[1, 3]\n\"x\\ny\"\r\n", "7\nnull\n"],
          "outputs": ["[0, -1]", "\"abc\""]})");
  CHECK(tests.arguments[0].dump() == R"([[1,3],"x\ny"])");
  CHECK(tests.arguments[1].dump() == "[7,null]");
  CHECK(tests.expected[0].dump() == "[0,-1]");
  CHECK(tests.expected[1].dump() == R"("abc")");
}

TEST_CASE("an output wrapped in a list of one may stand for its item, where all are wrapped") {
  const CodeTests wrapped =
      tests_of(R"({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[3], ["x"]]})");
  CHECK(passes_call(wrapped, 0, 3));
  CHECK(passes_call(wrapped, 0, Json::array({3})));
  CHECK(passes_call(wrapped, 1, "x"));
  CHECK_FALSE(passes_call(wrapped, 1, 3));
  const CodeTests lists =
      tests_of(R"({"fn_name": "f", "inputs": [[1], [2]], "outputs": [[3], [4, 5]]})");
  CHECK_FALSE(passes_call(lists, 0, 3));
  CHECK_FALSE(passes_call(lists, 1, 4));
  const CodeTests spelled = tests_of(R"({"fn_name": "f", "inputs": ["1"], "outputs": ["[3]"]})");
  CHECK_FALSE(passes_call(spelled, 0, 3));
}

TEST_CASE("a dict argument whose keys are whole numbers had numbers for keys") {
  const CodeTests tests = tests_of(
      R"({"fn_name": "f", "inputs": [[{"1": 2, "-30": 4}, {"1": 2, "a": 3}, {"01": 1}, {}]],
          "outputs": [{"1": 2}]})");
  CHECK(tests.arguments[0].dump() == R"([{"d":[[1,2],[-30,4]]},{"d":[["1",2],["a",3]]},)"
                                     R"({"d":[["01",1]]},{"d":[]}])");
  CHECK(passes_call(tests, 0, *read_value(R"({"d": [[1, 2]]})")));
}

TEST_CASE("outputs without an input are left out with a warning") {
  const CodeTests tests = tests_of(R"({"inputs": ["1"], "outputs": ["2", "3"]})");
  CHECK(tests.outputs == Texts{"2"});
  CHECK(tests.warning == "2 outputs for 1 inputs: the last unused");
  CHECK(tests_of(R"({"inputs": ["1"], "outputs": ["2"]})").warning == "");
}

TEST_CASE("asserts are statements, alone or with a function's name") {
  CHECK(tests_of(R"({"asserts": ["assert f(1) == 2"]})").asserts == Texts{"assert f(1) == 2"});
  CHECK(tests_of(R"j(["assert f(1) == 2", "import time\ntime.sleep(10)"])j").size() == 2);
  const CodeTests tests = tests_of(
      R"({"fn_name": "f", "assert_case": ["assert f(1) == 2"], "inputs": [""], "outputs": [null]})");
  CHECK(tests.kind == Kind::asserts);
  CHECK(tests.function == "f");
  CHECK(tests_of(R"({"assert_case": [], "inputs": ["1"], "outputs": ["2"]})").kind == Kind::stdio);
}

TEST_CASE("MBPP's rows are read as they are") {
  const CodeTests full = read_code_tests(problem_of({{"text", "Write a function"},
                                                     {"code", "def f(): pass"},
                                                     {"test_setup_code", "root = Node(1)\r\n"},
                                                     {"test_list", {"assert f(root)"}},
                                                     {"challenge_test_list", {"assert 1"}}}));
  CHECK(full.kind == Kind::asserts);
  CHECK(full.asserts == Texts{"assert f(root)"});
  CHECK(full.setup == "root = Node(1)\r\n");
  const CodeTests sanitized =
      read_code_tests(problem_of({{"prompt", "Write a function"},
                                  {"test_imports", {"import math", "import re"}},
                                  {"test_list", {"assert math.isclose(f(), 1)", "assert f()"}}}));
  CHECK(sanitized.setup == "import math\nimport re\n");
  CHECK(sanitized.size() == 2);
}

TEST_CASE("HumanEval's rows give the check and what the prompt defines for it") {
  const CodeTests tests = read_code_tests(problem_of(
      {{"task_id", "X/1"},
       {"prompt",
        "import math\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    \"\"\" doc \"\"\"\n"},
       {"entry_point", "f"},
       {"canonical_solution", "    return x\n"},
       {"test", "def check(candidate):\n    assert candidate(1) == helper(1)\n"}}));
  CHECK(tests.kind == Kind::check);
  CHECK(tests.function == "f");
  CHECK(tests.setup == "import math\n\ndef helper(x):\n    return x\n\n\n");
  CHECK(tests.check == "def check(candidate):\n    assert candidate(1) == helper(1)\n");
  const CodeTests own =
      tests_of(R"j({"check": "def check(candidate): assert candidate(1)", "entry_point": "add"})j");
  CHECK(own.kind == Kind::check);
  CHECK(own.function == "add");
  CHECK(own.setup == "");
}

TEST_CASE("the call at the end of functional tests becomes the function's expression") {
  const CodeTests tests = tests_of(
      R"j({"functional": "def check(candidate):\n    assert candidate(x = 1) == 2\n\n\ncheck(Solution().m)\n"})j");
  CHECK(tests.kind == Kind::check);
  CHECK(tests.function == "Solution().m");
  CHECK(tests.check == "def check(candidate):\n    assert candidate(x = 1) == 2\n\n\n");
  refused(R"({"functional": "def check(candidate):\n    pass\n"})", "ends with check(FUNCTION)");
  refused(R"j({"functional": "check(f)"})j", "ends with check(FUNCTION)");
}

TEST_CASE("a list of inputs and outputs is LiveCodeBench's or Codeforces'") {
  const CodeTests plain = tests_of(R"([{"input": "1\n", "output": "2\n"}])");
  CHECK(plain.kind == Kind::stdio);
  CHECK(plain.inputs == Texts{"1\n"});
  const CodeTests calls = tests_of(
      R"([{"input": "[5, 3]\n5", "output": "3", "testtype": "functional", "metadata": {"func_name": "f"}},
          {"input": "[]\n1", "output": "0", "testtype": "functional", "metadata": "{\"func_name\": \"f\"}"}])");
  CHECK(calls.kind == Kind::call);
  CHECK(calls.function == "f");
  CHECK(calls.arguments[0].dump() == "[[5,3],5]");
  CHECK(calls.expected[1].dump() == "0");
  const std::string stdin_row = R"([{"input": "", "output": "2", "testtype": "stdin"}])";
  CHECK(tests_of(stdin_row).kind == Kind::stdio);
  const CodeTests row = read_code_tests(problem_of(
      {{"public_test_cases", R"([{"input": "1", "output": "2", "testtype": "functional"}])"},
       {"private_test_cases", R"([{"input": "2", "output": "3", "testtype": "functional"}])"},
       {"metadata", R"({"func_name": "f"})"}}));
  CHECK(row.size() == 2);
  CHECK(row.function == "f");
  refused(problem_of({{"public_test_cases", stdin_row}, {"private_test_cases", "eJxrYJwq"}}),
          "private_test_cases");
}

TEST_CASE("tests stand under the names of public data sets too") {
  const std::string text = R"({"inputs": ["1"], "outputs": ["2"]})";
  const Json list = Json::parse(R"([{"input": "1", "output": "2", "type": "stdin_stdout"}])");
  CHECK(read_code_tests(problem_of({{"input_output", text}})).size() == 1);
  CHECK(read_code_tests(problem_of({{"test_cases", list}})).size() == 1);
  CHECK(read_code_tests(problem_of({{"ground_truth", text}})).size() == 1);
  CHECK(read_code_tests(problem_of({{"reward_model", {{"style", "rule"}, {"ground_truth", text}}}}))
            .size() == 1);
  CHECK(read_code_tests(problem_of({{"verification_info",
                                     "{'language': 'python', 'test_cases': [{'input': '1', "
                                     "'output': '2', 'fn_name': None}]}"}}))
            .size() == 1);
  CHECK(read_code_tests(problem_of({{"inputs", {"1"}}, {"outputs", {"2"}}})).size() == 1);
  CHECK(read_code_tests(problem_of({{"tests", nullptr}, {"input_output", text}})).size() == 1);
}

TEST_CASE("any layout may be a text, in JSON or as Python writes it") {
  CHECK(tests_of_text(R"({"inputs": ["1"], "outputs": ["2"]})").inputs == Texts{"1"});
  CHECK(tests_of_text(R"("{\"inputs\": [\"1\"], \"outputs\": [\"2\"]}")").inputs == Texts{"1"});
  const CodeTests repr =
      tests_of_text(R"([{'input': '1\n2', 'output': "it's", 'testtype': 'stdin'}])");
  CHECK(repr.inputs == Texts{"1\n2"});
  CHECK(repr.outputs == Texts{"it's"});
  const CodeTests calls =
      tests_of_text("{'fn_name': 'f', 'inputs': [[(1, {2: None}), True]], 'outputs': [({1, 2},)]}");
  CHECK(calls.arguments[0].dump() == R"([{"t":[1,{"d":[[2,null]]}]},true])");
  CHECK(passes_call(calls, 0, *read_value(R"([{"s": [2, 1]}])")));
  const CodeTests big = tests_of_text(
      R"({"fn_name": "f", "inputs": [[10]], "outputs": [100000000000000000000000001]})");
  CHECK(passes_call(big, 0, *read_value(R"({"i": "100000000000000000000000001"})")));
  CHECK_FALSE(passes_call(big, 0, *read_value(R"({"i": "100000000000000000000000000"})")));
  refused(problem_of({{"tests", "import pytest\ndef test_f(): pass"}}), "neither JSON nor");
  refused(problem_of({{"tests", ""}}), "neither JSON nor");
  refused(problem_of({{"tests", R"("\"\\\"\\\\\\\"x\\\\\\\"\\\"\"")"}}), "tests");
}

TEST_CASE("tests that are missing or malformed are refused with the place") {
  refused(problem_of(Json::object()), "expected inputs and outputs");
  refused(problem_of({{"prompt", "p"}, {"answer", "42"}}), "prompt, answer");
  refused("{}", "expected inputs and outputs");
  refused("[]", "no test");
  refused("5", "expected a dict or a list");
  refused("[5]", "expected {input, output}");
  refused(R"({"inputs": [], "outputs": []})", "no test");
  refused(R"({"asserts": []})", "no test");
  refused(R"({"inputs": ["1", "2"], "outputs": ["3"]})", "2 inputs but 1 outputs");
  refused(R"({"inputs": ["1"]})", "'outputs'");
  refused(R"({"inputs": "1", "outputs": "2"})", "inputs: expected a list");
  refused(R"({"inputs": ["1"], "outputs": [3]})", "outputs[0]");
  refused(R"({"inputs": ["1"], "outputs": [null]})", "outputs[0]");
  refused(R"({"inputs": [[1, 2]], "outputs": ["3"]})", "fn_name");
  refused(R"({"fn_name": "f", "inputs": [5], "outputs": [6]})", "inputs[0]");
  refused(R"({"fn_name": "f", "inputs": ["[1"], "outputs": ["6"]})", "inputs[0]");
  refused(R"({"fn_name": "f", "inputs": ["1"], "outputs": ["six"]})", "outputs[0]");
  refused(R"({"fn_name": "f(); g", "inputs": [[1]], "outputs": [6]})", "function's name");
  refused(R"({"fn_name": 5, "inputs": [[1]], "outputs": [6]})", "fn_name");
  refused(R"j({"asserts": "assert f()"})j", "asserts: expected a list");
  refused(R"j({"asserts": ["assert f()", " "]})j", "test[1]");
  refused(R"j({"asserts": ["assert f()", 5]})j", "test[1]");
  refused(R"j({"check": "def check(candidate): pass"})j", "entry_point");
  refused(R"({"check": " ", "entry_point": "f"})", "check");
  refused(R"([{"input": "1"}])", "test[0]");
  refused(R"([{"input": "1", "output": "2", "testtype": "interactive"}])", "interactive");
  refused(R"([{"input": "1", "output": "2", "testtype": "functional"}])", "func_name");
  refused(R"([{"input": "1", "output": "2"}, {"input": "1", "output": "2",
               "testtype": "functional", "metadata": {"func_name": "f"}}])",
          "test[1]");
  Json deep = 1;
  for (int i = 0; i < 100'000; ++i) deep = Json::array({std::move(deep)});
  Problem problem;
  problem.fields["tests"] = std::move(deep);
  CHECK_THROWS_AS(read_code_tests(problem), BadTests);
}

TEST_CASE("Python's literals are read as Python reads them") {
  CHECK(literal("[1, -2, +3, 1_000, 0x1F, 0o17, 0b101]") == "[1,-2,3,1000,31,15,5]");
  CHECK(literal("(1,)") == R"({"t":[1]})");
  CHECK(literal("()") == R"({"t":[]})");
  CHECK(literal("(1)") == "1");
  CHECK(literal("{1, 2,}") == R"({"s":[1,2]})");
  CHECK(literal("set( )") == R"({"s":[]})");
  CHECK(literal("{'a': 1, 2: (3,),}") == R"({"d":[["a",1],[2,{"t":[3]}]]})");
  CHECK(literal("{}") == R"({"d":[]})");
  CHECK(literal("[None, True, False, null, true, false]") == "[null,true,false,null,true,false]");
  CHECK(literal("[1.5, 2., .5, 1e3, -1E-3]") ==
        R"([{"f":"1.5"},{"f":"2"},{"f":"0.5"},{"f":"1000"},{"f":"-0.001"}])");
  CHECK(literal("[1e999, -1e999, 1e-999, NaN]") ==
        R"([{"f":"inf"},{"f":"-inf"},{"f":"0"},{"f":"nan"}])");
  CHECK(literal("[2j, 1-2.5j]") == R"([{"c":["0","2"]},{"c":["1","-2.5"]}])");
  CHECK(literal("0xffffffffffffffffffff") == R"({"i":"1208925819614629174706175"})");
  CHECK(literal("-9007199254740993") == R"({"i":"-9007199254740993"})");
  CHECK(literal("9007199254740992") == "9007199254740992");
  CHECK(literal(" # note\n [1, # one\n 2]\n") == "[1,2]");
}

TEST_CASE("quoted texts are read in both languages") {
  CHECK(literal(R"('it\'s "x"')") == R"("it's \"x\"")");
  CHECK(literal(R"("\u00e9\ud83d\ude00\/")") == "\"\xC3\xA9\xF0\x9F\x98\x80/\"");
  CHECK(literal(R"('\U0001F600\x41\101\0')") ==
        "\"\xF0\x9F\x98\x80"
        R"(AA\u0000")");
  CHECK(literal(R"('a\qb')") == R"("a\\qb")");
  CHECK(literal(R"(r'\n' u"x" 'y')") == R"("\\nxy")");
  CHECK(literal("'''a\n'b'''") == R"("a\n'b")");
  CHECK(literal("'a\\\nb'") == R"("ab")");
  CHECK(literal(R"(b'\x00a\xff')") == R"({"b":"0061ff"})");
  CHECK(literal(R"(['', ""])") == R"(["",""])");
  for (const char* text : {"'a",
                           "\"a\nb\"",
                           R"("\ud83d")",
                           R"("\ud83d\u0041")",
                           R"("\u12")",
                           R"('\U00110000')",
                           "'a' b'c'",
                           "x'a'",
                           "[1 2]",
                           "[1,,2]",
                           "{1: 2, 3}",
                           "{1, 2: 3}",
                           "[1",
                           "1]",
                           "1 2",
                           "- 1",
                           "1.2.3",
                           "1e",
                           "0x",
                           "12abc",
                           "f(1)",
                           "nan",
                           "None1",
                           "lambda: 1",
                           "__import__('os')",
                           "{**a}",
                           "[*a]",
                           "1 + 2",
                           "'a' + 'b'",
                           "...",
                           "'a'.b"}) {
    INFO(text);
    CHECK_THROWS_AS(read_literal(text), LiteralError);
  }
}

TEST_CASE("every row of HumanEval, MBPP and the code tasks has tests that can be read") {
  const auto readable = [](const Json& row, Kind kind) {
    INFO(to_line(row).substr(0, 300));
    const CodeTests tests = read_code_tests(problem_of(row));
    CHECK(tests.kind == kind);
    CHECK(tests.size() > 0);
    return tests;
  };
  int rows = 0;
  for_each_line(shared("data/humaneval/HumanEval.jsonl"), [&](int64_t, const std::string& line) {
    const CodeTests tests = readable(Json::parse(line), Kind::check);
    CHECK(tests.setup.find("def " + tests.function + "(") == std::string::npos);
    ++rows;
  });
  for_each_line(shared("data/mbpp/mbpp.jsonl"), [&](int64_t, const std::string& line) {
    readable(Json::parse(line), Kind::asserts);
    ++rows;
  });
  const auto each = [&](const std::string& name, Kind kind) {
    for (const Json& row : Json::parse(read_file(shared(name)))) {
      readable(row, kind);
      ++rows;
    }
  };
  each("data/mbpp/sanitized-mbpp.json", Kind::asserts);
  each("data/rllm_code/codeforces_test.json", Kind::stdio);
  each("data/rllm_code/leetcode_test.json", Kind::check);
  CHECK(rows == 164 + 974 + 427 + 408 + 200);
}

TEST_CASE("published test formats are read, the malformed ones refused") {
  int read = 0, bad = 0;
  for_each_line(shared("graders/code_cases.jsonl"), [&](int64_t, const std::string& line) {
    const Json row = Json::parse(line);
    INFO(line.substr(0, 300));
    if (!row.contains("tests") && !row.contains("in_outs")) return;
    const Json& tests = row.contains("tests") ? row["tests"] : row["in_outs"];
    if (row["expected"] == Json::array({-1})) {  // verl's code for tests that it cannot read
      CHECK_THROWS_AS(read_code_tests(problem_of({{"tests", tests}})), BadTests);
      ++bad;
      return;
    }
    const CodeTests found = read_code_tests(problem_of({{"tests", tests}}));
    if (row["expected"].is_array()) CHECK(found.size() == row["expected"].size());
    ++read;
  });
  CHECK(read > 20);
  CHECK(bad > 0);
}
