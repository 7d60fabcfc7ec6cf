// The one forward pass: prefill, paged decoding and training are the same code, told apart by the
// batch. A family is a config and a map of names, not a copy of this file.
#pragma once

#include <memory>
#include <string>

#include "model/config.h"
#include "model/forward_batch.h"
#include "model/lora.h"
#include "model/ops.h"
#include "model/safetensors.h"
#include "model/weights.h"

namespace hone {

struct ModelPlace {
  at::Device device = at::Device(at::kCPU);
  at::ScalarType dtype = at::kFloat;  // of `value`: float32 on the CPU
  bool trainable = false;
  // CUDA: a row's bits do not depend on its batch, and sampling and training give the same
  // (README, exactness). Always so on the CPU.
  bool exact = false;
  // CUDA, bf16: the linear layers of attention and of the dense feed-forward are multiplied in 8
  // bits, where their sizes are multiples of 128. Experts, embedding, head and norms stay as they
  // are.
  bool fp8 = false;
};

class Transformer {
 public:
  Transformer(const ModelConfig& config, const ModelPlace& place);

  // [T] tokens -> hidden states after the last norm, [T, C]. Under autograd the batch and the model
  // must outlive the backward pass.
  at::Tensor forward(const ForwardBatch& batch) const;
  // [T] tokens -> [T, V] float32 logits: those of `forward`, but a decode step of few sequences
  // takes another way, with other rounding, unless the model is exact.
  at::Tensor next_logits(const ForwardBatch& batch) const;
  // [M, C] -> [M, V] float32.
  at::Tensor logits(const at::Tensor& hidden) const { return ops::logits(hidden, *head_); }
  ops::LogProbs log_probs(const at::Tensor& hidden, const at::Tensor& targets,
                          double inv_temperature = 1.0, const at::Tensor& dlogp = {}) const {
    return ops::log_probs(hidden, *head_, targets, inv_temperature, dlogp);
  }

  // Normal(0, 0.02), output projections 0.02 / sqrt(2 L), norms 1; a function of the seed alone.
  void initialize(uint64_t seed);

  // On CUDA in `storage`, uint8 [cache_bytes(blocks)] at least, all zero, where it is given.
  KvCache make_cache(int64_t blocks, const at::Tensor& storage = {}) const;
  int64_t cache_bytes(int64_t blocks) const;
  // Positions that the rotary table holds from now on; it moves when it grows.
  const ops::RopeTable& reserve_positions(int64_t positions) const;

  // Hidden states of the multi-token-prediction module that predicts the token after next: row t
  // of `hidden` (from `forward`, [T, C]) with next_tokens[t], the token at t + 1, gives the row
  // from which `log_probs` has log p of the token at t + 2 (DeepSeek-V3, section 2.2).
  // REQUIRES: config().predict_layers > 0.
  at::Tensor predict_ahead(const at::Tensor& hidden, const at::Tensor& next_tokens,
                           const ForwardBatch& batch) const;

  // Router biases that balance the load without a gradient (DeepSeek-V3, section 2.1.2), one of
  // each sparse layer, in order; empty if the model has none.
  std::vector<Parameter*> selection_biases() const;

  // Gives the targeted linear layers adapters that change nothing yet (A and B zero), on the
  // model's device; they are what is trained from now on. Throws UserError for a target that the
  // model does not have or that cannot have an adapter. REQUIRES: rank > 0; called once; the model
  // was not made trainable.
  void add_adapters(LoraShape shape, bool trainable = true);  // lora.cpp
  LoraAdapters* adapters() { return adapters_.get(); }
  const LoraAdapters* adapters() const { return adapters_.get(); }
  // What an optimizer updates.
  WeightArena& trained() { return adapters_ ? adapters_->weights : weights_; }

