// A thread block takes 128 x 128 elements through shared memory, so that they are read once for
// both directions.
#include <cuda_fp8.h>

#include "kernels/cuda_fp8.h"
#include "kernels/packs.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kSide = static_cast<int>(kFp8Block), kThreads = 256, kWarps = kThreads / 32;
constexpr int kStride = kSide + 2;  // a column's elements lie in different banks
constexpr float kLargest = 448.0f;

using Tile = __nv_bfloat16[kSide][kStride];

// Of zeros alone: anything will do.
__device__ float factor_of(float largest) { return largest > 0.0f ? largest / kLargest : 1.0f; }

__device__ __nv_fp8_e4m3 rounded(float x) { return __nv_fp8_e4m3(x); }

// Rows from `rows` on are 0.
__device__ void load_tile(const __nv_bfloat16* from, int64_t stride, int64_t rows, Tile& tile) {
  constexpr int kPacks = kSide / 8;
  for (int i = threadIdx.x; i < kSide * kPacks; i += kThreads) {
    const int r = i / kPacks, c = i % kPacks * 8;
    Pack<__nv_bfloat16> p{};
    if (r < rows) p = *reinterpret_cast<const Pack<__nv_bfloat16>*>(from + r * stride + c);
      // 4 bytes at a time: a row begins on an even element.
#pragma unroll
    for (int e = 0; e < 8; e += 2) {
      *reinterpret_cast<__nv_bfloat162*>(&tile[r][c + e]) = __nv_bfloat162(p.v[e], p.v[e + 1]);
    }
  }
  __syncthreads();
}

// A row or a column of the tile, four elements a lane; `at(i)` is its element i.
template <class At>
struct Line {
  float x[4];
  __device__ explicit Line(const At& at) {
#pragma unroll
    for (int i = 0; i < 4; ++i) x[i] = to_float(at(threadIdx.x % 32 + 32 * i));
  }
  __device__ float largest() const {
    return warp_max(fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3]))));
  }
  // Elements from `count` on are left out.
  __device__ void store(__nv_fp8_e4m3* to, float factor, int64_t count) const {
    const float inverse = 1.0f / factor;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = static_cast<int>(threadIdx.x % 32) + 32 * i;
      if (at < count) to[at] = rounded(x[i] * inverse);
    }
  }
};

__global__ void __launch_bounds__(kThreads)
    fp8_rows_kernel(const Fp8Rows a, int64_t m, int64_t k, int64_t padded) {
  __shared__ Tile tile;
  const int64_t row = static_cast<int64_t>(blockIdx.y) * kSide,
                column = blockIdx.x * int64_t{kSide};
  load_tile(static_cast<const __nv_bfloat16*>(a.x) + row * a.stride + column, a.stride, m - row,
            tile);
  const int warp = threadIdx.x / 32;
  const bool first = threadIdx.x % 32 == 0;
  const int64_t rows = padded - row;  // that exist from here on
  for (int r = warp; r < kSide && r < rows; r += kWarps) {
    const Line line([&](int i) { return tile[r][i]; });
    const float factor = factor_of(line.largest());
    if (first) a.factors[blockIdx.x * padded + row + r] = factor;
    line.store(static_cast<__nv_fp8_e4m3*>(a.q) + (row + r) * k + column, factor, kSide);
  }
  for (int c = warp; c < kSide; c += kWarps) {
    const Line line([&](int i) { return tile[i][c]; });
    const float factor = factor_of(line.largest());
    if (first) a.factors_t[blockIdx.y * k + column + c] = factor;
    line.store(static_cast<__nv_fp8_e4m3*>(a.qt) + (column + c) * padded + row, factor, rows);
  }
}

// Along the columns alone: a warp takes a tile.
__global__ void __launch_bounds__(kThreads)
    fp8_tiles_kernel(const Fp8Rows a, int64_t m, int64_t k, int64_t padded) {
  const int64_t tile = blockIdx.x * int64_t{kWarps} + threadIdx.x / 32, tiles = k / kSide;
  const int64_t row = tile / tiles, column = tile % tiles;
  if (row >= padded) return;
  const auto* from = static_cast<const __nv_bfloat16*>(a.x) + row * a.stride + column * kSide;
  const Line line([&](int i) { return row < m ? from[i] : from_float<__nv_bfloat16>(0.0f); });
  const float factor = factor_of(line.largest());
  if (threadIdx.x % 32 == 0) a.factors[column * padded + row] = factor;
  line.store(static_cast<__nv_fp8_e4m3*>(a.q) + row * k + column * kSide, factor, kSide);
}

__global__ void __launch_bounds__(kThreads)
    fp8_weight_kernel(const Fp8Weight a, int64_t n, int64_t k) {
  __shared__ Tile tile;
  __shared__ float of_warp[kWarps];
  const int64_t row = static_cast<int64_t>(blockIdx.y) * kSide,
                column = blockIdx.x * int64_t{kSide};
  load_tile(static_cast<const __nv_bfloat16*>(a.w) + row * k + column, k, kSide, tile);
  const int warp = threadIdx.x / 32;
  float largest = 0.0f;
  for (int r = warp; r < kSide; r += kWarps) {
    largest = fmaxf(largest, Line([&](int i) { return tile[r][i]; }).largest());
  }
  if (threadIdx.x % 32 == 0) of_warp[warp] = largest;
  __syncthreads();
  for (const float other : of_warp) largest = fmaxf(largest, other);
  const float factor = factor_of(largest);
  if (threadIdx.x == 0) {
    const auto padded = [](int64_t blocks) { return (blocks + 3) / 4 * 4; };
    a.factors[blockIdx.y * padded(k / kSide) + blockIdx.x] = factor;
    a.factors_t[blockIdx.x * padded(n / kSide) + blockIdx.y] = factor;
  }
  for (int r = warp; r < kSide; r += kWarps) {
    Line([&](int i) {
      return tile[r][i];
    }).store(static_cast<__nv_fp8_e4m3*>(a.q) + (row + r) * k + column, factor, kSide);
    Line([&](int i) {
      return tile[i][r];
    }).store(static_cast<__nv_fp8_e4m3*>(a.qt) + (column + r) * n + row, factor, kSide);
  }
}

unsigned blocks_of(int64_t elements) {
  return static_cast<unsigned>((elements + kSide - 1) / kSide);
}

}  // namespace

void to_fp8(const Fp8Rows& call, int64_t m, int64_t k, cudaStream_t stream) {
  if (m == 0) return;
  const int64_t padded = (m + kFp8Rows - 1) / kFp8Rows * kFp8Rows;
  if (call.qt == nullptr) {
    const int64_t tiles = padded * (k / kSide);
    fp8_tiles_kernel<<<static_cast<unsigned>((tiles + kWarps - 1) / kWarps), kThreads, 0, stream>>>(
        call, m, k, padded);
    return;
  }
  fp8_rows_kernel<<<dim3(blocks_of(k), blocks_of(padded)), kThreads, 0, stream>>>(call, m, k,
                                                                                  padded);
}

void weight_to_fp8(const Fp8Weight& call, int64_t n, int64_t k, cudaStream_t stream) {
  fp8_weight_kernel<<<dim3(blocks_of(k), blocks_of(n)), kThreads, 0, stream>>>(call, n, k);
}

}  // namespace hone::kernels::cuda
