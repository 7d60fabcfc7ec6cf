// Products with a parameter, or with one of its parts, and their gradients, without autograd: what
// the operations in ops.cpp, experts.cpp and latent_attention.cpp are made of.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/core/ivalue.h>

#include <functional>
#include <utility>

#include "model/weights.h"

namespace hone::ops {

struct FormedAgain : torch::CustomClassHolder {
  explicit FormedAgain(std::function<at::Tensor()> f) : form(std::move(f)) {}
  std::function<at::Tensor()> form;
};

// x [M, K] with any row stride, K contiguous -> [M, N]: x W^T.
at::Tensor product(const at::Tensor& x, const Parameter& w, int64_t part = Parameter::kWhole);
// The same into y, [M, N] with any row stride.
void product_into(const at::Tensor& y, const at::Tensor& x, const Parameter& w,
                  int64_t part = Parameter::kWhole);
// dy [M, N] -> [M, K]: dy W.
at::Tensor product_transposed(const at::Tensor& dy, const Parameter& w,
                              int64_t part = Parameter::kWhole);
void product_transposed_into(const at::Tensor& dx, const at::Tensor& dy, const Parameter& w,
                             int64_t part = Parameter::kWhole);
// grad += dy^T x, of weights that have one
void add_weight_gradient(const at::Tensor& dy, const at::Tensor& x, const Parameter& w,
                         int64_t part = Parameter::kWhole);

using Again = std::function<at::Tensor()>;  // how an input can be formed again (Input::again)

// What a function's backward pass shall find of an input: the tensor, for save_for_backward, or
// nothing where it can be formed again.
template <class Context>
at::Tensor to_keep(Context* ctx, const at::Tensor& x, const Again& again) {
  if (!again) return x;
  ctx->saved_data["again"] = at::IValue::make_capsule(c10::make_intrusive<FormedAgain>(again));
  return at::Tensor();
}
// The input, from what was kept of it. Once: what it is formed from is let go.
template <class Context>
at::Tensor kept_or_again(Context* ctx, const at::Tensor& kept) {
  if (kept.defined()) return kept;
  const auto formed =
      c10::static_intrusive_pointer_cast<FormedAgain>(ctx->saved_data["again"].toCapsule());
  ctx->saved_data.erase("again");
  const at::NoGradGuard no_grad;
  return formed->form();
}

// A parameter in an autograd context: it outlives the graph, so its address will do.
template <class Context>
void save_parameter(Context* ctx, const Parameter* w) {
  ctx->saved_data["parameter"] = reinterpret_cast<int64_t>(w);
}
template <class Context>
const Parameter& saved_parameter(Context* ctx) {
  return *reinterpret_cast<const Parameter*>(ctx->saved_data["parameter"].toInt());
}

}  // namespace hone::ops
