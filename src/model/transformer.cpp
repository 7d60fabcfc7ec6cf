#include "model/transformer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/rng.h"
#include "kernels/cpu_kernels.h"
#include "model/recompute.h"

namespace hone {

Transformer::FeedForward Transformer::add_feed_forward(const std::string& p, int64_t width) {
  FeedForward f;
  f.gate_up = weights_.add_matrix(
      {{p + "gate_proj.weight", {width}}, {p + "up_proj.weight", {width}}}, config_.hidden);
  f.down = weights_.add_matrix({{p + "down_proj.weight", {config_.hidden}}}, width);
  if (config_.mlp_bias) {
    f.gate_up_bias =
        weights_.add_vector({{p + "gate_proj.bias", width}, {p + "up_proj.bias", width}});
    f.down_bias = weights_.add_vector({{p + "down_proj.bias", config_.hidden}});
  }
  return f;
}

// The names that families give to the parts of their experts.
void Transformer::add_experts(const std::string& p, Block& b) {
  const ExpertOptions& e = config_.experts;
  const int64_t c = config_.hidden, f = e.intermediate;
  std::vector<int64_t> up_parts, down_parts;
  for (int64_t i = 0; i <= e.count; ++i) {
    up_parts.push_back(i * 2 * f);
    down_parts.push_back(i * c);
  }
  ops::ExpertWeights& w = b.experts;
  if (config_.family == "granitemoe") {
    const std::string moe = p + "block_sparse_moe.";
    w.router = weights_.add_matrix({{moe + "router.layer.weight", {e.count}}}, c);
    w.gate_up = weights_.add_matrix({{moe + "input_linear.weight", {e.count, 2 * f}}}, c, up_parts);
    w.down = weights_.add_matrix({{moe + "output_linear.weight", {e.count, c}}}, f, down_parts);
    return;
  }
  const bool mixtral = config_.family == "mixtral";
  const std::string moe = p + (mixtral ? "block_sparse_moe." : "mlp.");
  w.router = weights_.add_matrix({{moe + "gate.weight", {e.count}}}, c);
  if (e.router == Router::sigmoid) {
    w.selection = weights_.add_fixed(moe + "gate.e_score_correction_bias", e.count);
  }
  std::vector<WeightArena::Piece> gate_up, down;
  for (int64_t i = 0; i < e.count; ++i) {
    const std::string expert = cat(moe, "experts.", i, ".");
    gate_up.push_back({expert + (mixtral ? "w1.weight" : "gate_proj.weight"), {f}});
    gate_up.push_back({expert + (mixtral ? "w3.weight" : "up_proj.weight"), {f}});
    down.push_back({expert + (mixtral ? "w2.weight" : "down_proj.weight"), {c}});
  }
  w.gate_up = weights_.add_matrix(gate_up, c, up_parts);
  w.down = weights_.add_matrix(down, f, down_parts);
  if (e.shared_intermediate > 0) {
    b.mlp = add_feed_forward(moe + "shared_experts.", e.shared_intermediate);
  }
}

void Transformer::add_latent(const std::string& p, Block& b) {
  const ModelConfig& c = config_;
  const LatentOptions& l = c.latent;
  const int64_t queries = c.heads * (l.plain + l.rotary);
  ops::LatentWeights& w = b.latent;
  if (l.q_rank > 0) {
    w.query_down = weights_.add_matrix({{p + "q_a_proj.weight", {l.q_rank}}}, c.hidden);
    if (c.qkv_bias) w.query_bias = weights_.add_vector({{p + "q_a_proj.bias", l.q_rank}});
    w.query_norm = weights_.add_vector({{p + "q_a_layernorm.weight", l.q_rank}});
    w.query = weights_.add_matrix({{p + "q_b_proj.weight", {queries}}}, l.q_rank);
  } else {
    w.query = weights_.add_matrix({{p + "q_proj.weight", {queries}}}, c.hidden);
  }
  const int64_t down = l.kv_rank + l.rotary;
  w.down = weights_.add_matrix({{p + "kv_a_proj_with_mqa.weight", {down}}}, c.hidden);
  if (c.qkv_bias) w.down_bias = weights_.add_vector({{p + "kv_a_proj_with_mqa.bias", down}});
  w.norm = weights_.add_vector({{p + "kv_a_layernorm.weight", l.kv_rank}});
  std::vector<int64_t> parts{0};
  for (int64_t h = 0; h < c.heads; ++h) {
    parts.push_back(parts.back() + l.plain);
    parts.push_back(parts.back() + l.value);
  }
  w.up = weights_.add_matrix({{p + "kv_b_proj.weight", {parts.back()}}}, l.kv_rank, parts);
}

Transformer::Block Transformer::add_block(const std::string& p, bool sparse) {
  const ModelConfig& c = config_;
  const std::string attention = p + "self_attn.";
  Block b;
  b.attention_norm = weights_.add_vector({{p + "input_layernorm.weight", c.hidden}});
  int64_t mixed = c.heads * c.head_dim;
  if (c.latent.kv_rank > 0) {
    add_latent(attention, b);
    mixed = c.heads * c.latent.value;
  } else {
    const int64_t kv = c.kv_heads * c.head_dim;
    b.qkv = weights_.add_matrix({{attention + "q_proj.weight", {mixed}},
                                 {attention + "k_proj.weight", {kv}},
                                 {attention + "v_proj.weight", {kv}}},
                                c.hidden);
    if (c.qkv_bias) {
      b.qkv_bias = weights_.add_vector({{attention + "q_proj.bias", mixed},
                                        {attention + "k_proj.bias", kv},
                                        {attention + "v_proj.bias", kv}});
    }
    if (c.head_norms) {
      b.query_norm = weights_.add_vector({{attention + "q_norm.weight", c.head_dim}});
      b.key_norm = weights_.add_vector({{attention + "k_norm.weight", c.head_dim}});
    }
  }
  b.output = weights_.add_matrix({{attention + "o_proj.weight", {c.hidden}}}, mixed);
  if (c.output_bias) b.output_bias = weights_.add_vector({{attention + "o_proj.bias", c.hidden}});
  b.mlp_norm = weights_.add_vector({{p + "post_attention_layernorm.weight", c.hidden}});
  if (sparse) {
    add_experts(p, b);
  } else {
    b.mlp = add_feed_forward(p + "mlp.", c.intermediate);
  }
  return b;
}

namespace {

// What the GPU's kernels do not compute in one order of operations.
void check_exact(const ModelConfig& c, const ModelPlace& place) {
  if (!place.exact || !place.device.is_cuda()) return;
  const char* why = nullptr;
  if (place.dtype != at::kBFloat16) why = "float32 products";
  if (c.experts.count > 0) why = "experts";
  if (c.latent.kv_rank > 0) why = "latent attention";
  if (c.latent.kv_rank == 0 && c.head_dim != 32 && c.head_dim != 64 && c.head_dim != 96 &&
      c.head_dim != 128 && c.head_dim != 256) {
    why = "heads of other than 32, 64, 96, 128 or 256 elements";
  }
  if (why) {
    throw UserError(cat("exact: the GPU computes ", why, " in an order that depends on the batch; ",
                        "leave exact off there, or run on the CPU"));
  }
}

void check_fp8(const ModelConfig& c, const ModelPlace& place) {
  if (!place.fp8) return;
  if (!place.device.is_cuda() || place.dtype != at::kBFloat16) {
    throw UserError("fp8: expected device cuda and dtype bfloat16; 8-bit products are the GPU's");
  }
  if (place.exact) {
    throw UserError(
        "fp8 and exact: the 8-bit products' order of operations depends on the batch; choose one");
  }
  if (c.eight_bit_parameters() == 0) {
    throw UserError(
        "fp8: expected a model with dense linear layers whose sides are multiples of 128, found "
        "none to multiply in 8 bits; leave fp8 off");
  }
}

}  // namespace

Transformer::Transformer(const ModelConfig& config, const ModelPlace& place)
    : config_(config), fp8_(place.fp8) {
  check_exact(config, place);
  check_fp8(config, place);
  const ModelConfig& c = config_;
  embedding_ = weights_.add_matrix({{"model.embed_tokens.weight", {c.vocab_size}}}, c.hidden);
  int64_t sparse = 0;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    blocks_.push_back(add_block(cat("model.layers.", layer, "."), c.is_sparse(layer)));
    if (c.is_sparse(layer)) blocks_.back().experts.number = sparse++;
  }
  final_norm_ = weights_.add_vector({{"model.norm.weight", c.hidden}});
  head_ = c.tied_head ? embedding_
                      : weights_.add_matrix({{"lm_head.weight", {c.vocab_size}}}, c.hidden);
  for (int64_t i = 0; i < c.predict_layers; ++i) {
    const std::string p = cat("model.layers.", c.layers + i, ".");
    Predictor m;
    m.token_norm = weights_.add_vector({{p + "enorm.weight", c.hidden}});
    m.hidden_norm = weights_.add_vector({{p + "hnorm.weight", c.hidden}});
    m.join = weights_.add_matrix({{p + "eh_proj.weight", {c.hidden}}}, 2 * c.hidden);
    m.block = add_block(p, c.experts.count > 0);
    m.norm = weights_.add_vector({{p + "shared_head.norm.weight", c.hidden}});
    predictors_.push_back(m);
  }
  if (place.fp8) {
    for (Block& b : blocks_) {
      for (Parameter* w : {b.qkv, b.output, b.mlp.gate_up, b.mlp.down}) {
        if (w) w->fp8 = fits_8_bits(w->rows, w->columns);
      }
    }
  }
  weights_.set_exact(place.exact);
  weights_.allocate(place.device, place.dtype, place.trainable);
}

