#include <cuda_runtime.h>

#include "base/rng.h"
#include "kernels/cuda_kernels.h"

namespace hone::kernels::cuda {

namespace {

constexpr int kThreads = 512;
constexpr int kWarps = kThreads / 32;
constexpr int kChunks = 256;  // a warp sums a chunk; one thread scans the chunks' sums
constexpr unsigned kAll = 0xFFFFFFFFu;

__device__ float negative_infinity() { return __int_as_float(0xFF800000); }

__device__ float warp_sum(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}

struct Best {
  float value;
  int64_t index;
};
__device__ Best better(Best a, Best b) {
  return b.value > a.value || (b.value == a.value && b.index < a.index) ? b : a;
}

// The largest value of the row and its first index, known to all threads.
__device__ Best row_maximum(const float* x, int64_t vocab) {
  __shared__ Best of_warp[kWarps];
  Best best{negative_infinity(), vocab};
  for (int64_t i = threadIdx.x; i < vocab; i += kThreads) best = better(best, {x[i], i});
  for (int step = 16; step > 0; step /= 2) {
    best = better(
        best, {__shfl_xor_sync(kAll, best.value, step), __shfl_xor_sync(kAll, best.index, step)});
  }
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = best;
  __syncthreads();
  best = of_warp[0];
  for (int w = 1; w < kWarps; ++w) best = better(best, of_warp[w]);
  // All -infinity or NaN: there is no index; the caller must not read behind the row.
  if (best.index >= vocab) best.index = 0;
  return best;
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(const float* logits, int64_t vocab, const float* inv_temperatures,
                  const uint64_t* keys, const int64_t* samples, const int64_t* positions,
                  int64_t* tokens, float* logprobs, float* sampled_logprobs) {
  __shared__ float sums[kChunks];         // of exp((x - max) * inv_temperature)
  __shared__ float sums_at_one[kChunks];  // of exp(x - max)
  __shared__ float total_at_one, total, before;
  __shared__ int chosen_chunk;
  const int64_t row = blockIdx.x;
  const float* x = logits + row * vocab;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const float inv_temperature = inv_temperatures[row];
  const bool greedy = inv_temperature == 0.0f;
  const Best best = row_maximum(x, vocab);

  const int64_t chunk_size = ((vocab + kChunks - 1) / kChunks + 31) / 32 * 32;
  for (int chunk = warp; chunk < kChunks; chunk += kWarps) {
    const int64_t end = min(vocab, (chunk + 1) * chunk_size);
    float sum = 0.0f, sum_at_one = 0.0f;
    for (int64_t i = chunk * chunk_size + lane; i < end; i += 32) {
      const float z = x[i] - best.value;
      sum_at_one += expf(z);
      if (!greedy) sum += expf(z * inv_temperature);
    }
    sum = warp_sum(sum);
    sum_at_one = warp_sum(sum_at_one);
    if (lane == 0) {
      sums[chunk] = sum;
      sums_at_one[chunk] = sum_at_one;
    }
  }
  __syncthreads();

  if (threadIdx.x == 0) {
    float all = 0.0f, all_at_one = 0.0f;
    for (int c = 0; c < kChunks; ++c) {
      all += sums[c];
      all_at_one += sums_at_one[c];
    }
    total = all;
    total_at_one = all_at_one;
    if (greedy) {
      tokens[row] = best.index;
      logprobs[row] = -logf(all_at_one);
      sampled_logprobs[row] = 0.0f;
    } else {
      const float u = philox_uniform(keys[row], static_cast<uint64_t>(samples[row]),
                                     static_cast<uint64_t>(positions[row]));
      const float threshold = u * all;
      // Without a chunk that exceeds the threshold (rounding): the last that is not empty.
      float sum = 0.0f;
      chosen_chunk = 0;
      before = 0.0f;
      for (int c = 0; c < kChunks; ++c) {
        if (sums[c] > 0.0f) {
          chosen_chunk = c;
          before = sum;
        }
        sum += sums[c];
        if (sum > threshold) break;
      }
      sums[0] = threshold;
    }
  }
  if (greedy) return;
  __syncthreads();
  if (warp != 0) return;

  const float threshold = sums[0];
  const int64_t first = chosen_chunk * chunk_size, end = min(vocab, first + chunk_size);
  float sum = before;
  int64_t token = best.index;  // if all is NaN
  for (int64_t start = first; start < end; start += 32) {
    const int64_t i = start + lane;
    const float p = i < end ? expf((x[i] - best.value) * inv_temperature) : 0.0f;
    float prefix = p;  // inclusive over the lanes
    for (int step = 1; step < 32; step *= 2) {
      const float lower = __shfl_up_sync(kAll, prefix, step);
      if (lane >= step) prefix += lower;
    }
    // Rounding may leave nothing in the chunk beyond the threshold: then its last possible token.
    const unsigned possible = __ballot_sync(kAll, p > 0.0f);
    const unsigned beyond = __ballot_sync(kAll, p > 0.0f && sum + prefix > threshold);
    if (possible != 0) token = start + 31 - __clz(possible);
    if (beyond != 0) {
      token = start + __ffs(beyond) - 1;
      break;
    }
    sum += __shfl_sync(kAll, prefix, 31);
  }
  if (lane == 0) {
    const float z = x[token] - best.value;
    tokens[row] = token;
    logprobs[row] = z - logf(total_at_one);
    sampled_logprobs[row] = z * inv_temperature - logf(total);
  }
}

}  // namespace

void sample_tokens(const float* logits, int64_t batch, int64_t vocab, const float* inv_temperature,
                   const uint64_t* keys, const int64_t* samples, const int64_t* positions,
                   int64_t* tokens, float* logprobs, float* sampled_logprobs, cudaStream_t stream) {
  if (batch == 0) return;
  sample_kernel<<<static_cast<unsigned>(batch), kThreads, 0, stream>>>(
      logits, vocab, inv_temperature, keys, samples, positions, tokens, logprobs, sampled_logprobs);
}

}  // namespace hone::kernels::cuda
