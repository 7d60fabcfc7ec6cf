// A row of logits in chunks of 1024, each of which one warp holds in its registers: 32 logits a
// lane. What sample.cu and sample_filter.cu share.
//
// Every sum has one order, and what a compiler could contract is written as the operation it is:
// the same row gives the same bits wherever these functions are used.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/cuda_sample.h"
#include "kernels/packs.cuh"

namespace hone::kernels::cuda {

constexpr int kChunk = 1024;
constexpr int kOfLane = kChunk / 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;

// What the kernels of a call hand to each other, all in the workspace. A chunk's sums are of
// 2^((x - the chunk's max) * scale), where scale is inv_temperature * log2(e).
struct ChunkStatistics {
  // [B, chunks]; `weighted` is the sum of (x - max) * scale times the weight of x.
  float *max, *sum, *weighted;  // of the model at temperature 1; in log_prob, at its temperature
  float *draw_max, *draw_sum;   // of what may be drawn, at the temperature of the draw
  float* threshold;             // [B]: the filters keep the logits that are not below it
};

// Which ids a draw may not take.
struct Forbidden {
  const int32_t* ids;
  int64_t count;
  const uint8_t* rows;  // null: none
};

inline int chunks_of(int64_t vocab) { return static_cast<int>((vocab + kChunk - 1) / kChunk); }

// Gives every draw of `call` its threshold, and its chunks the statistics of what is kept.
// Expects the draw_max of all that is not forbidden.
void launch_filter(const SampleCall& call, const Forbidden& forbidden,
                   const ChunkStatistics& statistics, cudaStream_t stream);

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x % 32); }

__device__ __forceinline__ float negative_infinity() { return __uint_as_float(0xFF800000u); }

// 2^x; 0 where that is below the smallest normal float. Two units in the last place.
__device__ __forceinline__ float exp2_flushed(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A maximum that can be subtracted: that of an empty set is -inf, and -inf - -inf is NaN.
__device__ __forceinline__ float shift_of(float max) {
  return max == negative_infinity() ? 0.0f : max;
}

// values[i] is logit 4 * lane + index_of(i) of the chunk; -inf behind the row's end.
struct ChunkValues {
  float values[kOfLane];
};
__device__ __forceinline__ constexpr int index_of(int i) { return 128 * (i / 4) + i % 4; }

__device__ __forceinline__ ChunkValues load_chunk(const float* row, int64_t vocab, int chunk) {
  ChunkValues v;
  const int64_t begin = static_cast<int64_t>(chunk) * kChunk;
  const float* x = row + begin + 4 * lane_index();
  // Rows of an odd vocabulary do not begin at multiples of 16 bytes.
  if (begin + kChunk <= vocab && reinterpret_cast<uintptr_t>(row) % 16 == 0) {
#pragma unroll
    for (int j = 0; j < kOfLane / 4; ++j) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(x + 128 * j));
      v.values[4 * j] = four.x;
      v.values[4 * j + 1] = four.y;
      v.values[4 * j + 2] = four.z;
      v.values[4 * j + 3] = four.w;
    }
  } else {
    const int left = static_cast<int>(min(vocab - begin, int64_t{kChunk})) - 4 * lane_index();
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) {
      v.values[i] = index_of(i) < left ? __ldg(x + index_of(i)) : negative_infinity();
    }
  }
  return v;
}

// Sets what draw `draw` may not take to -inf; true if there was something in this chunk.
__device__ __forceinline__ bool mask_forbidden(ChunkValues& v, const Forbidden& forbidden,
                                               int64_t draw, int chunk) {
  if (forbidden.rows == nullptr || forbidden.rows[draw] == 0) return false;
  bool found = false;
  for (int64_t f = 0; f < forbidden.count; ++f) {
    const int id = forbidden.ids[f];
    if (id < 0 || id / kChunk != chunk) continue;
    found = true;
    const int index = id % kChunk - 4 * lane_index();
#pragma unroll
    for (int i = 0; i < kOfLane; ++i) {
      if (index_of(i) == index) v.values[i] = negative_infinity();
    }
  }
  return found;
}

// ---- a chunk's statistics: all lanes get them
// ----------------------------------------------------

// NaN is passed over: it shows in the sums.
__device__ __forceinline__ float chunk_max(const ChunkValues& v) {
  float max = v.values[0];
#pragma unroll
  for (int i = 1; i < kOfLane; ++i) max = fmaxf(max, v.values[i]);
  return warp_max(max);
}

