#include "model/ops.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "kernels/cpu_kernels.h"
#include "model/cuda_fp8.h"
#include "model/cuda_ops.h"
#include "model/matmul.h"

namespace hone::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

template <class T>
struct FunctionOf : torch::autograd::Function<T> {};

struct Embed : FunctionOf<Embed> {
  // `anchor` is empty; it exists so that the graph has a leaf that wants a gradient.
  static Tensor forward(AutogradContext* ctx, const Tensor& anchor, const Tensor& tokens,
                        const Parameter* weight) {
    (void)anchor;
    ctx->save_for_backward({tokens});
    save_parameter(ctx, weight);
    return at::embedding(weight->value, tokens);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const Tensor tokens = ctx->get_saved_variables()[0];
    const Parameter& w = saved_parameter(ctx);
    Tensor grad = w.grad;
    if (!tokens.is_cpu()) {
      at::index_put_(grad, {tokens}, dy[0].to(at::kFloat),
                     /*accumulate=*/true);  // sorts them first
      return {Tensor(), Tensor(), Tensor()};
    }
    const Tensor d = dy[0].contiguous();
    const int64_t* id = tokens.const_data_ptr<int64_t>();
    const float* from = d.const_data_ptr<float>();
    float* to = grad.data_ptr<float>();
    for (int64_t t = 0; t < tokens.numel(); ++t) {
      float* row = to + id[t] * w.columns;
      for (int64_t c = 0; c < w.columns; ++c) row[c] += from[t * w.columns + c];
    }
    return {Tensor(), Tensor(), Tensor()};
  }
};

// On CUDA, where index_select's own gradient adds rows in the order in which threads arrive.
struct SelectRows : FunctionOf<SelectRows> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& rows) {
    ctx->save_for_backward({rows});
    ctx->saved_data["rows"] = x.size(0);
    return x.index_select(0, rows);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const Tensor rows = ctx->get_saved_variables()[0];
    // In float32: the gradients of a group's first tokens meet in the prompt's last row.
    Tensor dx = at::zeros({ctx->saved_data["rows"].toInt(), dy[0].size(1)},
                          dy[0].options().dtype(at::kFloat));
    at::index_put_(dx, {rows}, dy[0].to(at::kFloat), /*accumulate=*/true);  // sorts the rows first
    return {dx.to(dy[0].scalar_type()), Tensor()};
  }
};

// x W^T + bias; the bias is added before the result is rounded where the GPU's product can.
Tensor biased_product(const Tensor& x, const Parameter& w, const Parameter* bias) {
#ifdef HONE_WITH_CUDA
  if (w.fp8) {
    const Tensor y = cuda::fp8_product(cuda::to_fp8(x, false), x.size(0), w);
    return bias ? y + bias->value : y;
  }
  if (x.is_cuda() && x.scalar_type() == at::kBFloat16) {
    return cuda::linear(x, w.value, bias ? std::optional<Tensor>(bias->value) : std::nullopt,
                        w.exact(), at::kBFloat16);
  }
#endif
  const Tensor y = product(x, w);
  return bias ? y + bias->value : y;
}

void add_bias_gradient(const Tensor& dy, const Parameter* bias) {
  if (!bias || !bias->grad.defined()) return;
  Tensor grad = bias->grad;
  grad.add_(dy.sum(0, false, at::kFloat));
}

struct Linear : FunctionOf<Linear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Again& again,
                        const Parameter* weight, const Parameter* bias) {
    if (weight->grad.defined()) ctx->save_for_backward({to_keep(ctx, x, again)});
    save_parameter(ctx, weight);
    ctx->saved_data["bias"] = reinterpret_cast<int64_t>(bias);
    return biased_product(x, *weight, bias);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const Parameter& w = saved_parameter(ctx);
    const auto* bias = reinterpret_cast<const Parameter*>(ctx->saved_data["bias"].toInt());
    const Tensor d = dy[0].contiguous();
    add_bias_gradient(d, bias);
    if (w.grad.defined()) {
      add_weight_gradient(d, kept_or_again(ctx, ctx->get_saved_variables()[0]), w);
    }
    return {product_transposed(d, w), Tensor(), Tensor(), Tensor()};
  }
};

