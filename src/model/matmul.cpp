#include "model/matmul.h"

#include <ATen/ATen.h>

#include "kernels/cpu_kernels.h"
#include "model/cuda_fp8.h"
#include "model/cuda_ops.h"

namespace hone::ops {

using at::Tensor;

void product_into(const Tensor& y, const Tensor& x, const Parameter& w, int64_t part) {
  if (!x.is_cpu()) {
    Tensor out = y;
    out.copy_(at::linear(x, w.part_of(w.value, part)));
    return;
  }
  kernels::linear(x.const_data_ptr<float>(), x.stride(0), w.packed(part), y.data_ptr<float>(),
                  y.stride(0), x.size(0), w.part_rows(part), w.columns);
}

Tensor product(const Tensor& x, const Parameter& w, int64_t part) {
  if (!x.is_cpu()) return at::linear(x, w.part_of(w.value, part));
  const Tensor y = at::empty({x.size(0), w.part_rows(part)}, x.options());
  product_into(y, x, w, part);
  return y;
}

void product_transposed_into(const Tensor& dx, const Tensor& dy, const Parameter& w, int64_t part) {
  if (!dy.is_cpu()) {
    Tensor out = dx;
    at::mm_out(out, dy, w.part_of(w.value, part));
    return;
  }
  kernels::linear(dy.const_data_ptr<float>(), dy.stride(0), w.packed_transposed(part),
                  dx.data_ptr<float>(), dx.stride(0), dy.size(0), w.columns, w.part_rows(part));
}

Tensor product_transposed(const Tensor& dy, const Parameter& w, int64_t part) {
#ifdef HONE_WITH_CUDA
  if (w.fp8) return cuda::fp8_product_transposed(cuda::to_fp8(dy, false), dy.size(0), w);
#endif
  if (!dy.is_cpu()) return at::mm(dy, w.part_of(w.value, part));
  const Tensor dx = at::empty({dy.size(0), w.columns}, dy.options());
  product_transposed_into(dx, dy, w, part);
  return dx;
}

void add_weight_gradient(const Tensor& dy, const Tensor& x, const Parameter& w, int64_t part) {
  if (!w.grad.defined()) return;
  Tensor grad = w.part_of(w.grad, part);
  if (dy.is_cpu()) {
    kernels::linear_weight_grad(dy.const_data_ptr<float>(), dy.stride(0), x.const_data_ptr<float>(),
                                x.stride(0), grad.data_ptr<float>(), dy.size(0), w.part_rows(part),
                                w.columns);
  } else if (dy.scalar_type() == at::kFloat) {
    grad.addmm_(dy.t(), x);
  } else {
#ifdef HONE_WITH_CUDA
    cuda::add_gradient(dy, x, grad);
#endif
  }
}

}  // namespace hone::ops
