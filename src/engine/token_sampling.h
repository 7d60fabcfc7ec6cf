// Draws tokens from logits: temperature, top-k, top-p, min-p, and the log-probabilities.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "rollouts/sampler.h"

#ifdef HONE_WITH_CUDA
#include "kernels/cuda_sample.h"
#endif

namespace hone {

// B draws, struct of arrays. A draw is a function of its row of logits and of
// philox_uniform(key, sample, position) alone (and of whether ids are forbidden to it).
struct TokenDraws {
  // in, [B]
  std::vector<int64_t> rows;       // row of the logits; several draws may share one
  std::vector<int64_t> sequences;  // whose token it will be
  std::vector<uint64_t> keys;
  std::vector<int64_t> samples, positions;
  std::vector<uint8_t> forbid;     // 1: none of `forbidden` can be drawn
  std::vector<int64_t> forbidden;  // ids; not a column, `clear` keeps it
  // out, [B]
  std::vector<int64_t> tokens;
  std::vector<float> logprobs;          // of the model, at temperature 1, nothing filtered
  std::vector<float> sampled_logprobs;  // of the distribution drawn from

  size_t size() const { return rows.size(); }
  void clear();
  void add(int64_t row, int64_t sequence, uint64_t key, int64_t sample, int64_t position,
           bool forbid = false);
};

// What a decode step drew for one sequence, in the order of the tokens' places.
struct DrawnTokens {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs, sampled_logprobs;  // as in TokenDraws
  std::vector<int16_t> routes;  // of the token that each was drawn behind; where they are recorded

  void clear();
  void add(int32_t token, float logprob, float sampled_logprob);
};

// Whether drawing looks at top_k, top_p or min_p.
bool filters(const SamplingOptions& options);

#ifdef HONE_WITH_CUDA
kernels::cuda::SamplingParameters cuda_parameters(const SamplingOptions& options, int64_t vocab);
#endif

// logits: [M, V] float32; unchanged.
void draw_tokens(const at::Tensor& logits, const SamplingOptions& options, TokenDraws& draws);

}  // namespace hone
