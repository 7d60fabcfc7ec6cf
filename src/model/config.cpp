#include "model/config.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace hone {
namespace {

Json read_json(const std::string& path) {
  try {
    Json json = Json::parse(read_file(path));
    if (!json.is_object()) throw UserError(cat(path, ": expected a JSON object"));
    return json;
  } catch (const Json::exception& e) {
    throw UserError(cat(path, ": not valid JSON: ", e.what()));
  }
}

int64_t whole_number(const Json& config, const std::string& path, const char* key, int64_t low,
                     int64_t high, int64_t fallback) {
  if (!config.contains(key) || config[key].is_null()) {
    if (fallback >= 0) return fallback;
    throw UserError(cat(path, ": `", key, "` is missing"));
  }
  const Json& value = config[key];
  if (!value.is_number_integer() || value.get<double>() < static_cast<double>(low) ||
      value.get<double>() > static_cast<double>(high)) {
    throw UserError(cat(path, ": `", key, "`: expected a whole number from ", low, " to ", high,
                        ", found ", value.dump()));
  }
  return value.get<int64_t>();
}

double number(const Json& config, const std::string& path, const char* key, double fallback) {
  if (!config.contains(key) || config[key].is_null()) return fallback;
  if (!config[key].is_number()) {
    throw UserError(cat(path, ": `", key, "`: expected a number, found ", config[key].dump()));
  }
  return config[key].get<double>();
}

std::string word(const Json& config, const std::string& path, const char* key,
                 const char* fallback) {
  if (!config.contains(key) || config[key].is_null()) return fallback;
  if (!config[key].is_string()) {
    throw UserError(cat(path, ": `", key, "`: expected text, found ", config[key].dump()));
  }
  return config[key].get<std::string>();
}

std::vector<int64_t> id_list(const Json& value, const std::string& path, int64_t vocab) {
  std::vector<int64_t> ids;
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab) {
      throw UserError(cat(path, ": `eos_token_id`: expected token ids below ", vocab, ", found ",
                          value.dump()));
    }
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

}  // namespace

int64_t ModelConfig::parameter_count() const {
  const int64_t attention = hidden * head_dim * (2 * heads + 2 * kv_heads);
  const int64_t block = attention + 3 * hidden * intermediate + 2 * hidden;
  return vocab_size * hidden * (tied_head ? 1 : 2) + layers * block + hidden;
}

ModelConfig load_model_config(const std::string& directory) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(directory)) {
    throw UserError(cat(directory, ": expected a model directory with config.json, found ",
                        fs::exists(directory) ? "a file" : "nothing"));
  }
  const std::string path = directory + "/config.json";
  const Json config = read_json(path);
  ModelConfig c;
  const std::string type = word(config, path, "model_type", "");
  if (type != "llama") {
    throw UserError(cat(path, ": model_type '", type, "' is not known; known: llama"));
  }
  c.family = type;
  constexpr int64_t kMany = int64_t{1} << 24;
  c.vocab_size = whole_number(config, path, "vocab_size", 2, kMany, -1);
  c.hidden = whole_number(config, path, "hidden_size", 1, 1 << 20, -1);
  c.layers = whole_number(config, path, "num_hidden_layers", 1, 4096, -1);
  c.heads = whole_number(config, path, "num_attention_heads", 1, 4096, -1);
  c.kv_heads = whole_number(config, path, "num_key_value_heads", 1, 4096, c.heads);
  c.head_dim = whole_number(config, path, "head_dim", 1, 4096, c.hidden / c.heads);
  c.intermediate = whole_number(config, path, "intermediate_size", 1, kMany, -1);
  c.max_positions = whole_number(config, path, "max_position_embeddings", 1, kMany, 2048);
  c.rms_eps = number(config, path, "rms_norm_eps", 1e-6);
  c.rope_theta = number(config, path, "rope_theta", 10000);
  if (config.contains("rope_parameters") && config["rope_parameters"].is_object()) {
    const Json& rope = config["rope_parameters"];  // transformers 5 writes it here
    c.rope_theta = number(rope, path, "rope_theta", c.rope_theta);
    if (const std::string kind = word(rope, path, "rope_type", "default"); kind != "default") {
      throw UserError(cat(path, ": rope_type '", kind, "' is not known"));
    }
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    if (config.contains(key) && config[key] == true) {
      throw UserError(cat(path, ": `", key, "`: true is not supported by this version"));
    }
  }
  if (config.contains("rope_scaling") && config["rope_scaling"].is_object() &&
      word(config["rope_scaling"], path, "rope_type", "default") != "default") {
    throw UserError(cat(path, ": `rope_scaling` is not supported by this version"));
  }
  if (const std::string act = word(config, path, "hidden_act", "silu"); act != "silu") {
    throw UserError(cat(path, ": `hidden_act`: expected silu, found ", act));
  }
  if (c.head_dim % 16 != 0) {
    throw UserError(cat(path, ": head size ", c.head_dim, " is not a multiple of 16"));
  }
  if (c.heads % c.kv_heads != 0) {
    throw UserError(cat(path, ": num_attention_heads ", c.heads,
                        " is not a multiple of num_key_value_heads ", c.kv_heads));
  }
  const Json tied = config.value("tie_word_embeddings", Json(false));
  if (!tied.is_boolean()) {
    throw UserError(cat(path, ": `tie_word_embeddings`: expected true or false, found ", tied));
  }
  c.tied_head = tied.get<bool>();
  c.bos = whole_number(config, path, "bos_token_id", 0, c.vocab_size - 1, 1);
  c.pad = config.contains("pad_token_id") && config["pad_token_id"].is_number_integer()
              ? config["pad_token_id"].get<int64_t>()
              : -1;
  if (config.contains("eos_token_id") && !config["eos_token_id"].is_null()) {
    c.stop_ids = id_list(config["eos_token_id"], path, c.vocab_size);
  }
  const std::string generation = directory + "/generation_config.json";
  if (std::filesystem::exists(generation)) {
    const Json g = read_json(generation);
    if (g.contains("eos_token_id") && !g["eos_token_id"].is_null()) {
      c.stop_ids = id_list(g["eos_token_id"], generation, c.vocab_size);
    }
  }
  c.eos = c.stop_ids.empty() ? -1 : c.stop_ids.front();
  return c;
}

Json model_config_json(const ModelConfig& c) {
  Json j = {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", c.family},
            {"vocab_size", c.vocab_size},
            {"hidden_size", c.hidden},
            {"intermediate_size", c.intermediate},
            {"num_hidden_layers", c.layers},
            {"num_attention_heads", c.heads},
            {"num_key_value_heads", c.kv_heads},
            {"head_dim", c.head_dim},
            {"hidden_act", "silu"},
            {"max_position_embeddings", c.max_positions},
            {"initializer_range", 0.02},
            {"rms_norm_eps", c.rms_eps},
            {"rope_theta", c.rope_theta},
            {"rope_scaling", nullptr},
            {"attention_bias", false},
            {"mlp_bias", false},
            {"tie_word_embeddings", c.tied_head},
            {"bos_token_id", c.bos},
            {"eos_token_id", c.eos},
            {"torch_dtype", "bfloat16"}};
  if (c.pad >= 0) j["pad_token_id"] = c.pad;
  return j;
}

Json generation_config_json(const ModelConfig& c) {
  Json j = {{"bos_token_id", c.bos}, {"do_sample", true}};
  j["eos_token_id"] = c.stop_ids.size() > 1 ? Json(c.stop_ids) : Json(c.eos);
  if (c.pad >= 0) j["pad_token_id"] = c.pad;
  return j;
}

}  // namespace hone
