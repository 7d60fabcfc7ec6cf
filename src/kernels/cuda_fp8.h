// 8-bit floating point (E4M3) for matrix products, as DeepSeek-V3 trains (arXiv 2412.19437, section
// 3.3.2): activations and gradients in tiles of 1 x 128, weights in blocks of 128 x 128, each with
// a float32 factor: x = q * factor, factor = the largest magnitude / 448. A product runs along rows
// of both of its matrices, so each matrix is kept as it stands and transposed where both ways are
// needed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace hone::kernels::cuda {

constexpr int64_t kFp8Block = 128;
constexpr int64_t kFp8Rows = 16;  // what the rows of a product are rounded up to

// x [M, K] bf16, K a multiple of 128, P = M rounded up to kFp8Rows.
//   q [P, K], factors [K / 128][P]: tiles along K; rows from M on are 0
//   or null: qt [K, P], factors_t [ceil(P / 128)][K]: tiles along M
struct Fp8Rows {
  const void* x;
  int64_t stride;  // of a row of x, in elements
  void* q;
  float* factors;
  void* qt;
  float* factors_t;
};
void to_fp8(const Fp8Rows& call, int64_t m, int64_t k, cudaStream_t stream);

// w [N, K] bf16, both multiples of 128 -> q [N, K], qt [K, N]; factors [N / 128][K / 128 rounded up
// to 4], factors_t [K / 128][N / 128 rounded up to 4].
struct Fp8Weight {
  const void* w;
  void* q;
  float* factors;
  void* qt;
  float* factors_t;
};
void weight_to_fp8(const Fp8Weight& call, int64_t n, int64_t k, cudaStream_t stream);

}  // namespace hone::kernels::cuda
