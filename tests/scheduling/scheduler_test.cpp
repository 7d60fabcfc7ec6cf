#include "engine/scheduling/scheduler.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <map>
#include <set>

#include "base/error.h"
#include "base/rng.h"

namespace hone {
namespace {

// A model of the cache: each slot remembers which token history was written to it. Runs a
// scheduler to its end and checks after every step that each sequence finds its own history in its
// blocks and that holders are counted right.
class Simulation {
 public:
  explicit Simulation(const SchedulerOptions& options)
      : scheduler(options),
        options_(options),
        slots_(static_cast<size_t>(options.blocks * kCacheBlockTokens), 0) {}

  // A completion's length is a function of (group, sample) alone.
  int64_t planned_length(const Sequence& s) const {
    const uint64_t draw =
        philox(99, static_cast<uint64_t>(s.group), static_cast<uint64_t>(s.sample)).v[0];
    return 1 + static_cast<int64_t>(draw % static_cast<uint64_t>(s.max_tokens));
  }

  bool step() {
    const Step& step = scheduler.schedule();
    if (step.items.empty()) return false;
    ++steps;
    copy(step);
    check_limits(step);
    for (const Step::Item& item : step.items) write(item);
    scheduler.computed();
    const std::vector<Step::Item> items = step.items;
    for (const Step::Item& item : items) draw(item);
    check_references();
    return true;
  }

  void run() {
    while (step()) {
    }
    CHECK(scheduler.unfinished() == 0);
    CHECK(scheduler.blocks().free_count() == scheduler.blocks().total());
    for (int64_t i = 0; i < scheduler.sequence_count(); ++i) {
      const Sequence& s = scheduler.sequence(i);
      REQUIRE(s.status == SequenceStatus::finished);
      REQUIRE(static_cast<int64_t>(s.generated.size()) == planned_length(s));
    }
  }

  Scheduler scheduler;
  int64_t steps = 0, computed_tokens = 0, prompt_items = 0;
  std::vector<int64_t> decode_sizes;

 private:
  int32_t token(const Step::Item& item, int64_t position) const {
    const PromptGroup& g = scheduler.group(item.group);
    if (position < g.length()) return g.prompt[static_cast<size_t>(position)];
    return scheduler.sequence(item.sequence).generated[static_cast<size_t>(position - g.length())];
  }

  void copy(const Step& step) {
    const std::vector<uint64_t> before = slots_;
    std::set<int32_t> targets;
    for (const Step::BlockCopy& c : step.copies) {
      REQUIRE(targets.insert(c.to).second);
      for (int64_t i = 0; i < kCacheBlockTokens; ++i) {
        slots_[static_cast<size_t>(c.to * kCacheBlockTokens + i)] =
            before[static_cast<size_t>(c.from * kCacheBlockTokens + i)];
      }
    }
  }

  void check_limits(const Step& step) {
    int64_t rows = 0;
    for (const Step::Item& item : step.items) rows += item.length;
    REQUIRE(scheduler.running() <= options_.max_running);
    if (step.decode) {
      decode_sizes.push_back(static_cast<int64_t>(step.items.size()));
      REQUIRE(rows == static_cast<int64_t>(step.items.size()));
      REQUIRE(rows == scheduler.running());
    } else if (step.items.size() > 1) {
      REQUIRE(rows <= options_.prefill_tokens);
    }
    computed_tokens += rows;
  }

  // Writes the item's tokens, then reads its whole history back.
  void write(const Step::Item& item) {
    std::vector<int32_t> table;
    if (item.sequence >= 0) {
      table = scheduler.sequence(item.sequence).blocks;
    } else {
      table = scheduler.group(item.group).blocks;
      if (scheduler.group(item.group).tail >= 0) table.push_back(scheduler.group(item.group).tail);
      ++prompt_items;
    }
    REQUIRE(static_cast<int64_t>(table.size()) >= blocks_for(item.begin + item.length));
    uint64_t history = 0xabcdef;
    for (int64_t p = 0; p < item.begin + item.length; ++p) {
      history = (history * 1000003) ^ static_cast<uint64_t>(token(item, p) + 1);
      const int32_t block = table[static_cast<size_t>(p / kCacheBlockTokens)];
      uint64_t& slot =
          slots_[static_cast<size_t>(block * kCacheBlockTokens + p % kCacheBlockTokens)];
      if (p >= item.begin) {
        // Shared blocks are written by the prompt's own pass only.
        REQUIRE((item.sequence < 0 || scheduler.blocks().references(block) == 1));
        slot = history;
      }
      REQUIRE(slot == history);
    }
  }

  void draw(const Step::Item& item) {
    if (item.sequence >= 0) return append(item.sequence);
    const PromptGroup& g = scheduler.group(item.group);
    for (int64_t i = 0; i < g.n; ++i) {
      if (scheduler.sequence(g.first_sequence + i).generated.empty()) append(g.first_sequence + i);
    }
  }

  void append(int64_t index) {
    Sequence& s = scheduler.sequence(index);
    const size_t t = s.generated.size();
    s.generated.push_back(
        static_cast<int32_t>(philox(7, static_cast<uint64_t>(index), t).v[0] % 1000));
    if (static_cast<int64_t>(t) + 1 == planned_length(s)) {
      scheduler.finish(index, FinishReason::stop);
    }
  }

