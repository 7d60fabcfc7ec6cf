// Products with a parameter, or with one of its parts, and their gradients, without autograd: what
// the operations in ops.cpp, experts.cpp and latent_attention.cpp are made of.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/weights.h"

namespace hone::ops {

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
