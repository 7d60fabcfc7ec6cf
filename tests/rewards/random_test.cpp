#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>

#include "base/error.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

// Scores of one completion of tokens {i} for each i below `count`, all of the problem `id`.
std::vector<double> draws(const std::string& spec, const std::string& id, int32_t count) {
  Problem problem = problem_of({});
  problem.id = id;
  std::vector<Completion> completions(static_cast<size_t>(count));
  std::vector<RewardItem> items;
  for (int32_t i = 0; i < count; ++i) {
    completions[static_cast<size_t>(i)].tokens = {i};
    items.push_back({&problem, &completions[static_cast<size_t>(i)], "", {}});
  }
  std::vector<double> values;
  for (const Score& s : make_rewarder(parse_reward_spec(spec))->score(items)) {
    REQUIRE(s.status == Status::ok);
    REQUIRE(s.value);
    REQUIRE((*s.value == 0.0 || *s.value == 1.0));
    values.push_back(*s.value);
  }
  return values;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum / static_cast<double>(values.size());
}

}  // namespace

TEST_CASE("random pays the same completion of the same problem alike, in any batch") {
  const auto all = draws("random", "a", 200);
  CHECK(draws("random", "a", 200) == all);
  CHECK(draws("random", "a", 50) == std::vector<double>(all.begin(), all.begin() + 50));
  CHECK(draws("random", "b", 200) != all);
}

TEST_CASE("random pays one half, or the share p") {
  // Four standard deviations of 4,000 draws.
  CHECK(std::abs(mean(draws("random", "a", 4000)) - 0.5) < 0.032);
  CHECK(std::abs(mean(draws("random:p=0.1", "a", 4000)) - 0.1) < 0.019);
  CHECK(mean(draws("random:p=0", "a", 200)) == 0);
  CHECK(mean(draws("random:p=1", "a", 200)) == 1);
}

TEST_CASE("random looks at the text where there are no tokens") {
  int paid_texts = 0;
  for (int i = 0; i < 100; ++i) {
    const std::string text = "answer " + std::to_string(i);
    const Score score = judge("random", problem_of({}), text);
    CHECK(judge("random", problem_of({}), text).value == score.value);
    paid_texts += paid(score);
  }
  CHECK(paid_texts > 25);
  CHECK(paid_texts < 75);
}

TEST_CASE("random refuses a share that is none, and other options") {
  using Catch::Matchers::ContainsSubstring;
  using Catch::Matchers::MessageMatches;
  for (const char* spec : {"random:p=1.5", "random:p=-0.1", "random:p=nan", "random:p=often"}) {
    INFO(spec);
    CHECK_THROWS_MATCHES(make_rewarder(parse_reward_spec(spec)), UserError,
                         MessageMatches(ContainsSubstring("p")));
  }
  CHECK_THROWS_MATCHES(make_rewarder(parse_reward_spec("random:q=0.5")), UserError,
                       MessageMatches(ContainsSubstring("q")));
}
