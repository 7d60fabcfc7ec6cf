// Which sequences run in the next forward pass, and in which blocks of the cache.
//
// Continuous batching: a seat that becomes free is given to the next waiting sequence. A prompt is
// computed once for its group; each completion then shares the prompt's full blocks and has its own
// copy of the partial last one (the last completion to start takes the original). When blocks run
// out, the sequence that started last gives its blocks back and is computed again later.
//
// A step is either a prefill (prompts, or sequences that are computed again; what is longer than
// the step has room for is computed in chunks) or a decode (a token, or several one after the
// other, of every running sequence but those that are being computed again; or its newest token and
// guesses at those behind it, side by side). Free seats are filled before the first decode step;
// from then on at most prefill_tokens tokens are computed between two decode steps, so that a long
// prompt does not hold up the others. Nothing here affects what a sequence's tokens will be. One
// thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "engine/scheduling/block_manager.h"
#include "engine/scheduling/sequence.h"

namespace hone {

struct SchedulerOptions {
  int64_t blocks = 0;             // of kCacheBlockTokens tokens
  int64_t max_running = 256;      // sequences in a decode step
  int64_t decode_tokens = 1;      // of each sequence in a decode step; blocks are there for all
  int64_t prefill_tokens = 4096;  // in a prefill step at most
  int64_t prefill_seats = 1;      // free seats that are worth a prefill step for new prompts
  bool longest_first = false;     // by limit, then by prompt; else in the order of `add`
};

struct Step {
  // Tokens [begin, begin + length) of a sequence, or of a prompt where sequence is -1. Earlier
  // tokens are in the cache; later ones may be left for another step (Scheduler::reaches_end).
  struct Item {
    int64_t group, sequence, begin, length;
  };
  struct BlockCopy {
    int32_t from, to;
  };
  bool decode = false;  // every item is the newest token of a sequence, and its draft
  int64_t tokens = 1;   // decode: to be drawn for each item, one after the other, until it ends;
                        // with drafts one for each of an item's tokens instead
  // To be done before the pass, all reads before all writes; no block is written twice. After
  // pre-emption a target may have a new owner, which then overwrites what was copied.
  std::vector<BlockCopy> copies;
  std::vector<Item> items;  // empty: nothing is left to do
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options);

  // Queues a completion of the prompt for each limit, which is its most tokens, >= 1. Returns the
  // group's index. Throws UserError if a completion could not be held even alone.
  int64_t add(std::vector<int32_t> prompt, const std::vector<int64_t>& limits, uint64_t key);

  // The next step; valid until the next call.
  const Step& schedule();
  // Lengthens an item of the decode step that `schedule` returned by a draft's tokens, as many as
  // find a place without taking anyone's. Call at most once for each item. REQUIRES: the sequence's
  // limit lies behind all of them.
  void draft(size_t item, std::vector<int32_t> tokens);
  // Call after the forward pass of a prefill step, before tokens are appended.
  void computed();
  // Call after the tokens of a decode step are appended to a sequence that goes on: all but the
  // newest are in the cache. What the cache holds behind them, of a draft that did not come true,
  // is overwritten by what does.
  void appended(int64_t sequence) {
    this->sequence(sequence).cached = length(this->sequence(sequence)) - 1;
  }
  // Ends a sequence in any state; its blocks are free from then on.
  void finish(int64_t sequence, FinishReason reason);

  Sequence& sequence(int64_t index) { return sequences_[static_cast<size_t>(index)]; }
  const Sequence& sequence(int64_t index) const { return sequences_[static_cast<size_t>(index)]; }
  const PromptGroup& group(int64_t index) const { return groups_[static_cast<size_t>(index)]; }
  int64_t sequence_count() const { return static_cast<int64_t>(sequences_.size()); }
  int64_t group_count() const { return static_cast<int64_t>(groups_.size()); }
  int64_t length(const Sequence& s) const;  // prompt and generated
  // Of the prompt, of what was generated, or of the draft behind it.
  int32_t token(const Sequence& s, int64_t position) const;
  // Whether the item's last token is the newest, from which the next one is drawn.
  bool reaches_end(const Step::Item& item) const;
  int64_t unfinished() const { return unfinished_; }
  int64_t running() const { return running_count_; }
  int64_t preemptions() const { return preemptions_; }
  const BlockManager& blocks() const { return blocks_; }

 private:
  PromptGroup& group_of(const Sequence& s) { return groups_[static_cast<size_t>(s.group)]; }
  void sort_waiting();
  void start_waiting();
  bool start(int64_t index);
  bool can_decode(const Sequence& s) const { return length(s) - s.cached <= 1; }
  void plan_resumed();
  void plan_prompts();
  bool give_blocks(const Sequence& s, PromptGroup& g);
  void add_item(int64_t group, int64_t sequence, int64_t begin, int64_t end);
  void plan_decode();
  bool reclaim_for_decode();
  bool drop_idle_group(int64_t keep);
  bool drop_tail();
  void preempt(int64_t index);
  void release_own_blocks(Sequence& s);
  void release_tail(PromptGroup& g);
  void release_prompt(PromptGroup& g);

  SchedulerOptions options_;
  BlockManager blocks_;
  std::vector<Sequence> sequences_;
  std::vector<PromptGroup> groups_;
  std::deque<int64_t> waiting_;   // may hold finished ones, which are skipped
  bool unsorted_ = false;         // longest_first: some were added since `waiting_` was sorted
  std::vector<int64_t> running_;  // oldest first; may hold others, which `schedule` removes
  int64_t running_count_ = 0;
  int64_t unfinished_ = 0;
  int64_t preemptions_ = 0;
  bool decoding_ = false;     // a decode step was made and there are sequences for another
  int64_t prefill_left_ = 0;  // tokens that may be computed before the next decode step
  uint64_t tenancies_ = 0;
  Step step_;
};

}  // namespace hone
