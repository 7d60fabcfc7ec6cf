// A part of the forward pass that keeps only its input and runs again in the backward pass.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace hone {

// Runs with and without autograd and gives the same outputs every time: all that it changes
// elsewhere it must be able to change twice. What it refers to must outlive the backward pass.
using ForwardPart = std::function<std::vector<at::Tensor>(const at::Tensor& x)>;

// part(x), under autograd. Gradients are those of part(x) itself, bit for bit where the part's
// operations are: of `x`, and of the weights as the part's own operations add them.
std::vector<at::Tensor> recomputed(const at::Tensor& x, const ForwardPart& part);

}  // namespace hone
