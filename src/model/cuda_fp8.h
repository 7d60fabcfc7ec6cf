// Linear layers in 8 bits on the GPU: the forms of their matrices (kernels/cuda_fp8.h) and the
// products, through cuBLASLt's kernels for blocks of 128, which add up in float32.
#pragma once

#ifdef HONE_WITH_CUDA
#include <ATen/core/Tensor.h>

#include "model/weights.h"

namespace hone::ops::cuda {

// Of activations or a gradient x [M, K].
struct Fp8Matrix {
  at::Tensor q, factors;     // for products along K
  at::Tensor qt, factors_t;  // for products along M, if asked for
};
Fp8Matrix to_fp8(const at::Tensor& x, bool along_rows);

// x [M, K] w^T -> [M, N] bf16. `x`: along K.
at::Tensor fp8_product(const Fp8Matrix& x, int64_t rows, const Parameter& w);
// dy [M, N] w -> [M, K] bf16. `dy`: along N.
at::Tensor fp8_product_transposed(const Fp8Matrix& dy, int64_t rows, const Parameter& w);
// grad [N, K] float32 += dy^T x. Both along M.
void add_fp8_gradient(const Fp8Matrix& dy, const Fp8Matrix& x, const at::Tensor& grad);

}  // namespace hone::ops::cuda
#endif
