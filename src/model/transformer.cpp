#include "model/transformer.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "base/rng.h"

namespace hone {

Transformer::Transformer(const ModelConfig& config, const ModelPlace& place) : config_(config) {
  const ModelConfig& c = config_;
  shape_ = {c.heads, c.kv_heads, c.head_dim};
  embedding_ = weights_.add_matrix({{"model.embed_tokens.weight", c.vocab_size}}, c.hidden);
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string p = cat("model.layers.", layer, ".");
    Block b;
    b.attention_norm = weights_.add_vector(p + "input_layernorm.weight", c.hidden);
    b.qkv = weights_.add_matrix({{p + "self_attn.q_proj.weight", c.heads * c.head_dim},
                                 {p + "self_attn.k_proj.weight", c.kv_heads * c.head_dim},
                                 {p + "self_attn.v_proj.weight", c.kv_heads * c.head_dim}},
                                c.hidden);
    b.output =
        weights_.add_matrix({{p + "self_attn.o_proj.weight", c.hidden}}, c.heads * c.head_dim);
    b.mlp_norm = weights_.add_vector(p + "post_attention_layernorm.weight", c.hidden);
    b.gate_up = weights_.add_matrix(
        {{p + "mlp.gate_proj.weight", c.intermediate}, {p + "mlp.up_proj.weight", c.intermediate}},
        c.hidden);
    b.down = weights_.add_matrix({{p + "mlp.down_proj.weight", c.hidden}}, c.intermediate);
    blocks_.push_back(b);
  }
  final_norm_ = weights_.add_vector("model.norm.weight", c.hidden);
  head_ =
      c.tied_head ? embedding_ : weights_.add_matrix({{"lm_head.weight", c.vocab_size}}, c.hidden);
  weights_.allocate(place.device, place.dtype, place.trainable);
  rope_ = ops::make_rope_table(c.max_positions, c.head_dim, c.rope_theta, place.device);
}

at::Tensor Transformer::forward(const ForwardBatch& batch) const {
  const double eps = config_.rms_eps;
  at::Tensor x = ops::embed(batch.tokens, *embedding_);  // [T, C]
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    const Block& b = blocks_[static_cast<size_t>(layer)];
    const at::Tensor qkv = ops::linear(ops::rms_norm(x, *b.attention_norm, eps), *b.qkv);
    x = x + ops::linear(ops::attention(qkv, batch, layer, shape_, rope_), *b.output);
    const at::Tensor gate_up = ops::linear(ops::rms_norm(x, *b.mlp_norm, eps), *b.gate_up);
    x = x + ops::linear(ops::swiglu(gate_up), *b.down);
  }
  return ops::rms_norm(x, *final_norm_, eps);
}

void Transformer::initialize(uint64_t seed) {
  const double residual = 0.02 / std::sqrt(2.0 * static_cast<double>(config_.layers));
  uint64_t index = 0;
  for (const NamedTensor& t : weights_.tensors()) {
    const uint64_t key = make_key(seed, hash64("initialize"), index++);
    const at::Tensor target = WeightArena::view(weights_.master(), t);
    if (t.rows == 0) {
      target.fill_(1.0);
      continue;
    }
    const bool into_residual =
        t.name.find("o_proj") != std::string::npos || t.name.find("down_proj") != std::string::npos;
    const double sigma = into_residual ? residual : 0.02;
    at::Tensor draws = at::empty({t.rows, t.parameter->columns}, at::kFloat);
    float* d = draws.data_ptr<float>();
    Rng rng(key);
    for (int64_t i = 0; i < draws.numel(); i += 2) {  // Box-Muller
      const double radius = sigma * std::sqrt(-2.0 * std::log(1.0 - rng.uniform()));
      const double angle = 6.283185307179586 * rng.uniform();
      d[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < draws.numel()) d[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
    target.copy_(draws);
  }
  weights_.weights_changed();
}

KvCache Transformer::make_cache(int64_t blocks) const {
  KvCache cache;
  cache.blocks = blocks;
  const ModelConfig& c = config_;
  const auto options = at::TensorOptions().device(device()).dtype(dtype());
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    if (device().is_cpu()) {
      cache.keys.push_back(at::empty({blocks, c.kv_heads, c.head_dim, kBlockTokens}, options));
      cache.values.push_back(at::empty({blocks, c.kv_heads, kBlockTokens, c.head_dim}, options));
    } else {
      cache.keys.push_back(at::zeros({blocks * kBlockTokens, c.kv_heads, c.head_dim}, options));
      cache.values.push_back(at::zeros({blocks * kBlockTokens, c.kv_heads, c.head_dim}, options));
    }
  }
  return cache;
}

}  // namespace hone
