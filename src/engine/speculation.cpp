#include "engine/speculation.h"

#include <algorithm>

namespace hone {
namespace {

constexpr double kMemory = 0.98;  // of a record, from one token to the next

// Two n-grams with the same hash cost a wrong guess.
uint64_t hash_in_front(uint64_t hash, int32_t token) {
  hash = (hash ^ static_cast<uint64_t>(token + 1)) * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 29;
}

}  // namespace

// ---- what followed
// -------------------------------------------------------------------------------

void NgramIndex::extend(const Scheduler& scheduler, int64_t group) {
  const PromptGroup& g = scheduler.group(group);
  if (taken_.empty()) {
    for (int64_t p = 0; p < g.length(); ++p) add(scheduler, g.first_sequence, p);
    taken_.assign(static_cast<size_t>(g.n), g.length());
  }
  for (int64_t i = 0; i < g.n; ++i) {
    int64_t& taken = taken_[static_cast<size_t>(i)];
    const int64_t length = scheduler.length(scheduler.sequence(g.first_sequence + i));
    for (; taken < length; ++taken) add(scheduler, g.first_sequence + i, taken);
  }
}

void NgramIndex::add(const Scheduler& scheduler, int64_t sequence, int64_t position) {
  const Sequence& s = scheduler.sequence(sequence);
  uint64_t hash = 0;
  for (int n = 1; n <= kLong && n <= position; ++n) {
    hash = hash_in_front(hash, scheduler.token(s, position - n));
    if (n == kShort || n == kLong) followers_[hash] = {sequence, position};
  }
}

NgramIndex::Match NgramIndex::find(const Scheduler& scheduler, int64_t sequence,
                                   int64_t longest) const {
  const Sequence& s = scheduler.sequence(sequence);
  const int64_t length = scheduler.length(s);
  auto found = followers_.end();
  uint64_t hash = 0;
  for (int n = 1; n <= kLong && n <= length; ++n) {
    hash = hash_in_front(hash, scheduler.token(s, length - n));
    if (n != kShort && n != kLong) continue;
    const auto longer = followers_.find(hash);
    if (longer != followers_.end()) found = longer;
  }
  Match match;
  if (found == followers_.end()) return match;
  const Place& place = found->second;
  const Sequence& from = scheduler.sequence(place.sequence);
  const int64_t counted = std::min({kMostCounted, length, place.position});
  while (match.equal < counted && scheduler.token(s, length - 1 - match.equal) ==
                                      scheduler.token(from, place.position - 1 - match.equal)) {
    ++match.equal;
  }
  const int64_t end = scheduler.length(from);
  for (int64_t p = place.position; p < place.position + longest; ++p) {
    if (p < end) {
      match.tokens.push_back(scheduler.token(from, p));
    } else if (place.sequence == sequence) {  // it repeats itself: so does the draft
      match.tokens.push_back(match.tokens[static_cast<size_t>(p - end)]);
    } else {
      break;
    }
  }
  return match;
}

// ---- what pays
// -----------------------------------------------------------------------------------

// The more tokens stand equal in front, the likelier equal ones follow.
size_t Speculation::kind(const NgramIndex::Match& match) {
  return match.equal < 4 ? 0 : match.equal < 8 ? 1 : match.equal < 16 ? 2 : 3;
}

// A step of n rows costs 1 + n * row_cost and gives n tokens. A draft's token that comes true is
// one of them for the cost of a row.
int64_t Speculation::draft(const Step& step, Scheduler& scheduler) {
  proposals_.clear();
  const auto n = static_cast<int64_t>(step.items.size());
  const int64_t most = std::min(options_.longest, options_.rows / n - 1);
  if (most < 1) return 0;
  for (const Step::Item& item : step.items) {
    NgramIndex& index = indices_[item.group];
    index.extend(scheduler, item.group);
    const auto generated = static_cast<int64_t>(scheduler.sequence(item.sequence).generated.size());
    proposals_.push_back(
        {item.sequence, generated, index.find(scheduler, item.sequence, options_.longest)});
  }
  const double worth = (1 + static_cast<double>(n) * options_.row_cost) / static_cast<double>(n);
  std::vector<size_t> lengths(proposals_.size(), 0);
  double gain = -options_.look_cost;
  for (size_t i = 0; i < proposals_.size(); ++i) {
    const Proposal& p = proposals_[i];
    const Records& records = records_[kind(p.match)];
    const int64_t left = scheduler.sequence(p.sequence).max_tokens - p.generated;
    const int64_t room = std::min({most, static_cast<int64_t>(p.match.tokens.size()), left - 1});
    double chance = 1;  // that a token and all in front of it come true
    for (; static_cast<int64_t>(lengths[i]) < room; ++lengths[i]) {
      chance *= records[lengths[i] > 0].chance();
      if (chance * worth <= options_.row_cost) break;
      gain += chance * worth - options_.row_cost;
    }
  }
  if (gain <= 0) return 0;
  int64_t drafted = 0;
  for (size_t i = 0; i < proposals_.size(); ++i) {
    const std::vector<int32_t>& tokens = proposals_[i].match.tokens;
    scheduler.draft(i, {tokens.begin(), tokens.begin() + static_cast<int64_t>(lengths[i])});
    drafted += step.items[i].length - 1;
  }
  return drafted;
}

void Speculation::learn(const Scheduler& scheduler) {
  for (const Proposal& p : proposals_) {
    Records& records = records_[kind(p.match)];
    const std::vector<int32_t>& guesses = p.match.tokens;
    const std::vector<int32_t>& generated = scheduler.sequence(p.sequence).generated;
    const size_t before = static_cast<size_t>(p.generated);
    for (size_t t = 0; t < guesses.size() && before + t < generated.size(); ++t) {
      Record& record = records[t > 0];
      const bool hit = guesses[t] == generated[before + t];
      record.tokens = kMemory * record.tokens + 1;
      record.hits = kMemory * record.hits + hit;
      if (!hit) break;
    }
  }
}

}  // namespace hone