namespace {

at::Tensor scaled(const at::Tensor& x, double factor) { return factor == 1 ? x : x * factor; }

// qkv [T, (H + 2G) D] with every head of queries and keys normed.
at::Tensor norm_heads(const at::Tensor& qkv, const ModelConfig& c, const Parameter& query_norm,
                      const Parameter& key_norm) {
  const int64_t t = qkv.size(0), d = c.head_dim, q = c.heads * d, kv = c.kv_heads * d;
  const auto normed = [&](int64_t begin, int64_t width, const Parameter& norm) {
    return ops::rms_norm(qkv.narrow(1, begin, width).reshape({-1, d}), norm, c.rms_eps)
        .view({t, width});
  };
  return at::cat({normed(0, q, query_norm), normed(q, kv, key_norm), qkv.narrow(1, q + kv, kv)}, 1);
}

// The tokens of the longest sequence, with those before the batch.
int64_t longest_context(const ForwardBatch& batch) {
  int64_t longest = 1;  // the kernels want a table for an empty batch too
  for (const AttentionSegment& s : batch.segments) {
    longest = std::max(longest, s.prefix_length + s.length);
  }
  for (const PagedSequence& s : batch.sequences) longest = std::max(longest, s.context);
  return longest;
}

}  // namespace

const ops::RopeTable& Transformer::rope_for(const ForwardBatch& batch) const {
  return reserve_positions(longest_context(batch));
}

