// Rows on their way to experts and back, on the GPU. On raw device pointers, bf16 or float32;
// arithmetic in float32, each sum in one order: no atomics.
//
// Shapes: T tokens, k experts a token, R = T k rows sorted by expert, C width. `place` [T, k] is
// the row of each choice: every row is one choice's.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda_attention.h"

namespace hone::kernels::cuda {

// rows [R, C]: row r is x [T, C] at token[r].
void gather_rows(Type type, const void* x, const int64_t* token, void* rows, int64_t count,
                 int64_t width, cudaStream_t stream);

// y [T, C]: the sum of weights[t][i] rows[place[t][i]] over i, in order; weights [T, k] float32, or
// null: 1. Without weights it is the gradient of gather_rows.
void sum_rows(Type type, const void* rows, const int64_t* place, const float* weights, void* y,
              int64_t tokens, int64_t choices, int64_t width, cudaStream_t stream);

// The gradients of sum_rows with weights: drows[place[t][i]] = weights[t][i] dy[t], and
// dweights[t][i] = dy[t] . rows[place[t][i]].
void sum_rows_backward(Type type, const void* dy, const void* rows, const int64_t* place,
                       const float* weights, void* drows, float* dweights, int64_t tokens,
                       int64_t choices, int64_t width, cudaStream_t stream);

}  // namespace hone::kernels::cuda
