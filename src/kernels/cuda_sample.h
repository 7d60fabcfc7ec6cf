// The distribution over the vocabulary on the GPU: draws of tokens and log-probabilities.
//
// A row of logits is cut into chunks of fixed size, each of which is summed in a fixed order, and
// the chunks' sums are added in a fixed order: results depend on the row alone, not on the batch.
// sample_tokens and log_prob share that arithmetic, so a sampler and a trainer that have the same
// logits get the same bits.
//
// All pointers are on the device, except where it says otherwise. Nothing here allocates or waits
// for the device, so the calls may be captured into a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda_attention.h"

namespace hone::kernels::cuda {

// For all rows of a call. It lies in device memory, so that a captured graph can be replayed with
// other parameters. The filters are those of kernels::filter_logits, in the same order; none is
// applied where inv_temperature is 0.
struct SamplingParameters {
  float inv_temperature;  // 0: the largest logit, the first of equals
  int32_t top_k;          // 0: off
  float top_p;            // 1: off
  float min_p;            // 0: off
};

// The counterpart of kernels::sample_tokens: draw i takes the first token whose cumulative
// probability exceeds u times the total, with u = philox_uniform(key, sample, position). Logits of
// -inf are never drawn. A row with NaN or +inf, or of -inf alone, gets some token of the vocabulary
// and NaN as its logprob.
struct SampleCall {
  const float* logits;  // [M, V]
  const int32_t* rows;  // [B], the row of logits of each draw; null: draw i reads row i
  int64_t batch, vocab;
  const SamplingParameters* parameters;
  bool filtered;                       // false: top_k, top_p and min_p are not looked at
  const uint64_t* keys;                // [B]
  const int64_t *samples, *positions;  // [B]
  const int32_t* forbidden;            // ids that draws with a flag in `forbid` may not take:
  int64_t forbidden_count;             // they count as -inf before the filters
  const uint8_t* forbid;               // [B]; null: no draw has one
  int64_t* tokens;                     // [B], out
  float *logprobs, *entropies;         // [B], out: of the model, at temperature 1, nothing
                                       // filtered or forbidden; entropies may be null
  float* sampled_logprobs;             // [B], out: of the distribution drawn from; 0 if greedy
  void* workspace;                     // sample_workspace_bytes(batch, vocab)
};
void sample_tokens(const SampleCall& call, cudaStream_t stream);

// The log-probability of each row's target in the distribution of inv_temperature * logits, its
// entropy (null: not wanted) and its logsumexp. At inv_temperature 1, logp has the bits of
// sample_tokens' logprobs, otherwise those of its sampled_logprobs if nothing is filtered.
// logits: [M, V]; targets, logp, entropy, lse: [M]; inv_temperature > 0, on the host;
// workspace: sample_workspace_bytes(rows, vocab).
void log_prob(const float* logits, const int64_t* targets, int64_t rows, int64_t vocab,
              float inv_temperature, float* logp, float* entropy, float* lse, void* workspace,
              cudaStream_t stream);

// The gradient of log_prob with p = softmax(inv_temperature * logits):
//   dlogits = inv_temperature (dlogp (1[target] - p) - dentropy p (log p + entropy))
// lse, entropy: as log_prob gave them.
struct LogProbBackward {
  const float* logits;     // [M, V]
  const int64_t* targets;  // [M]
  int64_t rows, vocab;     // rows <= 65,535
  float inv_temperature;
  const float *lse, *entropy, *dlogp, *dentropy;  // [M]; dentropy may be null: none
};
// dlogits: [M, V] of `type`; in float32 it may be the logits themselves.
void log_prob_backward(const LogProbBackward& call, Type type, void* dlogits, cudaStream_t stream);

size_t sample_workspace_bytes(int64_t batch, int64_t vocab);

}  // namespace hone::kernels::cuda
