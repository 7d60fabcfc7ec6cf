// What one forward pass computes: T tokens of several sequences, side by side without padding.
// The batch says which attention: inside the batch (training) or over a paged cache (sampling).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/cpu_kernels.h"

namespace hone {

namespace kernels::cuda {
struct DecodeStep;
}

using kernels::AttentionSegment;
constexpr int64_t kBlockTokens = kernels::kBlockTokens;

// The key/value cache of all layers, in blocks of kBlockTokens tokens.
//   CPU:  keys [L][blocks][G][D][16], values [L][blocks][G][16][D] float32 (see cpu_kernels.h);
//         D is rounded up to a multiple of 16
//   CUDA: keys, values [L][blocks][G][16][D] in the model's dtype, the elements of a token in the
//         order of kernels::cuda::cache_element
// Latent attention has one head as wide as the compressed token (ModelConfig::cache_width); on CUDA
// its values are not stored apart.
struct KvCache {
  std::vector<at::Tensor> keys, values;  // one per layer
  int64_t blocks = 0;
};

// One sequence of a batch that runs over the cache; its new tokens are the rows
// [query_begin, query_begin + query_length), the last of its `context` tokens.
struct PagedSequence {
  int64_t query_begin = 0, query_length = 0, context = 0;
  std::vector<int32_t> blocks;  // block table, at least ceil(context / 16) entries
};

// What the routers of a forward pass did, for those who balance their load.
struct RoutingRecord {
  std::vector<at::Tensor> counts;  // of each sparse layer: [E] int64, choices of each expert
  // Sum over the sparse layers of the sequence-wise balance loss (DeepSeek-V3, equation 17, without
  // its factor), a mean over tokens: 1 where the load is even. Part of the graph.
  at::Tensor balance;
  at::Tensor segment;  // [T]: of each token; made by the first sparse layer
};

// What the backward pass computes again instead of keeping it: nothing; what is cheap to compute
// (the results of norms and gates, which products read); or all of a layer but its input.
// automatic: a recipe's, until its plan decides; here it is none.
enum class Recompute { automatic, none, selective, layers };

struct AttentionPlan;

struct ForwardBatch {
  at::Tensor tokens;     // [T] int64, on the model's device
  at::Tensor positions;  // [T] int64

  // Training: segments that attend to themselves and to their prefix (kernels::AttentionSegment);
  // each token is in one. On CUDA only bf16 batches whose attention flash attention serves may have
  // prefixes (Transformer::shares_prefixes).
  std::vector<AttentionSegment> segments;

  // Sampling: the cache and who reads what of it. Tokens are written to `slots` first.
  KvCache* cache = nullptr;
  at::Tensor slots;  // [T] int64: block * 16 + offset; CUDA: -1 is written nowhere
  std::vector<PagedSequence> sequences;
  // On CUDA, in place of `sequences`: every row is one new token, and who reads what lies on the
  // device, so that the pass can be captured and repeated.
  const kernels::cuda::DecodeStep* decode = nullptr;

  Recompute recompute = Recompute::none;  // under autograd

  RoutingRecord* routing = nullptr;  // filled in if given
  // [T, sparse layers, experts a token] int16, on the model's device: filled in with the experts
  // that routers choose, if defined; those of multi-token-prediction modules are left out.
  at::Tensor routes;
  // The same, on the model's device: the experts to take in place of the routers' choice, if
  // defined. What they weigh is still the router's, with its gradient.
  at::Tensor replay;

  mutable std::shared_ptr<AttentionPlan> plan;  // made by the first layer that attends
};

}  // namespace hone
