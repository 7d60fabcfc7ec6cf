#include <catch2/catch_test_macros.hpp>

#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

const Json kCities = {"London", "Paris", "Rome", "Light Paris"};

Score choice(const std::string& text, Json answer = "B", Json choices = kCities) {
  return judge("choice", problem_of({{"choices", choices}, {"answer", answer}}), text);
}

}  // namespace

TEST_CASE("the right label or the right text is paid, however it is written") {
  for (const char* text : {"B",
                           "(B)",
                           "B.",
                           "B)",
                           "[B]",
                           "b",
                           " B ",
                           "**B**",
                           "\\boxed{B}",
                           "\\boxed{\\text{B}}",
                           "\\boxed{\\textbf{(B)}}",
                           "$\\boxed{\\mathrm{B}}$",
                           "\\boxed{\\textbf{(B) }Paris}",
                           "B) Paris",
                           "(B) Paris",
                           "B. Paris",
                           "B: paris",
                           "B Paris",
                           "Paris",
                           "paris.",
                           "\\boxed{\\text{Paris}}",
                           "<answer>B</answer>",
                           "<answer>Option B</answer>",
                           "The answer is (B).",
                           "The answer is B.",
                           "Answer: B",
                           "The correct option is B",
                           "B) Paris, the capital of France",
                           "<think>A? no, C.</think>B",
                           "<answer>B</answer> so \\boxed{(B)}",
                           "<answer>\\boxed{B}</answer>"}) {
    INFO(text);
    CHECK(paid(choice(text)));
  }
}

TEST_CASE("attacks on choices are not paid") {
  for (const char* text : {"",
                           "A",
                           "C",
                           "E",
                           "London",
                           "A B",
                           "AB",
                           "A, B",
                           "B, C",
                           "B or C",
                           "B/C",
                           "A and B",
                           "(A)(B)",
                           "(B)(C)",
                           "B) C)",
                           "B (or C)",
                           "A, B, C, D",
                           "A. London B. Paris C. Rome",
                           "B) Rome",
                           "B) Paris or Rome",
                           "B and not C",
                           "not B",
                           "anything but A",
                           "all of them",
                           "Paris, Rome",
                           "Par",
                           "is",
                           "Paris?!",
                           "B1",
                           "Bar",
                           "\xD0\x92",
                           "\xEF\xBC\xA2",
                           "1",
                           "\\boxed{A} \\boxed{B}",
                           "\\boxed{B} \\boxed{A}",
                           "<answer>A</answer><answer>B</answer>",
                           "<think>B</think>",
                           "<think>B",
                           "<answer></answer>",
                           "choices",
                           "option",
                           "London Paris Rome Light Paris"}) {
    INFO(text);
    CHECK(unpaid(choice(text)));
  }
  CHECK(unpaid(choice(std::string(100000, 'B'))));
}

TEST_CASE("a longer text that contains another choice is itself") {
  CHECK(paid(choice("Light Paris", "D")));
  CHECK(paid(choice("D) Light Paris", "D")));
  CHECK(unpaid(choice("Light Paris", "B")));
}

TEST_CASE("the reference may be label, index, text, or beside its text") {
  CHECK(paid(choice("B", 1)));
  CHECK(paid(choice("B", "Paris")));
  CHECK(paid(choice("B", "paris.")));
  CHECK(paid(choice("B", "(B)")));
  CHECK(paid(choice("B", "B) Paris")));
  CHECK(paid(choice("B", "\\boxed{B}")));
  CHECK(paid(choice("2", "2", {{"text", {"x", "y"}}, {"label", {"1", "2"}}})));
  CHECK(paid(choice("y", "2", {{"text", {"x", "y"}}, {"label", {"1", "2"}}})));
  CHECK(paid(choice("(B)", "B", {{"A", "x"}, {"B", "y"}})));
  CHECK(paid(choice("8", 8, {2, 4, 8})));
  CHECK(paid(choice("C", 8, {2, 4, 8})));
  CHECK(paid(judge("choice", problem_of({{"answer", "D"}}), "\\boxed{D}")));
  CHECK(unpaid(judge("choice", problem_of({{"answer", "D"}}), "\\boxed{D, E}")));
}

TEST_CASE("an unclear reference gives no score") {
  for (const auto& [answer, choices] :
       std::vector<std::pair<Json, Json>>{{"E", kCities},
                                          {9, kCities},
                                          {"Berlin", kCities},
                                          {nullptr, kCities},
                                          {1, {1, 0}},
                                          {"B", "A or B"},
                                          {"B", Json::array()},
                                          {"B", {"x", Json::array()}},
                                          {"x", {"x", "x"}},
                                          {-1, kCities},
                                          {1.5, kCities}}) {
    INFO(answer.dump() << " of " << choices.dump());
    CHECK(choice("B", answer, choices).status == Status::bad_reference);
  }
}

TEST_CASE("a text that is another choice's label says two things") {
  const Json choices = {{"text", {"2", "4"}}, {"label", {"1", "2"}}};
  CHECK(no_answer_for(choice("2", "4", choices), "ambiguous"));
  CHECK(paid(choice("4", "4", choices)));
}
