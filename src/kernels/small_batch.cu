// A thread block takes 16 rows of the weight at a time, its warps pieces of K. The tensor cores
// multiply 16 rows of the weight by 8 rows of x. Each lane copies its own operands, 8 neighbours of
// K at once, into a ring of its own in shared memory, the first before the kernel in front has
// ended. (Loads into registers ahead of time were half as fast: what a warp waits for are not
// single loads but the few counters that its loads share.)
#include <cuda_bf16.h>

#include <algorithm>

#include "kernels/attention_tiles.cuh"
#include "kernels/cuda_small_batch.h"
#include "kernels/launch.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kOutputs = 16;                // rows of the weight that a thread block takes
constexpr int kChunk = 32;                  // of K, that a warp takes at a time
constexpr size_t kSharedBytes = 227 << 10;  // of a thread block
static_assert(kOutputs == kSquareColumns);

enum class Output { bf16, float32, gated };

// Copies 16 bytes; `real` false: zeros.
__device__ void copy_async(uint4* to, const void* from, bool real) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(real ? 16 : 0)
               : "memory");
}
__device__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ float bf16_low(uint32_t x) { return __uint_as_float(x << 16); }
__device__ float bf16_high(uint32_t x) { return __uint_as_float(x & 0xFFFF0000u); }

__device__ uint32_t normed(uint32_t x, float inverse, uint32_t weight) {
  return pack(__fmul_rn(__fmul_rn(bf16_low(x), inverse), bf16_low(weight)),
              __fmul_rn(__fmul_rn(bf16_high(x), inverse), bf16_high(weight)));
}

__device__ float rounded(float x) { return __bfloat162float(__float2bfloat16_rn(x)); }

__device__ float sum_of_warp(float x) {
  for (int step = 16; step > 0; step /= 2) x = __fadd_rn(x, __shfl_xor_sync(kAll, x, step));
  return x;
}

// sums += 16 rows of the weight (rows g and g + 8 of the lane) times 8 rows of x (the lane's row
// g).
__device__ void multiply(const uint4& low, const uint4& high, const uint4& x, float (&sums)[4]) {
  mma(sums, low.x, high.x, low.y, high.y, x.x, x.y);
  mma(sums, low.z, high.z, low.w, high.w, x.z, x.w);
}

// What the warps have, by row of x and output.
template <int kTiles, int kWarps>
using Partial = float[kWarps][8 * kTiles][kOutputs + 1];

template <int kTiles, int kWarps>
__device__ void put_sums(const float (&sums)[kTiles][4], Partial<kTiles, kWarps>& partial) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, j = lane % 4;
#pragma unroll
  for (int t = 0; t < kTiles; ++t) {
#pragma unroll
    for (int e = 0; e < 4; ++e) partial[warp][8 * t + 2 * j + e % 2][g + e / 2 * 8] = sums[t][e];
  }
}

template <int kTiles, int kWarps>
__device__ float total(const Partial<kTiles, kWarps>& partial, int row, int output) {
  float sum = 0.0f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) sum = __fadd_rn(sum, partial[w][row][output]);
  return sum;
}

__device__ float add_bias(float sum, const void* bias, int column) {
  return bias == nullptr
             ? sum
             : __fadd_rn(sum, __bfloat162float(static_cast<const __nv_bfloat16*>(bias)[column]));
}

// ---- products of normed rows: a thread block keeps the rows and runs through many tiles

constexpr int kNormedWarps = 16, kNormedSlots = 6;
constexpr int kNormedRing = kNormedSlots * 2 * 32;  // of a warp, in pieces of 16 bytes

// Pieces of 16 bytes from row to row of x in shared memory: eight lanes that read four pieces of
// two rows meet no bank twice.
__host__ __device__ constexpr int row_pieces(int k) { return k / 8 + (k % 64 == 0 ? 4 : 0); }
constexpr size_t normed_bytes(int m, int k) {
  return sizeof(uint4) * (kNormedWarps * kNormedRing + static_cast<size_t>(m) * row_pieces(k));
}

