// Packs sequences side by side into one forward pass, without padding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/forward_batch.h"

namespace hone {

// The trainer asks for the log-probability of every completion token. A pretraining document is a
// completion of the prompt [BOS].
struct TrainingSequence {
  std::span<const int32_t> prompt;      // [P], P >= 1
  std::span<const int32_t> completion;  // [n], n >= 1
};

struct PackedBatch {
  ForwardBatch forward;
  at::Tensor hidden_rows;        // [M] int64: the row whose hidden state predicts targets[m]
  at::Tensor targets;            // [M] int64
  std::vector<int64_t> offsets;  // [N + 1]: completion i has targets [offsets[i], offsets[i + 1])
};

// With `share_prompts`, neighbours with the same prompt (the same span) compute it once: its rows
// stand before theirs and they attend to it.
PackedBatch pack(std::span<const TrainingSequence> sequences, at::Device device,
                 bool share_prompts);

// What they count for under a budget: a shared prompt once.
int64_t packed_tokens(std::span<const TrainingSequence> sequences, bool share_prompts);

// Cuts [0, n) into runs of at most `budget` packed tokens (a longer sequence is a run of its own),
// in order. Returns the starts, ending with n.
std::vector<size_t> cut_micro_batches(std::span<const TrainingSequence> sequences, int64_t budget,
                                      bool share_prompts);

}  // namespace hone
