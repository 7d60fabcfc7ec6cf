#include "train/advantage.h"

#include <yaml-cpp/yaml.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>

#include "base/error.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Catch::Matchers::WithinRel;

namespace hone {
namespace {

using Rewards = std::vector<std::optional<double>>;
using Ids = std::vector<int64_t>;

AdvantageResult advantages(const Rewards& rewards, const Ids& ids, const AdvantageOptions& o) {
  AdvantageInput in;
  in.rewards = rewards;
  in.group_ids = ids;
  return hone::advantages(in, o);
}

TEST_CASE("advantages are the reward's distance from its group's mean in standard deviations") {
  const Rewards rewards{1, 0, 0, 1, 5, 7};
  const Ids ids{3, 3, 3, 3, 9, 9};
  const AdvantageResult r = advantages(rewards, ids, {});
  const double std4 = std::sqrt(1.0 / 3);  // {1,0,0,1}: sum of squares 1, n - 1 = 3
  CHECK_THAT(r.values[0], WithinRel(0.5 / (std4 + 1e-4), 1e-14));
  CHECK_THAT(r.values[1], WithinRel(-0.5 / (std4 + 1e-4), 1e-14));
  CHECK_THAT(r.values[4], WithinRel(-1 / (std::sqrt(2.0) + 1e-4), 1e-14));
  CHECK(r.groups == 2);
  CHECK(r.zero_variance_groups == 0);
  CHECK_THAT(r.reward_mean, WithinRel(14.0 / 6, 1e-14));
  CHECK_THAT(r.reward_std, WithinRel((std4 + std::sqrt(2.0)) / 2, 1e-14));
}

TEST_CASE("the group's rows need not be neighbours") {
  const AdvantageResult apart = advantages(Rewards{1, 5, 0, 7}, Ids{0, 1, 0, 1}, {});
  const AdvantageResult together = advantages(Rewards{1, 0, 5, 7}, Ids{0, 0, 1, 1}, {});
  CHECK(apart.values[0] == together.values[0]);
  CHECK(apart.values[3] == together.values[3]);
}

TEST_CASE("scale none and ddof 0 follow their definitions") {
  AdvantageOptions o;
  o.scale = AdvantageScale::none;
  CHECK(advantages(Rewards{1, 0}, Ids{0, 0}, o).values == std::vector<double>{0.5, -0.5});
  o.scale = AdvantageScale::group;
  o.ddof = 0;
  o.epsilon = 0;
  CHECK(advantages(Rewards{1, 0}, Ids{0, 0}, o).values == std::vector<double>{1, -1});
}

TEST_CASE("scale batch divides by the deviation of all rewards") {
  AdvantageOptions o;
  o.scale = AdvantageScale::batch;
  o.epsilon = 0;
  const AdvantageResult r = advantages(Rewards{1, 0, 10, 9}, Ids{0, 0, 1, 1}, o);
  const double std = std::sqrt((16 + 25 + 25 + 16) / 3.0);
  CHECK_THAT(r.values[0], WithinRel(0.5 / std, 1e-14));
  CHECK_THAT(r.reward_std, WithinRel(std, 1e-14));
}

TEST_CASE("leave one out compares with the mean of the others") {
  AdvantageOptions o;
  o.kind = Baseline::leave_one_out;
  o.scale = AdvantageScale::none;
  const AdvantageResult r = advantages(Rewards{3, 0, 0}, Ids{0, 0, 0}, o);
  CHECK_THAT(r.values[0], WithinRel(3.0, 1e-14));
  CHECK_THAT(r.values[1], WithinRel(-1.5, 1e-14));
}

TEST_CASE("null rewards are left out of the statistics and get advantage 0") {
  const AdvantageResult r = advantages(Rewards{1, std::nullopt, 0}, Ids{0, 0, 0}, {});
  CHECK(r.values[1] == 0);
  CHECK_THAT(r.values[0], WithinRel(0.5 / (std::sqrt(0.5) + 1e-4), 1e-14));
  CHECK_THAT(r.reward_mean, WithinRel(0.5, 1e-14));
}

TEST_CASE("singleton, constant and all-null groups give exactly 0 and are reported") {
  const Rewards rewards{1, 0.1, 0.1, 0.1, std::nullopt, std::nullopt, 1, std::nullopt, 0, 1};
  const Ids ids{0, 1, 1, 1, 2, 2, 3, 3, 4, 4};
  for (Baseline kind : {Baseline::group_mean, Baseline::leave_one_out}) {
    AdvantageOptions o;
    o.kind = kind;
    const AdvantageResult r = advantages(rewards, ids, o);
    for (size_t i = 0; i < 8; ++i) CHECK(r.values[i] == 0.0);
    CHECK(r.values[9] > 0);
    CHECK(r.groups == 5);
    CHECK(r.zero_variance_groups == 4);
    CHECK(r.zero_variance[0]);
    CHECK_FALSE(r.zero_variance[9]);
  }
}

TEST_CASE("a word that is no baseline is refused by name") {
  const YAML::Node yaml = YAML::Load("kind: group_men");
  AdvantageOptions o;
  CHECK_THROWS_MATCHES(OptionReader(yaml, "x.yaml").read(o), UserError,
                       MessageMatches(ContainsSubstring("group_mean")));
}

TEST_CASE("kinds of baselines come out as on paper") {
  AdvantageOptions o;
  o.scale = AdvantageScale::none;
  const Rewards rewards{1, 0, 0.5, std::nullopt, 2};
  const Ids ids{0, 0, 0, 0, 1};
  AdvantageInput in;
  in.rewards = rewards;
  in.group_ids = ids;
  SECTION("length-weighted: (2 * 1 + 6 * 0 + 4 * .5) / 12") {
    o.kind = Baseline::length_weighted;
    const std::vector<int64_t> lengths{2, 6, 4, 100, 7};
    in.lengths = lengths;
    const auto a = hone::advantages(in, o).values;
    CHECK_THAT(a[0], WithinRel(1 - 4.0 / 12, 1e-14));
    CHECK_THAT(a[1], WithinRel(-4.0 / 12, 1e-14));
    CHECK(a[3] == 0);  // its verifier failed
    CHECK(a[4] == 0);  // alone
  }
  SECTION("greedy: each group's own, none where its verifier failed") {
    o.kind = Baseline::greedy;
    const Rewards greedy{0.25, 0.25, 0.25, 0.25, std::nullopt};
    in.greedy = greedy;
    CHECK(hone::advantages(in, o).values == std::vector<double>{0.75, -0.25, 0.25, 0, 0});
  }
  SECTION("best of group: its lead over the second") {
    o.kind = Baseline::best_of_group;
    CHECK(hone::advantages(in, o).values == std::vector<double>{0.5, 0, 0, 0, 0});
  }
  SECTION("the mean as scale: R / mean - 1") {
    o.scale = AdvantageScale::mean;
    const auto a = hone::advantages(in, o).values;
    CHECK_THAT(a[0], WithinRel(1.0, 1e-14));
    CHECK_THAT(a[1], WithinRel(-1.0, 1e-14));
    CHECK(a[2] == 0);
  }
  SECTION("gains") {
    o.gain = AdvantageGain::informative;  // 4 rewards count, 3 in a group that differs
    CHECK_THAT(hone::advantages(in, o).values[0], WithinRel(0.5 * 4 / 3, 1e-14));
    o.gain = AdvantageGain::nonzero;  // 1, .5 and 2
    CHECK_THAT(hone::advantages(in, o).values[1], WithinRel(-0.5 * 4 / 3, 1e-14));
  }
}

TEST_CASE("whitening is over tokens, so long completions weigh more") {
  AdvantageOptions o;
  o.kind = Baseline::none;
  o.scale = AdvantageScale::tokens;
  const Rewards rewards{1, 0, std::nullopt};
  const Ids ids{0, 0, 0};
  const std::vector<int64_t> lengths{3, 1, 50};
  AdvantageInput in;
  in.rewards = rewards;
  in.group_ids = ids;
  in.lengths = lengths;
  const auto a = hone::advantages(in, o).values;
  const double std = std::sqrt((3 * 0.0625 + 0.5625) / 3 + 1e-8);
  CHECK_THAT(a[0], WithinRel(0.25 / std, 1e-14));
  CHECK_THAT(a[1], WithinRel(-0.75 / std, 1e-14));
  CHECK(a[2] == 0);
}

TEST_CASE("a KL in the reward counts from its token on where nothing of the group is compared") {
  AdvantageOptions o;
  o.kind = Baseline::none;
  o.scale = AdvantageScale::none;
  const Rewards rewards{1};
  const Ids ids{0};
  const std::vector<int64_t> lengths{3};
  const std::vector<std::vector<double>> kl{{0.1, 0.2, 0.4}};
  AdvantageInput in;
  in.rewards = rewards;
  in.group_ids = ids;
  in.lengths = lengths;
  in.token_kl = kl;
  const AdvantageResult r = hone::advantages(in, o);
  REQUIRE(r.token_values.size() == 1);
  CHECK_THAT(r.token_values[0][0], WithinRel(0.3, 1e-12));
  CHECK_THAT(r.token_values[0][1], WithinRel(0.4, 1e-12));
  CHECK_THAT(r.token_values[0][2], WithinRel(0.6, 1e-12));
}

TEST_CASE("process supervision: a token's advantage is that of the spans that end at or after it") {
  AdvantageOptions o;
  o.process = true;
  o.epsilon = 0;
  const Rewards rewards{1, 0, 1, std::nullopt};  // of the last a verifier failed
  const Ids ids{0, 0, 1, 0};
  const std::vector<int64_t> lengths{4, 2, 3, 2};
  // Scores of the group: 1, 0, 0, 1; mean 1/2, standard deviation sqrt(1/3).
  const std::vector<std::vector<TokenSpanScore>> spans{
      {{2, 1}, {4, 0}}, {{1, 0}, {2, 1}}, {{1, 0.5}, {3, 0.5}}, {{1, 100}}};
  AdvantageInput in;
  in.rewards = rewards;
  in.group_ids = ids;
  in.lengths = lengths;
  in.spans = spans;
  const AdvantageResult r = hone::advantages(in, o);
  const double z = 0.5 / std::sqrt(1.0 / 3);
  const std::vector<std::vector<double>> expected{
      {z - z, z - z, -z, -z}, {-z + z, z}, {0, 0, 0}, {0, 0}};
  for (size_t i = 0; i < 4; ++i) {
    REQUIRE(r.token_values[i].size() == expected[i].size());
    for (size_t t = 0; t < expected[i].size(); ++t) {
      CHECK(std::abs(r.token_values[i][t] - expected[i][t]) < 1e-12);
    }
  }
  CHECK(r.zero_variance == std::vector<bool>{false, false, true, true});
}

}  // namespace
}  // namespace hone