template <int kTiles, Output kOutput>
__global__ void __launch_bounds__(32 * kNormedWarps, 1)
    normed_product_kernel(const NormedProduct a, void* y) {
  __shared__ Partial<kTiles, kNormedWarps> partial[2];
  __shared__ float inverse[8 * kTiles];
  extern __shared__ uint4 rings[];
  uint4* rows = rings + kNormedWarps * kNormedRing;  // [M][row_pieces(K)]
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, j = lane % 4;
  constexpr bool kGated = kOutput == Output::gated;
  constexpr int kColumns = kGated ? kOutputs / 2 : kOutputs;  // of the result that a tile gives
  const int width = kGated ? a.n / 2 : a.n;                   // of a row of the result
  const int tiles = (width + kColumns - 1) / kColumns, chunks = a.k / kChunk;
  const int pieces = a.k / 8, stride = row_pieces(a.k);

  // The ring runs ahead through chunks and tiles.
  uint4* ring = rings + warp * kNormedRing + lane;
  const auto* weight = static_cast<const __nv_bfloat16*>(a.w) + 8 * j;
  int next_tile = warp < chunks ? blockIdx.x : tiles, next_chunk = warp, next_slot = 0;
  const auto fetch = [&] {
    if (next_tile < tiles) {
      const int column = next_tile * kColumns + g;
      const int low = min(column, width - 1);
      const int high = kGated ? width + low : min(column + 8, width - 1);
      uint4* to = ring + next_slot * 64;
      const int64_t at = next_chunk * kChunk;
      copy_async(to, weight + static_cast<int64_t>(low) * a.k + at, true);
      copy_async(to + 32, weight + static_cast<int64_t>(high) * a.k + at, true);
      next_slot = next_slot + 1 == kNormedSlots ? 0 : next_slot + 1;
      next_chunk += kNormedWarps;
      if (next_chunk >= chunks) next_chunk = warp, next_tile += gridDim.x;
    }
    commit_copies();
  };
  let_next_begin();
#pragma unroll 1
  for (int i = 0; i < kNormedSlots; ++i) fetch();
  wait_for_previous();

  // Each thread brings pieces of the rows, and norms them when the sums of squares are known.
  const auto for_pieces = [&](auto take) {
    for (int i = threadIdx.x; i < a.m * pieces; i += 32 * kNormedWarps) {
      take(i, rows + i / pieces * stride + i % pieces);
    }
  };
  for_pieces([&](int i, uint4* to) { copy_async(to, static_cast<const uint4*>(a.x) + i, true); });
  commit_copies();
  for (int row = warp; row < a.m; row += kNormedWarps) {
    float sum = 0.0f;
    for (int part = lane; part < a.square_parts; part += 32) {
      sum = __fadd_rn(sum, __ldcg(a.squares + part * a.m + row));
    }
    sum = sum_of_warp(sum);
    if (lane == 0) inverse[row] = rsqrtf(sum / static_cast<float>(a.k) + a.eps);
  }
  wait_copies<0>();
  __syncthreads();
  for_pieces([&](int i, uint4* at) {
    const uint4 x = *at, f = static_cast<const uint4*>(a.norm)[i % pieces];
    const float factor = inverse[i / pieces];
    *at = make_uint4(normed(x.x, factor, f.x), normed(x.y, factor, f.y), normed(x.z, factor, f.z),
                     normed(x.w, factor, f.w));
  });
  __syncthreads();

  int slot = 0, buffer = 0;
  for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x, buffer ^= 1) {
    float sums[kTiles][4] = {};
    for (int chunk = warp; chunk < chunks; chunk += kNormedWarps) {
      wait_copies<kNormedSlots - 1>();
      const uint4 low = ring[slot * 64], high = ring[slot * 64 + 32];
      slot = slot + 1 == kNormedSlots ? 0 : slot + 1;
      fetch();
#pragma unroll
      for (int t = 0; t < kTiles; ++t) {
        // Rows behind the last repeat it; their sums are not written.
        multiply(low, high, rows[min(8 * t + g, a.m - 1) * stride + chunk * 4 + j], sums[t]);
      }
    }
    put_sums<kTiles, kNormedWarps>(sums, partial[buffer]);
    __syncthreads();  // the buffer of the tile before is free from here on
    for (int i = threadIdx.x; i < 8 * kTiles * kOutputs; i += 32 * kNormedWarps) {
      const int row = i / kOutputs, output = i % kOutputs, column = tile * kColumns + output;
      const bool real = row < a.m && output < kColumns && column < width;
      float sum = total<kTiles, kNormedWarps>(partial[buffer], row, output);
      if (real) sum = add_bias(sum, a.bias, column);
      const int64_t at = static_cast<int64_t>(row) * width + column;
      if constexpr (kGated) {
        const float gate = rounded(sum), up = __shfl_down_sync(kAll, gate, 8);
        sum = __fmul_rn(gate / (1.0f + __expf(-gate)), up);
      }
      if (!real) continue;
      if constexpr (kOutput == Output::float32) {
        static_cast<float*>(y)[at] = sum;
      } else {
        static_cast<__nv_bfloat16*>(y)[at] = __float2bfloat16_rn(sum);
      }
    }
  }
}

