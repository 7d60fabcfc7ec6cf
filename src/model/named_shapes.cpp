#include "model/named_shapes.h"

#include "base/error.h"

namespace hone {
namespace {

struct NamedShape {
  const char* name;
  const char* config;  // the published config.json, as far as it gives the shape
};

const NamedShape kShapes[] = {
    {"bench-5m", R"({"model_type": "llama", "vocab_size": 512, "hidden_size": 256,
        "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": true})"},
    {"qwen2.5-0.5b", R"({"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896,
        "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
        "num_key_value_heads": 2, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000, "tie_word_embeddings": true})"},
    {"qwen2.5-1.5b", R"({"model_type": "qwen2", "vocab_size": 151936, "hidden_size": 1536,
        "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000, "tie_word_embeddings": true})"},
    {"qwen2.5-7b", R"({"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584,
        "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6,
        "rope_theta": 1000000, "tie_word_embeddings": false})"},
    {"qwen3-0.6b", R"({"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024,
        "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": true})"},
    {"qwen3-8b", R"({"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 4096,
        "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false})"},
    {"qwen3-30b-a3b", R"({"model_type": "qwen3_moe", "vocab_size": 151936, "hidden_size": 2048,
        "intermediate_size": 6144, "num_hidden_layers": 48, "num_attention_heads": 32,
        "num_key_value_heads": 4, "head_dim": 128, "max_position_embeddings": 40960,
        "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": false,
        "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
        "norm_topk_prob": true, "decoder_sparse_step": 1, "mlp_only_layers": []})"},
    {"deepseek-v2-lite", R"({"model_type": "deepseek_v2", "vocab_size": 102400,
        "hidden_size": 2048, "intermediate_size": 10944, "num_hidden_layers": 27,
        "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 163840,
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": false,
        "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096,
            "beta_fast": 32, "beta_slow": 1, "mscale": 0.707, "mscale_all_dim": 0.707},
        "q_lora_rank": null, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "n_routed_experts": 64,
        "n_shared_experts": 2, "num_experts_per_tok": 6, "moe_intermediate_size": 1408,
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "topk_method": "greedy", "n_group": 1,
        "topk_group": 1, "norm_topk_prob": false, "routed_scaling_factor": 1.0})"},
};

// The same model with its first layers only.
struct CutShape {
  const char *name, *of;
  int layers;
};
const CutShape kCut[] = {{"qwen3-30b-a3b-small", "qwen3-30b-a3b", 8},
                         {"deepseek-v2-lite-small", "deepseek-v2-lite", 8}};

}  // namespace

std::vector<std::string> shape_names() {
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) names.push_back(shape.name);
  for (const CutShape& cut : kCut) names.push_back(cut.name);
  return names;
}

ModelConfig named_shape(const std::string& name) {
  std::string full = name;
  int layers = 0;  // 0: all
  for (const CutShape& cut : kCut) {
    if (name == cut.name) full = cut.of, layers = cut.layers;
  }
  for (const NamedShape& shape : kShapes) {
    if (full != shape.name) continue;
    Json config = Json::parse(shape.config);
    if (layers > 0) config["num_hidden_layers"] = layers;
    return model_config_of(config, name);
  }
  std::string known;
  for (const std::string& shape : shape_names()) known += (known.empty() ? "" : ", ") + shape;
  throw UserError(cat("unknown shape '", name, "' (there are: ", known, ")"));
}

}  // namespace hone
