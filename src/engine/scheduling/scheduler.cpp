#include "engine/scheduling/scheduler.h"

#include <algorithm>

#include "base/error.h"

namespace hone {

Scheduler::Scheduler(const SchedulerOptions& options) : options_(options), blocks_(options.blocks) {
  HONE_CHECK(options.max_running >= 1 && options.prefill_tokens >= 1);
}

int64_t Scheduler::add(std::vector<int32_t> prompt, const std::vector<int64_t>& limits,
                       uint64_t key) {
  HONE_CHECK(!prompt.empty() && !limits.empty());
  HONE_CHECK(*std::min_element(limits.begin(), limits.end()) >= 1);
  const int64_t max_tokens = *std::max_element(limits.begin(), limits.end());
  const int64_t n = static_cast<int64_t>(limits.size());
  const int64_t length = static_cast<int64_t>(prompt.size());
  // The last token is never an input, so it needs no place.
  const int64_t need = blocks_for(length + max_tokens - 1);
  if (need > blocks_.total()) {
    throw UserError(cat("a prompt of ", length, " tokens and up to ", max_tokens, " new ones need ",
                        need, " cache blocks of ", kCacheBlockTokens, " tokens, but the cache has ",
                        blocks_.total(),
                        ": lower max_tokens, shorten the prompt or raise kv_blocks"));
  }
  PromptGroup g;
  g.prompt = std::move(prompt);
  g.key = key;
  g.first_sequence = sequence_count();
  g.n = n;
  g.waiting = n;
  for (int64_t i = 0; i < n; ++i) {
    Sequence s;
    s.group = group_count();
    s.sample = i;
    s.max_tokens = limits[static_cast<size_t>(i)];
    waiting_.push_back(sequence_count());
    sequences_.push_back(std::move(s));
  }
  unfinished_ += n;
  unsorted_ = options_.longest_first;
  groups_.push_back(std::move(g));
  return group_count() - 1;
}

int64_t Scheduler::length(const Sequence& s) const {
  return group(s.group).length() + static_cast<int64_t>(s.generated.size());
}

int32_t Scheduler::token(const Sequence& s, int64_t position) const {
  const PromptGroup& g = group(s.group);
  if (position < g.length()) return g.prompt[static_cast<size_t>(position)];
  const auto behind = static_cast<size_t>(position - g.length());
  return behind < s.generated.size() ? s.generated[behind] : s.draft[behind - s.generated.size()];
}

bool Scheduler::reaches_end(const Step::Item& item) const {
  return item.begin + item.length ==
         (item.sequence >= 0 ? length(sequence(item.sequence)) : group(item.group).length());
}

const Step& Scheduler::schedule() {
  for (const Step::Item& item : step_.items) {
    if (item.sequence >= 0) sequence(item.sequence).draft.clear();
  }
  step_.decode = false;
  step_.tokens = 1;
  step_.copies.clear();
  step_.items.clear();
  std::erase_if(running_,
                [this](int64_t i) { return sequence(i).status != SequenceStatus::running; });
  if (unfinished_ == 0) return step_;
  if (unsorted_) sort_waiting();
  start_waiting();
  decoding_ = decoding_ && std::any_of(running_.begin(), running_.end(),
                                       [this](int64_t i) { return can_decode(sequence(i)); });
  if (!decoding_) prefill_left_ = options_.prefill_tokens;
  plan_resumed();
  plan_prompts();
  if (step_.items.empty()) plan_decode();
  if (step_.items.empty()) {  // who could decode gave its blocks back to those computed again
    prefill_left_ = options_.prefill_tokens;
    plan_resumed();
  }
  HONE_CHECK(!step_.items.empty());
  return step_;
}

void Scheduler::draft(size_t item, std::vector<int32_t> tokens) {
  Step::Item& planned = step_.items[item];
  Sequence& s = sequence(planned.sequence);
  const auto drafted = [&] { return static_cast<int64_t>(tokens.size()); };
  HONE_CHECK(step_.decode && planned.length == 1);
  HONE_CHECK(static_cast<int64_t>(s.generated.size()) + drafted() < s.max_tokens);
  const int64_t inputs = length(s);  // in front of the draft
  while (blocks_for(inputs + drafted()) > static_cast<int64_t>(s.blocks.size()) &&
         blocks_.free_count() > 0) {
    s.blocks.push_back(blocks_.allocate());
  }
  const int64_t places = static_cast<int64_t>(s.blocks.size()) * kCacheBlockTokens - inputs;
  tokens.resize(static_cast<size_t>(std::min(drafted(), places)));
  if (tokens.empty()) return;
  planned.length += drafted();
  s.draft = std::move(tokens);
  step_.tokens = 1;
}

void Scheduler::computed() {
  for (const Step::Item& item : step_.items) {
    if (item.sequence >= 0) {
      sequence(item.sequence).cached = item.begin + item.length;
    } else {
      groups_[static_cast<size_t>(item.group)].cached = item.begin + item.length;
    }
  }
}

void Scheduler::finish(int64_t index, FinishReason reason) {
  Sequence& s = sequence(index);
  PromptGroup& g = group_of(s);
  HONE_CHECK(s.status != SequenceStatus::finished);
  if (s.status == SequenceStatus::running) {
    release_own_blocks(s);
    --g.running;
    --running_count_;
  } else {
    --g.waiting;
  }
  s.status = SequenceStatus::finished;
  s.finish_reason = reason;
  --unfinished_;
  if (g.waiting == 0) release_tail(g);
  if (g.waiting + g.running == 0) release_prompt(g);
}

// ---- starting sequences
// --------------------------------------------------------------------------

// The longest end last, so the sooner they start the sooner all have ended.
void Scheduler::sort_waiting() {
  std::stable_sort(waiting_.begin(), waiting_.end(), [this](int64_t a, int64_t b) {
    const Sequence &x = sequence(a), &y = sequence(b);
    if (x.max_tokens != y.max_tokens) return x.max_tokens > y.max_tokens;
    return group(x.group).length() > group(y.group).length();
  });
  unsorted_ = false;
}

void Scheduler::start_waiting() {
  while (!waiting_.empty()) {
    const int64_t index = waiting_.front();
    if (sequence(index).status != SequenceStatus::finished) {
      if (running_count_ >= options_.max_running || !start(index)) return;
    }
    waiting_.pop_front();
  }
}

// Gives the sequence its blocks: the prompt's full blocks, the prompt's tail, and room for what it
// has generated. False if the prompt is not resident or blocks are short.
bool Scheduler::start(int64_t index) {
  Sequence& s = sequence(index);
  PromptGroup& g = group_of(s);
  if (!g.resident()) return false;
  const int64_t own = blocks_for(length(s)) - static_cast<int64_t>(g.blocks.size());
  // Each running sequence will ask for a block within the next kCacheBlockTokens steps; to start
  // one more at their cost would only pre-empt it soon.
  const auto short_of = [&] {
    const int64_t given = g.tail >= 0 && g.waiting == 1 ? 1 : 0;
    return blocks_.free_count() < own - given + running_count_;
  };
  // With nothing running no block will come back by itself.
  while (running_count_ == 0 && short_of()) {
    if (!drop_idle_group(s.group) && !drop_tail()) break;
  }
  if (short_of()) return false;

  for (int32_t block : g.blocks) blocks_.share(block);
  s.blocks = g.blocks;
  s.cached = static_cast<int64_t>(g.blocks.size()) * kCacheBlockTokens;
  if (g.tail >= 0) {
    s.cached = g.length();
    if (g.waiting == 1) {
      s.blocks.push_back(g.tail);
      g.tail = -1;
    } else {
      s.blocks.push_back(blocks_.allocate());
      step_.copies.push_back({g.tail, s.blocks.back()});
    }
  }
  while (static_cast<int64_t>(s.blocks.size()) < blocks_for(length(s))) {
    s.blocks.push_back(blocks_.allocate());
  }
  s.status = SequenceStatus::running;
  s.tenancy = ++tenancies_;
  --g.waiting;
  ++g.running;
  ++running_count_;
  running_.push_back(index);
  return true;
}

// ---- what the step computes
// ----------------------------------------------------------------------

// Running sequences that must compute more than their newest token: those that lost their blocks.
void Scheduler::plan_resumed() {
  for (const int64_t index : running_) {
    const Sequence& s = sequence(index);
    if (prefill_left_ == 0) return;
    if (!can_decode(s)) add_item(s.group, index, s.cached, length(s));
  }
}

// Prompts of waiting sequences, in order, as many as there are seats for their completions.
void Scheduler::plan_prompts() {
  int64_t seats = options_.max_running - running_count_;
  const bool worth_beginning = running_count_ == 0 || seats >= options_.prefill_seats;
  for (size_t i = 0; i < waiting_.size() && seats > 0 && prefill_left_ > 0; ++i) {
    const Sequence& s = sequence(waiting_[i]);
    if (s.status == SequenceStatus::finished) continue;
    PromptGroup& g = group_of(s);
    if (g.resident()) return;  // it waits for blocks; later prompts would take them away
    --seats;
    if (g.planned > g.cached) continue;  // for another of its completions
    if (!g.holds_blocks() && (!worth_beginning || !give_blocks(s, g))) return;
    add_item(s.group, -1, g.cached, g.length());
    g.planned = g.cached + step_.items.back().length;
  }
}

// Room for all of the prompt, if it is there for one of its completions to start, too.
bool Scheduler::give_blocks(const Sequence& s, PromptGroup& g) {
  const int64_t need = blocks_for(g.length());
  const int64_t beside = blocks_for(length(s) + 1) - g.length() / kCacheBlockTokens;
  const int64_t busy = running_count_ + static_cast<int64_t>(step_.items.size());
  if (busy == 0) {
    while (blocks_.free_count() < need && (drop_idle_group(s.group) || drop_tail())) {
    }
  } else if (blocks_.free_count() < need + beside + busy) {
    return false;
  }
  for (int64_t b = 0; b < g.length() / kCacheBlockTokens; ++b) {
    g.blocks.push_back(blocks_.allocate());
  }
  if (g.length() % kCacheBlockTokens) g.tail = blocks_.allocate();
  return true;
}

// As much of [begin, end) as there is room for.
void Scheduler::add_item(int64_t group, int64_t sequence, int64_t begin, int64_t end) {
  const int64_t length = std::min(end - begin, prefill_left_);
  step_.items.push_back({group, sequence, begin, length});
  prefill_left_ -= length;
}

void Scheduler::plan_decode() {
  for (size_t i = 0; i < running_.size(); ++i) {  // shrinks at its end while we go
    Sequence& s = sequence(running_[i]);
    if (!can_decode(s)) continue;
    const int64_t input = length(s) - 1;  // position of the token that is fed
    const int64_t left = s.max_tokens - static_cast<int64_t>(s.generated.size());
    const int64_t drawn = std::min(options_.decode_tokens, left);
    while (s.status == SequenceStatus::running &&
           blocks_for(input + drawn) > static_cast<int64_t>(s.blocks.size())) {
      while (blocks_.free_count() == 0 && s.status == SequenceStatus::running) {
        HONE_CHECK(reclaim_for_decode());
      }
      if (s.status == SequenceStatus::running) s.blocks.push_back(blocks_.allocate());
    }
    if (s.status != SequenceStatus::running) break;  // it was the newest itself
    step_.items.push_back({s.group, running_[i], input, 1});
    step_.tokens = std::max(step_.tokens, drawn);
  }
  step_.decode = decoding_ = !step_.items.empty();
  prefill_left_ = options_.prefill_tokens;
}

// ---- getting blocks back
// -------------------------------------------------------------------------

// Cheapest first: prompts that nobody runs on, then the newest sequence, then tails that only
// spare waiting sequences a few tokens of computation.
bool Scheduler::reclaim_for_decode() {
  if (drop_idle_group(-1)) return true;
  if (running_.size() > 1) {
    preempt(running_.back());
    running_.pop_back();
    return true;
  }
  return drop_tail();
}

bool Scheduler::drop_idle_group(int64_t keep) {
  // From the back of the queue: the group that would be needed last.
  for (auto it = waiting_.rbegin(); it != waiting_.rend(); ++it) {
    const Sequence& s = sequence(*it);
    PromptGroup& g = group_of(s);
    if (s.status == SequenceStatus::finished || s.group == keep) continue;
    if (!g.holds_blocks() || g.running > 0) continue;
    release_prompt(g);
    return true;
  }
  return false;
}

bool Scheduler::drop_tail() {
  for (auto it = waiting_.rbegin(); it != waiting_.rend(); ++it) {
    PromptGroup& g = group_of(sequence(*it));
    if (!g.resident() || g.tail < 0) continue;
    release_tail(g);
    return true;
  }
  return false;
}

void Scheduler::preempt(int64_t index) {
  Sequence& s = sequence(index);
  PromptGroup& g = group_of(s);
  release_own_blocks(s);
  s.status = SequenceStatus::waiting;
  --g.running;
  ++g.waiting;
  --running_count_;
  ++preemptions_;
  waiting_.push_front(index);
}

void Scheduler::release_own_blocks(Sequence& s) {
  for (int32_t block : s.blocks) blocks_.release(block);
  s.blocks.clear();
  s.cached = 0;
}

void Scheduler::release_tail(PromptGroup& g) {
  if (g.tail >= 0) blocks_.release(g.tail);
  g.tail = -1;
}

void Scheduler::release_prompt(PromptGroup& g) {
  release_tail(g);
  for (int32_t block : g.blocks) blocks_.release(block);
  g.blocks.clear();
  g.cached = g.planned = 0;
}

}  // namespace hone
