// Shape of a causal language model, as its Hugging Face config.json gives it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"

namespace hone {

struct ModelConfig {
  std::string family = "llama";  // model_type
  int64_t vocab_size = 512;
  int64_t hidden = 192;
  int64_t layers = 4;
  int64_t heads = 3;
  int64_t kv_heads = 3;
  int64_t head_dim = 64;
  int64_t intermediate = 512;
  int64_t max_positions = 512;
  double rms_eps = 1e-6;
  double rope_theta = 10000;
  bool tied_head = true;
  int64_t bos = 1, eos = 2, pad = -1;
  std::vector<int64_t> stop_ids;  // generation_config.json's eos_token_id, or eos

  int64_t parameter_count() const;
};

// The shape of a model that a `pretrain` stage makes from scratch.
inline void describe(OptionVisitor& v, ModelConfig& c) {
  v.value("family", c.family, "architecture: llama");
  v.value("hidden", c.hidden, "width of the residual stream");
  v.value("layers", c.layers, "number of blocks");
  v.value("heads", c.heads, "query heads");
  v.value("kv_heads", c.kv_heads, "key/value heads");
  v.value("head_dim", c.head_dim, "width of a head, a multiple of 16");
  v.value("intermediate", c.intermediate, "width of the feed-forward part");
  v.value("max_positions", c.max_positions, "longest sequence, in tokens");
  v.value("rms_eps", c.rms_eps, "epsilon of RMSNorm");
  v.value("rope_theta", c.rope_theta, "base of the rotary embedding");
  v.value("tied_head", c.tied_head, "the head is the embedding");
}

// Throws UserError naming the key, what was found and what was expected.
ModelConfig load_model_config(const std::string& directory);
Json model_config_json(const ModelConfig& config);  // what transformers reads
Json generation_config_json(const ModelConfig& config);

}  // namespace hone
