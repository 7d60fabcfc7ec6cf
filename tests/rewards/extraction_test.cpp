// Where the answer stands: boxes and their lists, statements, conclusions, references.

#include "rewards/extraction.h"

#include <catch2/catch_test_macros.hpp>

#include "rewards/conclusion.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

struct Found {
  std::vector<std::string> candidates;
  size_t run;
  std::string reason;
};

Found extracted(const std::string& text, Extract mode = Extract::automatic) {
  Completion completion;
  completion.text = text;
  RewardItem item;
  item.completion = &completion;
  const Extraction found = extract_answer(item, mode);
  Found out{{}, found.run, found.reason};
  for (const std::string_view c : found.candidates) out.candidates.emplace_back(c);
  return out;
}
using Texts = std::vector<std::string>;

}  // namespace

TEST_CASE("boxes joined by nothing but conjunctions are one run") {
  CHECK(extracted("\\boxed{1} and \\boxed{2}").run == 2);
  CHECK(extracted("$\\boxed{1}$, $\\boxed{2}$, or $\\boxed{3}$").run == 3);
  CHECK(extracted("\\boxed{1} \\quad \\text{and} \\quad \\boxed{2}").run == 2);
  CHECK(extracted("\\boxed{1}, $y = \\boxed{2}$").run == 2);
  CHECK(extracted("\\boxed{1}. Then \\boxed{2}").run == 1);
  CHECK(extracted("\\boxed{1} and thus \\boxed{2} and \\boxed{3}").run == 2);
  CHECK(extracted("\\boxed{1} android \\boxed{2}").run == 1);
}

TEST_CASE("boxes that show nothing are not answers") {
  CHECK(extracted("\\boxed{\\phantom{7}} then \\boxed{7}").candidates == Texts{"7"});
  CHECK(extracted("\\boxed{} \\boxed{...} \\boxed{7}").candidates == Texts{"7"});
  CHECK(extracted("\\boxed{ }", Extract::boxed).reason == "not_found");
}

TEST_CASE("a closing statement settles which of several boxes counts") {
  CHECK(extracted("\\boxed{200} and so \\boxed{255}. The final answer is $455$.").candidates ==
        Texts{"$455$."});
  CHECK(extracted("\\boxed{200}. The final answer is $455$.").candidates == Texts{"200"});
}

TEST_CASE("the announced sentence is found by its marker") {
  CHECK(stated_answer("so\nAnswer: 42") == "42");
  CHECK(stated_answer("The answer is $x=2$. I hope it is correct.") == "$x=2$");
  CHECK(stated_answer("work\nA: 40") == "40");
  CHECK(stated_answer("Answer \\[ 9 \\]") == "\\[ 9 \\]");
  CHECK(stated_answer("\u7b54\u6848: B") == "B");
  CHECK(stated_answer("Answer: 41\nAnswer: 42") == "42");
  CHECK(stated_answer("The answer: D. it cannot be A") == "D. it cannot be A");
  CHECK(stated_answer("no such thing") == "");
  CHECK(stated_answer("the answers differ") == "");
}

TEST_CASE("a sentence concludes one thing or nothing") {
  CHECK(conclusion("We add. Therefore $x < 5$ is the solution.", false) == "x < 5");
  CHECK(conclusion("So there are 12 ways.", false) == "12");
  CHECK(conclusion("The total is 100 - 30 = 70", false) == "70");
  CHECK(conclusion("the largest $n$ is 34.", true) == "34");
  CHECK(conclusion("So it grew by 100%. I hope it is correct.", false) == "100%");
  CHECK(conclusion("It is **7** of them.", false) == "7");
  CHECK(conclusion("It is between $12$ and $13$.", false) == "$12$ and $13$");
  CHECK(conclusion("\u6240\u4ee5\u4e00\u5171\u67097\u53ea\u3002", false) == "7");
  CHECK(conclusion("42", false) == "");
  CHECK(conclusion("just 42", false) == "");
  CHECK(conclusion("So 41 or 42", false) == "");
  CHECK(conclusion("not 41 but 42", true) == "");
  CHECK(conclusion("1 2 3 4 5 42", false) == "");
  CHECK(conclusion("So it is $41$ or perhaps 42", false) == "");
  CHECK(conclusion("So the answer \\frac{63}{400} is missing", false) == "");
  CHECK(conclusion("", true) == "");
}

TEST_CASE("a sentence that takes its number back concludes nothing") {
  for (const char* text :
       {"It is not 42", "So it cannot be 42.", "The result is never 42.", "Clearly 42 is wrong.",
        "We get x = 42 which is impossible.", "The answer is not $42$.", "Is it 42?",
        "The total is hardly 42", "So 42 might be it", "So it is at most 42.",
        "It is less than $42$", "The total is more than **42**", "So it isn't 42",
        "So it is not 41, nor is it 42", "Es ist nicht 42", "\u7b54\u6848\u4e0d\u662f42"}) {
    INFO(text);
    CHECK(conclusion(text, true) == "");
    CHECK(unpaid(judge_answer("math", "42", text)));
    CHECK(unpaid(judge_answer("math", "42", std::string("17\n") + text)));
  }
  CHECK(conclusion("43 is not even, so it is 42", true) == "42");
  CHECK(conclusion("So the answer is 42, not 41", false) == "");  // two numbers
  CHECK(conclusion("It is not that hard, therefore the total is 42", false) == "42");
  CHECK(conclusion("The total is about 42", false) == "42");
  CHECK(conclusion("She could buy 42", true) == "42");
  CHECK(conclusion("It could be 42", true) == "");
  CHECK(conclusion("It has 42 non-negative roots", true) == "42");
}

TEST_CASE("references may be solutions") {
  const auto reference = [](const char* text) {
    return reference_answer(problem_of({{"answer", text}}));
  };
  CHECK(reference("First \\boxed{1}, at last $\\boxed{2}$.") == "2");
  CHECK(reference("$\\boxed{1}$ and $\\boxed{2}$") == "1; 2");
  CHECK(reference("a = 3\n#### 3") == "3");
  CHECK(reference("\\boxed{W = 1") == "W = 1");
}
