#include "random_schedules.h"

namespace hone {

TEST_CASE("random schedules give each sequence what it has alone and leak no block") {
  const auto model = testing::tiny_model(4.0);
  const testing::RandomSchedules seen = testing::run_random_schedules(*model, 200, true);
  CHECK(seen.sequences > 1000);
  CHECK(seen.preemptions > 100);
  CHECK(seen.aborted > 30);
  CHECK(seen.stopped > 200);
  CHECK(seen.drafted > 200);
  CHECK(seen.accepted > 50);
}

}  // namespace hone
