#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "base/error.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

Group group_of(const std::string& source, Json fields, const std::vector<std::string>& texts) {
  Group group;
  group.problem = problem_of(std::move(fields));
  group.problem.source = source;
  for (const std::string& text : texts) {
    group.completions.emplace_back();
    group.completions.back().text = text;
    group.completions.back().finish_reason = FinishReason::stop;
  }
  return group;
}

RewardSet set_of(const std::vector<std::string>& texts) {
  std::vector<RewardSpec> specs;
  for (const std::string& text : texts) specs.push_back(parse_reward_spec(text));
  return RewardSet(specs);
}

}  // namespace

TEST_CASE("a spec is a name with options") {
  const RewardSpec spec =
      parse_reward_spec("math:extract=boxed,weight=2,as=accuracy,when.data_source=gsm8k");
  CHECK(spec.name == "math");
  CHECK(spec.as == "accuracy");
  CHECK(spec.weight == 2.0);
  CHECK(spec.options.at("extract") == "boxed");
  CHECK(spec.when.at("data_source") == "gsm8k");
  CHECK(parse_reward_spec("format").weight == 1.0);
}

TEST_CASE("a wrong spec is told with the nearest right one") {
  const auto told = [](const std::string& spec, const std::string& part) {
    INFO(spec);
    CHECK_THROWS_MATCHES(parse_reward_spec(spec), UserError,
                         MessageMatches(ContainsSubstring(part)));
  };
  told("maths", "did you mean 'math'");
  told("", "unknown reward ''");
  told("pyton:f.py:g", "did you mean 'python'");
  told("math:extrct=boxed", "did you mean 'extract'");
  told("math:extract=boxd", "did you mean 'boxed'");
  told("math:boxed", "expected option=value");
  told("math:weight=2,", "expected option=value");
  told("math:weight=much", "expected a number, found 'much'");
  told("math:weight=inf", "expected a number");
  told("math:extract=boxed,extract=hash", "given twice");
  told("format:pattern=r1zero", "did you mean 'r1_zero'");
  told("length:kind=overlong,max=100", "cache");
  told("length", "max");
}

TEST_CASE("every rewarder is listed") {
  std::string names;
  for (const auto& [name, meaning] : list_rewarders()) names += name + " ";
  CHECK(names ==
        "math exact choice code countdown logic format language length repetition random plugin "
        "python "
        "command ");
}

TEST_CASE("rewards add up by weight") {
  RewardSet set = set_of({"math:as=accuracy", "format:weight=0.2"});
  std::vector<Group> groups = {group_of(
      "a", {{"answer", "42"}},
      {"<think>r</think><answer>42</answer>", "<think>r</think><answer>1</answer>", "42"})};
  set.score(groups, {});
  CHECK(groups[0].scores[0].first == "accuracy");
  CHECK(groups[0].scores[1].first == "format");
  CHECK(*groups[0].rewards[0] == Approx(1.2));
  CHECK(*groups[0].rewards[1] == Approx(0.2));
  CHECK(*groups[0].rewards[2] == Approx(1.0));
  set.score(groups, {});  // again: replaced, not added
  CHECK(groups[0].scores.size() == 2);
}

TEST_CASE("a null score is left out of the sum and no number gives a null reward") {
  RewardSet both = set_of({"math", "format:weight=0.5"}), alone = set_of({"math"});
  std::vector<Group> groups = {
      group_of("a", {{"answer", "?"}}, {"<think>r</think><answer>42</answer>"})};
  both.score(groups, {});
  CHECK(*groups[0].rewards[0] == Approx(0.5));
  alone.score(groups, {});
  CHECK_FALSE(groups[0].rewards[0].has_value());
  CHECK(groups[0].scores[0].second[0].status == Status::bad_reference);
}

TEST_CASE("`when` chooses problems by source or by fields") {
  RewardSet set = set_of({"math:when.data_source=gsm8k,as=accuracy",
                          "exact:when.data_source=words,when.level=3,as=accuracy"});
  std::vector<Group> groups = {group_of("gsm8k", {{"answer", "42"}}, {"42", "41"}),
                               group_of("words", {{"answer", "abc"}, {"level", 3}}, {"abc", "x"}),
                               group_of("words", {{"answer", "abc"}, {"level", 4}}, {"abc"})};
  set.score(groups, {});
  CHECK(*groups[0].rewards[0] == 1);
  CHECK(*groups[0].rewards[1] == 0);
  CHECK(*groups[1].rewards[0] == 1);
  CHECK(*groups[1].rewards[1] == 0);
  CHECK(groups[2].scores.empty());
  CHECK_FALSE(groups[2].rewards[0].has_value());
}

TEST_CASE("two rewards of one name must not meet on a problem") {
  CHECK_THROWS_AS(set_of({"math", "math:extract=boxed"}), UserError);
  RewardSet set = set_of({"math:when.a=1", "math:when.b=1"});
  std::vector<Group> groups = {group_of("s", {{"answer", "1"}, {"a", 1}, {"b", 1}}, {"1"})};
  CHECK_THROWS_AS(set.score(groups, {}), UserError);
}
