#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "base/error.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;
using Catch::Approx;

namespace {

// Scores of one group's completions with so many tokens.
std::vector<Score> scores(const std::string& spec, const Problem& problem,
                          const std::vector<std::pair<std::string, size_t>>& completions) {
  std::vector<Completion> made;
  for (const auto& [text, length] : completions) {
    made.emplace_back();
    made.back().text = text;
    made.back().tokens.assign(length, 1);
  }
  std::vector<RewardItem> items;
  for (const Completion& c : made) items.push_back({&problem, &c, "", {}});
  return make_rewarder(parse_reward_spec(spec))->score(items);
}

std::vector<double> values(const std::string& spec,
                           const std::vector<std::pair<std::string, size_t>>& completions) {
  std::vector<double> out;
  for (const Score& s : scores(spec, problem_of({{"answer", "42"}}), completions)) {
    out.push_back(s.value.value());
  }
  return out;
}

}  // namespace

TEST_CASE("overlong falls from zero to minus one inside the cache") {
  const auto overlong = [](size_t length) {
    return values("length:kind=overlong,max=100,cache=20", {{"x", length}})[0];
  };
  CHECK(overlong(1) == 0);
  CHECK(overlong(80) == 0);
  CHECK(overlong(90) == Approx(-0.5));
  CHECK(overlong(100) == -1);
  CHECK(overlong(500) == -1);
}

TEST_CASE("cosine pays right answers for being short and wrong ones for being long") {
  const auto cosine = values("length:kind=cosine,max=100", {{"42", 1},
                                                            {"42", 50},
                                                            {"42", 100},
                                                            {"42", 300},
                                                            {"41", 1},
                                                            {"41", 50},
                                                            {"41", 300},
                                                            {"", 100}});
  CHECK(cosine[0] == Approx(1.0).margin(0.001));
  CHECK(cosine[1] == Approx(0.75));
  CHECK(cosine[2] == Approx(0.5));
  CHECK(cosine[3] == Approx(0.5));  // does not climb back beyond max
  CHECK(cosine[4] == Approx(-1.0).margin(0.001));
  CHECK(cosine[5] == Approx(-0.75));
  CHECK(cosine[6] == Approx(-0.5));
  CHECK(cosine[7] == Approx(-0.5));
}

TEST_CASE("kimi compares lengths within the group") {
  CHECK(values("length:kind=kimi", {{"42", 10}, {"42", 30}, {"41", 10}, {"41", 30}}) ==
        std::vector<double>{0.5, -0.5, 0.0, -0.5});
  CHECK(values("length:kind=kimi", {{"42", 7}, {"41", 7}}) == std::vector<double>{0, 0});
  CHECK(values("length:kind=kimi", {{"42", 7}}) == std::vector<double>{0});
}

TEST_CASE("groups have lengths of their own") {
  const Problem first = problem_of({{"answer", "1"}}), second = problem_of({{"answer", "2"}});
  std::vector<Completion> c(4);
  for (size_t i = 0; i < 4; ++i) {
    c[i].text = i < 2 ? "1" : "2";
    c[i].tokens.assign(10 * (i + 1), 1);
  }
  const auto s = make_rewarder(parse_reward_spec("length:kind=kimi"))
                     ->score({{&first, &c[0], "", {}},
                              {&first, &c[1], "", {}},
                              {&second, &c[2], "", {}},
                              {&second, &c[3], "", {}}});
  CHECK(*s[0].value == 0.5);
  CHECK(*s[1].value == -0.5);
  CHECK(*s[2].value == 0.5);
}

TEST_CASE("without a verdict or a length there is no number") {
  const auto bad = scores("length:kind=cosine,max=9", problem_of({{"answer", "?!"}}), {{"42", 3}});
  CHECK_FALSE(bad[0].value.has_value());
  CHECK(bad[0].status == Status::bad_reference);
  // A text without token ids is not a completion of length 0, which would be the best one.
  const auto unknown =
      scores("length:kind=cosine,max=9", problem_of({{"answer", "42"}}), {{"42", 0}});
  CHECK_FALSE(unknown[0].value.has_value());
  CHECK(unknown[0].status == Status::verifier_error);
}

TEST_CASE("lengths may be in characters") {
  CHECK(values("length:unit=chars,max=4,cache=2", {{"\xC3\xA9\xC3\xA9\xC3\xA9", 0}})[0] == -0.5);
}

TEST_CASE("length options that make no sense are refused") {
  for (const char* spec :
       {"length", "length:max=10", "length:max=10,cache=20", "length:max=-1,cache=1",
        "length:kind=cosine", "length:kind=cosine,max=10,of=length", "length:kind=square"}) {
    INFO(spec);
    CHECK_THROWS_AS(parse_reward_spec(spec), UserError);
  }
}