template <int kTiles, Output kOutput>
void launch_normed(const NormedProduct& a, void* y, cudaStream_t stream) {
  static const bool once = [] {
    cudaFuncAttributes attributes{};
    cudaFuncGetAttributes(&attributes, normed_product_kernel<kTiles, kOutput>);
    cudaFuncSetAttribute(normed_product_kernel<kTiles, kOutput>,
                         cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(kSharedBytes - attributes.sharedSizeBytes));
    return true;
  }();
  (void)once;
  const int tiles = (a.n + kOutputs - 1) / kOutputs;
  launch_overlapped(normed_product_kernel<kTiles, kOutput>, std::min(tiles, processor_count()),
                    32 * kNormedWarps, normed_bytes(a.m, a.k), stream, a, y);
}

template <Output kOutput>
void launch_normed(const NormedProduct& a, void* y, cudaStream_t stream) {
  (a.m <= 8 ? launch_normed<1, kOutput> : launch_normed<2, kOutput>)(a, y, stream);
}

// ---- products onto the residual stream: a thread block takes one tile, x comes as the weight does

// A slot of a warp's ring holds two rows of the weight and kTiles of x for each lane.
template <int kTiles>
struct Ring {
  static constexpr int kPieces = 2 + kTiles;  // of 16 bytes
  static constexpr int kSlots = kTiles == 1 ? 6 : 4;
  static constexpr int kOfWarp = kSlots * kPieces * 32;
};

template <int kTiles, int kWarps>
__global__ void __launch_bounds__(32 * kWarps, 16 / kWarps)
    product_onto_kernel(const ProductOnto a) {
  constexpr int kSlots = Ring<kTiles>::kSlots, kPieces = Ring<kTiles>::kPieces;
  __shared__ Partial<kTiles, kWarps> partial;
  extern __shared__ uint4 rings[];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, j = lane % 4;
  const int tile = blockIdx.x;
  const auto* weight = static_cast<const __nv_bfloat16*>(a.w) + 8 * j;
  const auto row_of = [&](int column) {
    return weight + static_cast<int64_t>(min(column, a.n - 1)) * a.k;
  };
  const __nv_bfloat16 *low = row_of(tile * kOutputs + g), *high = row_of(tile * kOutputs + g + 8);
  const auto* x = static_cast<const __nv_bfloat16*>(a.x) + 8 * j;
  const int chunks = a.k / kChunk;  // the warps take turns: neighbours are read at the same time
  uint4* ring = rings + warp * Ring<kTiles>::kOfWarp + lane;
  const auto piece = [&](int slot, int i) { return ring + (slot * kPieces + i) * 32; };
  const auto fetch_weight = [&](int slot, int chunk) {
    if (chunk >= chunks) return;
    copy_async(piece(slot, 0), low + chunk * kChunk, true);
    copy_async(piece(slot, 1), high + chunk * kChunk, true);
  };
  const auto fetch_rows = [&](int slot, int chunk) {
    if (chunk >= chunks) return;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const int row = 8 * t + g;
      const bool real = row < a.m;
      const auto* from = x + static_cast<int64_t>(real ? row : 0) * a.k + chunk * kChunk;
      copy_async(piece(slot, 2 + t), from, real);
    }
  };

  let_next_begin();
#pragma unroll
  for (int u = 0; u < kSlots; ++u) fetch_weight(u, warp + u * kWarps);
  wait_for_previous();
