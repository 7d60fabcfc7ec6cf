#include "model/expert_rows.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#ifdef HONE_WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda_expert_rows.h"
#include "model/cuda_ops.h"
#endif

namespace hone::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

#ifdef HONE_WITH_CUDA
namespace k = kernels::cuda;

cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream().stream(); }
const int64_t* indices(const Tensor& t) { return t.const_data_ptr<int64_t>(); }
#endif

Tensor gathered(const Tensor& x, const Tensor& token) {
#ifdef HONE_WITH_CUDA
  if (x.is_cuda()) {
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor from = x.contiguous();
    Tensor rows = at::empty({token.size(0), x.size(1)}, x.options());
    k::gather_rows(cuda::type_of(x), from.const_data_ptr(), indices(token), rows.data_ptr(),
                   rows.size(0), rows.size(1), stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return rows;
  }
#endif
  return x.index_select(0, token);
}

// weights undefined: 1 each.
Tensor summed(const Tensor& rows, const Tensor& weights, const Tensor& place) {
#ifdef HONE_WITH_CUDA
  if (rows.is_cuda()) {
    const c10::cuda::CUDAGuard guard(rows.device());
    const Tensor from = rows.contiguous();
    Tensor y = at::empty({place.size(0), rows.size(1)}, rows.options());
    k::sum_rows(cuda::type_of(rows), from.const_data_ptr(), indices(place),
                weights.defined() ? weights.const_data_ptr<float>() : nullptr, y.data_ptr(),
                place.size(0), place.size(1), rows.size(1), stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return y;
  }
#endif
  Tensor sum;
  for (int64_t i = 0; i < place.size(1); ++i) {
    Tensor part = rows.index_select(0, place.select(1, i));
    if (weights.defined()) part = part * weights.select(1, i).unsqueeze(1);
    sum = i == 0 ? part : sum + part;
  }
  return sum;
}

struct GatherRows : torch::autograd::Function<GatherRows> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& token,
                        const Tensor& place) {
    ctx->save_for_backward({place});
    return gathered(x, token);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    return {summed(dy[0], Tensor(), ctx->get_saved_variables()[0]), Tensor(), Tensor()};
  }
};

struct SumRows : torch::autograd::Function<SumRows> {
  static Tensor forward(AutogradContext* ctx, const Tensor& rows, const Tensor& weights,
                        const Tensor& place) {
    ctx->save_for_backward({rows, weights, place});
    return summed(rows, weights, place);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &rows = saved[0], &weights = saved[1], &place = saved[2], d = dy[0].contiguous();
    Tensor drows = at::empty_like(rows), dweights = at::empty_like(weights);
#ifdef HONE_WITH_CUDA
    if (rows.is_cuda()) {
      const c10::cuda::CUDAGuard guard(rows.device());
      k::sum_rows_backward(cuda::type_of(rows), d.const_data_ptr(), rows.const_data_ptr(),
                           indices(place), weights.const_data_ptr<float>(), drows.data_ptr(),
                           dweights.data_ptr<float>(), place.size(0), place.size(1), rows.size(1),
                           stream());
      C10_CUDA_KERNEL_LAUNCH_CHECK();
      return {drows, dweights, Tensor()};
    }
#endif
    for (int64_t i = 0; i < place.size(1); ++i) {
      const Tensor at = place.select(1, i);
      drows.index_copy_(0, at, d * weights.select(1, i).unsqueeze(1));
      dweights.select(1, i).copy_((d * rows.index_select(0, at)).sum(1));
    }
    return {drows, dweights, Tensor()};
  }
};

}  // namespace

Tensor gather_rows(const Tensor& x, const Tensor& token, const Tensor& place) {
  return GatherRows::apply(x, token, place);
}

Tensor sum_rows(const Tensor& rows, const Tensor& weights, const Tensor& place) {
  return SumRows::apply(rows.contiguous(), weights.contiguous(), place);
}

}  // namespace hone::ops
