// Which part of a completion is the program.

#include <catch2/catch_test_macros.hpp>
#include <ctime>
#include <filesystem>

#include "base/file.h"
#include "rewards/code/solution.h"

using namespace hone;

namespace {

Solution solution_of(const std::string& text, const SolutionOptions& options = {},
                     FinishReason reason = FinishReason::stop, const std::string& prompt = "") {
  const Problem problem;
  Completion completion;
  completion.text = text;
  completion.finish_reason = reason;
  return extract_solution({&problem, &completion, prompt, {}}, options);
}

std::string code_of(const std::string& text, const SolutionOptions& options = {}) {
  const Solution solution = solution_of(text, options);
  CHECK(std::string(solution.reason) == "");
  return solution.code;
}

std::string reason_of(const std::string& text, FinishReason reason = FinishReason::stop,
                      const std::string& prompt = "") {
  return solution_of(text, {}, reason, prompt).reason;
}

Language language_of(const std::string& text) { return solution_of(text).language; }

CodeTests check_of(const std::string& function, const std::string& setup = "") {
  CodeTests tests;
  tests.kind = CodeTests::Kind::check;
  tests.function = function;
  tests.setup = setup;
  return tests;
}

}  // namespace

TEST_CASE("the program is the last fenced block") {
  const std::string two = "First:\n```python\na = 1\n```\nBetter:\n```python\nb = 2\n```\nDone.";
  CHECK(code_of(two) == "b = 2\n");
  CHECK(code_of(two, {.fence = Fence::first}) == "a = 1\n");
  CHECK(code_of(two, {.fence = Fence::all}) == "a = 1\n\nb = 2\n\n");
  CHECK(solution_of(two).fenced);
}

TEST_CASE("without a fence the whole text is the program, with its indentation") {
  CHECK(code_of("    return a + b\n") == "    return a + b\n");
  CHECK(code_of("<think>add</think>\n    return 1") == "\n    return 1");
  CHECK_FALSE(solution_of("x = 1").fenced);
  CHECK(code_of("`x` and ``y``") == "`x` and ``y``");
  CHECK(code_of("print(1)<|im_end|>") == "print(1)");
}

TEST_CASE("code in the thinking is no answer") {
  CHECK(code_of("<think>\n```python\na\n```\n</think>\n```python\nb\n```") == "b\n");
  CHECK(code_of("<think>\n```python\na\n</think>\nb") == "\nb");
  CHECK(reason_of("<think>\n```python\na\n```\n") == "unclosed_thinking");
  CHECK(reason_of("```python\na\n```\n", FinishReason::stop, "user: ...\n<think>\n") ==
        "unclosed_thinking");
  CHECK(reason_of("<think>\n```python\na\n```\n</think>\n") == "empty");
  CHECK(reason_of("") == "empty");
  CHECK(reason_of("```python\n\n```") == "empty");
}

TEST_CASE("an answer block encloses the program") {
  CHECK(code_of("<think>r</think>\n<answer>\n```python\na\n```\n</answer>") == "a\n");
  CHECK(code_of("<answer>```python\na\n```</answer>") == "a\n");
  CHECK(code_of("<answer>\nprint(1)\n</answer>") == "\nprint(1)\n");
  CHECK(code_of("```python\nscratch\n```\n<answer>\n```python\na\n```\n</answer>") == "a\n");
  CHECK(code_of("<answer>\n```python\na\n```\n</answer>\n```python\nafter\n```") == "a\n");
  CHECK(code_of("```python\nprint('<answer>')\n```") == "print('<answer>')\n");
  CHECK(code_of("<answer>\n```python\nprint('</answer>')\n```\n</answer>") ==
        "print('</answer>')\n");
  CHECK(reason_of("<answer>a</answer> <answer>b</answer>") == "several_answers");
  CHECK(reason_of("<answer>\n```python\na\n```\n") == "unterminated_answer");
}

TEST_CASE("a block that we can run goes before sample output and commands") {
  const std::string text =
      "```python\nprint(3)\n```\nOutput:\n```\n3\n```\nRun:\n```bash\npython x.py\n```\n";
  CHECK(code_of(text) == "print(3)\n");
  CHECK(code_of("```\na = 1\n```\n```text\n1\n```\n") == "a = 1\n");
  CHECK(code_of("```python\na\n```\n```cpp\nint b;\n```") == "int b;\n");
  CHECK(code_of("```python\na\n```\n```cpp\nint b;\n```", {.language = Language::python}) == "a\n");
  CHECK(code_of("```solution\na\n```") == "a\n");
}

