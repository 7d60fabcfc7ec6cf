#include <catch2/catch_test_macros.hpp>

#include "base/error.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

std::vector<Group> many_groups(int count) {
  std::vector<Group> groups;
  for (int g = 0; g < count; ++g) {
    Group group;
    group.problem = problem_of({{"answer", std::to_string(g)}});
    group.problem.id = std::to_string(g);
    group.problem.source = g % 3 == 0 ? "third" : "other";
    for (int i = 0; i < g % 5; ++i) {  // some have no completion
      group.completions.emplace_back();
      group.completions.back().text =
          "<think>r</think><answer>" + std::to_string(g + i % 2) + "</answer>";
      group.completions.back().finish_reason = FinishReason::stop;
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

RewardSet set_of(int64_t threads) {
  return RewardSet({parse_reward_spec("math:when.data_source=third,as=accuracy"),
                    parse_reward_spec("exact:when.data_source=other,as=accuracy"),
                    parse_reward_spec("format:weight=0.2"), parse_reward_spec("repetition")},
                   threads);
}

}  // namespace

TEST_CASE("scores and their order do not depend on the number of threads") {
  std::vector<Group> one = many_groups(300);
  set_of(1).score(one, {});
  for (const int64_t threads : {2, 8, 500, 0}) {
    std::vector<Group> several = many_groups(300);
    set_of(threads).score(several, {});
    for (size_t g = 0; g < one.size(); ++g) {
      REQUIRE(several[g].rewards == one[g].rewards);
      REQUIRE(several[g].scores.size() == one[g].scores.size());
      for (size_t s = 0; s < one[g].scores.size(); ++s) {
        CHECK(several[g].scores[s].first == one[g].scores[s].first);
        for (size_t i = 0; i < one[g].completions.size(); ++i) {
          CHECK(several[g].scores[s].second[i].details == one[g].scores[s].second[i].details);
        }
      }
    }
  }
  CHECK(*one[4].rewards[0] == 1.2);
  CHECK(*one[4].rewards[1] == 0.2);
}

TEST_CASE("the time of every group is told") {
  std::vector<Group> groups = many_groups(20);
  std::vector<double> seconds = {7};
  set_of(2).score(groups, {}, &seconds);
  REQUIRE(seconds.size() == 20);
  CHECK(seconds[0] == 0);  // has no completions
  for (double s : seconds) CHECK(s >= 0);
  CHECK(seconds[4] > 0);
}

TEST_CASE("two rewards of one name on one problem are refused from any thread") {
  RewardSet set({parse_reward_spec("math:when.a=1"), parse_reward_spec("math:when.b=1")}, 4);
  std::vector<Group> groups = many_groups(5);
  groups[1].problem.fields["a"] = groups[1].problem.fields["b"] = 1;
  CHECK_THROWS_AS(set.score(groups, {}), UserError);
}

TEST_CASE("a completion whose verifier failed has a sum but is not comparable with its siblings") {
  std::vector<Group> groups(1);
  groups[0].problem = problem_of({{"answer", "1/0"}});
  groups[0].completions.resize(2);
  groups[0].completions[0].text = "<think>r</think><answer>4</answer>";
  groups[0].completions[1].text = "4";
  for (Completion& c : groups[0].completions) c.finish_reason = FinishReason::stop;
  RewardSet set({parse_reward_spec("math"), parse_reward_spec("format:weight=0.2")});
  set.score(groups, {});
  CHECK(groups[0].rewards[0] == 0.2);
  CHECK(reward_failed(groups[0], 0));
  groups[0].problem = problem_of({{"answer", "4"}});
  set.score(groups, {});
  CHECK(groups[0].rewards[0] == 1.2);
  CHECK_FALSE(reward_failed(groups[0], 0));
  groups[0].completions[1].text = "";  // no answer is the model's doing
  set.score(groups, {});
  CHECK_FALSE(reward_failed(groups[0], 1));
}
