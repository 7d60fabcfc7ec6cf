// top_k, top_p and min_p on the GPU. Each keeps the logits that are not below some value (ties
// stay), so all of them together are one threshold a row. The values are found by radix selection
// on the bits of the floats, with counts and masses as integers: the order in which threads add
// them does not show.
#include <cuda_runtime.h>

#include <cmath>

#include "kernels/vocabulary_chunks.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kWarps = 16;
constexpr int kThreads = kWarps * 32;
constexpr int kDigitBits = 11;  // three digits make 32 bits: 11 + 11 + 10
constexpr int kBins = 1 << kDigitBits;
constexpr int kBinsOfThread = kBins / kThreads;

// A row, less what its draw may not take.
struct Row {
  const float* logits;
  int64_t vocab, draw;
  int chunks;
  Forbidden forbidden;
};
__device__ __forceinline__ ChunkValues load_allowed(const Row& row, int chunk) {
  ChunkValues v = load_chunk(row.logits, row.vocab, chunk);
  mask_forbidden(v, row.forbidden, row.draw, chunk);
  return v;
}

// Integers in the order of the floats. -0 comes before 0; as thresholds they keep the same.
__device__ __forceinline__ uint32_t ordered(float x) {
  const uint32_t bits = __float_as_uint(x);
  return bits ^ (bits >> 31 != 0 ? 0xFFFFFFFFu : 0x80000000u);
}
__device__ __forceinline__ float unordered(uint32_t key) {
  return __uint_as_float(key ^ (key >> 31 != 0 ? 0x80000000u : 0xFFFFFFFFu));
}

// What a logit counts for in a selection: 1, or its probability relative to the likeliest in units
// of 2^-40, so that the sum over 2^23 of them fits into 64 bits.
struct Weigher {
  bool mass;
  float at_least;  // only what is not below it counts; never NaN
  float shift, scale;

  __device__ __forceinline__ uint64_t operator()(float x) const {
    if (!mass) return 1;
    return __float2ull_rn(__fmul_rn(exp2_flushed(exponent(x, shift, scale)), 0x1.0p40f));
  }
};

// 64-bit sums in two words: shared memory adds 32 bits at a time.
struct Bins {
  uint32_t low[kBins], high[kBins];

  __device__ __forceinline__ void add(uint32_t bin, uint64_t weight) {
    const uint32_t part = static_cast<uint32_t>(weight);
    uint32_t carry = static_cast<uint32_t>(weight >> 32);
    const uint32_t old = atomicAdd(&low[bin], part);
    if (old + part < old) ++carry;
    if (carry != 0) atomicAdd(&high[bin], carry);
  }
  __device__ __forceinline__ uint64_t at(int bin) const {
    return (static_cast<uint64_t>(high[bin]) << 32) | low[bin];
  }
};

