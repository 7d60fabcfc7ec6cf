// The head: logits in chunks, log-probabilities and entropies of them, and their gradients, so that
// the logits of a batch are never whole in memory.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/cpu_kernels.h"
#include "model/cuda_ops.h"
#include "model/matmul.h"
#include "model/ops.h"

#ifdef HONE_WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda_sample.h"
#endif

namespace hone::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Rows of the head that are formed at a time: 16 MiB of float32 logits on the CPU, 1 GiB on CUDA,
// where each chunk reads and writes the gradient of the whole weight.
int64_t head_rows(const Tensor& hidden, int64_t vocab) {
  return std::max<int64_t>(1, (int64_t{hidden.is_cpu() ? 4 : 256} << 20) / vocab);
}

Tensor chunk_logits(const Tensor& hidden, const Parameter& head) {
  if (hidden.is_cpu() || hidden.scalar_type() == at::kFloat) return product(hidden, head);
#ifdef HONE_WITH_CUDA
  return cuda::linear(hidden, head.value, std::nullopt, head.exact(), at::kFloat);
#else
  return product(hidden, head).to(at::kFloat);
#endif
}

#ifdef HONE_WITH_CUDA
// kernels::log_prob on the GPU: x [N, V], targets, logp, entropy and lse [N].
void log_prob_cuda(const Tensor& x, const Tensor& targets, float inv_temperature,
                   const Tensor& logp, const Tensor& entropy, const Tensor& lse) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t n = x.size(0), v = x.size(1);
  const Tensor workspace =
      at::empty({static_cast<int64_t>(kernels::cuda::sample_workspace_bytes(n, v))},
                x.options().dtype(at::kByte));
  kernels::cuda::log_prob(x.const_data_ptr<float>(), targets.const_data_ptr<int64_t>(), n, v,
                          inv_temperature, logp.data_ptr<float>(), entropy.data_ptr<float>(),
                          lse.data_ptr<float>(), workspace.data_ptr(),
                          c10::cuda::getCurrentCUDAStream().stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}
#endif

// Rows of a batch's log-probabilities, what is known of them, and the gradient that comes back.
struct LogProbRows {
  Tensor targets, lse, entropy;  // [M]
  Tensor dlogp, dentropy;        // [M]; dentropy may be undefined
  float inv_temperature = 1;
};

// x [n, V], the logits of the rows from `begin` on -> their gradient, of `type`; x is overwritten
// where that is float32.
Tensor logit_gradient(const Tensor& x, int64_t begin, const LogProbRows& rows,
                      at::ScalarType type) {
  const int64_t n = x.size(0), v = x.size(1);
  const auto part = [&](const Tensor& t) {
    return t.defined() ? t.const_data_ptr<float>() + begin : nullptr;
  };
  const int64_t* targets = rows.targets.const_data_ptr<int64_t>() + begin;
  const float* entropy = rows.dentropy.defined() ? part(rows.entropy) : nullptr;
  const Tensor d = type == at::kFloat ? x : at::empty_like(x, type);
  if (x.is_cpu()) {
    kernels::log_prob_backward(x.const_data_ptr<float>(), targets, rows.inv_temperature,
                               part(rows.lse), entropy, part(rows.dlogp), part(rows.dentropy),
                               d.data_ptr<float>(), n, v);
    return d;
  }
#ifdef HONE_WITH_CUDA
  const c10::cuda::CUDAGuard guard(x.device());
  kernels::cuda::log_prob_backward({x.const_data_ptr<float>(), targets, n, v, rows.inv_temperature,
                                    part(rows.lse), entropy, part(rows.dlogp), part(rows.dentropy)},
                                   cuda::type_of(d), d.data_ptr(),
                                   c10::cuda::getCurrentCUDAStream().stream());
#endif
  return d;
}

