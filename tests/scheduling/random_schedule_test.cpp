// Whatever arrives, ends or is aborted, and in however small a cache, the scheduler keeps its
// books.
#include <catch2/catch_test_macros.hpp>

#include "simulation.h"

namespace hone {
namespace {

using testing::make_prompt;
using testing::Simulation;

struct Seen {
  int64_t preemptions = 0, aborted = 0, late = 0, sequences = 0, drafted = 0, accepted = 0;
  int64_t chunks = 0;
};

// One schedule: groups that are there from the start or arrive while others run, limits of each
// completion, ends before them, aborts of some or of all, drafts that come true in part.
void run_schedule(uint64_t seed, Seen& seen) {
  CAPTURE(seed);
  Rng rng(seed);
  const int64_t max_prompt = rng.between(1, 60), max_tokens = rng.between(1, 60);
  SchedulerOptions options;
  options.blocks = blocks_for(max_prompt + max_tokens) + rng.between(0, rng.chance(0.5) ? 5 : 60);
  options.max_running = rng.between(1, 20);
  options.prefill_tokens = rng.between(1, 200);
  options.prefill_seats = rng.between(1, 4);
  options.longest_first = rng.chance(0.5);
  if (rng.chance(0.5)) options.decode_tokens = rng.between(2, kCacheBlockTokens);
  Simulation sim(options);
  sim.drafts = rng.chance(0.5) ? rng.uniform() : 0;
  const int64_t groups = rng.between(1, 12);
  const bool own_limits = rng.chance(0.5);
  const double arrival = rng.chance(0.5) ? 1 : 0.2;  // of the next group, per step
  const double abort = rng.chance(0.5) ? 0 : 0.05, abort_all = 0.002;  // per step
  const auto end = [&](int64_t index) {
    if (sim.scheduler.sequence(index).status == SequenceStatus::finished) return;
    sim.scheduler.finish(index, FinishReason::abort);
    ++seen.aborted;
  };
  while (true) {
    while (sim.scheduler.group_count() < groups && rng.chance(arrival)) {
      std::vector<int64_t> limits(static_cast<size_t>(rng.between(1, 9)), max_tokens);
      for (int64_t& limit : limits) {
        if (own_limits) limit = rng.between(1, max_tokens);
      }
      sim.scheduler.add(make_prompt(rng.between(1, max_prompt),
                                    static_cast<int32_t>(sim.scheduler.group_count() * 100)),
                        limits, 0);
      seen.late += sim.steps > 0;
    }
    const int64_t count = sim.scheduler.sequence_count();
    if (count > 0 && rng.chance(abort)) end(rng.between(0, count - 1));
    if (rng.chance(abort_all)) {
      for (int64_t i = 0; i < count; ++i) end(i);
    }
    if (sim.step()) continue;
    sim.check_end();
    if (sim.scheduler.group_count() == groups) break;
  }
  seen.preemptions += sim.scheduler.preemptions();
  seen.sequences += sim.scheduler.sequence_count();
  seen.drafted += sim.drafted;
  seen.accepted += sim.accepted;
  seen.chunks += sim.unfinished_items;
}

}  // namespace

TEST_CASE("random schedules leak no block, lose no sequence and keep every history") {
  Seen seen;
  for (uint64_t seed = 0; seed < 10000; ++seed) run_schedule(seed, seen);
  CHECK(seen.sequences > 100000);
  CHECK(seen.preemptions > 5000);
  CHECK(seen.aborted > 5000);
  CHECK(seen.late > 5000);
  CHECK(seen.drafted > 100000);
  CHECK(seen.accepted > 50000);
  CHECK(seen.chunks > 5000);
}

}  // namespace hone
