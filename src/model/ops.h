// The operations a Transformer is made of: on the CPU the exact kernels of src/kernels, on CUDA
// those of cuda_ops.h and LibTorch's. Each records itself for autograd; gradients of weights are
// added to Parameter::grad by the backward pass, they do not flow through the graph.
//
// Shapes: T tokens, C hidden width, H query heads, G key/value heads, D head size, F feed-forward
// width, V vocabulary.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <utility>

#include "model/config.h"
#include "model/forward_batch.h"
#include "model/weights.h"

namespace hone::ops {

// [T] -> [T, C]. The result requires a gradient if the weights do.
at::Tensor embed(const at::Tensor& tokens, const Parameter& weight);

// x [T, C] -> its rows [M], which may come several times; their gradients are added in one order.
at::Tensor select_rows(const at::Tensor& x, const at::Tensor& rows);

// What a product reads, and keeps for its backward pass unless that can form it again.
struct Input {
  Input(at::Tensor v, std::function<at::Tensor()> f = {})  // NOLINT: a tensor is an input
      : value(std::move(v)), again(std::move(f)) {}
  at::Tensor value;
  std::function<at::Tensor()> again;  // the same bits, without autograd; null: it is kept
};

// x [T, K] -> [T, N], weight [N, K], bias [N] or null.
at::Tensor linear(const Input& x, const Parameter& weight, const Parameter* bias = nullptr);

// x [T, C] -> [T, C]; x * rsqrt(mean(x^2) + eps) * weight, in float32.
at::Tensor rms_norm(const at::Tensor& x, const Parameter& weight, double eps);

// The same; the backward pass forms the result again where `again` says so.
Input rms_norm(const at::Tensor& x, const Parameter& weight, double eps, bool again);

// sum = x + delta (delta undefined: x), normed = rms_norm(sum).
struct ResidualNorm {
  at::Tensor sum;
  Input normed;
};
ResidualNorm add_rms_norm(const at::Tensor& x, const at::Tensor& delta, const Parameter& weight,
                          double eps, bool again = false);

// gate_up [T, 2F] -> [T, F]: activation(gate) * up.
Input gated(const at::Tensor& gate_up, Activation activation, bool again = false);

// cos, sin of the rotary embedding: [positions, D / 2] float32.
struct RopeTable {
  at::Tensor cos, sin;
  int64_t positions() const { return cos.defined() ? cos.size(0) : 0; }
};
RopeTable make_rope_table(const RopeOptions& options, int64_t positions, int64_t dim,
                          at::Device device);
// x [T, heads * D] -> the same, rotated. Pairs as RopeOptions::interleaved says; an interleaved
// head comes out with its pairs' first halves in front, which no product of two such heads sees.
at::Tensor rotate(const at::Tensor& x, const ForwardBatch& batch, int64_t heads,
                  const RopeTable& rope, bool interleaved);

struct AttentionShape {
  int64_t heads, kv_heads, head_dim;
  double scale;    // of the scores, before the softmax
  int64_t window;  // keys that a query sees, its own included; 0: all
  // CUDA: norms of every query and key head, where they are not applied yet; over the cache only.
  const Parameter *query_norm = nullptr, *key_norm = nullptr;
  double eps = 0;      // of these norms
  bool exact = false;  // CUDA: training attends in the sampler's order of operations
};
// qkv [T, (H + 2G) D] -> [T, H D]: rotates queries and keys (rope null: they are already), writes
// keys and values to the cache where the batch has one, attends.
at::Tensor attention(const at::Tensor& qkv, const ForwardBatch& batch, int64_t layer,
                     const AttentionShape& shape, const RopeTable* rope);
// Whether CUDA trains such heads by flash attention; only there may segments have prefixes.
bool has_flash_attention(at::ScalarType type, int64_t head_dim);
// On CUDA, over the cache of latent attention: q [T, H, W], absorbed, against latents, whose first
// R elements are the values of all heads -> [T, H, R]. Of new tokens: latents [T, R], normed, and
// rotated keys [T, W - R].
at::Tensor attention_over_latents(const at::Tensor& q, const at::Tensor& latents,
                                  const at::Tensor& rotated, const ForwardBatch& batch,
                                  int64_t layer, double scale);

// Multi-head latent attention on x [T, C], normed -> [T, H * value], before the output projection.
struct LatentWeights {
  Parameter* query = nullptr;  // [H * (plain + rotary), C], or from q_rank
  Parameter *query_down = nullptr, *query_norm = nullptr, *query_bias = nullptr;  // q_rank > 0
  Parameter *down = nullptr, *down_bias = nullptr;  // [kv_rank + rotary, C]
  Parameter* norm = nullptr;                        // [kv_rank]
  // [H * (plain + value), kv_rank]; part 2h is head h's keys, part 2h + 1 its values
  Parameter* up = nullptr;
};
at::Tensor latent_attention(const Input& x, const LatentWeights& weights, const ModelConfig& config,
                            const ForwardBatch& batch, int64_t layer, const RopeTable& rope);

// The experts of a layer on x [T, C] -> [T, C], without the shared ones (experts.cpp).
struct ExpertWeights {
  Parameter* router = nullptr;     // [E, C]
  Parameter* selection = nullptr;  // [E], added to the scores when choosing (sigmoid router)
  Parameter *gate_up = nullptr, *down = nullptr;  // a part for each expert: [2F, C], [C, F]
  int64_t number = -1;  // of the sparse layer, from 0; -1: of a multi-token-prediction module
};
at::Tensor experts(const Input& x, const ExpertWeights& weights, const ModelConfig& config,
                   const ForwardBatch& batch);
// Whether CUDA takes all experts in one product. Otherwise the host asks how many rows each has.
bool has_grouped_experts(const ModelConfig& config, at::ScalarType type);

// log p(targets[m] | hidden[m]) and the entropy of that distribution, at inv_temperature.
// hidden [M, C], targets [M] int64 -> two tensors [M] float32. Logits are formed in chunks and
// formed again by the backward pass; they are never whole in memory. Where the gradient of logp is
// known beforehand, `dlogp` [M], gradients are formed with the logits: the head's is added at once,
// and the backward pass, which must be given that same gradient and none of the entropy, hands on
// that of `hidden`.
struct LogProbs {
  at::Tensor logp, entropy;
};
LogProbs log_probs(const at::Tensor& hidden, const Parameter& head, const at::Tensor& targets,
                   double inv_temperature, const at::Tensor& dlogp = {});

// hidden [M, C] -> [M, V] float32.
at::Tensor logits(const at::Tensor& hidden, const Parameter& head);

}  // namespace hone::ops
