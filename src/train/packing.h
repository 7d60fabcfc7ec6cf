// Packs sequences side by side into one forward pass, without padding.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/config.h"
#include "model/forward_batch.h"

namespace hone {

// The trainer asks for the log-probability of every completion token. A pretraining document is a
// completion of the prompt [BOS].
struct TrainingSequence {
  std::span<const int32_t> prompt;      // [P], P >= 1
  std::span<const int32_t> completion;  // [n], n >= 1
  // The experts that its inputs take, [P + n - 1][sparse layers][experts a token] (as
  // Completion::routes); empty: those that the routers choose.
  std::span<const int16_t> routes{};
};

struct PackedBatch {
  ForwardBatch forward;
  at::Tensor hidden_rows;        // [M] int64: the row whose hidden state predicts targets[m]
  at::Tensor targets;            // [M] int64
  std::vector<int64_t> offsets;  // [N + 1]: completion i has targets [offsets[i], offsets[i + 1])
  // The rows of the first tokens of each sequence's prompt and of its completion; the others
  // follow.
  struct Place {
    int64_t prompt, completion;
  };
  std::vector<Place> places;  // [N]
};

// With `share_prompts`, neighbours with the same prompt (the same span) compute it once: its rows
// stand before theirs and they attend to it.
PackedBatch pack(std::span<const TrainingSequence> sequences, at::Device device,
                 bool share_prompts);

// What they count for under a budget: a shared prompt once.
int64_t packed_tokens(std::span<const TrainingSequence> sequences, bool share_prompts);

// The sequences' routes by row, [T, sparse layers, experts a token] on the CPU. Of a shared prompt
// all sequences have the same. REQUIRES: every sequence has routes.
at::Tensor pack_routes(std::span<const TrainingSequence> sequences, const PackedBatch& packed,
                       const ModelConfig& config);
// The other way: the routes of sequence i out of those of all rows.
std::vector<int16_t> unpack_routes(const at::Tensor& routes, const TrainingSequence& sequence,
                                   const PackedBatch::Place& place);

// Cuts [0, n) into runs of at most `budget` packed tokens (a longer sequence is a run of its own),
// in order. Returns the starts, ending with n.
std::vector<size_t> cut_micro_batches(std::span<const TrainingSequence> sequences, int64_t budget,
                                      bool share_prompts);

}  // namespace hone
