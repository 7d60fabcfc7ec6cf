#include "engine/token_sampling.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu_kernels.h"

#ifdef HONE_WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda_sample.h"
#endif

namespace hone {
namespace {

// Logits that are gathered or filtered at a time on the CPU: 64 MiB.
constexpr int64_t kChunkLogits = int64_t{16} << 20;

bool filters(const SamplingOptions& options) {
  return options.temperature > 0 &&
         (options.top_k > 0 || options.top_p < 1.0 || options.min_p > 0.0);
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
  if (!filters(options)) return sample(logits, logprobs);
  const at::Tensor kept = logits.clone();  // [n, V]
  float* rows = kept.data_ptr<float>();
#pragma omp parallel for num_threads(kernels::num_threads())
  for (int64_t i = 0; i < n; ++i) {
    kernels::filter_logits(rows + i * vocab, vocab, options.top_k,
                           static_cast<float>(options.top_p), static_cast<float>(options.min_p),
                           inv_temperature);
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
  const kernels::cuda::SamplingParameters parameters{
      .inv_temperature = inverse_temperature(options),
      .top_k = static_cast<int32_t>(std::min(options.top_k, vocab)),
      .top_p = static_cast<float>(options.top_p),
      .min_p = static_cast<float>(options.min_p)};

  // Keys, samples, positions: [n] each; then the parameters, then the rows as int32 [n].
  constexpr int64_t kParameterWords = sizeof(parameters) / sizeof(int64_t);
  at::Tensor staging = at::empty({3 * n + kParameterWords + (n + 1) / 2}, at::kLong);
  int64_t* in = staging.data_ptr<int64_t>();
  std::memcpy(in, draws.keys.data(), sizeof(int64_t) * draws.size());
  std::copy_n(draws.samples.data(), n, in + n);
  std::copy_n(draws.positions.data(), n, in + 2 * n);
  std::memcpy(in + 3 * n, &parameters, sizeof(parameters));
  std::copy_n(draws.rows.data(), n, reinterpret_cast<int32_t*>(in + 3 * n + kParameterWords));
  staging = staging.to(logits.device());
  in = staging.data_ptr<int64_t>();

  // Tokens: [n]; then the log-probabilities at temperature 1 and as drawn, as float32 [n] each.
  at::Tensor result = at::empty({2 * n}, staging.options());
  float* logprobs = reinterpret_cast<float*>(result.data_ptr<int64_t>() + n);
  const at::Tensor workspace =
      at::empty({static_cast<int64_t>(kernels::cuda::sample_workspace_bytes(n, vocab))},
                logits.options().dtype(at::kByte));
  kernels::cuda::SampleCall call{};
  call.logits = from.const_data_ptr<float>();
  call.rows = reinterpret_cast<const int32_t*>(in + 3 * n + kParameterWords);
  call.batch = n;
  call.vocab = vocab;
  call.parameters = reinterpret_cast<const kernels::cuda::SamplingParameters*>(in + 3 * n);
  call.filtered = filters(options);
  call.keys = reinterpret_cast<const uint64_t*>(in);
  call.samples = in + n;
  call.positions = in + 2 * n;
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

void TokenDraws::clear() {
  for (auto* column : {&rows, &sequences, &samples, &positions, &tokens}) column->clear();
  keys.clear();
  logprobs.clear();
  sampled_logprobs.clear();
}

void TokenDraws::add(int64_t row, int64_t sequence, uint64_t key, int64_t sample,
                     int64_t position) {
  rows.push_back(row);
  sequences.push_back(sequence);
  keys.push_back(key);
  samples.push_back(sample);
  positions.push_back(position);
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