const ops::RopeTable& Transformer::reserve_positions(int64_t needed) const {
  const ModelConfig& c = config_;
  if (needed > rope_.positions()) {
    const auto power = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(needed)));
    const int64_t turned = c.latent.kv_rank > 0 ? c.latent.rotary : c.head_dim;
    rope_ = ops::make_rope_table(c.rope, std::min(power, c.max_positions), turned, device());
  }
  return rope_;
}

at::Tensor Transformer::attend(const ops::Input& x, const Block& b, const ForwardBatch& batch,
                               int64_t layer) const {
  const ModelConfig& c = config_;
  const at::Tensor mixed =
      c.latent.kv_rank > 0 ? ops::latent_attention(x, b.latent, c, batch, layer, rope_for(batch))
                           : attend_heads(ops::linear(x, *b.qkv, b.qkv_bias), b, batch, layer);
  return ops::linear(mixed, *b.output, b.output_bias);
}

at::Tensor Transformer::attend_heads(at::Tensor qkv, const Block& b, const ForwardBatch& batch,
                                     int64_t layer) const {
  const ModelConfig& c = config_;
  ops::AttentionShape shape{c.heads, c.kv_heads, c.head_dim, c.softmax_scale(),
                            layer < c.layers ? c.window(layer) : 0};
  shape.exact = weights_.exact();
  if (c.head_norms && qkv.is_cuda() && batch.cache) {
    shape.query_norm = b.query_norm;
    shape.key_norm = b.key_norm;
    shape.eps = c.rms_eps;
  } else if (c.head_norms) {
    qkv = norm_heads(qkv, c, *b.query_norm, *b.key_norm);
  }
  return ops::attention(qkv, batch, layer, shape, &rope_for(batch));
}

