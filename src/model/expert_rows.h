// Tokens to the rows of their experts and back, with gradients that are sums in one order.
#pragma once

#include <ATen/core/Tensor.h>

namespace hone::ops {

// Shapes: T tokens, k experts a token, R = T k rows sorted by expert, C width. place [T, k] int64
// is the row of each choice.

// x [T, C] -> [R, C]: row r is x at token[r], [R] int64.
at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& token, const at::Tensor& place);

// rows [R, C], weights [T, k] float32 -> [T, C]: each token's rows times their weights, added in
// the order of its choices, in float32.
at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& weights, const at::Tensor& place);

}  // namespace hone::ops
