// Products of a few rows with a whole weight, for decode steps of few sequences: the weight is read
// once, at the speed of memory, and what stands around a product (norm, bias, residual, gated
// activation) is done in the same kernel, so that a layer is few launches.
//
// Shapes: M rows (1 .. kSmallBatchRows), K and N columns and rows of the weight, K % 32 == 0. bf16,
// sums in float32, in an order that depends on N and K alone; what a kernel for each operation
// would round on its way (products, norms) is rounded here too. A row's bits depend on that row
// alone, but are not those of the products for larger batches.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda_attention.h"

namespace hone::kernels::cuda {

constexpr int32_t kSmallBatchRows = 16;
constexpr int32_t kSquareColumns = 16;  // columns of a row in one part of its sum of squares

// Whether the kernels take M rows of a model of this hidden width: a thread block keeps all of
// them.
bool small_batch_holds(int32_t m, int32_t hidden);

// The product of x's norm, x * rsqrt(sum of squares / K + eps) * norm, with w.
struct NormedProduct {
  const void *x, *norm;  // [M, K], [K]
  const float* squares;  // [square_parts][M] parts of each row's sum of squares
  int32_t square_parts;
  float eps;
  const void* w;     // [N, K]
  const void* bias;  // [N] or null
  int32_t m, n, k;
};
// y [M, N] of type `out`. REQUIRES: small_batch_holds(M, K).
void normed_product(const NormedProduct& product, Type out, void* y, cudaStream_t stream);
// w [2F, K], gates before ups, no bias: y [M, F] = silu(gate) * up. REQUIRES: F % 8 == 0.
void normed_product_gated(const NormedProduct& product, void* y, cudaStream_t stream);

// residual [M, N] += x w^T + bias.
struct ProductOnto {
  const void* x;     // [M, K]
  const void* w;     // [N, K]
  const void* bias;  // [N] or null
  void* residual;
  float* squares;  // [ceil(N / kSquareColumns)][M] of the new residual
  int32_t m, n, k;
};
void product_onto(const ProductOnto& product, cudaStream_t stream);

// x [M, C] = rows `tokens` [M] of table [V, C]; squares [1][M].
void small_embedding(const int64_t* tokens, const void* table, void* x, float* squares, int32_t m,
                     int32_t c, cudaStream_t stream);

}  // namespace hone::kernels::cuda
