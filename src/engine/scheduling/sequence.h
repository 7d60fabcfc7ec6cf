// What the scheduler knows of one completion under way and of the prompt it shares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/types.h"

namespace hone {

// Tokens in one block of the key/value cache; equal to the kernels' kBlockTokens.
constexpr int64_t kCacheBlockTokens = 16;

inline int64_t blocks_for(int64_t tokens) {
  return (tokens + kCacheBlockTokens - 1) / kCacheBlockTokens;
}

enum class SequenceStatus { waiting, running, finished };

// One completion. Its tokens are the group's prompt followed by `generated`.
struct Sequence {
  int64_t group = 0;
  int64_t sample = 0;      // which completion of the group
  int64_t max_tokens = 0;  // generated tokens at most
  SequenceStatus status = SequenceStatus::waiting;
  FinishReason finish_reason = FinishReason::length;

  std::vector<int32_t> generated;
  std::vector<float> logprobs;          // at temperature 1
  std::vector<float> sampled_logprobs;  // under the distribution drawn from
  std::string bytes;                    // of `generated`; kept only where stop strings need it
  std::vector<int32_t> draft;           // guesses at what follows, input of this decode step

  // While running. The first prompt_length / 16 blocks are the group's, shared by reference count;
  // the others are this sequence's own.
  std::vector<int32_t> blocks;
  int64_t cached = 0;    // tokens whose keys and values are in the cache
  uint64_t tenancy = 0;  // a new number each time that blocks are given to the sequence
};

// A prompt and its n completions, which are sequences [first_sequence, first_sequence + n).
// The prompt is computed once, perhaps in several steps; while all of it is in the cache,
// completions start from its blocks.
struct PromptGroup {
  std::vector<int32_t> prompt;  // [P]
  uint64_t key = 0;
  int64_t first_sequence = 0;
  int64_t n = 0;

  int64_t cached = 0;                // tokens of the prompt that are in the cache
  int64_t planned = 0;               // once the step that was scheduled last is computed
  std::vector<int32_t> blocks;       // full blocks of the prompt, floor(P / 16)
  int32_t tail = -1;                 // block of the last P mod 16 tokens; -1: none or given away
  int64_t waiting = 0, running = 0;  // completions in these states

  int64_t length() const { return static_cast<int64_t>(prompt.size()); }
  bool resident() const { return cached == length(); }
  bool holds_blocks() const { return !blocks.empty() || tail >= 0; }
};

}  // namespace hone
