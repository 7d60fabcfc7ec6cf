#include "engine/token_sampling.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu_kernels.h"

#ifdef HONE_WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace hone {
namespace {

// Logits that are gathered or filtered at a time on the CPU: 64 MiB.
constexpr int64_t kChunkLogits = int64_t{16} << 20;

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
// All draws at once, from logits [M, V] on the GPU: one copy there and one back.
void draw_cuda(const at::Tensor& logits, const SamplingOptions& options, TokenDraws& draws) {
  const c10::cuda::CUDAGuard guard(logits.device());
  const int64_t n = static_cast<int64_t>(draws.size()), vocab = logits.size(1);
  const at::Tensor from = logits.contiguous();
  const kernels::cuda::SamplingParameters parameters = cuda_parameters(options, vocab);
  const bool forbids = any_forbids(draws, 0, n);
  const int64_t f = forbids ? static_cast<int64_t>(draws.forbidden.size()) : 0;

  // Keys, samples, positions: 8 bytes each; the parameters; rows and forbidden ids: 4; flags: 1.
  constexpr int64_t kParameters = sizeof(parameters);
  at::Tensor staging = at::empty({24 * n + kParameters + 4 * (n + f) + n}, at::kByte);
  struct {
    int64_t keys, samples, positions, parameters, rows, forbidden, forbid;
  } const at{0,
             8 * n,
             16 * n,
             24 * n,
             24 * n + kParameters,
             28 * n + kParameters,
             28 * n + kParameters + 4 * f};
  uint8_t* in = staging.data_ptr<uint8_t>();
  std::memcpy(in + at.keys, draws.keys.data(), 8 * draws.size());
  std::memcpy(in + at.samples, draws.samples.data(), 8 * draws.size());
  std::memcpy(in + at.positions, draws.positions.data(), 8 * draws.size());
  std::memcpy(in + at.parameters, &parameters, sizeof(parameters));
  std::copy_n(draws.rows.data(), n, reinterpret_cast<int32_t*>(in + at.rows));
  std::copy_n(draws.forbidden.data(), f, reinterpret_cast<int32_t*>(in + at.forbidden));
  std::memcpy(in + at.forbid, draws.forbid.data(), draws.size());
  staging = staging.to(logits.device());
  in = staging.data_ptr<uint8_t>();

  // Tokens: [n]; then the log-probabilities at temperature 1 and as drawn, as float32 [n] each.
  at::Tensor result = at::empty({2 * n}, staging.options().dtype(at::kLong));
  float* logprobs = reinterpret_cast<float*>(result.data_ptr<int64_t>() + n);
  const at::Tensor workspace =
      at::empty({static_cast<int64_t>(kernels::cuda::sample_workspace_bytes(n, vocab))},
                logits.options().dtype(at::kByte));
  kernels::cuda::SampleCall call{};
  call.logits = from.const_data_ptr<float>();
  call.rows = reinterpret_cast<const int32_t*>(in + at.rows);
  call.batch = n;
  call.vocab = vocab;
  call.parameters = reinterpret_cast<const kernels::cuda::SamplingParameters*>(in + at.parameters);
  call.filtered = filters(options);
  call.keys = reinterpret_cast<const uint64_t*>(in + at.keys);
  call.samples = reinterpret_cast<const int64_t*>(in + at.samples);
  call.positions = reinterpret_cast<const int64_t*>(in + at.positions);
  call.forbidden = reinterpret_cast<const int32_t*>(in + at.forbidden);
  call.forbidden_count = f;
  call.forbid = forbids ? in + at.forbid : nullptr;
  call.tokens = result.data_ptr<int64_t>();
  call.logprobs = logprobs;
  call.sampled_logprobs = logprobs + n;
  call.workspace = workspace.data_ptr();
  kernels::cuda::sample_tokens(call, c10::cuda::getCurrentCUDAStream().stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();

  result = result.cpu();
  const int64_t* tokens = result.const_data_ptr<int64_t>();
  const float* drawn = reinterpret_cast<const float*>(tokens + n);
  std::copy_n(tokens, n, draws.tokens.data());
  std::copy_n(drawn, n, draws.logprobs.data());
  std::copy_n(drawn + n, n, draws.sampled_logprobs.data());
}
#endif

}  // namespace

bool filters(const SamplingOptions& options) {
  return options.temperature > 0 &&
         (options.top_k > 0 || options.top_p < 1.0 || options.min_p > 0.0);
}

#ifdef HONE_WITH_CUDA
kernels::cuda::SamplingParameters cuda_parameters(const SamplingOptions& options, int64_t vocab) {
  return {.inv_temperature = inverse_temperature(options),
          .top_k = static_cast<int32_t>(std::min(options.top_k, vocab)),
          .top_p = static_cast<float>(options.top_p),
          .min_p = static_cast<float>(options.min_p)};
}
#endif

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

void DrawnTokens::clear() {
  tokens.clear();
  logprobs.clear();
  sampled_logprobs.clear();
  routes.clear();
}

void DrawnTokens::add(int32_t token, float logprob, float sampled_logprob) {
  tokens.push_back(token);
  logprobs.push_back(logprob);
  sampled_logprobs.push_back(sampled_logprob);
}

void draw_tokens(const at::Tensor& logits, const SamplingOptions& options, TokenDraws& draws) {
  const size_t total = draws.size();
  draws.tokens.resize(total);
  draws.logprobs.resize(total);
  draws.sampled_logprobs.resize(total);
#ifdef HONE_WITH_CUDA
  if (logits.is_cuda()) {
    draw_cuda(logits, options, draws);
    return;
  }
#endif
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
    draw_cpu(part.cpu(), options, draws, begin);
  }
}

}  // namespace hone
