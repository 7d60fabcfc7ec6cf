// Speculative decoding: drafts of how a sequence goes on, looked up in what its group has written,
// and whether computing them pays.
//
// A draft's tokens are rows of the decode step beside the sequence's newest token. Each row draws a
// token with its own place's randomness, as plain decoding would draw it there; the draws are kept
// up to the first that is not what the draft has, that one included. So a draft decides how many
// tokens a step gives, never which. What is drafted depends on tokens alone, not on time.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/scheduling/scheduler.h"

namespace hone {

struct SpeculationOptions {
  int64_t longest = 0;  // tokens of a draft
  int64_t rows = 0;     // of a step with drafts
  // Shares of the time of a step that computes no row: of each row, and of the host's look after a
  // step that would otherwise be one of a chunk.
  double row_cost = 0, look_cost = 0;
};

// The tokens of one prompt and its completions by the 4 tokens in front of them, else by the 2. A
// single token stands nearly everywhere and foretells little. Where 4 are equal more often are; how
// many is counted where they are found, which costs less than an entry for each length.
class NgramIndex {
 public:
  static constexpr int kShort = 2, kLong = 4;
  static constexpr int64_t kMostCounted = 16;

  // Takes in what the group's completions have become since the last call.
  void extend(const Scheduler& scheduler, int64_t group);

  struct Match {
    int64_t equal = 0;            // tokens in front, up to kMostCounted; 0: nothing was found
    std::vector<int32_t> tokens;  // what followed them
  };
  // Up to `longest` tokens that followed where the sequence's last tokens stood most recently.
  Match find(const Scheduler& scheduler, int64_t sequence, int64_t longest) const;

 private:
  struct Place {
    int64_t sequence, position;  // the prompt stands in the group's first sequence
  };
  void add(const Scheduler& scheduler, int64_t sequence, int64_t position);

  std::unordered_map<uint64_t, Place> followers_;  // by the tokens in front; the latest
  std::vector<int64_t> taken_;  // [n] tokens of each completion that are in, prompt included
};

class Speculation {
 public:
  explicit Speculation(const SpeculationOptions& options) : options_(options) {}

  // Lengthens the decode step's items by drafts where they are expected to pay. Returns the tokens.
  int64_t draft(const Step& step, Scheduler& scheduler);
  // Call once the step's tokens are appended. Learns from every draft that was looked up, computed
  // or not: what would not pay is found out for nothing, and so is that it would by now.
  void learn(const Scheduler& scheduler);

 private:
  struct Proposal {
    int64_t sequence, generated;  // tokens of the sequence then
    NgramIndex::Match match;
  };
  // Drafted tokens whose predecessors came true: how many were compared and came true too, the
  // recent ones counting most. It begins with no opinion.
  struct Record {
    double tokens = 2, hits = 1;
    double chance() const { return hits / tokens; }
  };
  // Of the first token of a draft, and of any behind it.
  using Records = std::array<Record, 2>;
  static size_t kind(const NgramIndex::Match& match);

  SpeculationOptions options_;
  std::unordered_map<int64_t, NgramIndex> indices_;  // by group
  std::array<Records, 4> records_;                   // by kind
  std::vector<Proposal> proposals_;                  // of this step
};

}  // namespace hone