#pragma unroll
  for (int u = 0; u < kSlots; ++u) {
    fetch_rows(u, warp + u * kWarps);
    commit_copies();
  }
  float sums[kTiles][4] = {};
  int slot = 0;
  for (int chunk = warp; chunk < chunks; chunk += kWarps) {
    wait_copies<kSlots - 1>();
    const uint4 l = *piece(slot, 0), h = *piece(slot, 1);
    uint4 r[kTiles];
#pragma unroll
    for (int t = 0; t < kTiles; ++t) r[t] = *piece(slot, 2 + t);
    fetch_weight(slot, chunk + kSlots * kWarps);
    fetch_rows(slot, chunk + kSlots * kWarps);
    commit_copies();
    slot = slot + 1 == kSlots ? 0 : slot + 1;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) multiply(l, h, r[t], sums[t]);
  }
  put_sums<kTiles, kWarps>(sums, partial);
  __syncthreads();
  // 16 lanes take the tile's outputs of a row.
  for (int i = threadIdx.x; i < 8 * kTiles * kOutputs; i += 32 * kWarps) {
    const int row = i / kOutputs, output = i % kOutputs, column = tile * kOutputs + output;
    const bool real = row < a.m && column < a.n;
    float sum = total<kTiles, kWarps>(partial, row, output);
    if (real) {
      const int64_t at = static_cast<int64_t>(row) * a.n + column;
      auto* stream = static_cast<__nv_bfloat16*>(a.residual) + at;
      sum = rounded(__fadd_rn(__bfloat162float(*stream), rounded(add_bias(sum, a.bias, column))));
      *stream = __float2bfloat16_rn(sum);
    }
    float square = real ? __fmul_rn(sum, sum) : 0.0f;
    for (int step = 8; step > 0; step /= 2) {
      square = __fadd_rn(square, __shfl_xor_sync(kAll, square, step));
    }
    if (output == 0 && row < a.m) a.squares[tile * a.m + row] = square;
  }
}

template <int kTiles, int kWarps>
void launch_onto(const ProductOnto& a, int tiles, cudaStream_t stream) {
  constexpr int kBytes = static_cast<int>(sizeof(uint4)) * kWarps * Ring<kTiles>::kOfWarp;
  static const bool once = [] {
    cudaFuncSetAttribute(product_onto_kernel<kTiles, kWarps>,
                         cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    return true;
  }();
  (void)once;
  launch_overlapped(product_onto_kernel<kTiles, kWarps>, tiles, 32 * kWarps, kBytes, stream, a);
}

__global__ void embedding_kernel(const int64_t* tokens, const __nv_bfloat16* table,
                                 __nv_bfloat16* x, float* squares, int c) {
  __shared__ float of_warp[32];
  let_next_begin();
  wait_for_previous();
  const int row = blockIdx.x;
  const auto* from = reinterpret_cast<const uint4*>(table + tokens[row] * c);
  auto* to = reinterpret_cast<uint4*>(x + static_cast<int64_t>(row) * c);
  float square = 0.0f;
  for (int i = threadIdx.x; i < c / 8; i += blockDim.x) {
    const uint4 p = from[i];
    to[i] = p;
    for (const uint32_t word : {p.x, p.y, p.z, p.w}) {
      square = __fmaf_rn(bf16_low(word), bf16_low(word), square);
      square = __fmaf_rn(bf16_high(word), bf16_high(word), square);
    }
  }
  square = sum_of_warp(square);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = square;
  __syncthreads();
  if (threadIdx.x > 0) return;
  float sum = 0.0f;
  for (unsigned w = 0; w < blockDim.x / 32; ++w) sum = __fadd_rn(sum, of_warp[w]);
  squares[row] = sum;
}

}  // namespace

void small_embedding(const int64_t* tokens, const void* table, void* x, float* squares, int32_t m,
                     int32_t c, cudaStream_t stream) {
  launch_overlapped(embedding_kernel, m, 128, 0, stream, tokens,
                    static_cast<const __nv_bfloat16*>(table), static_cast<__nv_bfloat16*>(x),
                    squares, c);
}

bool small_batch_holds(int32_t m, int32_t hidden) {
  const size_t sums = 2 * sizeof(Partial<2, kNormedWarps>) + 1024;
  return m <= kSmallBatchRows && normed_bytes(m, hidden) + sums <= kSharedBytes;
}

void normed_product(const NormedProduct& product, Type out, void* y, cudaStream_t stream) {
  (out == Type::bf16 ? launch_normed<Output::bf16> : launch_normed<Output::float32>)(product, y,
                                                                                     stream);
}

void normed_product_gated(const NormedProduct& product, void* y, cudaStream_t stream) {
  launch_normed<Output::gated>(product, y, stream);
}

void product_onto(const ProductOnto& product, cudaStream_t stream) {
  const int tiles = (product.n + kOutputs - 1) / kOutputs;
  // Where there is a multiprocessor for each thread block, it may as well be large.
  const bool few = tiles <= processor_count();
  if (product.m <= 8) {
    (few ? launch_onto<1, 16> : launch_onto<1, 8>)(product, tiles, stream);
  } else {
    (few ? launch_onto<2, 16> : launch_onto<2, 8>)(product, tiles, stream);
  }
}

}  // namespace hone::kernels::cuda
