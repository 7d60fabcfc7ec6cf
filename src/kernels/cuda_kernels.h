// Kernels on the GPU, on raw device pointers.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace hone::kernels::cuda {

// The counterpart of kernels::sample_tokens: one token a row, the first whose cumulative
// probability exceeds u times the total, with u = philox_uniform(key, sample, position). Sums are
// float32 in an order that depends on the vocabulary alone, so a row has the same result in every
// batch. All pointers are on the device; logits: [B, V]; the others: [B].
// inv_temperature 0 takes the largest logit, the first of equals. Logits of -inf are never drawn.
// logprobs are at temperature 1, sampled_logprobs at the row's (0 where inv_temperature is 0).
void sample_tokens(const float* logits, int64_t batch, int64_t vocab, const float* inv_temperature,
                   const uint64_t* keys, const int64_t* samples, const int64_t* positions,
                   int64_t* tokens, float* logprobs, float* sampled_logprobs, cudaStream_t stream);

}  // namespace hone::kernels::cuda
