#include <catch2/catch_test_macros.hpp>

#include "tests/rewards/reward_fixture.h"

using namespace hone;

TEST_CASE("the reference's text is paid, byte for byte after trimming") {
  CHECK(paid(judge_answer("exact", "New York", "<answer> New York\n</answer>")));
  CHECK(paid(judge_answer("exact", "New York", "New York")));
  CHECK(paid(judge_answer("exact", "New York", "The answer is New York\n")));
  for (const char* text : {"new york", "New  York", "NewYork", "New York City", "York", "",
                           "<answer></answer>", "\"New York\"", "<think>New York</think>"}) {
    INFO(text);
    CHECK(unpaid(judge_answer("exact", "New York", text)));
  }
}

TEST_CASE("case and spaces matter as the options say") {
  CHECK(paid(judge_answer("exact:case=ignore", "New York", "NEW york")));
  CHECK(unpaid(judge_answer("exact:case=ignore", "New York", "NEW  york")));
  CHECK(paid(judge_answer("exact:spaces=collapse", "New York", "New \n York")));
  CHECK(unpaid(judge_answer("exact:spaces=collapse", "New York", "NewYork")));
  CHECK(paid(judge_answer("exact:spaces=ignore", "New York", "N e w York")));
  CHECK(paid(judge_answer("exact:spaces=ignore,case=ignore", "New York", "newyork")));
}

TEST_CASE("two texts are a hedge and no reference is no score") {
  CHECK(
      no_answer_for(judge_answer("exact", "a", "<answer>a</answer><answer>b</answer>"), "hedged"));
  CHECK(paid(judge_answer("exact", "a", "<answer>a</answer> <answer>a</answer>")));
  CHECK(judge("exact", problem_of({}), "a").status == Status::bad_reference);
  CHECK(judge_answer("exact", " ", "a").status == Status::bad_reference);
}
