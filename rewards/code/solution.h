// The program in a completion.
#pragma once

#include <string>
#include <string_view>

#include "rewards/code/tests.h"
#include "rewards/reward.h"

namespace hone {

enum class Language { automatic, python, cpp };
enum class Fence { last, first, all };

struct SolutionOptions {
  Language language = Language::automatic;
  // Which fenced block is the program; all: all of them in order, which lets scratch code run.
  Fence fence = Fence::last;
};

struct Solution {
  std::string code;
  Language language = Language::python;  // never automatic
  bool fenced = false;
  const char* reason = "";  // why there is no program: empty, unclosed_thinking, unclosed_fence,
                            // unterminated_answer, several_answers; "" if there is one
};

// The program stands in the answer part, that is after the thinking; if that has one <answer>
// block outside the fences, within it; and there in the last fenced block, or without any fence it
// is the whole text with its indentation. A block tagged with a language that we run goes before
// one without a tag (sample output), and that before others (bash, text). A closing fence may be
// missing only if the model ended the text itself (the fence was the stop string).
//
// automatic: the block's tag (python, py, python3, ...; cpp, c++, cc, ...); without one, C++ if a
// line begins with #include, using namespace or int main(, else Python.
Solution extract_solution(const RewardItem& item, const SolutionOptions& options = {});

// Whether the Python code defines `name` at its outermost level: def, class or an assignment.
bool defines(std::string_view code, std::string_view name);

// What to run for tests of this kind. HumanEval's: code that defines the function stands alone
// (after what the prompt defines before it, such as imports), else it continues `prompt`.
std::string complete_program(const Solution& solution, const CodeTests& tests,
                             std::string_view prompt);

// The code of a prompt before its last outermost definition of `function`: imports and helpers. ""
// if there is none, or prose stands there.
std::string code_before(std::string_view prompt, std::string_view function);

// What solutions to function calls may use without importing it, as on LeetCode: typing,
// collections, math, ... Its names must stand behind the solution's as the built-in ones do (a dict
// of builtins), never among them: with math's gcd in its globals, an empty solution would pass
// the tests of gcd.
extern const char* const kPythonPrelude;

}  // namespace hone
