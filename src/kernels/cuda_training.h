// Kernels of the training step on the GPU, on raw device pointers, bf16 or float32; arithmetic in
// float32. Sums over rows have one order: the same call gives the same bits.
//
// Shapes: T rows, C hidden width, H query heads, G key/value heads, D head size (even).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda_attention.h"

namespace hone::kernels::cuda {

// Of y = x inv_rms weight: dx = dsum + the gradient of the norm, dweight [C] += that of the weight.
struct NormBackward {
  const void *dy, *x;    // [T, C]
  const void* dsum;      // [T, C] or null: what reaches x by other ways
  const void* weight;    // [C]
  const float* inv_rms;  // [T]
  void* dx;              // [T, C]; may be dy or dsum
  float* dweight;        // [C] or null: not wanted
  int64_t width;
};
// workspace: norm_backward_floats(...) of it.
int64_t norm_backward_floats(Type type, int64_t rows, int64_t width);
void norm_backward(Type type, const NormBackward& call, int64_t rows, float* workspace,
                   cudaStream_t stream);

// to = from [T, (H + 2G) D] with queries and keys rotated as prepare_heads does. cos, sin:
// [positions, D / 2], null: a copy.
struct RotateHeads {
  const void* from;
  void* to;                  // may be from
  const int64_t* positions;  // [T]
  const float *cos, *sin;
  HeadShape shape;
};
void rotate_heads(Type type, const RotateHeads& call, int64_t rows, cudaStream_t stream);

// dqkv [T, (H + 2G) D], the gradient of what was rotated, from dq [T, H, D] and dk, dv [K, G, D].
// Where keys and values were copied, row t stands at places[place_begin[t] .. place_begin[t + 1]),
// and their gradients are added in that order; null: K = T, each stands for itself.
struct HeadGradients {
  const void *dq, *dk, *dv;
  void* dqkv;
  const int64_t* positions;    // [T]
  const float *cos, *sin;      // as above
  const int32_t* place_begin;  // [T + 1]
  const int32_t* places;       // [K]
  HeadShape shape;
};
void head_gradients(Type type, const HeadGradients& call, int64_t rows, cudaStream_t stream);

// One step of AdamW (arXiv 1711.05101) on a piece of the flat buffers, whose gradient it leaves 0.
struct AdamW {
  enum class Form { float32, bfloat16, int8 };  // as MomentForm
  float *weights, *gradient;                    // [count], on 16-byte boundaries
  Form form;
  void *first, *second;               // of the form; int8: whole blocks of 256
  float *first_scale, *second_scale;  // int8: of each block
  uint64_t key;                       // decides how narrow moments are rounded
  int64_t count;
  // [1], on the device: what the gradient is multiplied by; not finite: the step is left out.
  const float* gradient_scale;
  float beta2, gain1, gain2, eps;  // gains: 1 - beta
  float decay;                     // 1 - lr * weight decay
  float rate;                      // lr / (1 - beta1^t)
  float root_correction;           // 1 / sqrt(1 - beta2^t)
};
void adamw(const AdamW& call, cudaStream_t stream);

}  // namespace hone::kernels::cuda
