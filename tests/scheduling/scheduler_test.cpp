#include "engine/scheduling/scheduler.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <set>

#include "base/error.h"
#include "simulation.h"

namespace hone {

using testing::limits;
using testing::make_prompt;
using testing::Simulation;

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

TEST_CASE("prefill steps keep to their limit, and prompts go on where they stopped") {
  Simulation sim({.blocks = 2000, .max_running = 64, .prefill_tokens = 100});
  for (const int64_t length : {40, 40, 40, 300}) {
    sim.scheduler.add(make_prompt(length, static_cast<int32_t>(length)), limits(2, 40), 0);
  }
  using Part = std::pair<int64_t, int64_t>;  // begin and length
  std::vector<std::vector<Part>> steps;
  while (true) {
    const Step& step = sim.scheduler.schedule();
    if (step.decode) break;
    steps.emplace_back();
    for (const Step::Item& item : step.items) steps.back().push_back({item.begin, item.length});
    for (const Step::Item& item : step.items) {
      const PromptGroup& g = sim.scheduler.group(item.group);
      if (!sim.scheduler.reaches_end(item)) continue;
      for (int64_t i = 0; i < 2; ++i) {
        sim.scheduler.sequence(g.first_sequence + i).generated.push_back(1);
      }
    }
    sim.scheduler.computed();
  }
  CHECK(steps == std::vector<std::vector<Part>>{{{0, 40}, {0, 40}, {0, 20}},
                                                {{20, 20}, {0, 80}},
                                                {{80, 100}},
                                                {{180, 100}},
                                                {{280, 20}}});
  CHECK(sim.scheduler.running() == 8);
}

TEST_CASE("sequences that run are decoded between the chunks of a long prompt") {
  for (const int64_t decode_tokens : {1, 8}) {
    Simulation sim(
        {.blocks = 2000, .max_running = 8, .decode_tokens = decode_tokens, .prefill_tokens = 64});
    sim.scheduler.add(make_prompt(20, 1), limits(3, 5000), 0);
    sim.step();
    for (int64_t i = 0; i < 3; ++i) REQUIRE(sim.planned_length(sim.scheduler.sequence(i)) > 100);
    sim.step();
    REQUIRE(sim.decode_sizes.size() == 1);
    sim.scheduler.add(make_prompt(630, 2), limits(2, 50), 0);
    const auto generated = [&] { return sim.scheduler.sequence(0).generated.size(); };
    const size_t before = generated();
    while (sim.scheduler.running() < 5) {
      const int64_t prompt_items = sim.prompt_items;
      const size_t decodes = sim.decode_sizes.size();
      sim.step();
      sim.step();
      if (sim.scheduler.running() == 5) break;
      REQUIRE(sim.prompt_items == prompt_items + 1);
      REQUIRE(sim.decode_sizes.size() == decodes + 1);
    }
    CHECK(sim.prompt_items == 1 + 10);
    CHECK(generated() == before + 10 * static_cast<size_t>(decode_tokens));
    CHECK(sim.scheduler.preemptions() == 0);
  }
}

TEST_CASE("a sequence that is computed again in chunks does not hold up the others") {
  Simulation sim({.blocks = 46, .max_running = 8, .prefill_tokens = 32});
  sim.scheduler.add(make_prompt(32, 1), limits(6, 600), 0);
  sim.run();
  CHECK(sim.scheduler.preemptions() > 0);
  CHECK(sim.unfinished_items > 2);  // the prompt fits into one step
}

TEST_CASE("a prompt of which a part is computed gives its blocks back to those that run") {
  Simulation sim({.blocks = 45, .max_running = 8, .prefill_tokens = 8});
  sim.scheduler.add(make_prompt(16, 1), limits(1, 600), 0);
  REQUIRE(sim.planned_length(sim.scheduler.sequence(0)) > 300);
  while (sim.scheduler.sequence(0).generated.size() < 100) sim.step();
  sim.scheduler.add(make_prompt(560, 2), limits(1, 60), 0);
  int64_t most = 0;
  bool gave_back = false;
  while (sim.step()) {
    const PromptGroup& g = sim.scheduler.group(1);
    gave_back |= g.cached < most && !g.resident() && sim.scheduler.unfinished() == 2;
    most = std::max(most, g.cached);
  }
  CHECK(gave_back);
  CHECK(most == 560);
  CHECK(sim.scheduler.preemptions() == 0);
  sim.check_end();
}

TEST_CASE("sequences of a prompt of which a part is computed can be aborted") {
  Scheduler scheduler({.blocks = 40, .max_running = 3, .prefill_tokens = 30});
  scheduler.add(make_prompt(100, 1), limits(2, 10), 0);
  for (int i = 0; i < 2; ++i) {
    scheduler.schedule();
    scheduler.computed();
  }
  CHECK(scheduler.group(0).cached == 60);
  scheduler.finish(0, FinishReason::abort);
  CHECK(scheduler.blocks().free_count() == 33);
  scheduler.finish(1, FinishReason::abort);
  CHECK(scheduler.blocks().free_count() == 40);
  CHECK(scheduler.schedule().items.empty());
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

TEST_CASE("a draft takes free blocks, as many as there are, and keeps them for what follows") {
  // A prompt's block and three of its completion.
  Simulation sim({.blocks = 4, .max_running = 1});
  sim.scheduler.add(make_prompt(16, 1), limits(1, 40), 0);
  sim.step();
  Scheduler& scheduler = sim.scheduler;
  scheduler.sequence(0).generated.assign(1, 5);
  const Step& step = scheduler.schedule();
  REQUIRE(step.decode);
  REQUIRE(scheduler.sequence(0).blocks.size() == 2);
  scheduler.draft(0, std::vector<int32_t>(38, 6));
  CHECK(step.items[0].length == 39);
  CHECK(scheduler.sequence(0).blocks.size() == 4);
  CHECK(scheduler.token(scheduler.sequence(0), 16) == 5);
  CHECK(scheduler.token(scheduler.sequence(0), 54) == 6);
  scheduler.sequence(0).generated.push_back(7);  // the draft was wrong
  scheduler.appended(0);
  const Step& next = scheduler.schedule();
  CHECK(next.items[0].begin == 17);
  CHECK(next.items[0].length == 1);
  CHECK(scheduler.sequence(0).draft.empty());
  CHECK(scheduler.blocks().free_count() == 0);
  scheduler.finish(0, FinishReason::stop);
  CHECK(scheduler.blocks().free_count() == 4);
}

}  // namespace hone
