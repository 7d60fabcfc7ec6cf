#include <catch2/catch_test_macros.hpp>

#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

Score countdown(const std::string& text, Json numbers = {4, 5, 1, 1}, Json target = 24) {
  return judge("countdown", problem_of({{"numbers", numbers}, {"target", target}}), text);
}
Score tagged(const std::string& expression, Json numbers = {4, 5, 1, 1}, Json target = 24) {
  return countdown("<think>hm</think><answer>" + expression + "</answer>", numbers, target);
}

}  // namespace

TEST_CASE("an expression of the numbers with the target's value is paid") {
  CHECK(paid(tagged("4*(5+1)*1")));
  CHECK(paid(tagged(" 4 * (5 + 1)\n * 1 ")));
  CHECK(paid(tagged("4*(5+1)*1 = 24")));
  CHECK(paid(tagged("((((4))*(5+1))*1)")));
  CHECK(paid(countdown("4*(5+1)*1")));
  CHECK(paid(countdown("\\boxed{4*(5+1)*1}")));
  CHECK(paid(tagged("-(-24)", {24})));
  CHECK(paid(tagged("-3+5", {3, 5}, 2)));
  CHECK(paid(tagged("6/(1-3/4)", {6, 1, 3, 4}, 24)));
  CHECK(paid(tagged("8/(3-8/3)", {8, 3, 8, 3}, 24)));
  CHECK(paid(tagged("2--3", {2, 3}, 5)));
  CHECK(paid(tagged("2*-3", {2, 3}, -6)));
  CHECK(paid(tagged("100-50-20-5", {100, 50, 20, 5}, 25)));
  CHECK(paid(tagged("100/5/2", {100, 5, 2}, 10)));
}

TEST_CASE("attacks on countdown are not paid") {
  const std::string deep(100000, '(');
  for (const std::string expression : {"",
                                       "24",
                                       "4*5+1+1",
                                       "4*(5+1)",
                                       "4*(5+1)*1*1*1",
                                       "4*6",
                                       "4*(5+1)*1=25",
                                       "4*(5+1)*1=24=24",
                                       "24=4*(5+1)*1",
                                       "4*(5+1)*1=",
                                       "4*(5+1)*1=24.0",
                                       "4*(5+1)*1=x",
                                       "4*(5+1)**1",
                                       "4*(5+1)//1",
                                       "4*(5+1)*1.",
                                       "4(5+1)1",
                                       "4*(5+1)*1;24",
                                       "4*(5+1)*1 # ",
                                       "4*(5+1)*01",
                                       "4 * 5 1 1",
                                       "4*(5+1)*1)",
                                       "(4*(5+1)*1",
                                       "4*()5+1*1",
                                       "*4*(5+1)*1",
                                       "4*(5+1)*1*",
                                       "4*(5+1)/(1-1)",
                                       "4*(5+1)*1, 24",
                                       "int('24')",
                                       "4e0*(5+1)*1",
                                       "4_*(5+1)*1",
                                       "\xD9\xA4*(5+1)*1",
                                       "4 \xC3\x97 (5 + 1) \xC3\x97 1",
                                       "4*(5+1)%1",
                                       "4*(5+1)*1 or 3",
                                       "99**98**97",
                                       "99999999999999999999*0+24",
                                       "1.5"}) {
    INFO(expression);
    CHECK(unpaid(tagged(expression)));
  }
  CHECK(unpaid(tagged(deep + "24" + std::string(100000, ')'), {24})));
  CHECK(unpaid(tagged(std::string(100001, '-') + "24", {24})));
  CHECK(unpaid(tagged("49//2", {49, 2})));
  CHECK(unpaid(tagged("1/0", {1, 0}, 0)));
  CHECK(unpaid(tagged("0/0", {0, 0}, 0)));
  CHECK(unpaid(tagged("4*(5+1)*1</answer><answer>4*5*1*1")));
  CHECK(unpaid(countdown("<think>4*(5+1)*1</think>")));
  CHECK(unpaid(countdown("<think><answer>4*(5+1)*1</answer>")));
  CHECK(unpaid(tagged("6*34/11-1", {6, 34, 1, 11}, 17)));  // near 17, not 17
  CHECK(unpaid(tagged("1*81", {1, 1, 1, 81}, 81)));
}

TEST_CASE("large intermediate values do not overflow into the target") {
  // 4294967296 * 4294967296 is 2^64, which is 0 in 64 bits.
  CHECK(unpaid(tagged("4294967296*4294967296", {4294967296, 4294967296}, 0)));
  CHECK(paid(tagged("4294967296*4294967296/(4294967296*4294967296)",
                    {4294967296, 4294967296, 4294967296, 4294967296}, 1)));
}

TEST_CASE("countdown says why an answer is not paid") {
  CHECK(tagged("4*5+1*1").details["reason"] == "wrong_value");
  CHECK(tagged("4*6").details["reason"] == "wrong_numbers");
  CHECK(tagged("4*(5/(1-1))").details["reason"] == "division_by_zero");
  CHECK(no_answer_for(tagged("four times six"), "not_an_expression"));
}

TEST_CASE("a bad game gives no score at all") {
  const std::string text = "<answer>4*6</answer>";
  for (const Json& fields :
       {Json::object(), Json{{"numbers", {4, 6}}}, Json{{"target", 24}},
        Json{{"numbers", Json::array()}, {"target", 24}},
        Json{{"numbers", {4, "6"}}, {"target", 24}}, Json{{"numbers", {4.5, 6}}, {"target", 24}},
        Json{{"numbers", {-4, 6}}, {"target", 24}}, Json{{"numbers", "4 6"}, {"target", 24}},
        Json{{"numbers", {4, 6}}, {"target", "24"}},
        Json{{"numbers", {4, 6}}, {"target", 1e300}}}) {
    INFO(fields.dump());
    const Score score = judge("countdown", problem_of(fields), text);
    CHECK(score.status == Status::bad_reference);
    CHECK_FALSE(score.value.has_value());
  }
}

TEST_CASE("partial= pays a little for an expression that is wrong, for nothing else") {
  const Problem problem = problem_of({{"numbers", {4, 6}}, {"target", 24}});
  const auto value = [&](const std::string& answer) {
    return *judge("countdown:partial=0.1", problem, "<answer>" + answer + "</answer>").value;
  };
  CHECK(value("4*6") == 1);
  CHECK(value("4+6") == 0.1);
  CHECK(value("24") == 0.1);
  CHECK(value("four times six") == 0);
  CHECK(value("") == 0);
  CHECK(value("4*6</answer><answer>4+6") == 0);
}

TEST_CASE("a game may stand where other projects' data sets have it") {
  for (const Json& row : {Json{{"nums", {4, 6}}, {"target", 24}},
                          Json{{"ground_truth", {{"numbers", {4, 6}}, {"target", 24}}}},
                          Json{{"metadata", {{"numbers", {4, 6}}, {"target", 24}}}}}) {
    INFO(row.dump());
    CHECK(paid(judge("countdown", problem_of(row), "4*6")));
  }
}
