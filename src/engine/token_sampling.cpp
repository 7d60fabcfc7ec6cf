#include "engine/token_sampling.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu_kernels.h"

#ifdef HONE_WITH_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda_kernels.h"
#endif

namespace hone {
namespace {

// Logits that are gathered or filtered at a time: 64 MiB.
constexpr int64_t kChunkLogits = int64_t{16} << 20;

bool filters(const SamplingOptions& options) {
  return options.temperature > 0 &&
         (options.top_k > 0 || options.top_p < 1.0 || options.min_p > 0.0);
}

bool any_forbids(const TokenDraws& draws, size_t begin, int64_t n) {
  const uint8_t* flags = draws.forbid.data() + begin;
  return std::find(flags, flags + n, 1) != flags + n;
}

// Logits [n, V] of draws [begin, begin + n) in which the ids forbidden to a draw are -infinity.
at::Tensor without_forbidden(const at::Tensor& logits, const TokenDraws& draws, size_t begin) {
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < logits.size(0); ++i) {
    if (draws.forbid[begin + static_cast<size_t>(i)]) rows.push_back(i);
  }
  const at::Tensor columns = at::tensor(draws.forbidden, at::kLong).to(logits.device());
  at::Tensor kept = logits.clone();
  kept.index_put_({at::tensor(rows, at::kLong).unsqueeze(1).to(logits.device()), columns},
                  at::scalar_tensor(-std::numeric_limits<double>::infinity(), kept.options()));
  return kept;
}

float inverse_temperature(const SamplingOptions& options) {
  return options.temperature > 0 ? static_cast<float>(1.0 / options.temperature) : 0.0f;
}

// Draws [begin, begin + n) from logits [n, V] on the CPU.
void draw_cpu(const at::Tensor& logits, const SamplingOptions& options, TokenDraws& draws,
              size_t begin) {
  const int64_t n = logits.size(0), vocab = logits.size(1);
  const float inv_temperature = inverse_temperature(options);
  const std::vector<float> inverse(static_cast<size_t>(n), inv_temperature);
  int64_t* tokens = draws.tokens.data() + begin;
  float* logprobs = draws.logprobs.data() + begin;
  float* sampled_logprobs = draws.sampled_logprobs.data() + begin;
  const auto sample = [&](const at::Tensor& from, float* at_temperature_one) {
    kernels::sample_tokens(from.const_data_ptr<float>(), n, vocab, inverse.data(),
                           draws.keys.data() + begin, draws.samples.data() + begin,
                           draws.positions.data() + begin, tokens, at_temperature_one,
                           sampled_logprobs);
  };
  const bool forbids = any_forbids(draws, begin, n);
  if (!filters(options) && !forbids) return sample(logits, logprobs);
  const at::Tensor kept = forbids ? without_forbidden(logits, draws, begin) : logits.clone();
  if (filters(options)) {
    float* rows = kept.data_ptr<float>();
#pragma omp parallel for num_threads(kernels::num_threads())
    for (int64_t i = 0; i < n; ++i) {
      kernels::filter_logits(rows + i * vocab, vocab, options.top_k,
                             static_cast<float>(options.top_p), static_cast<float>(options.min_p),
                             inv_temperature);
    }
  }
  sample(kept, nullptr);
  kernels::log_prob(logits.const_data_ptr<float>(), tokens, 1.0f, logprobs, nullptr, nullptr, n,
                    vocab);
}

#ifdef HONE_WITH_CUDA
// kernels::filter_logits on the GPU, all rows of logits [n, V] at once.
at::Tensor filter_cuda(const at::Tensor& logits, const SamplingOptions& options) {
  const int64_t vocab = logits.size(1);
  const double dropped = -std::numeric_limits<double>::infinity();
  at::Tensor kept = logits;
  if (options.top_k > 0 && options.top_k < vocab) {
    const at::Tensor last =
        std::get<0>(kept.topk(options.top_k, 1)).narrow(1, options.top_k - 1, 1);
    kept = kept.masked_fill(kept < last, dropped);
  }
  const double inv_temperature = inverse_temperature(options);
  if (options.top_p < 1.0) {
    const auto [sorted, order] = (kept * inv_temperature).sort(true, 1, /*descending=*/true);
    const at::Tensor p = sorted.softmax(1);
    // A token is dropped if those before it reach top_p; the first has none before it.
    const at::Tensor drop_sorted = (p.cumsum(1) - p) >= options.top_p;
    kept = kept.masked_fill(at::empty_like(drop_sorted).scatter_(1, order, drop_sorted), dropped);
  }
  if (options.min_p > 0.0) {
    const at::Tensor p = (kept * inv_temperature).softmax(1);
    kept = kept.masked_fill(p < p.amax(1, true) * options.min_p, dropped);
  }
  return kept;
}

// Draws [begin, begin + n) from logits [n, V] on the GPU.
void draw_cuda(const at::Tensor& logits, const SamplingOptions& options, TokenDraws& draws,
               size_t begin) {
  const c10::cuda::CUDAGuard guard(logits.device());
  const int64_t n = logits.size(0), vocab = logits.size(1);
  const bool filtered = filters(options), forbids = any_forbids(draws, begin, n);
  at::Tensor staging = at::empty({3, n}, at::kLong);
  int64_t* in = staging.data_ptr<int64_t>();
  std::memcpy(in, draws.keys.data() + begin, sizeof(int64_t) * static_cast<size_t>(n));
  std::copy_n(draws.samples.data() + begin, n, in + n);
  std::copy_n(draws.positions.data() + begin, n, in + 2 * n);
  staging = staging.to(logits.device());
  const auto floats = logits.options();
  const at::Tensor inverse = at::full({n}, inverse_temperature(options), floats);
  at::Tensor tokens = at::empty({n}, staging.options());
  at::Tensor logps = at::empty({2, n}, floats);  // at temperature 1, as drawn
  at::Tensor from = forbids ? without_forbidden(logits, draws, begin) : logits;
  from = (filtered ? filter_cuda(from, options) : from).contiguous();
  const int64_t* columns = staging.data_ptr<int64_t>();
  float* out = logps.data_ptr<float>();
  kernels::cuda::sample_tokens(
      from.const_data_ptr<float>(), n, vocab, inverse.const_data_ptr<float>(),
      reinterpret_cast<const uint64_t*>(columns), columns + n, columns + 2 * n,
      tokens.data_ptr<int64_t>(), out, out + n, c10::cuda::getCurrentCUDAStream().stream());
  if (filtered || forbids) {
    logps.select(0, 0).copy_(logits.gather(1, tokens.unsqueeze(1)).squeeze(1) -
                             logits.logsumexp(1));
  }
  tokens = tokens.cpu();
  logps = logps.cpu();
  std::copy_n(tokens.const_data_ptr<int64_t>(), n, draws.tokens.data() + begin);
  std::copy_n(logps.const_data_ptr<float>(), n, draws.logprobs.data() + begin);
  std::copy_n(logps.const_data_ptr<float>() + n, n, draws.sampled_logprobs.data() + begin);
}
#endif

}  // namespace