#ifdef HONE_WITH_CUDA
// In 8 bits, but for the bias. What is kept of x is its transposed form alone.
struct Fp8Linear : FunctionOf<Fp8Linear> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Parameter* weight,
                        const Parameter* bias) {
    const bool learned = weight->grad.defined();
    const cuda::Fp8Matrix form = cuda::to_fp8(x, learned);
    if (learned) ctx->save_for_backward({form.qt, form.factors_t});
    save_parameter(ctx, weight);
    ctx->saved_data["bias"] = reinterpret_cast<int64_t>(bias);
    const Tensor y = cuda::fp8_product(form, x.size(0), *weight);
    return bias ? y + bias->value : y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const Parameter& w = saved_parameter(ctx);
    add_bias_gradient(dy[0], reinterpret_cast<const Parameter*>(ctx->saved_data["bias"].toInt()));
    const cuda::Fp8Matrix d = cuda::to_fp8(dy[0], w.grad.defined());
    if (w.grad.defined()) {
      const variable_list saved = ctx->get_saved_variables();
      cuda::add_fp8_gradient(d, {{}, {}, saved[0], saved[1]}, w.grad);
    }
    return {cuda::fp8_product_transposed(d, dy[0].size(0), w), Tensor(), Tensor()};
  }
};
#endif

// The columns of `t` that belong to a term: of its rows of W, and of its rows of a.
Tensor rows_of(const Tensor& t, const LowRankTerm& term) {
  return t.narrow(1, term.row, term.b->rows);
}
Tensor ranks_of(const Tensor& t, const LowRankTerm& term) {
  return t.narrow(1, term.rank_row, term.b->columns);
}

// scale * x a^T, [T, ranks]
Tensor adapter_ranks(const Tensor& x, const Adapter& adapter) {
  return product(x, *adapter.a).mul_(adapter.scale);
}

// x W^T + bias + ranks b^T. On the CPU the last product is added whole, so that a row's bits are
// its own.
Tensor adapted_product(const Tensor& x, const Parameter& w, const Parameter* bias,
                       const Tensor& ranks) {
  const Tensor y = biased_product(x, w, bias);
  for (const LowRankTerm& term : w.adapter.terms) {
    Tensor to = rows_of(y, term);
    if (y.is_cpu()) {
      to.add_(product(ranks_of(ranks, term), *term.b));
    } else {
      to.addmm_(ranks_of(ranks, term), term.b->value.t());
    }
  }
  return y;
}

// A frozen matrix with its adapter, to which alone gradients are added.
struct AdaptedLinear : FunctionOf<AdaptedLinear> {
  // `anchor` as in Embed: x wants no gradient before the first adapter.
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Again& again,
                        const Tensor& anchor, const Parameter* weight, const Parameter* bias) {
    (void)anchor;
    const Tensor ranks = adapter_ranks(x, weight->adapter);
    ctx->save_for_backward({to_keep(ctx, x, again), ranks});
    save_parameter(ctx, weight);
    return adapted_product(x, *weight, bias, ranks);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor x = kept_or_again(ctx, saved[0]), ranks = saved[1];
    const Parameter& w = saved_parameter(ctx);
    const Adapter& adapter = w.adapter;
    const Tensor d = dy[0].contiguous(), dranks = at::empty_like(ranks);
    for (const LowRankTerm& term : adapter.terms) {
      const Tensor dterm = rows_of(d, term);
      add_weight_gradient(dterm, ranks_of(ranks, term), *term.b);
      product_transposed_into(ranks_of(dranks, term), dterm, *term.b);
    }
    dranks.mul_(adapter.scale);
    add_weight_gradient(dranks, x, *adapter.a);
    Tensor dx;
    if (ctx->needs_input_grad(0)) {
      dx = product_transposed(d, w).add_(product_transposed(dranks, *adapter.a));
    }
    return {dx, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

Tensor anchor_of(const Parameter& weight) {
  Tensor anchor = at::empty({0}, weight.value.options());
  anchor.set_requires_grad(true);
  return anchor;
}

struct RmsNorm : FunctionOf<RmsNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Parameter* weight,
                        double eps) {
    Tensor y, inv_rms;
    if (x.is_cpu()) {
      y = at::empty_like(x);
      inv_rms = at::empty({x.size(0)}, x.options());
      kernels::rms_norm(x.const_data_ptr<float>(), weight->value.const_data_ptr<float>(),
                        static_cast<float>(eps), y.data_ptr<float>(), inv_rms.data_ptr<float>(),
                        x.size(0), x.size(1));
    } else {
#ifdef HONE_WITH_CUDA
      const cuda::Norm norm = cuda::add_rms_norm(x, {}, weight->value, eps);
      y = norm.normed;
      inv_rms = norm.inv_rms;
#endif
    }
    ctx->save_for_backward({x, inv_rms});
    save_parameter(ctx, weight);
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &inv_rms = saved[1];
    const Parameter& w = saved_parameter(ctx);
    const bool learned = w.grad.defined();
    Tensor grad = learned ? w.grad : Tensor();
    const Tensor d = dy[0].contiguous();
    Tensor dx;
    if (x.is_cpu()) {
      dx = at::empty_like(x);
      if (!learned) grad = at::zeros_like(w.value);  // of a frozen weight, dropped
      kernels::rms_norm_backward(d.const_data_ptr<float>(), x.const_data_ptr<float>(),
                                 w.value.const_data_ptr<float>(), inv_rms.const_data_ptr<float>(),
                                 dx.data_ptr<float>(), grad.data_ptr<float>(), x.size(0),
                                 x.size(1));
    } else {
#ifdef HONE_WITH_CUDA
      dx = cuda::norm_backward(d, {}, x, inv_rms, w.value, grad);
#endif
    }
    return {dx, Tensor(), Tensor()};
  }
};