TEST_CASE("the language is the tag's, else it shows in the code") {
  for (const char* tag :
       {"python", "py", "python3", "Python", "py3", "{.python}", "python title=x"}) {
    INFO(tag);
    CHECK(language_of(std::string("```") + tag + "\n#include <x>\n```") == Language::python);
  }
  for (const char* tag : {"cpp", "c++", "C++", "cc", "cxx", "c++17", "cpp20", "c"}) {
    INFO(tag);
    CHECK(language_of(std::string("```") + tag + "\nx\n```") == Language::cpp);
  }
  CHECK(language_of("```\n  #include <bits/stdc++.h>\nint main() {}\n```") == Language::cpp);
  CHECK(language_of("int main() { return 0; }") == Language::cpp);
  CHECK(language_of("using namespace std;") == Language::cpp);
  CHECK(language_of("# include the border\nprint(1)") == Language::python);
  CHECK(language_of("```\ndef main(): pass\n```") == Language::python);
  CHECK(language_of("```css\nx\n```") == Language::python);
  CHECK(solution_of("```cpp\nx\n```", {.language = Language::python}).language == Language::python);
}

TEST_CASE("a fence that a cut completion left open is no answer") {
  const std::string cut = "```python\nold = 1\n```\nBetter:\n```python\ndef f(";
  CHECK(reason_of(cut, FinishReason::length) == "unclosed_fence");
  CHECK(reason_of(cut, FinishReason::abort) == "unclosed_fence");
  CHECK(reason_of("```python", FinishReason::length) == "unclosed_fence");
  CHECK(code_of("```python\nx = 1\n") == "x = 1\n");  // the fence was the stop string
  CHECK(solution_of("```python\nx = 1\n```\nAnd so", {}, FinishReason::length).code == "x = 1\n");
  CHECK(solution_of("x = 1\ny", {}, FinishReason::length).code == "x = 1\ny");
}

TEST_CASE("fences are found where models write them") {
  CHECK(code_of("Here: ```python\na\n```") == "a\n");
  CHECK(code_of("```python\r\na\r\n```\r\n") == "a\r\n");
  CHECK(code_of("```python\na\n    ```\n    ") == "a\n");
  CHECK(code_of("```python\nreturn a```") == "return a");
  CHECK(code_of("```python\na\n``` which is it.") == "a\n");
  CHECK(code_of("````python\na\n```\nb\n````") == "a\n```\nb\n");
  CHECK(code_of("```python\na\n````") == "a\n");
  CHECK(code_of("1. So:\n   ```python\n   if a:\n     b\n\n   ```\n") == "if a:\n  b\n\n");
  CHECK(code_of("Use ```x``` here.") == "Use ```x``` here.");
  CHECK(code_of("Use ```x```, so ```python\na\n```") == "a\n");
  CHECK(code_of("```python\na\n```python\nb\n```") == "b\n");
  CHECK(code_of("```python\na\n    ```\nThen\n```python\nb\n```", {.fence = Fence::first}) ==
        "a\n");
}

TEST_CASE("fences within the code are part of it") {
  const std::string code =
      "def f(x):\n    \"\"\"Double.\n    ```\n    f(1)\n    ```\n    \"\"\"\n    return 2 * x\n";
  CHECK(code_of("```python\n" + code + "```\nDone.") == code);
  CHECK(code_of("```python\nprint('```python')\nx = \"```\"\n```") ==
        "print('```python')\nx = \"```\"\n");
}

TEST_CASE("code that defines the function stands alone, other code continues the prompt") {
  const std::string prompt = "import math\n\n\ndef f(x):\n    \"\"\" doc \"\"\"\n";
  const CodeTests tests = check_of("f", "import math\n\n\n");
  const auto program = [&](const std::string& text) {
    return complete_program(solution_of(text), tests, prompt);
  };
  CHECK(program("    return x\n") == prompt + "    return x\n");
  CHECK(program("```python\n    return x\n```") == prompt + "    return x\n");
  CHECK(program("```python\ndef f(x):\n    return x\n```") ==
        "import math\n\n\ndef f(x):\n    return x\n");
  CHECK(program("f = lambda x: x") == "import math\n\n\nf = lambda x: x");
  CHECK(program("from __future__ import annotations\ndef f(x): pass") ==
        "from __future__ import annotations\ndef f(x): pass");
  // A function of that name within another, or one whose name only begins so, does not count.
  CHECK(program("    def f(y):\n        return y\n    return f(x)\n").starts_with(prompt));
  CHECK(program("def f2(x):\n    return x\n").starts_with(prompt));
  CHECK(complete_program(solution_of("    return 1"), check_of("f"), "def f():") ==
        "def f():    return 1");
  CHECK(complete_program(solution_of("class Solution:\n    pass\n"), check_of("Solution().f"),
                         "Solve it.") == "class Solution:\n    pass\n");
  CHECK(complete_program(solution_of("x"), CodeTests(), prompt) == "x");
}