void TokenDraws::clear() {
  for (auto* column : {&rows, &sequences, &samples, &positions, &tokens}) column->clear();
  keys.clear();
  forbid.clear();
  logprobs.clear();
  sampled_logprobs.clear();
}

void TokenDraws::add(int64_t row, int64_t sequence, uint64_t key, int64_t sample, int64_t position,
                     bool forbidden_ids) {
  rows.push_back(row);
  sequences.push_back(sequence);
  keys.push_back(key);
  samples.push_back(sample);
  positions.push_back(position);
  forbid.push_back(forbidden_ids);
}

void draw_tokens(const at::Tensor& logits, const SamplingOptions& options, TokenDraws& draws) {
  const size_t total = draws.size();
  draws.tokens.resize(total);
  draws.logprobs.resize(total);
  draws.sampled_logprobs.resize(total);
  const size_t chunk = static_cast<size_t>(std::max<int64_t>(1, kChunkLogits / logits.size(1)));
  for (size_t begin = 0; begin < total; begin += chunk) {
    const int64_t n = static_cast<int64_t>(std::min(chunk, total - begin));
    const int64_t* rows = draws.rows.data() + begin;
    const bool in_place = std::adjacent_find(rows, rows + n, [](int64_t a, int64_t b) {
                            return b != a + 1;
                          }) == rows + n;
    at::Tensor part;  // [n, V]
    if (in_place) {
      part = logits.narrow(0, rows[0], n);
    } else {
      at::Tensor index = at::empty({n}, at::kLong);
      std::copy(rows, rows + n, index.data_ptr<int64_t>());
      part = logits.index_select(0, index.to(logits.device()));
    }
#ifdef HONE_WITH_CUDA
    if (part.is_cuda()) {
      draw_cuda(part, options, draws, begin);
      continue;
    }
#endif
    draw_cpu(part.cpu(), options, draws, begin);
  }
}

}  // namespace hone