  const ModelConfig& config() const { return config_; }
  WeightArena& weights() { return weights_; }
  const WeightArena& weights() const { return weights_; }
  // Whether sampling and training give the same bits, and a row's do not depend on its batch.
  bool exact() const { return device().is_cpu() || weights_.exact(); }
  // Whether layers are multiplied in 8 bits (ModelPlace::fp8).
  bool fp8() const { return fp8_; }
  // Whether segments of a training batch may have prefixes (kernels::AttentionSegment).
  bool shares_prefixes() const;
  at::Device device() const { return weights_.device(); }
  at::ScalarType dtype() const { return weights_.value().scalar_type(); }

 private:
  struct FeedForward {
    Parameter *gate_up = nullptr, *gate_up_bias = nullptr, *down = nullptr, *down_bias = nullptr;
  };
  struct Block {
    Parameter *attention_norm = nullptr, *mlp_norm = nullptr;
    Parameter *qkv = nullptr, *qkv_bias = nullptr, *query_norm = nullptr, *key_norm = nullptr;
    ops::LatentWeights latent;
    Parameter *output = nullptr, *output_bias = nullptr;
    FeedForward mlp;  // dense, or the experts that every token takes
    ops::ExpertWeights experts;
  };
  struct Predictor {  // a multi-token-prediction module
    Parameter *token_norm = nullptr, *hidden_norm = nullptr, *join = nullptr, *norm = nullptr;
    Block block;
  };
  Block add_block(const std::string& prefix, bool sparse);
  FeedForward add_feed_forward(const std::string& prefix, int64_t width);
  void add_experts(const std::string& prefix, Block& block);
  void add_latent(const std::string& prefix, Block& block);
  // The rotary table, which grows with the longest context that was ever asked for: a config may
  // allow millions of positions. An entry's value does not depend on the table's size; the backward
  // pass reads the table as it is by then.
  const ops::RopeTable& rope_for(const ForwardBatch& batch) const;
  at::Tensor attend(const ops::Input& x, const Block& block, const ForwardBatch& batch,
                    int64_t layer) const;
  // qkv [T, (H + 2G) D] -> [T, H D]
  at::Tensor attend_heads(at::Tensor qkv, const Block& block, const ForwardBatch& batch,
                          int64_t layer) const;
  at::Tensor feed_forward(const ops::Input& x, const FeedForward& mlp) const;
  bool takes_small_batch(const ForwardBatch& batch) const;
  at::Tensor small_batch_logits(const ForwardBatch& batch) const;
  // The residual stream between blocks: what the last one added waits to be summed, with the norm
  // that follows.
  struct Stream {
    at::Tensor x, delta;  // [T, C]
  };
  Stream run_block(const Stream& stream, const Block& block, const ForwardBatch& batch,
                   int64_t layer) const;
  // The same, keeping only its input where the batch asks for Recompute::layers.
  Stream run_block_or_twice(const Stream& stream, const Block& block, const ForwardBatch& batch,
                            int64_t layer) const;

  ModelConfig config_;
  WeightArena weights_;
  std::unique_ptr<LoraAdapters> adapters_;
  Parameter *embedding_ = nullptr, *final_norm_ = nullptr, *head_ = nullptr;
  std::vector<Block> blocks_;
  std::vector<Predictor> predictors_;
  mutable ops::RopeTable rope_;
  bool fp8_ = false;
};

// Reads a Hugging Face directory (config.json, *.safetensors). Throws UserError: missing file,
// unknown architecture, tensor missing or of another shape, damaged file.
std::unique_ptr<Transformer> load_model(const std::string& directory, const ModelPlace& place);

// Writes config.json, generation_config.json and model.safetensors (bf16 or float32) into
// `directory`, each file complete or not at all; tokenizer files are copied from
// `tokenizer_directory`. Adapters are merged into the weights.
void save_model(const Transformer& model, const std::string& directory,
                const std::string& tokenizer_directory, at::ScalarType dtype,
                int64_t shard_bytes = kShardBytes);
// The same from a copy of the weights, which name each tensor of the directory's.
void save_tensors(const ModelConfig& config, const NamedTensors& tensors,
                  const std::string& directory, const std::string& tokenizer_directory,
                  at::ScalarType dtype, int64_t shard_bytes = kShardBytes);

}  // namespace hone
