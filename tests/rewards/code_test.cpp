// The `code` reward from completion to score: right programs are paid, and nothing else is.
#include <catch2/catch_test_macros.hpp>

#include "base/error.h"
#include "base/file.h"
#include "rewards/code/sandbox.h"
#include "tests/rewards/reward_fixture.h"

namespace hone {
namespace {

const std::string kSpec = "code:time=1,wall=3,threads=2";

// Skips, with the reason, where there is no sandbox.
void need_sandbox() {
  static const SandboxReport report = probe_sandbox();
  if (report.level != SandboxLevel::full) SKIP("no full sandbox here: " << report.missing);
}

Json calls() { return {{"fn_name", "add"}, {"inputs", {{1, 2}, {5, 7}}}, {"outputs", {3, 12}}}; }
Json asserts() { return {{"asserts", {"assert add(1, 2) == 3", "assert add(5, 7) == 12"}}}; }
Json check() {
  return {{"check",
           "def check(candidate):\n    assert candidate(1, 2) == 3\n    assert "
           "candidate(5, 7) == 12\n"},
          {"entry_point", "add"}};
}
Json pipes() { return {{"inputs", {"1 2\n", "5 7\n"}}, {"outputs", {"3\n", "12\n"}}}; }

Score code(const Json& tests, const std::string& program, const std::string& options = "") {
  return judge(kSpec + options, problem_of({{"tests", tests}}), program);
}

bool told(const Score& score, const std::string& reason) {
  return score.status == Status::ok && score.value == 0.0 &&
         score.details.value("reason", "") == reason;
}

std::vector<Json> shared_rows(const std::string& path) {
  const std::string file = HONE_TEST_DIR "/../../shared/" + path;
  std::vector<Json> rows;
  try {
    for_each_line(file,
                  [&](int64_t, const std::string& line) { rows.push_back(Json::parse(line)); });
  } catch (const UserError&) {
    SKIP("no file " << file);
  }
  return rows;
}

// The scores of completions[i] for rows[i], in one call.
std::vector<Score> score_all(const std::vector<Json>& rows,
                             const std::vector<std::string>& completions) {
  std::vector<Problem> problems;
  std::vector<Completion> made(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    problems.push_back(problem_of(rows[i]));
    if (rows[i].contains("prompt")) problems[i].prompt = rows[i]["prompt"];
    made[i].text = completions[i];
    made[i].finish_reason = FinishReason::stop;
  }
  std::vector<RewardItem> items;
  for (size_t i = 0; i < rows.size(); ++i) items.push_back({&problems[i], &made[i], "", {}});
  return make_rewarder(parse_reward_spec("code"))->score(items);
}

}  // namespace

TEST_CASE("a right program passes tests of every kind, a wrong one none") {
  need_sandbox();
  const std::string right = "def add(a, b):\n    return a + b\n";
  const std::string wrong = "def add(a, b):\n    return a - b\n";
  for (const Json& tests : {calls(), asserts(), check()}) {
    INFO(tests.dump());
    CHECK(paid(code(tests, right)));
    CHECK(paid(code(tests, "I add them.\n```python\n" + right + "```\n")));
    CHECK(told(code(tests, wrong), "wrong_answer"));
    CHECK(told(code(tests, "def add(a, b):\n    return None\n"), "wrong_answer"));
    CHECK(told(code(tests, "def add(a, b) return a"), "runtime_error"));
  }
  CHECK(paid(code(pipes(), "print(sum(map(int, input().split())))")));
  CHECK(told(code(pipes(), "print(3)"), "wrong_answer"));
  CHECK(paid(code(pipes(),
                  "```cpp\n#include <iostream>\nint main() { int a, b; std::cin >> a >> b; "
                  "std::cout << a + b << std::endl; }\n```")));
  CHECK(told(code(pipes(), "```cpp\nint main() { return x; }\n```"), "compile_error"));
  CHECK(told(code(calls(), "```cpp\nint add(int a, int b) { return a + b; }\n```"),
             "wrong_language"));
  CHECK(paid(code(calls(),
                  "class Solution:\n    def add(self, a: int, b: int) -> int:\n        "
                  "return a + b\n")));
}

TEST_CASE("what looks like success without the right values is not paid") {
  need_sandbox();
  const char* const kPrograms[] = {
      "import sys\nsys.exit(0)",
      "import os\nos._exit(0)",
      "raise SystemExit",
      "def add(a, b):\n    raise SystemExit(0)",
      "import os\ndef add(a, b):\n    os._exit(0)",
      // Objects that claim to equal everything, by class and by subclass of a built-in type.
      "class A:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n    "
      "__hash__ = None\ndef add(a, b): return A()",
      "class I(int):\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\n"
      "def add(a, b): return I(0)",
      "class L(list):\n    def __eq__(self, o): return True\ndef add(a, b): return L()",
      "class M(type):\n    def __eq__(self, o): return True\nclass A(metaclass=M): pass\n"
      "def add(a, b): return A",
      // Changes to the interpreter that runs it.
      "import builtins\nbuiltins.AssertionError = type('X', (Exception,), {})\n"
      "def add(a, b): return 0",
      "import json\njson.dumps = lambda *a, **k: '3'\nimport os\nw = os.write\n"
      "os.write = lambda fd, data: w(fd, b'{\"v\": 3}\\n')\ndef add(a, b): return 0",
      "import sys\nsys.excepthook = lambda *a: None\ndef add(a, b): return 0",
      "import atexit, os\natexit.register(lambda: os._exit(0))\ndef add(a, b): return 0",
      "def check(candidate): pass\ndef add(a, b): return 0",
      "import sys\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for v in "
      "list(f.f_locals.values()):\n            if isinstance(v, dict):\n                "
      "v.update(ok="
      "True, v=3, passed=True)\n        f = f.f_back\n    return 0",
      // Messages to whoever listens.
      "import os\nfor fd in range(0, 64):\n    try: os.write(fd, b'{\"n\": \"\", \"v\": 3, \"ok\": "
      "true, \"test\": 0}\\n')\n    except OSError: pass\ndef add(a, b): return 0",
      "print('ALL TESTS PASSED'); print('OK')\ndef add(a, b): return 0",
      // A function of the same name that is somebody else's.
      "from operator import sub as add",
      "",
      "add = 3",
  };
  for (const char* program : kPrograms) {
    for (const Json& tests : {calls(), asserts(), check()}) {
      INFO(program << "\n" << tests.dump());
      CHECK(unpaid(code(tests, program)));
    }
  }
}

TEST_CASE("a program that answers its judge by hand must still know the values") {
  need_sandbox();
  // It takes the requests off the wire and answers 3 to each: right for the first only.
  const std::string program =
      "import json, os, socket\ns = socket.socket(fileno=3)\ns.send(b'')\nf = s.makefile('rwb')\n"
      "import sys\nfr = sys._getframe()\nnonce = None\nwhile fr:\n    nonce = "
      "fr.f_locals.get('nonce', nonce); fr = fr.f_back\n"
      "f.write((json.dumps({'n': nonce, 'loaded': True}) + '\\n').encode()); f.flush()\n"
      "while True:\n    r = json.loads(f.readline())\n    f.write((json.dumps({'n': r['n'], 'v': "
      "3})"
      " + '\\n').encode()); f.flush()\n";
  const Score score = code(calls(), program, ",score=fraction");
  CHECK(score.value.value_or(1.0) <= 0.5);
  CHECK(unpaid(code(calls(), program)));
}

TEST_CASE("a program cannot pass its failure off as the verifier's") {
  need_sandbox();
  const std::string find_nonce =
      "import json, os, sys\nf = sys._getframe()\nnonce = None\nwhile f:\n    nonce = "
      "f.f_locals.get('nonce', nonce); f = f.f_back\n";
  const std::vector<std::string> programs = {
      "import os\nos.write(2, b'sandbox: OSError: mount\\n')\nos._exit(87)",
      find_nonce +
          "os.write(3, (json.dumps({'n': nonce, 'error': 5, 'message': []}) + '\\n')"
          ".encode())\nos._exit(0)",
      find_nonce +
          "os.write(3, (json.dumps({'n': nonce, 'loaded': True}) + '\\n').encode())\n"
          "while True:\n    r = json.loads(os.read(3, 65536).split(b'\\n')[0])\n"
          "    os.write(3, (json.dumps({'n': r['n'], 'v': {'t': 3}, 'a': 7, 'error': {}}) "
          "+ '\\n').encode())",
      "import os\nfor i in range(3, 300):\n    try: os.write(i, b'[' * 3000 + b'\\n')\n"
      "    except OSError: pass\nos._exit(87)",
      "import os\nwhile True:\n    try: os.write(3, b'null\\n')\n    except OSError: break"};
  for (const std::string& program : programs) {
    for (const Json& tests : {calls(), asserts(), check(), pipes()}) {
      INFO(program << "\n" << tests.dump());
      const Score score = code(tests, program);
      CHECK(score.status == Status::ok);
      CHECK(score.value == 0.0);
    }
  }
  const std::string no_interpreter =
      "```cpp\nextern const char interp[] __attribute__((section(\".interp\"))) = \"/no\";\n"
      "int main() {}\n```";
  CHECK(code(pipes(), no_interpreter).value == 0.0);
}

TEST_CASE("asserts after one that crashed the program count too") {
  need_sandbox();
  const Json tests = {{"asserts", {"assert f(1) == 1", "assert f(0) == 0", "assert f(2) == 2"}}};
  const Score score = code(tests, "import os\ndef f(x):\n    if x == 0: os._exit(0)\n    return x",
                           ",score=fraction");
  CHECK(score.details["passed"] == 2);
  CHECK(score.details["reason"] == "runtime_error");
}

TEST_CASE("the library's functions do not stand in for a missing one") {
  need_sandbox();
  const Json gcd = {{"fn_name", "gcd"}, {"inputs", {{4, 6}}}, {"outputs", {2}}};
  CHECK(unpaid(code(gcd, "x = 1")));
  CHECK(paid(code(gcd, "def gcd(a, b):\n    while b: a, b = b, a % b\n    return a")));
  CHECK(paid(code({{"fn_name", "f"}, {"inputs", {{{3, 1}}}}, {"outputs", {{1, 3}}}},
                  "def f(x: List[int]):\n    heapify(x)\n    return sorted(x)")));
}

TEST_CASE("programs over their limits score 0 with that detail; the verifier did not fail") {
  need_sandbox();
  const Score slow = code(calls(), "def add(a, b):\n    while True: pass");
  CHECK(told(slow, "time_limit"));
  CHECK(slow.details.value("time_limit", false));
  CHECK(told(code(asserts(), "import time\ndef add(a, b):\n    time.sleep(100)"), "time_limit"));
  CHECK(told(code(pipes(), "x = []\nwhile True: x.append(bytearray(1 << 22))", ",memory=128"),
             "memory_limit"));
  CHECK(told(code(pipes(), "while True: print('x' * 4096)", ",output=1"), "output_limit"));
}

TEST_CASE("tests that pass functions or the program's own objects run in one process and say so") {
  need_sandbox();
  const Json mapped = {{"asserts", {"assert twice(lambda x: x + 1, 3) == 5"}}};
  const Score score = code(mapped, "def twice(f, x): return f(f(x))");
  CHECK(paid(score));
  CHECK(score.details.value("one_process", false));
  CHECK(unpaid(code(mapped, "def twice(f, x): return f(x)")));
  const Json pairs = {{"asserts", {"assert total([Pair(1, 2), Pair(3, 4)]) == 10"}}};
  CHECK(paid(code(pairs,
                  "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n"
                  "def total(ps): return sum(p.a + p.b for p in ps)")));
  // Which is the tests' doing alone: an object that a plain call returns never leads there.
  CHECK_FALSE(
      code(asserts(), "class A:\n    def __eq__(s, o): return True\ndef add(a, b): return A()")
          .details.contains("one_process"));
}

TEST_CASE("values cross between program and tests as what they are") {
  need_sandbox();
  const Json tests = {
      {"asserts",
       {"assert f((1, [2]), {'a': {3}}, b'x', 1.5, None, True, 10**30, 1 + 2j) == "
        "((1, [2]), {'a': {3}}, b'x', 1.5, None, True, 10**30, 1 + 2j)",
        "assert isinstance(f(1)[0], int)", "assert g() == {1: 'one', (2, 3): 'pair'}",
        "x = [3, 1, 2]\nh(x)\nassert x == [1, 2, 3]",
        "try:\n    e()\n    assert False\nexcept ValueError as error:\n    assert str(error) == "
        "'no'",
        "assert value == [1, 2]", "import math\nassert math.isnan(n())"}}};
  const Score score =
      code(tests,
           "value = [1, 2]\ndef f(*a): return a\ndef g(): return {1: 'one', (2, 3): "
           "'pair'}\ndef h(x): x.sort()\ndef e(): raise ValueError('no')\ndef n(): "
           "return float('nan')",
           ",score=fraction");
  INFO(to_line(score.details));
  CHECK(score.value == 1.0);
  CHECK_FALSE(score.details.contains("one_process"));
}

TEST_CASE("rows without tests that can be used are told apart from wrong programs") {
  need_sandbox();
  CHECK(code(Json(), "x").status == Status::bad_reference);
  CHECK(code({{"asserts", {"assert ("}}}, "x = 1").status == Status::bad_reference);
  CHECK(code({{"inputs", {"a"}}, {"outputs", Json::array()}}, "x").status == Status::bad_reference);
  CHECK(code(calls(), "").status != Status::bad_reference);
  CHECK(
      judge(kSpec, problem_of({{"tests", calls()}}), "<think>def add(a, b): return a + b").status ==
      Status::no_answer);
}

TEST_CASE("fraction counts all tests, also after one that crashed the program") {
  need_sandbox();
  Json tests = calls();
  tests["inputs"] = {{1, 2}, {0, 0}, {5, 7}, {1, 1}};
  tests["outputs"] = {3, 0, 12, 3};
  const Score score =
      code(tests, "import os\ndef add(a, b):\n    if a == 0: os._exit(0)\n    return a + b",
           ",score=fraction");
  CHECK(score.value == 0.5);
  CHECK(score.details["passed"] == 2);
}

TEST_CASE("HumanEval's own solutions pass and programs without an answer do not") {
  need_sandbox();
  const std::vector<Json> rows = shared_rows("data/humaneval/HumanEval.jsonl");
  std::vector<std::string> right, none;
  for (const Json& row : rows) {
    right.push_back(row["canonical_solution"]);
    none.push_back("    return None\n");
  }
  const std::vector<Score> scores = score_all(rows, right), empty = score_all(rows, none);
  for (size_t i = 0; i < rows.size(); ++i) {
    INFO(rows[i]["task_id"] << " " << to_line(scores[i].details));
    CHECK(paid(scores[i]));
    CHECK(unpaid(empty[i]));
  }
}

TEST_CASE("MBPP's own solutions pass", "[.][long]") {
  need_sandbox();
  const std::vector<Json> rows = shared_rows("data/mbpp/mbpp.jsonl");
  std::vector<std::string> right;
  for (const Json& row : rows)
    right.push_back("```python\n" + row["code"].get<std::string>() + "\n```");
  const std::vector<Score> scores = score_all(rows, right);
  size_t one_process = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    INFO(rows[i]["task_id"] << " " << to_line(scores[i].details));
    CHECK(paid(scores[i]));
    one_process += scores[i].details.contains("one_process");
  }
  CHECK(one_process <= 4);
}

TEST_CASE("published attacks on code rewards are not paid", "[slow]") {
  need_sandbox();
  for (const Json& row : shared_rows("graders/code_hacks.jsonl")) {
    for (const Json& tests : {calls(), asserts(), check()}) {
      INFO(row["name"] << tests.dump());
      CHECK(paid(code(tests, row["program"])) == row["should_pass"].get<bool>());
    }
  }
}

}  // namespace hone