struct LogProbFunction : torch::autograd::Function<LogProbFunction> {
  // The rows' part of the gradients of the head, which is added, and of `hidden`.
  static void add_gradients(const Tensor& dlogits, const Tensor& hidden, const Parameter& head,
                            const Tensor& dhidden) {
    add_weight_gradient(dlogits, hidden, head);
    product_transposed_into(dhidden, dlogits, head);
  }

  // `given`: the gradient of logp, [M], to be formed here, or undefined; not a variable of the
  // graph.
  static variable_list forward(AutogradContext* ctx, const Tensor& hidden, const Parameter* head,
                               const Tensor& targets, double inv_temperature, const Tensor* given) {
    const Tensor& known = *given;
    const int64_t m = hidden.size(0), v = head->rows;
    const auto options = hidden.options().dtype(at::kFloat);
    Tensor logp = at::empty({m}, options), entropy = at::empty({m}, options),
           lse = at::empty({m}, options);
    const LogProbRows rows{targets, lse, entropy, known, {}, static_cast<float>(inv_temperature)};
    const Tensor dhidden = known.defined() ? at::empty_like(hidden) : Tensor();
    for (int64_t begin = 0; begin < m; begin += head_rows(hidden, v)) {
      const int64_t n = std::min(head_rows(hidden, v), m - begin);
      const Tensor h = hidden.narrow(0, begin, n), x = chunk_logits(h, *head);  // [n, V]
      const Tensor target = targets.narrow(0, begin, n);
      if (hidden.is_cpu()) {
        kernels::log_prob(x.const_data_ptr<float>(), target.const_data_ptr<int64_t>(),
                          rows.inv_temperature, logp.data_ptr<float>() + begin,
                          entropy.data_ptr<float>() + begin, lse.data_ptr<float>() + begin, n, v);
      } else {
#ifdef HONE_WITH_CUDA
        log_prob_cuda(x, target, rows.inv_temperature, logp.narrow(0, begin, n),
                      entropy.narrow(0, begin, n), lse.narrow(0, begin, n));
#endif
      }
      if (known.defined()) {
        add_gradients(logit_gradient(x, begin, rows, hidden.scalar_type()), h, *head,
                      dhidden.narrow(0, begin, n));
      }
    }
    if (known.defined()) {
      ctx->save_for_backward({dhidden});
    } else {
      ctx->save_for_backward({hidden, targets, lse, entropy});
    }
    save_parameter(ctx, head);
    ctx->saved_data["inv_temperature"] = inv_temperature;
    return {logp, entropy};
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &hidden = saved[0], none;
    if (saved.size() == 1) return {hidden, none, none, none, none};  // the gradient itself
    const Parameter& head = saved_parameter(ctx);
    const int64_t m = hidden.size(0);
    const LogProbRows rows{saved[1],
                           saved[2],
                           saved[3],
                           dy[0].defined() ? dy[0].contiguous() : at::zeros_like(saved[2]),
                           dy[1].defined() ? dy[1].contiguous() : Tensor(),
                           static_cast<float>(ctx->saved_data["inv_temperature"].toDouble())};
    const Tensor dhidden = at::empty_like(hidden);
    for (int64_t begin = 0; begin < m; begin += head_rows(hidden, head.rows)) {
      const int64_t n = std::min(head_rows(hidden, head.rows), m - begin);
      const Tensor h = hidden.narrow(0, begin, n);
      add_gradients(logit_gradient(chunk_logits(h, head), begin, rows, hidden.scalar_type()), h,
                    head, dhidden.narrow(0, begin, n));
    }
    return {dhidden, none, none, none, none};
  }
};

}  // namespace

LogProbs log_probs(const Tensor& hidden, const Parameter& head, const Tensor& targets,
                   double inv_temperature, const Tensor& dlogp) {
  const variable_list out = LogProbFunction::apply(hidden, &head, targets, inv_temperature, &dlogp);
  return {out[0], out[1]};
}

Tensor logits(const Tensor& hidden, const Parameter& head) {
  const at::NoGradGuard no_grad;
  return chunk_logits(hidden, head);
}

}  // namespace hone::ops
