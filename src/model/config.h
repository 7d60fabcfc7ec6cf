// Shape of a causal language model, as its Hugging Face config.json gives it. All families are this
// one struct; config.cpp says what each family's keys mean.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"

namespace hone {

enum class Activation { silu, gelu, gelu_tanh, relu };

// Rotary positions; the formulas are in rope.cpp.
struct RopeOptions {
  std::string kind = "default";            // default | linear | dynamic | llama3 | yarn
  double theta = 10000;                    // base of the frequencies
  double factor = 1;                       // how much longer than trained
  double original_positions = 0;           // longest sequence before stretching (llama3, yarn)
  double low_factor = 1, high_factor = 4;  // llama3: wavelengths kept, wavelengths stretched
  double beta_fast = 32, beta_slow = 1;    // yarn: rotations at the ends of the ramp
  double attention_factor = 1;             // multiplies cos and sin
  double mscale_all_dim = 0;               // yarn of DeepSeek: see softmax_scale
  bool truncate = true;                    // yarn: the ends of the ramp are whole numbers
  bool interleaved = false;                // pairs (2i, 2i + 1) instead of (i, i + D / 2)
};

// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1). kv_rank 0: none.
struct LatentOptions {
  int64_t q_rank = 0;   // 0: queries come straight from the hidden state
  int64_t kv_rank = 0;  // what is cached of a token, beside the rotated part of the key
  int64_t plain = 0, rotary = 0,
          value = 0;  // widths of a head: key without and with position, value
};

// How a router chooses (experts.h).
enum class Router { softmax, softmax_of_chosen, sigmoid };

// Whether a matrix of these sides divides into the blocks of an 8-bit product
// (kernels/cuda_fp8.h).
inline bool fits_8_bits(int64_t rows, int64_t columns) {
  return rows % 128 == 0 && columns % 128 == 0;
}

// Mixture of experts. count 0: none.
struct ExpertOptions {
  int64_t count = 0, per_token = 0;
  int64_t intermediate = 0;         // of one expert
  int64_t shared_intermediate = 0;  // of the experts that every token takes, together
  Router router = Router::softmax;
  bool normalize = false;               // weights of the chosen sum to 1
  int64_t groups = 1, best_groups = 1;  // only experts of the best groups are chosen
  double scale = 1;                     // of the weights
};

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
  Activation activation = Activation::silu;
  RopeOptions rope;
  bool tied_head = true;
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool head_norms = false;  // RMSNorm of every query and key head before the rotation
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;  // Granite; factors
  double attention_scale = 0;  // of the scores; 0: 1 / sqrt(width of a head)
  LatentOptions latent;
  ExpertOptions experts;
  std::vector<int64_t> windows;  // of each layer, keys that a query sees; 0: all. Empty: all 0
  std::vector<uint8_t> sparse;   // of each layer: has experts. Empty: all or none
  int64_t predict_layers = 0;    // multi-token-prediction modules that are in the files
  int64_t bos = 1, eos = 2, pad = -1;
  std::vector<int64_t> stop_ids;            // generation_config.json's eos_token_id, or eos
  Json file;                                // config.json as it was read; null for a new shape
  std::map<std::string, std::string> more;  // a recipe's shape: further keys of config.json

  int64_t sparse_layers() const {
    int64_t count = 0;
    for (int64_t layer = 0; layer < layers; ++layer) count += is_sparse(layer);
    return count;
  }
  bool is_sparse(int64_t layer) const {
    return experts.count > 0 && (sparse.empty() || sparse[static_cast<size_t>(layer)]);
  }
  int64_t window(int64_t layer) const {
    return windows.empty() ? 0 : windows[static_cast<size_t>(layer)];
  }
  // Of attention's scores, before the softmax.
  double softmax_scale() const;
  // What the cache holds of a token and layer: heads and width of keys (and of values, except in
  // latent attention, whose values are the front of its keys).
  int64_t cache_heads() const { return latent.kv_rank ? 1 : kv_heads; }
  int64_t cache_width() const { return latent.kv_rank ? latent.kv_rank + latent.rotary : head_dim; }
  int64_t parameter_count() const;
  int64_t active_parameter_count() const;  // those that one token uses
  // Of the matrices that ModelPlace::fp8 multiplies in 8 bits: the linear layers of attention, but
  // for latent projections, and of the dense feed-forward, where fits_8_bits.
  int64_t eight_bit_parameters() const;
  // Their share of the parameters that one token is multiplied with.
  double eight_bit_share() const;
};

// The shape of a model that a stage makes from scratch, as a recipe gives it.
void describe(OptionVisitor& v, ModelConfig& c);
// What that shape means: the same as a config.json with these keys. Throws UserError: `where`
// begins it.
ModelConfig complete_shape(const ModelConfig& shape, const std::string& where);

// Throws UserError naming the key, what was found and what was expected.
ModelConfig load_model_config(const std::string& directory);
ModelConfig model_config_of(const Json& config, const std::string& where);
Json model_config_json(const ModelConfig& config);  // what transformers reads
Json generation_config_json(const ModelConfig& config);

}  // namespace hone