#ifdef HONE_WITH_CUDA
// The sum that goes on and its norm, in one kernel each way.
struct AddRmsNorm : FunctionOf<AddRmsNorm> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& delta,
                               const Parameter* weight, double eps) {
    const cuda::Norm norm = cuda::add_rms_norm(x, delta, weight->value, eps);
    ctx->save_for_backward({norm.sum, norm.inv_rms});
    save_parameter(ctx, weight);
    return {norm.sum, norm.normed};
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const variable_list saved = ctx->get_saved_variables();
    const Parameter& w = saved_parameter(ctx);
    const Tensor dx = cuda::norm_backward(dy[1], dy[0], saved[0], saved[1], w.value, w.grad);
    return {dx, dx, Tensor(), Tensor()};
  }
};
#endif

struct Swiglu : FunctionOf<Swiglu> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate_up) {
    ctx->save_for_backward({gate_up});
#ifdef HONE_WITH_CUDA
    if (gate_up.is_cuda()) return cuda::swiglu(gate_up);
#endif
    const int64_t f = gate_up.size(1) / 2;
    Tensor y = at::empty({gate_up.size(0), f}, gate_up.options());
    kernels::swiglu(gate_up.const_data_ptr<float>(), y.data_ptr<float>(), gate_up.size(0), f);
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const Tensor gate_up = ctx->get_saved_variables()[0];
    const Tensor d = dy[0].contiguous();
#ifdef HONE_WITH_CUDA
    if (d.is_cuda()) return {cuda::swiglu_backward(d, gate_up)};
#endif
    Tensor dx = at::empty_like(gate_up);
    kernels::swiglu_backward(d.const_data_ptr<float>(), gate_up.const_data_ptr<float>(),
                             dx.data_ptr<float>(), gate_up.size(0), gate_up.size(1) / 2);
    return {dx};
  }
};

Tensor activate(const Tensor& gate, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return at::silu(gate);
    case Activation::gelu:
      return at::gelu(gate);
    case Activation::gelu_tanh:
      return at::gelu(gate, "tanh");
    case Activation::relu:
      return at::relu(gate);
  }
  return gate;
}

double activation_of(double x, Activation activation) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::gelu:
      return 0.5 * x * (1 + std::erf(x * 0.70710678118654752440));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case Activation::relu:
      return x > 0 ? x : 0;
  }
  return x;
}

