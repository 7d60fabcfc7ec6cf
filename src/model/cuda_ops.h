// The operations that run on the GPU's own kernels (src/kernels/*.cu): tensors in, tensors out.
// Built where the CUDA toolkit is; without it only the CPU's operations exist.
#pragma once

#ifdef HONE_WITH_CUDA
#include <ATen/core/Tensor.h>

#include <optional>

#include "kernels/cuda_attention.h"
#include "model/forward_batch.h"
#include "model/ops.h"
#include "model/weights.h"

namespace hone::ops::cuda {

kernels::cuda::Type type_of(const at::Tensor& x);

// x [M, K] w [N, K] (+ bias [N]) -> [M, N] of type `out`, from bf16. With `exact`, a row's bits do
// not depend on M: the products run over K in one order, or, where K is very long, over a fixed
// number of pieces of it that are added in order.
at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const std::optional<at::Tensor>& bias,
                  bool exact, at::ScalarType out);

// grad [N, K] float32 += dy [M, N]^T x [M, K], from bf16, summed in float32.
void add_gradient(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& grad);

// sum = x + delta (delta undefined: x itself), normed = its norm times the weight; inv_rms [T]
// float32.
struct Norm {
  at::Tensor sum, normed, inv_rms;
};
Norm add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                  double eps);
// dsum (undefined: 0) + the gradient of the norm of `sum`, [T, C]. `dweight` [C] float32 is added
// to, where it is defined.
at::Tensor norm_backward(const at::Tensor& dnormed, const at::Tensor& dsum, const at::Tensor& sum,
                         const at::Tensor& inv_rms, const at::Tensor& weight,
                         const at::Tensor& dweight);

at::Tensor swiglu(const at::Tensor& gate_up);
at::Tensor swiglu_backward(const at::Tensor& dy, const at::Tensor& gate_up);

// Attention of new tokens over the cache. qkv [T, (H + 2G) D] is normed and rotated in place.
at::Tensor paged_attention(const at::Tensor& qkv, const ForwardBatch& batch, int64_t layer,
                           const AttentionShape& shape, const RopeTable* rope);
// See ops::attention_over_latents. Captured in a decode step: everything stays on the device.
void store_latents(const at::Tensor& latents, const at::Tensor& rotated, const ForwardBatch& batch,
                   int64_t layer);
at::Tensor decode_latents(const at::Tensor& q, int64_t rank, const ForwardBatch& batch,
                          int64_t layer, double scale);
// The cache's latents at slots [N] -> [N, 1, W].
at::Tensor load_latents(const at::Tensor& slots, int64_t rank, const ForwardBatch& batch,
                        int64_t layer);
// See ops::rotate; pairs (i, i + D / 2).
at::Tensor rotate(const at::Tensor& x, const ForwardBatch& batch, int64_t heads,
                  const RopeTable& rope);
// Attention inside a training batch, with a gradient; bf16. `shape.exact`: in the sampler's order
// of operations. REQUIRES: has_flash_attention.
at::Tensor training_attention(const at::Tensor& qkv, const ForwardBatch& batch,
                              const AttentionShape& shape, const RopeTable* rope);

}  // namespace hone::ops::cuda
#endif