TEST_CASE("definitions are found at the outermost level only") {
  CHECK(defines("def f(x): pass", "f"));
  CHECK(defines("x = 1\nasync def f ():\n  pass", "f"));
  CHECK(defines("class f:\n  pass", "f"));
  CHECK(defines("f = g", "f"));
  CHECK(defines("f: Callable = g", "f"));
  CHECK_FALSE(defines("  def f(x): pass", "f"));
  CHECK_FALSE(defines("def ff(x): pass", "f"));
  CHECK_FALSE(defines("f == g", "f"));
  CHECK_FALSE(defines("f(1)", "f"));
  CHECK_FALSE(defines("# def f(x)", "f"));
  CHECK_FALSE(defines("", "f"));
}

TEST_CASE("what a prompt defines before its function is its code, never its prose") {
  CHECK(code_before("import a\ndef h(): pass\ndef f(): pass\n", "f") ==
        "import a\ndef h(): pass\n");
  CHECK(code_before("Complete this:\n```python\nimport a\ndef f():\n", "f") == "import a\n");
  CHECK(code_before("Complete this:\ndef f():\n", "f") == "");
  CHECK(code_before("def f():\n", "f") == "");
  CHECK(code_before("Write f.", "f") == "");
}

TEST_CASE("published completions give their program") {
  const std::string path = std::string(HONE_TEST_DIR) + "/../../shared/graders/code_cases.jsonl";
  if (!std::filesystem::exists(path)) SKIP("no file " << path);
  int rows = 0;
  for_each_line(path, [&](int64_t, const std::string& line) {
    const Json row = Json::parse(line);
    if (!row.contains("completion")) return;
    const Solution solution = solution_of(row["completion"]);
    INFO(solution.code);
    CHECK(std::string(solution.reason) == "");
    CHECK(solution.fenced);
    CHECK(solution.code.find("`") == std::string::npos);
    CHECK((defines(solution.code, "Solution") || defines(solution.code, "main")));
    ++rows;
  });
  CHECK(rows > 3);
}

TEST_CASE("HumanEval's own bodies continue their prompts and their whole functions stand alone") {
  const std::string path =
      std::string(HONE_TEST_DIR) + "/../../shared/data/humaneval/HumanEval.jsonl";
  if (!std::filesystem::exists(path)) SKIP("no file " << path);
  for_each_line(path, [&](int64_t, const std::string& line) {
    Problem problem;
    problem.fields = Json::parse(line);
    const std::string prompt = problem.fields["prompt"];
    const std::string body = problem.fields["canonical_solution"];
    const CodeTests tests = read_code_tests(problem);
    INFO(prompt);
    CHECK(complete_program(solution_of(body), tests, prompt) == prompt + body);
    const std::string whole = prompt.substr(tests.setup.size()) + body;
    CHECK(complete_program(solution_of("```python\n" + whole + "\n```"), tests, prompt) ==
          prompt + body + "\n");
  });
}

TEST_CASE("finding the program takes linear time in a megabyte of anything") {
#ifdef HONE_SANITIZE
  constexpr double kSlack = 20;
#else
  constexpr double kSlack = 1;
#endif
  for (const char* part :
       {"`", "```", "```\n", "```python\n", "    ```\n", "a```\n", "``` x\n", "<answer>",
        "<answer></answer>", "```\n<answer>\n```\n</answer>\n", "\n", "f = 1\n", "````\n```\n"}) {
    INFO(part);
    std::string text;
    while (text.size() < 2'000'000) text += part;
    const std::clock_t start = std::clock();
    const Solution solution = solution_of(text);
    complete_program(solution, check_of("f"), text);
    CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 0.3 * kSlack);
  }
}
