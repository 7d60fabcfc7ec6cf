#include "train/schedule.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>

using Catch::Matchers::WithinAbs;

namespace hone {
namespace {

TEST_CASE("warm-up rises to the full rate and the last step has the end's") {
  for (ScheduleKind kind : {ScheduleKind::linear, ScheduleKind::cosine, ScheduleKind::wsd}) {
    const ScheduleOptions o{kind, 20, 0.6, 0.02};
    CHECK_THAT(learning_rate_factor(o, 0, 1000), WithinAbs(0.05, 1e-15));
    CHECK(learning_rate_factor(o, 19, 1000) == 1);
    CHECK_THAT(learning_rate_factor(o, 999, 1000), WithinAbs(0.02, 1e-15));
    for (int64_t step = 20; step < 1000; ++step) {
      CHECK(learning_rate_factor(o, step, 1000) <= learning_rate_factor(o, step - 1, 1000));
    }
  }
}

TEST_CASE("wsd holds until its share is done, then falls evenly") {
  const ScheduleOptions o{ScheduleKind::wsd, 20, 0.6, 0.02};
  CHECK(learning_rate_factor(o, 599, 1000) == 1);
  CHECK_THAT(learning_rate_factor(o, 600, 1000), WithinAbs(1 - 0.98 / 400, 1e-15));
  CHECK_THAT(learning_rate_factor(o, 799, 1000), WithinAbs(1 - 0.98 / 2, 1e-15));
}

TEST_CASE("cosine is half way down in the middle") {
  const ScheduleOptions o{ScheduleKind::cosine, 0, 0, 0};
  CHECK_THAT(learning_rate_factor(o, 49, 100), WithinAbs(0.5, 1e-15));
}

TEST_CASE("constant stays and odd lengths are safe") {
  CHECK(learning_rate_factor({}, 5, 10) == 1);
  CHECK(learning_rate_factor({ScheduleKind::wsd, 50, 0.6, 0.02}, 9, 10) == 0.2);  // all warm-up
  CHECK_THAT(learning_rate_factor({ScheduleKind::wsd, 0, 1.0, 0.02}, 9, 10), WithinAbs(1, 0));
  CHECK_THAT(learning_rate_factor({ScheduleKind::linear, 0, 0, 0.5}, 0, 1), WithinAbs(0.5, 0));
}

}  // namespace
}  // namespace hone