at::Tensor Transformer::feed_forward(const ops::Input& x, const FeedForward& f) const {
  const at::Tensor gate_up = ops::linear(x, *f.gate_up, f.gate_up_bias);
  const bool again = static_cast<bool>(x.again);
  return ops::linear(ops::gated(gate_up, config_.activation, again), *f.down, f.down_bias);
}

Transformer::Stream Transformer::run_block(const Stream& stream, const Block& b,
                                           const ForwardBatch& batch, int64_t layer) const {
  const ModelConfig& c = config_;
  const bool again = batch.recompute == Recompute::selective && at::GradMode::is_enabled();
  const auto [x, normed] =
      ops::add_rms_norm(stream.x, stream.delta, *b.attention_norm, c.rms_eps, again);
  const at::Tensor attended = scaled(attend(normed, b, batch, layer), c.residual_scale);
  const auto [sum, y] = ops::add_rms_norm(x, attended, *b.mlp_norm, c.rms_eps, again);
  at::Tensor out;
  if (b.mlp.gate_up) out = feed_forward(y, b.mlp);
  if (b.experts.router) {
    const at::Tensor chosen = ops::experts(y, b.experts, c, batch);
    out = out.defined() ? chosen + out : chosen;
  }
  return {sum, scaled(out, c.residual_scale)};
}

Transformer::Stream Transformer::run_block_or_twice(const Stream& stream, const Block& b,
                                                    const ForwardBatch& batch,
                                                    int64_t layer) const {
  if (batch.recompute != Recompute::layers || !at::GradMode::is_enabled()) {
    return run_block(stream, b, batch, layer);
  }
  // Each run has a record of its own, so that the second counts nothing; what the balance loss
  // needs leaves the block as an output, through which its gradient comes back.
  struct Own {
    ForwardBatch batch;
    RoutingRecord routing;
  };
  const auto own = std::make_shared<Own>();
  own->batch = batch;
  if (batch.routing) {
    own->routing.segment = batch.routing->segment;
    own->batch.routing = &own->routing;
  }
  const auto run = [this, &b, own, layer](const at::Tensor& x) {
    own->routing.counts.clear();
    const Stream s = run_block({x, {}}, b, own->batch, layer);
    std::vector<at::Tensor> outputs{s.x + s.delta};
    const at::Tensor balance = std::exchange(own->routing.balance, {});
    if (balance.defined()) outputs.push_back(balance);
    return outputs;
  };
  const at::Tensor x = stream.delta.defined() ? stream.x + stream.delta : stream.x;
  const std::vector<at::Tensor> outputs = recomputed(x, run);
  batch.plan = own->batch.plan;  // made by the first layer, for all
  if (outputs.size() > 1) {
    RoutingRecord& record = *batch.routing;
    record.segment = own->routing.segment;
    record.counts.insert(record.counts.end(), own->routing.counts.begin(),
                         own->routing.counts.end());
    record.balance = record.balance.defined() ? record.balance + outputs[1] : outputs[1];
  }
  return {outputs[0], {}};
}

at::Tensor Transformer::forward(const ForwardBatch& batch) const {
  Stream s{scaled(ops::embed(batch.tokens, *embedding_), config_.embedding_scale), {}};  // [T, C]
  // A layer that runs again is in the graph only if its input is: frozen embeddings are not.
  if (batch.recompute == Recompute::layers && adapters_ && at::GradMode::is_enabled()) {
    s.x.requires_grad_();
  }
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    s = run_block_or_twice(s, blocks_[static_cast<size_t>(layer)], batch, layer);
  }
  return scaled(ops::add_rms_norm(s.x, s.delta, *final_norm_, config_.rms_eps).normed.value,
                config_.logit_scale);
}

at::Tensor Transformer::next_logits(const ForwardBatch& batch) const {
#ifdef HONE_WITH_CUDA
  if (takes_small_batch(batch)) return small_batch_logits(batch);
#endif
  return logits(forward(batch));
}

at::Tensor Transformer::predict_ahead(const at::Tensor& hidden, const at::Tensor& next_tokens,
                                      const ForwardBatch& batch) const {
  const Predictor& m = predictors_.front();
  const double eps = config_.rms_eps;
  const at::Tensor tokens = ops::rms_norm(ops::embed(next_tokens, *embedding_), *m.token_norm, eps);
  const at::Tensor joined = at::cat({tokens, ops::rms_norm(hidden, *m.hidden_norm, eps)}, 1);
  const Stream s =
      run_block_or_twice({ops::linear(joined, *m.join), {}}, m.block, batch, config_.layers);
  return ops::add_rms_norm(s.x, s.delta, *m.norm, eps).normed.value;
}

