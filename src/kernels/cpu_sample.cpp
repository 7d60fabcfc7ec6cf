// Sampling from a row of logits, and the filters before it.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "kernels/cpu_kernels.h"
#include "kernels/cpu_table.h"

namespace hone::kernels {

namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

// The first index whose cumulative sum of p exceeds u * total. The sums run over chunks first, so
// rounding may leave nothing inside the chunk that was found; then it is the chunk's last possible
// token.
int64_t draw(const float* p, const float* chunk_sums, int64_t vocab, float u) {
  const int64_t chunks = (vocab + kChunk - 1) / kChunk;
  double total = 0;
  for (int64_t c = 0; c < chunks; ++c) total += static_cast<double>(chunk_sums[c]);
  const double threshold = static_cast<double>(u) * total;
  int64_t last_possible = 0;
  double before = 0;
  for (int64_t c = 0; c < chunks; ++c) {
    const double after = before + static_cast<double>(chunk_sums[c]);
    if (after > threshold) {
      for (int64_t i = c * kChunk; i < std::min(vocab, (c + 1) * kChunk); ++i) {
        before += static_cast<double>(p[i]);
        if (p[i] > 0) last_possible = i;
        if (before > threshold && p[i] > 0) return i;
      }
      return last_possible;
    }
    before = after;
  }
  return last_possible;
}

}  // namespace

void sample_tokens(const float* logits, int64_t batch, int64_t vocab, const float* inv_temperature,
                   const uint64_t* keys, const int64_t* samples, const int64_t* positions,
                   int64_t* tokens, float* logprobs, float* sampled_logprobs) {
  struct Work {
    const float *logits, *inv_temperature;
    int64_t vocab;
    const uint64_t* keys;
    const int64_t *samples, *positions;
    int64_t* tokens;
    float *logprobs, *sampled_logprobs;
  } work{logits, inv_temperature, vocab,           keys, samples, positions,
         tokens, logprobs,        sampled_logprobs};
  const auto run = [](void* context, int64_t row) {
    const Work& w = *static_cast<const Work*>(context);
    const int64_t chunks = (w.vocab + kChunk - 1) / kChunk;
    float* p = scratch(Scratch::kTask, w.vocab + chunks);
    float* chunk_sums = p + w.vocab;
    const float* x = w.logits + row * w.vocab;
    const float inv_temperature = w.inv_temperature[row];
    int64_t token;
    if (inv_temperature == 0.0f) {
      token = std::max_element(x, x + w.vocab) - x;
      if (w.sampled_logprobs != nullptr) w.sampled_logprobs[row] = 0.0f;
    } else {
      const float lse = table().softmax_row(x, inv_temperature, w.vocab, p, chunk_sums);
      token = draw(p, chunk_sums, w.vocab,
                   philox_uniform(w.keys[row], static_cast<uint64_t>(w.samples[row]),
                                  static_cast<uint64_t>(w.positions[row])));
      if (w.sampled_logprobs != nullptr) {
        w.sampled_logprobs[row] = std::fma(x[token], inv_temperature, -lse);
      }
      if (w.logprobs != nullptr && inv_temperature == 1.0f) {
        w.logprobs[row] = std::fma(x[token], 1.0f, -lse);
      }
    }
    w.tokens[row] = token;
    if (w.logprobs != nullptr && inv_temperature != 1.0f) {
      const float lse = table().softmax_row(x, 1.0f, w.vocab, p, chunk_sums);
      w.logprobs[row] = std::fma(x[token], 1.0f, -lse);
    }
  };
  parallel_tasks(batch, batch * vocab, run, &work);
}

void filter_logits(float* logits_row, int64_t vocab, int64_t top_k, float top_p, float min_p,
                   float inv_temperature) {
  const auto drop_below = [&](float least_kept) {
    for (int64_t i = 0; i < vocab; ++i) {
      if (logits_row[i] < least_kept) logits_row[i] = kNegativeInfinity;
    }
  };
  if (top_k > 0 && top_k < vocab) {
    std::vector<float> values(logits_row, logits_row + vocab);
    std::nth_element(values.begin(), values.begin() + (top_k - 1), values.end(),
                     std::greater<float>());
    drop_below(values[top_k - 1]);
  }
  const double best = *std::max_element(logits_row, logits_row + vocab);
  const auto weight = [&](float x) {
    return std::exp((static_cast<double>(x) - best) * inv_temperature);
  };
  if (top_p < 1.0f) {
    std::vector<float> values;
    double total = 0;
    for (int64_t i = 0; i < vocab; ++i) {
      if (!(logits_row[i] > kNegativeInfinity))
        continue;  // nor NaN, which has no place in an order
      values.push_back(logits_row[i]);
      total += weight(logits_row[i]);
    }
    std::sort(values.begin(), values.end(), std::greater<float>());
    double mass = 0;
    for (float value : values) {
      mass += weight(value);
      if (mass >= static_cast<double>(top_p) * total) {
        drop_below(value);
        break;
      }
    }
  }
  if (min_p > 0.0f) {
    for (int64_t i = 0; i < vocab; ++i) {
      if (weight(logits_row[i]) < static_cast<double>(min_p)) logits_row[i] = kNegativeInfinity;
    }
  }
}

}  // namespace hone::kernels
