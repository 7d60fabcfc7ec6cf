// What attention derives from a batch once and uses in every layer.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/cpu_kernels.h"

namespace hone {

// On the CPU, training runs through the same paged kernel as sampling, over a cache that lives as
// long as the layer: each segment gets blocks of its own, full blocks of its prefix are shared, and
// the prefix's last, partly filled block is copied in front of the segment's own tokens.
// On CUDA, where flash attention does not serve, sequences are padded to a rectangle.
struct AttentionPlan {
  // CPU
  std::vector<kernels::AttentionSequence> sequences;
  std::vector<std::vector<int32_t>> tables;
  std::vector<int64_t> slots;                      // [T] training only
  std::vector<int64_t> copied_rows, copied_slots;  // the prefixes' tails
  int64_t blocks = 0;
  // CUDA
  at::Tensor cumulative, cumulative_keys;  // [S + 1] int32: where the segments' rows and keys end
  int64_t longest = 0, longest_keys = 0;   // segment
  // Where segments have prefixes: the rows whose keys are copied, [K] int32, and where each row's
  // copies stand, places[place_begin[t] .. place_begin[t + 1]); [T + 1], [K] int32.
  at::Tensor copied_keys, place_begin, places;
  at::Tensor query_rows;  // [S, Q] rows of the batch (padding: 0)
  at::Tensor key_rows;    // [S, L] rows of the batch, or slots of the cache
  at::Tensor distance;    // [S, 1, Q, L] int64: how far back a key lies; negative: in the future
  // Masks of the windows that layers have: [S, 1, Q, L] bool, may attend
  std::vector<std::pair<int64_t, at::Tensor>> masks;
  at::Tensor flat;  // [T] place of each row in [S * Q]
  // For our own kernels
  at::Tensor items;         // [n][7] int32: kernels::cuda::PrefillItem
  at::Tensor block_tables;  // [S][longest table] int32; undefined inside a training batch
};

}  // namespace hone