bool Transformer::shares_prefixes() const {
  return device().is_cpu() ||
         (config_.latent.kv_rank == 0 && ops::has_flash_attention(dtype(), config_.head_dim));
}

std::vector<Parameter*> Transformer::selection_biases() const {
  std::vector<Parameter*> biases;
  for (const Block& b : blocks_) {
    if (b.experts.selection) biases.push_back(b.experts.selection);
  }
  return biases;
}

namespace {
bool leads_to_residual(const std::string& name) {
  for (const char* part : {"o_proj", "down_proj", ".w2.", "output_linear"}) {
    if (name.find(part) != std::string::npos) return true;
  }
  return false;
}
}  // namespace

void Transformer::initialize(uint64_t seed) {
  const double residual = 0.02 / std::sqrt(2.0 * static_cast<double>(config_.layers));
  const auto fill = [&](size_t index) {
    const NamedTensor& t = weights_.tensors()[index];
    const at::Tensor target = weights_.view(t);
    if (t.shape.size() == 1) {  // a norm or a bias
      target.fill_(t.name.ends_with("bias") ? 0.0 : 1.0);
      return;
    }
    const double sigma = leads_to_residual(t.name) ? residual : 0.02;
    at::Tensor draws = at::empty(t.shape, at::kFloat);
    float* d = draws.data_ptr<float>();
    Rng rng(make_key(seed, hash64("initialize"), index));
    for (int64_t i = 0; i < draws.numel(); i += 2) {  // Box-Muller
      const double radius = sigma * std::sqrt(-2.0 * std::log(1.0 - rng.uniform()));
      const double angle = 6.283185307179586 * rng.uniform();
      d[i] = static_cast<float>(radius * std::cos(angle));
      if (i + 1 < draws.numel()) d[i + 1] = static_cast<float>(radius * std::sin(angle));
    }
    target.copy_(draws);
  };
  // Each tensor has its own key, so the threads may take them in any order.
  std::atomic<size_t> next{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kernels::num_threads(); ++i) {
    threads.emplace_back([&] {
      for (size_t at; (at = next++) < weights_.tensors().size();) fill(at);
    });
  }
  for (std::thread& thread : threads) thread.join();
  weights_.weights_changed();
}

int64_t Transformer::cache_bytes(int64_t blocks) const {
  const ModelConfig& c = config_;
  const bool cpu = device().is_cpu();
  const int64_t width = cpu ? (c.cache_width() + 15) / 16 * 16 : c.cache_width();
  const int64_t copies = c.latent.kv_rank > 0 && !cpu ? 1 : 2;  // keys and values
  return copies * c.layers * blocks * c.cache_heads() * kBlockTokens * width *
         static_cast<int64_t>(c10::elementSize(dtype()));
}

KvCache Transformer::make_cache(int64_t blocks, const at::Tensor& storage) const {
  KvCache cache;
  cache.blocks = blocks;
  const ModelConfig& c = config_;
  const auto options = at::TensorOptions().device(device()).dtype(dtype());
  const int64_t heads = c.cache_heads(), width = c.cache_width(), padded = (width + 15) / 16 * 16;
  int64_t used = 0;
  const auto on_device = [&] {
    const std::vector<int64_t> shape{blocks, heads, kBlockTokens, width};
    if (!storage.defined()) return at::zeros(shape, options);
    const int64_t bytes =
        blocks * heads * kBlockTokens * width * static_cast<int64_t>(c10::elementSize(dtype()));
    used += bytes;
    return storage.narrow(0, used - bytes, bytes).view(dtype()).view(shape);
  };
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    if (device().is_cpu()) {
      cache.keys.push_back(at::empty({blocks, heads, padded, kBlockTokens}, options));
      cache.values.push_back(at::empty({blocks, heads, kBlockTokens, padded}, options));
    } else {
      cache.keys.push_back(on_device());
      if (c.latent.kv_rank == 0) cache.values.push_back(on_device());
    }
  }
  return cache;
}

}  // namespace hone
