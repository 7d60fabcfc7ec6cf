// The scheduler run to its end without a model.
#pragma once

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <map>
#include <set>
#include <vector>

#include "base/rng.h"
#include "engine/scheduling/scheduler.h"

namespace hone::testing {

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
    if (step.decode) give_drafts(step);
    check_limits(step);
    for (const Step::Item& item : step.items) {
      check_follows(item);
      unfinished_items += !step.decode && !scheduler.reaches_end(item);
      write(item);
    }
    REQUIRE(step.tokens <= (step.decode ? options_.decode_tokens : 1));
    if (!step.decode) {
      scheduler.computed();
      for (const Step::Item& item : step.items) draw(item);
    } else if (step.tokens > 1) {
      draw_chunk(step);
    } else {
      for (const Step::Item& item : step.items) draw_drafted(item);
    }
    check_references();
    return true;
  }

  void run() {
    while (step()) {
    }
    check_end();
  }

  // Once `step` was false: all have ended as planned, and nobody holds a block.
  void check_end() const {
    REQUIRE(scheduler.unfinished() == 0);
    REQUIRE(scheduler.running() == 0);
    REQUIRE(scheduler.blocks().free_count() == scheduler.blocks().total());
    for (int64_t i = 0; i < scheduler.sequence_count(); ++i) {
      const Sequence& s = scheduler.sequence(i);
      const int64_t length = static_cast<int64_t>(s.generated.size());
      const int64_t planned = planned_length(s);
      REQUIRE(s.status == SequenceStatus::finished);
      REQUIRE((s.finish_reason == FinishReason::abort ? length < planned : length == planned));
    }
  }

  Scheduler scheduler;
  double drafts = 0;  // chance that a sequence is given one in a decode step
  int64_t steps = 0, computed_tokens = 0, prompt_items = 0, unfinished_items = 0, drafted = 0,
          accepted = 0;
  std::vector<int64_t> decode_sizes;

 private:
  int32_t token(const Step::Item& item, int64_t position) const {
    if (item.sequence >= 0) return scheduler.token(scheduler.sequence(item.sequence), position);
    return scheduler.group(item.group).prompt[static_cast<size_t>(position)];
  }

  static int32_t planned_token(int64_t sequence, size_t t) {
    return static_cast<int32_t>(philox(7, static_cast<uint64_t>(sequence), t).v[0] % 1000);
  }

  // Right up to some token, wrong from there on.
  void give_drafts(const Step& step) {
    for (size_t i = 0; i < step.items.size(); ++i) {
      if (!rng_.chance(drafts)) continue;
      const int64_t index = step.items[i].sequence;
      const Sequence& s = scheduler.sequence(index);
      const size_t done = s.generated.size();
      const int64_t left = s.max_tokens - static_cast<int64_t>(done);
      std::vector<int32_t> tokens(
          static_cast<size_t>(rng_.between(0, std::min(left, kCacheBlockTokens) - 1)));
      const auto right = static_cast<size_t>(rng_.between(0, kCacheBlockTokens));
      for (size_t t = 0; t < tokens.size(); ++t) {
        tokens[t] = planned_token(index, done + t) + (t >= right);
      }
      const int64_t free = scheduler.blocks().free_count();
      const auto places =
          (static_cast<int64_t>(s.blocks.size()) + free) * kCacheBlockTokens - scheduler.length(s);
      const auto asked = static_cast<int64_t>(tokens.size());
      scheduler.draft(i, tokens);
      REQUIRE(step.items[i].length == 1 + std::min(asked, places));
      if (step.items[i].length > 1) REQUIRE(step.tokens == 1);
      drafted += step.items[i].length - 1;
    }
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
      REQUIRE(decode_sizes.back() == ready());
      if (drafts == 0) REQUIRE(rows == decode_sizes.back());
      decoding_ = true;
      since_decode_ = 0;
    } else {
      REQUIRE(rows <= options_.prefill_tokens);
      decoding_ = decoding_ && ready() > 0;
      since_decode_ = decoding_ ? since_decode_ + rows : 0;
      REQUIRE(since_decode_ <= options_.prefill_tokens);
    }
    computed_tokens += rows;
  }

  // Running sequences of which only the newest token is not in the cache.
  int64_t ready() const {
    int64_t count = 0;
    for (int64_t i = 0; i < scheduler.sequence_count(); ++i) {
      const Sequence& s = scheduler.sequence(i);
      count += s.status == SequenceStatus::running && scheduler.length(s) - s.cached == 1;
    }
    return count;
  }

  // Each token is computed once while its owner holds blocks: an item begins where the one before
  // ended, or where the blocks that its owner was given end to be filled.
  void check_follows(const Step::Item& item) {
    const PromptGroup& g = scheduler.group(item.group);
    if (item.sequence < 0) {
      Written& prompt = prompts_[item.group];
      REQUIRE(item.begin == prompt.tokens);
      prompt.tokens += item.length;
      REQUIRE(prompt.tokens <= g.length());
      return;
    }
    const Sequence& s = scheduler.sequence(item.sequence);
    Written& own = sequences_[item.sequence];
    if (own.tenancy != s.tenancy) {
      const int64_t full = g.length() / kCacheBlockTokens * kCacheBlockTokens;
      REQUIRE((item.begin == full || item.begin == g.length()));
    } else {
      REQUIRE(item.begin == own.tokens);
    }
    own = {s.tenancy, item.begin + item.length};
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
        // Who writes to a block is its only holder.
        if (scheduler.blocks().references(block) != 1) FAIL("block " << block << " is shared");
        slot = history;
      }
      if (slot != history) FAIL("block " << block << " does not hold position " << p);
    }
  }

  void draw(const Step::Item& item) {
    if (!scheduler.reaches_end(item)) return;
    if (item.sequence >= 0) return append(item.sequence);
    const PromptGroup& g = scheduler.group(item.group);
    for (int64_t i = 0; i < g.n; ++i) {
      const Sequence& s = scheduler.sequence(g.first_sequence + i);
      if (s.status == SequenceStatus::waiting && s.generated.empty()) append(g.first_sequence + i);
    }
  }

  // As a device that decodes by itself: all rows token by token, each until it ends.
  void draw_chunk(const Step& step) {
    const auto running = [&](const Step::Item& item) {
      return scheduler.sequence(item.sequence).status == SequenceStatus::running;
    };
    for (int64_t t = 0; t < step.tokens; ++t) {
      for (const Step::Item& item : step.items) {
        if (!running(item)) continue;
        const int64_t newest = scheduler.length(scheduler.sequence(item.sequence)) - 1;
        if (t > 0) write({item.group, item.sequence, newest, 1});
        append(item.sequence);
      }
    }
    for (const Step::Item& item : step.items) {
      if (running(item)) goes_on(item.sequence);
    }
  }

  void goes_on(int64_t index) {
    scheduler.appended(index);
    sequences_[index].tokens = scheduler.sequence(index).cached;
  }

  // A token behind each of the item's, up to the first that is not as drafted.
  void draw_drafted(const Step::Item& item) {
    const Sequence& s = scheduler.sequence(item.sequence);
    for (int64_t t = 0; t < item.length && s.status == SequenceStatus::running; ++t) {
      append(item.sequence);
      if (t + 1 == item.length) break;
      if (s.generated.back() != s.draft[static_cast<size_t>(t)]) break;
      ++accepted;
    }
    if (s.status == SequenceStatus::running) goes_on(item.sequence);
  }

  void append(int64_t index) {
    Sequence& s = scheduler.sequence(index);
    const size_t t = s.generated.size();
    s.generated.push_back(planned_token(index, t));
    if (static_cast<int64_t>(t) + 1 == planned_length(s)) {
      scheduler.finish(index, FinishReason::stop);
    }
  }

  void check_references() {
    std::vector<int32_t> held(static_cast<size_t>(scheduler.blocks().total()), 0);
    const auto hold = [&](int32_t block) { ++held[static_cast<size_t>(block)]; };
    for (int64_t i = 0; i < scheduler.group_count(); ++i) {
      const PromptGroup& g = scheduler.group(i);
      for (int32_t block : g.blocks) hold(block);
      if (g.tail >= 0) hold(g.tail);
      if (!g.holds_blocks()) prompts_[i].tokens = 0;
    }
    for (int64_t i = 0; i < scheduler.sequence_count(); ++i) {
      const Sequence& s = scheduler.sequence(i);
      for (int32_t block : s.blocks) hold(block);
      if (s.status != SequenceStatus::running && !s.blocks.empty()) FAIL("sequence " << i);
    }
    for (size_t b = 0; b < held.size(); ++b) {
      const int32_t references = scheduler.blocks().references(static_cast<int32_t>(b));
      if (references != held[b]) FAIL("block " << b << ": " << references << " of " << held[b]);
    }
    REQUIRE(scheduler.blocks().free_count() == std::count(held.begin(), held.end(), 0));
  }

  struct Written {
    uint64_t tenancy = 0;
    int64_t tokens = 0;
  };

  SchedulerOptions options_;
  std::vector<uint64_t> slots_;
  std::map<int64_t, Written> prompts_, sequences_;  // what `write` saw of them
  bool decoding_ = false;     // since a decode step some sequence was ready for another
  int64_t since_decode_ = 0;  // tokens of prefill steps
  Rng rng_{5};                // of the drafts
};

inline std::vector<int32_t> make_prompt(int64_t length, int32_t first) {
  std::vector<int32_t> prompt(static_cast<size_t>(length));
  for (size_t i = 0; i < prompt.size(); ++i) prompt[i] = first + static_cast<int32_t>(i) * 7;
  return prompt;
}

inline std::vector<int64_t> limits(int64_t n, int64_t tokens) {
  return std::vector<int64_t>(static_cast<size_t>(n), tokens);
}

}  // namespace hone::testing
