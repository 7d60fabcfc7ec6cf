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

}  // namespace
}  // namespace hone