  void check_references() const {
    std::map<int32_t, int32_t> held;
    for (int64_t i = 0; i < scheduler.group_count(); ++i) {
      const PromptGroup& g = scheduler.group(i);
      for (int32_t block : g.blocks) ++held[block];
      if (g.tail >= 0) ++held[g.tail];
    }
    for (int64_t i = 0; i < scheduler.sequence_count(); ++i) {
      const Sequence& s = scheduler.sequence(i);
      for (int32_t block : s.blocks) ++held[block];
      REQUIRE((s.status == SequenceStatus::running || s.blocks.empty()));
    }
    for (const auto& [block, count] : held) REQUIRE(scheduler.blocks().references(block) == count);
    REQUIRE(scheduler.blocks().free_count() ==
            scheduler.blocks().total() - static_cast<int64_t>(held.size()));
  }

  SchedulerOptions options_;
  std::vector<uint64_t> slots_;
};

std::vector<int32_t> make_prompt(int64_t length, int32_t first) {
  std::vector<int32_t> prompt(static_cast<size_t>(length));
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = first + static_cast<int32_t>(i) * 7;
  return prompt;
}

std::vector<int64_t> limits(int64_t n, int64_t tokens) {
  return std::vector<int64_t>(static_cast<size_t>(n), tokens);
}

}  // namespace

TEST_CASE("a prompt is computed once for its group") {
  Simulation sim({.blocks = 200, .max_running = 16});
  sim.scheduler.add(make_prompt(50, 1), limits(8, 20), 0);
  sim.run();
  CHECK(sim.prompt_items == 1);
  int64_t expected = 50;
  for (int64_t i = 0; i < 8; ++i) expected += sim.planned_length(sim.scheduler.sequence(i)) - 1;
  CHECK(sim.computed_tokens == expected);
}

TEST_CASE("full prompt blocks are shared and the partial one is copied for all but the last") {
  Simulation sim({.blocks = 200, .max_running = 16});
  sim.scheduler.add(make_prompt(40, 1), limits(3, 30), 0);
  sim.step();
  for (int64_t i = 0; i < 3; ++i) sim.scheduler.sequence(i).max_tokens = 1000;  // none ends soon
  const Step& step = sim.scheduler.schedule();
  CHECK(step.copies.size() == 2);
  const PromptGroup& g = sim.scheduler.group(0);
  REQUIRE(g.blocks.size() == 2);
  CHECK(g.tail == -1);
  CHECK(sim.scheduler.blocks().references(g.blocks[0]) == 4);
  std::set<int32_t> own;
  for (int64_t i = 0; i < 3; ++i) own.insert(sim.scheduler.sequence(i).blocks[2]);
  CHECK(own.size() == 3);
}

TEST_CASE("a single completion needs no copy") {
  Simulation sim({.blocks = 20, .max_running = 4});
  sim.scheduler.add(make_prompt(21, 1), limits(1, 10), 0);
  sim.scheduler.schedule();
  sim.scheduler.computed();
  sim.scheduler.sequence(0).generated.push_back(3);
  CHECK(sim.scheduler.schedule().copies.empty());
}

TEST_CASE("a free seat is taken in the next decode step") {
  Simulation sim({.blocks = 2000, .max_running = 8});
  for (int32_t i = 0; i < 40; ++i) sim.scheduler.add(make_prompt(10 + i, i), limits(3, 25), 0);
  sim.run();
  // Full until the queue is empty: then sizes only fall.
  const auto& sizes = sim.decode_sizes;
  size_t i = 0;
  while (i < sizes.size() && sizes[i] == 8) ++i;
  CHECK(i > 60);
  CHECK(std::is_sorted(sizes.begin() + static_cast<int64_t>(i), sizes.end(), std::greater<>()));
  CHECK(sim.scheduler.preemptions() == 0);
}

TEST_CASE("seats can be gathered before a prefill step") {
  const auto prefills = [](int64_t seats) {
    Simulation sim({.blocks = 2000, .max_running = 8, .prefill_seats = seats});
    for (int32_t i = 0; i < 64; ++i) sim.scheduler.add(make_prompt(10, i), limits(1, 25), 0);
    sim.run();
    return sim.steps - static_cast<int64_t>(sim.decode_sizes.size());
  };
  CHECK(prefills(4) * 2 < prefills(1));
}

TEST_CASE("prefill steps keep to their limit, but a longer prompt goes alone") {
  Simulation sim({.blocks = 2000, .max_running = 64, .prefill_tokens = 100});
  sim.scheduler.add(make_prompt(40, 1), limits(1, 4), 0);
  sim.scheduler.add(make_prompt(40, 2), limits(1, 4), 0);
  sim.scheduler.add(make_prompt(40, 3), limits(1, 4), 0);
  sim.scheduler.add(make_prompt(300, 4), limits(1, 4), 0);
  CHECK(sim.scheduler.schedule().items.size() == 2);
  Simulation again({.blocks = 2000, .max_running = 64, .prefill_tokens = 100});
  again.scheduler.add(make_prompt(300, 4), limits(1, 4), 0);
  CHECK(again.scheduler.schedule().items.size() == 1);
  again.scheduler.computed();
}

TEST_CASE("a prompt that cannot fit is refused in words") {
  Scheduler scheduler({.blocks = 4});
  CHECK_THROWS_AS(scheduler.add(make_prompt(60, 1), limits(1, 10), 0), UserError);
  try {
    scheduler.add(make_prompt(60, 1), limits(1, 10), 0);
  } catch (const UserError& error) {
    const std::string what = error.what();
    CHECK_THAT(what, Catch::Matchers::ContainsSubstring("60 tokens"));
    CHECK_THAT(what, Catch::Matchers::ContainsSubstring("kv_blocks"));
  }
  CHECK(scheduler.add(make_prompt(60, 1), limits(1, 5), 0) == 0);  // 64 inputs fill it exactly
}

TEST_CASE("each completion has its own limit, and the longest must fit") {
  Scheduler scheduler({.blocks = 4});
  CHECK_THROWS_AS(scheduler.add(make_prompt(60, 1), {2, 6, 3}, 0), UserError);
  CHECK(scheduler.group_count() == 0);
  scheduler.add(make_prompt(60, 1), {2, 5, 3}, 0);
  CHECK(scheduler.sequence(0).max_tokens == 2);
  CHECK(scheduler.sequence(1).max_tokens == 5);
  CHECK(scheduler.sequence(2).max_tokens == 3);
}

TEST_CASE("longest first: sequences start by their limits, then by their prompts") {
  const auto order = [](bool longest_first) {
    Scheduler scheduler({.blocks = 40, .max_running = 1, .longest_first = longest_first});
    scheduler.add(make_prompt(5, 1), {3, 9}, 0);
    scheduler.add(make_prompt(20, 2), {3, 30}, 0);
    std::vector<int64_t> started;
    while (scheduler.unfinished() > 0) {
      if (scheduler.group_count() == 2 && started.size() == 2) {
        scheduler.add(make_prompt(1, 3), {9, 1}, 0);  // arrives while others run
      }
      const Step step = scheduler.schedule();
      scheduler.computed();
      for (const Step::Item& item : step.items) {
        if (item.sequence < 0) {
          const PromptGroup& g = scheduler.group(item.group);
          for (int64_t i = 0; i < g.n; ++i) {
            scheduler.sequence(g.first_sequence + i).generated.push_back(1);
          }
        } else {
          started.push_back(item.sequence);
          scheduler.finish(item.sequence, FinishReason::stop);
        }
      }
    }
    return started;
  };
  CHECK(order(false) == std::vector<int64_t>{0, 1, 2, 3, 4, 5});
  CHECK(order(true) == std::vector<int64_t>{3, 1, 4, 2, 0, 5});
}

TEST_CASE("one completion may fill the whole cache although its siblings wait") {
  for (int64_t prompt : {1, 15, 16, 17, 31, 33}) {
    Simulation sim({.blocks = 4, .max_running = 8});
    sim.scheduler.add(make_prompt(prompt, 1), limits(5, 65 - prompt), 0);
    sim.scheduler.add(make_prompt(prompt + 1, 2), limits(5, 64 - prompt), 0);
    sim.run();
  }
}

TEST_CASE("aborted sequences free their blocks in any state") {
  Scheduler scheduler({.blocks = 40, .max_running = 3});
  scheduler.add(make_prompt(20, 1), limits(5, 10), 0);
  scheduler.add(make_prompt(20, 2), limits(2, 10), 0);
  scheduler.schedule();
  scheduler.computed();
  for (int64_t i = 0; i < 5; ++i) scheduler.sequence(i).generated.push_back(1);
  scheduler.schedule();
  CHECK(scheduler.running() == 3);
  for (int64_t i = 0; i < 7; ++i) scheduler.finish(i, FinishReason::abort);
  CHECK(scheduler.blocks().free_count() == 40);
  CHECK(scheduler.schedule().items.empty());
}

TEST_CASE("random schedules leak no block, lose no sequence and keep every history") {
  int64_t preempted = 0;
  for (uint64_t seed = 0; seed < 300; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    const int64_t max_prompt = rng.between(1, 60), max_tokens = rng.between(1, 60);
    SchedulerOptions options;
    options.blocks = blocks_for(max_prompt + max_tokens) + rng.between(0, rng.chance(0.5) ? 5 : 60);
    options.max_running = rng.between(1, 20);
    options.prefill_tokens = rng.between(1, 200);
    options.prefill_seats = rng.between(1, 4);
    Simulation sim(options);
    const int64_t groups = rng.between(1, 12);
    for (int64_t i = 0; i < groups; ++i) {
      sim.scheduler.add(make_prompt(rng.between(1, max_prompt), static_cast<int32_t>(i * 100)),
                        limits(rng.between(1, 9), max_tokens), 0);
    }
    sim.run();
    preempted += sim.scheduler.preemptions();
  }
  CHECK(preempted > 100);
}

}  // namespace hone