// The largest value such that the logits that are not below it weigh at least what is wanted: top_k
// of them, or top_p of all weights. By the whole thread block.
__device__ float select(const Row& row, const Weigher& weigh, const SamplingParameters& p) {
  __shared__ Bins bins;
  __shared__ uint64_t of_warp[kWarps];
  __shared__ uint32_t chosen;
  __shared__ uint64_t rest;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  uint32_t prefix = 0;  // the digits chosen so far
  int below = 32;       // bits below them
  uint64_t target = 0;  // what is wanted, less what the logits with larger digits weigh
#pragma unroll 1
  for (int digit = 0; digit < 3; ++digit) {
    const int width = digit < 2 ? kDigitBits : 32 - 2 * kDigitBits;
    below -= width;
    for (int i = thread; i < kBins; i += kThreads) bins.low[i] = bins.high[i] = 0;
    if (thread == 0) {
      chosen = 0;
      rest = 0;
    }
    __syncthreads();
    for (int chunk = warp; chunk < row.chunks; chunk += kWarps) {
      const ChunkValues v = load_allowed(row, chunk);
#pragma unroll
      for (int i = 0; i < kOfLane; ++i) {
        const float x = v.values[i];
        const uint32_t key = ordered(x) >> below;
        if (x >= weigh.at_least && key >> width == prefix) {
          bins.add(key & ((1u << width) - 1), weigh(x));
        }
      }
    }
    __syncthreads();

    // From the highest bin down; this thread's bins end at `top`.
    const int top = kBins - 1 - kBinsOfThread * thread;
    uint64_t own = 0;
    for (int k = 0; k < kBinsOfThread; ++k) own += bins.at(top - k);
    const uint64_t inclusive = inclusive_sum(own);
    if (lane_index() == 31) of_warp[warp] = inclusive;
    __syncthreads();
    uint64_t before = inclusive - own, total = 0;
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) before += of_warp[w];
      total += of_warp[w];
    }
    if (digit == 0) {
      const uint64_t wanted =
          weigh.mass ? static_cast<uint64_t>(ceil(p.top_p * static_cast<double>(total)))
                     : static_cast<uint64_t>(p.top_k);
      target = min(max(wanted, uint64_t{1}), total);
    }
    for (int k = 0; k < kBinsOfThread; ++k) {
      const uint64_t weight = bins.at(top - k);
      if (before < target && target <= before + weight) {  // in one thread
        chosen = static_cast<uint32_t>(top - k);
        rest = target - before;
      }
      before += weight;
    }
    __syncthreads();
    prefix = (prefix << width) | chosen;
    target = rest;
    __syncthreads();
  }
  return unordered(prefix);
}

// The smallest float x for which exp((x - max) * inv_temperature) >= min_p; at most max.
__device__ float min_p_threshold(float max, float min_p, float inv_temperature) {
  const double distance = log(static_cast<double>(min_p)) / static_cast<double>(inv_temperature);
  return fminf(max, __double2float_ru(static_cast<double>(max) + distance));
}

__global__ void __launch_bounds__(kThreads, 2)
    filter_kernel(SampleCall call, int chunks, Forbidden forbidden, ChunkStatistics s) {
  const int64_t draw = blockIdx.x;
  const SamplingParameters& p = *call.parameters;
  if (p.inv_temperature == 0.0f) return;  // nor does the draw look at the threshold
  const float* logits = call.logits + (call.rows != nullptr ? call.rows[draw] : draw) * call.vocab;
  const Row row{logits, call.vocab, draw, chunks, forbidden};
  const int64_t first = draw * chunks;
  const float max = row_max(s.draw_max + first, chunks);
  const float scale = __fmul_rn(p.inv_temperature, kLog2E);
  __syncthreads();  // what it read is overwritten below

  float threshold = negative_infinity();
  if (isfinite(max)) {  // otherwise there is no distribution to filter
    if (p.top_k > 0 && p.top_k < call.vocab) {
      const Weigher count{false, threshold, max, scale};
      threshold = select(row, count, p);
    }
    if (p.top_p < 1.0f) {
      const Weigher mass{true, threshold, max, scale};
      threshold = select(row, mass, p);
    }
    if (p.min_p > 0.0f) {
      threshold = fmaxf(threshold, min_p_threshold(max, p.min_p, p.inv_temperature));
    }
  }

  for (int chunk = static_cast<int>(threadIdx.x) / 32; chunk < chunks; chunk += kWarps) {
    ChunkValues v = load_allowed(row, chunk);
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) {
      if (!(v.values[i] >= threshold)) v.values[i] = negative_infinity();
    }
    const float kept_max = chunk_max(v), kept_sum = chunk_sum(v, kept_max, scale);
    if (lane_index() == 0) {
      s.draw_max[first + chunk] = kept_max;
      s.draw_sum[first + chunk] = kept_sum;
    }
  }
  if (threadIdx.x == 0) s.threshold[draw] = threshold;
}

}  // namespace

void launch_filter(const SampleCall& call, const Forbidden& forbidden,
                   const ChunkStatistics& statistics, cudaStream_t stream) {
  filter_kernel<<<static_cast<unsigned>(call.batch), kThreads, 0, stream>>>(
      call, chunks_of(call.vocab), forbidden, statistics);
}

}  // namespace hone::kernels::cuda
