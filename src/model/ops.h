// The operations a Transformer is made of: on the CPU the exact kernels of src/kernels, on CUDA
// LibTorch's. Each records itself for autograd; gradients of weights are added to Parameter::grad
// by the backward pass, they do not flow through the graph.
//
// Shapes: T tokens, C hidden width, H query heads, G key/value heads, D head size, F feed-forward
// width, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include "model/forward_batch.h"
#include "model/weights.h"

namespace hone::ops {

// [T] -> [T, C]. The result requires a gradient if the weights do.
at::Tensor embed(const at::Tensor& tokens, const Parameter& weight);

// x [T, K] -> [T, N], weight [N, K].
at::Tensor linear(const at::Tensor& x, const Parameter& weight);

// x [T, C] -> [T, C]; x * rsqrt(mean(x^2) + eps) * weight, in float32.
at::Tensor rms_norm(const at::Tensor& x, const Parameter& weight, double eps);

// gate_up [T, 2F] -> [T, F]: silu(gate) * up.
at::Tensor swiglu(const at::Tensor& gate_up);

struct AttentionShape {
  int64_t heads, kv_heads, head_dim;
};
// cos, sin of the rotary embedding: [max_positions, D / 2] float32.
struct RopeTable {
  at::Tensor cos, sin;
};
RopeTable make_rope_table(int64_t max_positions, int64_t head_dim, double theta, at::Device device);

// qkv [T, (H + 2G) D] -> [T, H D]: rotates queries and keys, writes keys and values to the cache
// where the batch has one, attends.
at::Tensor attention(const at::Tensor& qkv, const ForwardBatch& batch, int64_t layer,
                     const AttentionShape& shape, const RopeTable& rope);

// log p(targets[m] | hidden[m]) and the entropy of that distribution, at inv_temperature.
// hidden [M, C], targets [M] int64 -> two tensors [M] float32. Logits are formed in chunks and
// formed again by the backward pass; they are never whole in memory.
struct LogProbs {
  at::Tensor logp, entropy;
};
LogProbs log_probs(const at::Tensor& hidden, const Parameter& head, const at::Tensor& targets,
                   double inv_temperature);

// hidden [M, C] -> [M, V] float32.
at::Tensor logits(const at::Tensor& hidden, const Parameter& head);

}  // namespace hone::ops
