// Row kernels on the GPU: norms, the rotary embedding, gated activations. On raw device pointers,
// bf16 or float32; arithmetic in float32. A row's bits depend on that row alone.
//
// Shapes: T rows, C hidden width, H query heads, G key/value heads, D head size, F feed-forward
// width.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda_attention.h"

namespace hone::kernels::cuda {

// sum = x + delta, rounded to the type; y = sum * rsqrt(mean(sum^2) + eps) * weight.
// x, delta, sum, y: [T, C]; sum may be x. delta null: y of x, sum is not written. inv_rms: [T]
// float32 or null.
void add_rms_norm(Type type, const void* x, const void* delta, const void* weight, float eps,
                  void* sum, void* y, float* inv_rms, int64_t rows, int64_t width,
                  cudaStream_t stream);

// gate_up [T, 2F] -> y [T, F]: silu(gate) * up.
void swiglu(Type type, const void* gate_up, void* y, int64_t rows, int64_t width,
            cudaStream_t stream);
// dy [T, F] -> dgate_up [T, 2F].
void swiglu_backward(Type type, const void* dy, const void* gate_up, void* dgate_up, int64_t rows,
                     int64_t width, cudaStream_t stream);

// Norms (where weights are given) and rotates queries and keys of qkv [T, (H + 2G) D] in place, and
// copies keys and values into the cache, [blocks][G][16][D], at slots (block * 16 + offset; -1: not
// at all). cos, sin: [positions, D / 2] float32, pairs (i, i + D / 2); null: already rotated.
struct PrepareHeads {
  void* qkv;
  const int64_t* positions;  // [T]
  const int64_t* slots;      // [T] or null: no cache
  const float *cos, *sin;
  const void *query_norm, *key_norm;  // [D] or null
  float eps;
  void *keys, *values;
  HeadShape shape;
};
void prepare_heads(Type type, const PrepareHeads& call, int64_t rows, cudaStream_t stream);

// y [M, N] of `type` = bias (bf16, [N], or null) + the sum of parts [count][M][N], added in order.
void add_pieces(const float* parts, int64_t count, const void* bias, Type type, void* y,
                int64_t rows, int64_t columns, cudaStream_t stream);

}  // namespace hone::kernels::cuda