__device__ __forceinline__ float exponent(float x, float shift, float scale) {
  return __fmul_rn(__fsub_rn(x, shift), scale);
}

__device__ __forceinline__ float chunk_sum(const ChunkValues& v, float max, float scale) {
  const float shift = shift_of(max);
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kOfLane; ++i) {
    sum = __fadd_rn(sum, exp2_flushed(exponent(v.values[i], shift, scale)));
  }
  return warp_sum(sum);
}

struct ChunkSums {
  float sum, weighted;  // sum has the bits of chunk_sum
};
__device__ __forceinline__ ChunkSums chunk_sums(const ChunkValues& v, float max, float scale) {
  const float shift = shift_of(max);
  float sum = 0.0f, weighted = 0.0f;
#pragma unroll
  for (int i = 0; i < kOfLane; ++i) {
    const float e = exponent(v.values[i], shift, scale);
    const float weight = exp2_flushed(e);
    sum = __fadd_rn(sum, weight);
    // Below -126 the weight is 0; the maximum keeps 0 * -inf away.
    weighted = __fmaf_rn(weight, fmaxf(e, -200.0f), weighted);
  }
  return {warp_sum(sum), warp_sum(weighted)};
}

// ---- all chunks of a row; by one warp, each lane a stretch of neighbouring chunks
// ----------------

__device__ __forceinline__ float row_max(const float* max, int chunks) {
  float best = negative_infinity();
  for (int c = lane_index(); c < chunks; c += 32) best = fmaxf(best, max[c]);
  return warp_max(best);
}

// The sum over the lanes up to and including this one.
template <class Number>
__device__ __forceinline__ Number inclusive_sum(Number x) {
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const Number lower = __shfl_up_sync(kAllLanes, x, step);
    if (lane_index() >= step) x += lower;
  }
  return x;
}

// A chunk's sum as a part of the row's, which is relative to the row's maximum.
__device__ __forceinline__ float chunk_weight(float max, float sum, float shift, float scale) {
  return __fmul_rn(exp2_flushed(exponent(max, shift, scale)), sum);
}

struct LaneSums {
  int begin, end;    // this lane's chunks
  double own;        // their weights
  double inclusive;  // the weights of all chunks before `end`
  double total;      // of the row
};
__device__ __forceinline__ LaneSums row_sums(const float* max, const float* sum, int chunks,
                                             float shift, float scale) {
  LaneSums s;
  const int stretch = (chunks + 31) / 32;
  s.begin = min(chunks, lane_index() * stretch);
  s.end = min(chunks, s.begin + stretch);
  s.own = 0.0;
  for (int c = s.begin; c < s.end; ++c) {
    s.own += static_cast<double>(chunk_weight(max[c], sum[c], shift, scale));
  }
  s.inclusive = inclusive_sum(s.own);
  s.total = __shfl_sync(kAllLanes, s.inclusive, 31);
  return s;
}

__device__ __forceinline__ float log_of_total(double total) {
  return logf(static_cast<float>(total));
}

// The log-probability of logit x in a row with this maximum (as a shift) and this sum.
__device__ __forceinline__ float log_probability(float x, float shift, float inv_temperature,
                                                 float log_total) {
  return __fmaf_rn(__fsub_rn(x, shift), inv_temperature, -log_total);
}

// -sum p log p = log(total) - E[(x - max) * inv_temperature].
__device__ __forceinline__ float row_entropy(const ChunkStatistics& s, int64_t row, int chunks,
                                             float shift, float scale, const LaneSums& sums) {
  double own = 0.0;
  for (int c = sums.begin; c < sums.end; ++c) {
    const int64_t i = row * chunks + c;
    const float e = exponent(s.max[i], shift, scale);
    // As in chunk_sums: no 0 * -inf.
    const float weighted = __fmaf_rn(fmaxf(e, -200.0f), s.sum[i], s.weighted[i]);
    own += static_cast<double>(__fmul_rn(exp2_flushed(e), weighted));
  }
  const double total = __shfl_sync(kAllLanes, inclusive_sum(own), 31);
  const float expected = static_cast<float>(total / sums.total);
  return __fmaf_rn(-kLn2, expected, log_of_total(sums.total));
}

}  // namespace hone::kernels::cuda