// The rarer activations on the CPU: element by element in double, so that a value does not depend
// on its neighbours, which ATen's vector loops do not promise.
struct Gated : FunctionOf<Gated> {
  static Tensor forward(AutogradContext* ctx, const Tensor& gate_up, Activation activation) {
    ctx->save_for_backward({gate_up});
    ctx->saved_data["activation"] = static_cast<int64_t>(activation);
    const int64_t f = gate_up.size(1) / 2;
    Tensor y = at::empty({gate_up.size(0), f}, gate_up.options());
    const float* from = gate_up.const_data_ptr<float>();
    float* to = y.data_ptr<float>();
    for (int64_t t = 0; t < gate_up.size(0); ++t, from += 2 * f, to += f) {
      for (int64_t i = 0; i < f; ++i) {
        to[i] = static_cast<float>(activation_of(from[i], activation)) * from[f + i];
      }
    }
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const at::AutoGradMode with_grad(true);
    const auto activation = static_cast<Activation>(ctx->saved_data["activation"].toInt());
    Tensor gate_up = ctx->get_saved_variables()[0].detach();
    gate_up.set_requires_grad(true);
    const int64_t f = gate_up.size(1) / 2;
    const Tensor y = activate(gate_up.narrow(1, 0, f), activation) * gate_up.narrow(1, f, f);
    return {torch::autograd::grad({y}, {gate_up}, {dy[0]})[0], Tensor()};
  }
};

}  // namespace

Tensor embed(const Tensor& tokens, const Parameter& weight) {
  if (!weight.grad.defined() || !at::GradMode::is_enabled()) {
    return at::embedding(weight.value, tokens);
  }
  return Embed::apply(anchor_of(weight), tokens, &weight);
}

Tensor select_rows(const Tensor& x, const Tensor& rows) {
  if (x.is_cpu() || !at::GradMode::is_enabled()) return x.index_select(0, rows);
  return SelectRows::apply(x, rows);
}

Tensor linear(const Input& input, const Parameter& weight, const Parameter* bias) {
  const Tensor& x = input.value;
  if (!at::GradMode::is_enabled()) {
    return weight.adapted() ? adapted_product(x, weight, bias, adapter_ranks(x, weight.adapter))
                            : biased_product(x, weight, bias);
  }
  if (weight.adapted()) {
    return AdaptedLinear::apply(x, input.again, anchor_of(weight), &weight, bias);
  }
#ifdef HONE_WITH_CUDA
  if (weight.fp8) return Fp8Linear::apply(x, &weight, bias);
#endif
  return Linear::apply(x, input.again, &weight, bias);
}

Tensor rms_norm(const Tensor& x, const Parameter& weight, double eps) {
  return RmsNorm::apply(x.contiguous(), &weight, eps);
}

namespace {

Again normed_again(const Tensor& x, const Parameter& weight, double eps) {
  return [x = x.detach(), &weight, eps] { return rms_norm(x, weight, eps); };
}

}  // namespace

Input rms_norm(const Tensor& x, const Parameter& weight, double eps, bool again) {
  const Tensor from = x.contiguous();
  const Tensor y = rms_norm(from, weight, eps);
  if (!again) return y;
  return {y, normed_again(from, weight, eps)};
}

ResidualNorm add_rms_norm(const Tensor& x, const Tensor& delta, const Parameter& weight, double eps,
                          bool again) {
#ifdef HONE_WITH_CUDA
  if (x.is_cuda() && delta.defined()) {
    if (at::GradMode::is_enabled()) {
      const variable_list out = AddRmsNorm::apply(x, delta, &weight, eps);
      if (!again) return {out[0], out[1]};
      return {out[0], {out[1], normed_again(out[0], weight, eps)}};
    }
    const cuda::Norm norm = cuda::add_rms_norm(x, delta, weight.value, eps);
    return {norm.sum, norm.normed};
  }
#endif
  const Tensor sum = delta.defined() ? x + delta : x;
  return {sum, rms_norm(sum, weight, eps, again)};
}

namespace {

Tensor gate(const Tensor& gate_up, Activation activation) {
  if (activation == Activation::silu) return Swiglu::apply(gate_up);
  if (gate_up.is_cpu()) return Gated::apply(gate_up, activation);
  const int64_t f = gate_up.size(1) / 2;
  return activate(gate_up.narrow(1, 0, f), activation) * gate_up.narrow(1, f, f);
}

}  // namespace

Input gated(const Tensor& gate_up, Activation activation, bool again) {
  const Tensor y = gate(gate_up, activation);
  if (!again) return y;
  return {y, [from = gate_up.detach(), activation] { return gate(from, activation); }};
}

}  // namespace hone::ops
