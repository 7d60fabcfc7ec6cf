#include "train/controllers.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>

using Catch::Matchers::WithinRel;

namespace hone {
namespace {

ObjectiveStats measured(double kl, double entropy) {
  ObjectiveStats s;
  s.kl_tokens = s.entropy_tokens = 4;
  s.kl_sum = 4 * kl;
  s.entropy_sum = 4 * entropy;
  return s;
}

TEST_CASE("an adaptive KL coefficient follows the KL, by at most a fifth of a horizon") {
  ObjectiveOptions o;
  o.kl.coef = 0.1;
  o.kl.target = 0.5;
  o.kl.horizon = 100;
  ControllerState s = initial_controllers(o);
  adapt(o, measured(0.55, 1), 50, s);  // a tenth above
  CHECK_THAT(s.kl_coef, WithinRel(0.1 * (1 + 0.1 * 0.5), 1e-12));
  adapt(o, measured(50, 1), 50, s);  // far above: clipped at 0.2
  CHECK_THAT(s.kl_coef, WithinRel(0.1 * 1.05 * 1.1, 1e-12));
  adapt(o, measured(0, 1), 100, s);
  CHECK_THAT(s.kl_coef, WithinRel(0.1 * 1.05 * 1.1 * 0.8, 1e-12));
  CHECK(adapted(o, s).kl.coef == s.kl_coef);
  const double before = s.kl_coef;
  adapt(o, measured(0, 1), 100000, s);  // many completions: still no more than a fifth
  CHECK_THAT(s.kl_coef, WithinRel(before * 0.8, 1e-12));
}

TEST_CASE("an adaptive entropy bonus acts only below its target") {
  ObjectiveOptions o;
  o.entropy_coef = 0.01;
  o.entropy.target = 0.5;
  o.entropy.delta = 0.004;
  o.entropy.max = 0.016;
  ControllerState s = initial_controllers(o);
  CHECK(adapted(o, s).entropy_coef == 0);  // nothing measured yet
  adapt(o, measured(0, 0.4), 8, s);
  CHECK_THAT(adapted(o, s).entropy_coef, WithinRel(0.014, 1e-12));
  adapt(o, measured(0, 0.4), 8, s);
  CHECK(adapted(o, s).entropy_coef == 0.016);
  adapt(o, measured(0, 0.6), 8, s);
  CHECK(adapted(o, s).entropy_coef == 0);
  CHECK_THAT(s.entropy_coef, WithinRel(0.012, 1e-12));
  for (int i = 0; i < 5; ++i) adapt(o, measured(0, 0.6), 8, s);
  CHECK(s.entropy_coef == 0);
}

TEST_CASE("without targets the coefficients stay as the recipe has them") {
  ObjectiveOptions o;
  o.kl.coef = 0.3;
  o.entropy_coef = 0.02;
  ControllerState s = initial_controllers(o);
  adapt(o, measured(9, 0.01), 1000, s);
  CHECK(adapted(o, s).kl.coef == 0.3);
  CHECK(adapted(o, s).entropy_coef == 0.02);
}

TEST_CASE("what controllers remember survives a checkpoint bit for bit") {
  ControllerState s{0.1 / 3, 1e-7 / 3, {}};
  ControllerState back = controllers_from_json(Json::parse(to_json(s).dump()));
  CHECK(back.kl_coef == s.kl_coef);
  CHECK(back.entropy_coef == s.entropy_coef);
  CHECK_FALSE(back.entropy);
  s.entropy = 2.0 / 3;
  back = controllers_from_json(Json::parse(to_json(s).dump()));
  CHECK(back.entropy == s.entropy);
}

}  // namespace
}  // namespace hone
