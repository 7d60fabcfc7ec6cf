#include "model/config.h"

#include <cmath>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file.h"

namespace hone {
namespace {

constexpr int64_t kMany = int64_t{1} << 24;

Json read_json(const std::string& path) {
  try {
    Json json = Json::parse(read_file(path));
    if (!json.is_object()) throw UserError(cat(path, ": expected a JSON object"));
    return json;
  } catch (const Json::exception& e) {
    throw UserError(cat(path, ": not valid JSON: ", e.what()));
  }
}

// Reads keys of a JSON object; a key that is null counts as absent.
struct Keys {
  const Json& json;
  const std::string& where;

  const Json* find(const char* key) const {
    const auto found = json.find(key);
    return found == json.end() || found->is_null() ? nullptr : &*found;
  }
  [[noreturn]] void refuse(const char* key, const std::string& expected, const Json& found) const {
    throw UserError(cat(where, ": `", key, "`: expected ", expected, ", found ", to_line(found)));
  }
  // fallback -1: the key must be there.
  int64_t whole(const char* key, int64_t low, int64_t high, int64_t fallback) const {
    const Json* value = find(key);
    if (!value) {
      if (fallback >= 0) return fallback;
      throw UserError(cat(where, ": `", key, "` is missing"));
    }
    if (!value->is_number_integer() || value->get<double>() < static_cast<double>(low) ||
        value->get<double>() > static_cast<double>(high)) {
      refuse(key, cat("a whole number from ", low, " to ", high), *value);
    }
    return value->get<int64_t>();
  }
  double number(const char* key, double fallback) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_number()) refuse(key, "a number", *value);
    return value->get<double>();
  }
  double positive(const char* key, double fallback) const {
    const double value = number(key, fallback);
    if (!(value > 0)) refuse(key, "a number above 0", json.value(key, Json(value)));
    return value;
  }
  std::string word(const char* key, const char* fallback) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_string()) refuse(key, "text", *value);
    return value->get<std::string>();
  }
  bool flag(const char* key, bool fallback) const {
    const Json* value = find(key);
    if (!value) return fallback;
    if (!value->is_boolean()) refuse(key, "true or false", *value);
    return value->get<bool>();
  }
};

std::vector<int64_t> id_list(const Json& value, const std::string& where, int64_t vocab) {
  std::vector<int64_t> ids;
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& id : list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab) {
      throw UserError(cat(where, ": `eos_token_id`: expected token ids below ", vocab, ", found ",
                          to_line(value)));
    }
    ids.push_back(id.get<int64_t>());
  }
  return ids;
}

// ---- rotary positions ---------------------------------------------------------------------------

double yarn_mscale(double factor, double mscale) {  // YaRN, arXiv 2309.00071, equation 22
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

// `rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` beside each other.
void read_rope(const Keys& config, double theta, ModelConfig& c) {
  RopeOptions& r = c.rope;
  r.theta = config.positive("rope_theta", theta);
  const Json* scaling = config.find("rope_scaling");
  if (!scaling || scaling->empty()) scaling = config.find("rope_parameters");
  if (!scaling) return;
  if (!scaling->is_object()) config.refuse("rope_scaling", "an object", *scaling);
  const Keys rope{*scaling, config.where};
  r.theta = rope.positive("rope_theta", r.theta);
  r.kind = rope.word("rope_type", rope.word("type", "default").c_str());
  if (rope.number("partial_rotary_factor", config.number("partial_rotary_factor", 1)) != 1) {
    throw UserError(cat(config.where, ": `partial_rotary_factor` is not supported"));
  }
  if (r.kind == "default") return;
  const char* original = "original_max_position_embeddings";
  r.original_positions =
      config.positive(original, rope.positive(original, static_cast<double>(c.max_positions)));
  r.mscale_all_dim = rope.number("mscale_all_dim", 0);
  const double longer = static_cast<double>(c.max_positions) / r.original_positions;
  const bool stretched = r.kind == "yarn" && !rope.find("factor");
  r.factor = stretched ? longer : rope.positive("factor", 1);
  if (r.kind == "llama3") {
    r.low_factor = rope.positive("low_freq_factor", 1);
    r.high_factor = rope.positive("high_freq_factor", 4);
  } else if (r.kind == "yarn") {
    r.beta_fast = rope.number("beta_fast", 0);
    if (r.beta_fast == 0) r.beta_fast = 32;
    r.beta_slow = rope.number("beta_slow", 0);
    if (r.beta_slow == 0) r.beta_slow = 1;
    r.truncate = rope.flag("truncate", true);
    const double mscale = rope.number("mscale", 0);
    r.attention_factor =
        rope.number("attention_factor",
                    mscale != 0 && r.mscale_all_dim != 0
                        ? yarn_mscale(r.factor, mscale) / yarn_mscale(r.factor, r.mscale_all_dim)
                        : yarn_mscale(r.factor, 1));
  } else if (r.kind != "linear" && r.kind != "dynamic") {
    throw UserError(cat(config.where, ": rope_type '", r.kind,
                        "' is not known; known: default, linear, dynamic, llama3, yarn"));
  }
}

// ---- families -----------------------------------------------------------------------------------

void read_windows(const Keys& config, bool by_layer, ModelConfig& c) {
  const int64_t window = config.whole("sliding_window", 1, kMany, 0);
  if (window == 0) return;
  if (!by_layer) {
    c.windows.assign(static_cast<size_t>(c.layers), window);
    return;
  }
  const Json* types = config.find("layer_types");
  if (types && (!types->is_array() || static_cast<int64_t>(types->size()) != c.layers)) {
    config.refuse("layer_types", cat("a list of ", c.layers), *types);
  }
  const int64_t from = config.whole("max_window_layers", 0, kMany, 28);
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    bool slides = layer >= from;
    if (types) {
      const Json& type = (*types)[static_cast<size_t>(layer)];
      slides = type == "sliding_attention";
      if (!slides && type != "full_attention") {
        config.refuse("layer_types", "full_attention or sliding_attention", type);
      }
    }
    c.windows.push_back(slides ? window : 0);
  }
}

void read_experts(const Keys& config, const char* count_key, int64_t count, int64_t per_token,
                  const char* width_key, int64_t width, ModelConfig& c) {
  ExpertOptions& e = c.experts;
  e.count = config.whole(count_key, 1, 1 << 16, count);
  e.per_token = config.whole("num_experts_per_tok", 1, 1 << 16, per_token);
  e.intermediate = config.whole(width_key, 1, kMany, width);
  if (e.per_token > e.count) {
    throw UserError(cat(config.where, ": num_experts_per_tok ", e.per_token, " is more than the ",
                        e.count, " experts"));
  }
}

void read_llama(const Keys& config, ModelConfig& c) {
  c.qkv_bias = c.output_bias = config.flag("attention_bias", false);
  c.mlp_bias = config.flag("mlp_bias", false);
}

void read_mistral(const Keys& config, ModelConfig& c) {
  if (!config.json.contains("sliding_window")) {
    c.windows.assign(static_cast<size_t>(c.layers), 4096);
    return;
  }
  read_windows(config, false, c);
}

void read_qwen2(const Keys& config, ModelConfig& c) {
  c.qkv_bias = true;
  if (config.flag("use_sliding_window", false)) read_windows(config, true, c);
}

void read_qwen3(const Keys& config, ModelConfig& c) {
  c.head_norms = true;
  c.qkv_bias = c.output_bias = config.flag("attention_bias", false);
  if (config.flag("use_sliding_window", false)) read_windows(config, true, c);
}

void read_qwen3_moe(const Keys& config, ModelConfig& c) {
  c.head_norms = true;
  c.qkv_bias = c.output_bias = config.flag("attention_bias", false);
  if (config.flag("use_sliding_window", false)) read_windows(config, false, c);
  read_experts(config, config.find("num_experts") ? "num_experts" : "num_local_experts", 128, 8,
               "moe_intermediate_size", 768, c);
  c.experts.normalize = config.flag("norm_topk_prob", false);
  const int64_t step = config.whole("decoder_sparse_step", 1, kMany, 1);
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    c.sparse.push_back((layer + 1) % step == 0);
  }
  if (const Json* dense = config.find("mlp_only_layers")) {
    for (const Json& layer : *dense) {
      if (!layer.is_number_integer() || layer < 0) {
        config.refuse("mlp_only_layers", "numbers of layers", *dense);
      }
      if (layer < c.layers) c.sparse[layer.get<size_t>()] = 0;
    }
  }
}

void read_mixtral(const Keys& config, ModelConfig& c) {
  read_windows(config, false, c);
  read_experts(config, "num_local_experts", 8, 2, "intermediate_size", -1, c);
  c.experts.normalize = true;
}

void read_granite(const Keys& config, ModelConfig& c) {
  read_llama(config, c);
  c.embedding_scale = config.number("embedding_multiplier", 1);
  c.residual_scale = config.number("residual_multiplier", 1);
  c.logit_scale = 1 / config.positive("logits_scaling", 1);
  c.attention_scale = config.positive("attention_multiplier", 1);
}

void read_granite_moe(const Keys& config, ModelConfig& c) {
  read_granite(config, c);
  c.mlp_bias = false;
  read_experts(config, "num_local_experts", 8, 2, "intermediate_size", -1, c);
  c.experts.router = Router::softmax_of_chosen;
}

// What DeepSeek-V2 and V3 share.
void read_deepseek(const Keys& config, ModelConfig& c, int64_t first_dense, int64_t shared,
                   double scale) {
  c.qkv_bias = c.output_bias = config.flag("attention_bias", false);
  LatentOptions& l = c.latent;
  l.kv_rank = config.whole("kv_lora_rank", 1, kMany, 512);
  l.q_rank = config.json.contains("q_lora_rank") ? config.whole("q_lora_rank", 1, kMany, 0) : 1536;
  l.plain = config.whole("qk_nope_head_dim", 1, 4096, 128);
  l.rotary = config.whole("qk_rope_head_dim", 2, 4096, 64);
  l.value = config.whole("v_head_dim", 1, 4096, 128);
  c.head_dim = l.rotary;
  c.kv_heads = c.heads;
  ExpertOptions& e = c.experts;
  e.scale = config.number("routed_scaling_factor", scale);
  e.shared_intermediate = e.intermediate * config.whole("n_shared_experts", 0, 1 << 16, shared);
  const int64_t dense = config.whole("first_k_dense_replace", 0, kMany, first_dense);
  const int64_t every = config.whole("moe_layer_freq", 1, kMany, 1);
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    c.sparse.push_back(layer >= dense && layer % every == 0);
  }
}

void read_groups(const Keys& config, int64_t groups, int64_t best, ModelConfig& c) {
  ExpertOptions& e = c.experts;
  e.groups = config.whole("n_group", 1, 1 << 16, groups);
  e.best_groups = config.whole("topk_group", 1, 1 << 16, best);
  if (e.count % e.groups != 0 || e.best_groups > e.groups ||
      e.per_token > e.count / e.groups * e.best_groups) {
    throw UserError(cat(config.where, ": ", e.count, " experts cannot be routed to ", e.per_token,
                        " of the best ", e.best_groups, " of ", e.groups, " groups"));
  }
}

void read_deepseek_v2(const Keys& config, ModelConfig& c) {
  read_experts(config, "n_routed_experts", 64, -1, "moe_intermediate_size", 1407, c);
  read_deepseek(config, c, 0, 2, 1.0);
  c.mlp_bias = config.flag("mlp_bias", false);
  c.rope.interleaved = true;
  const std::string method = config.word("topk_method", "greedy");
  if (method == "group_limited_greedy") {
    read_groups(config, 1, 1, c);
  } else if (method != "greedy") {
    throw UserError(cat(config.where, ": topk_method '", method,
                        "' is not known; known: greedy, group_limited_greedy"));
  }
}

void read_deepseek_v3(const Keys& config, ModelConfig& c) {
  read_experts(config, "n_routed_experts", 256, 8, "moe_intermediate_size", 2048, c);
  read_deepseek(config, c, 3, 1, 2.5);
  c.rope.interleaved = config.flag("rope_interleave", true);
  c.experts.router = Router::sigmoid;
  c.experts.normalize = config.flag("norm_topk_prob", true);
  read_groups(config, 8, 4, c);
  c.predict_layers = config.whole("num_nextn_predict_layers", 0, 64, 0);
}

struct Family {
  const char* name;          // model_type
  const char* architecture;  // what transformers calls it
  void (*read)(const Keys& config, ModelConfig& c);
  // What transformers assumes where config.json is silent.
  int64_t kv_heads = 0;  // 0: as many as heads
  int64_t head_dim = 0;  // 0: hidden / heads
  double rms_eps = 1e-6, rope_theta = 10000;
};

const Family kFamilies[] = {
    {"llama", "LlamaForCausalLM", read_llama},
    {"mistral", "MistralForCausalLM", read_mistral, 8},
    {"qwen2", "Qwen2ForCausalLM", read_qwen2, 32},
    {"qwen3", "Qwen3ForCausalLM", read_qwen3, 32, 128},
    {"qwen3_moe", "Qwen3MoeForCausalLM", read_qwen3_moe, 4},
    {"mixtral", "MixtralForCausalLM", read_mixtral, 8, 0, 1e-5, 1e6},
    {"granite", "GraniteForCausalLM", read_granite},
    {"granitemoe", "GraniteMoeForCausalLM", read_granite_moe},
    {"deepseek_v2", "DeepseekV2ForCausalLM", read_deepseek_v2},
    {"deepseek_v3", "DeepseekV3ForCausalLM", read_deepseek_v3},
};

const Family& family_of(const std::string& name, const std::string& where) {
  std::string known;
  for (const Family& f : kFamilies) {
    if (name == f.name) return f;
    known += cat(known.empty() ? "" : ", ", f.name);
  }
  throw UserError(cat(where, ": model_type '", name, "' is not known; known: ", known));
}

Activation activation_of(const Keys& config) {
  const std::string name = config.word("hidden_act", "silu");
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu" || name == "gelu_python") return Activation::gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  throw UserError(cat(config.where, ": `hidden_act`: expected silu, gelu, gelu_pytorch_tanh or ",
                      "relu, found ", name));
}

int64_t attention_parameters(const ModelConfig& c) {
  const LatentOptions& l = c.latent;
  if (l.kv_rank == 0) {
    const int64_t q = c.heads * c.head_dim, kv = 2 * c.kv_heads * c.head_dim;
    return c.hidden * (2 * q + kv) + (c.qkv_bias ? q + kv : 0) + (c.output_bias ? c.hidden : 0) +
           (c.head_norms ? 2 * c.head_dim : 0);
  }
  const int64_t q = c.heads * (l.plain + l.rotary), down = l.kv_rank + l.rotary;
  const int64_t queries = l.q_rank ? c.hidden * l.q_rank + l.q_rank + l.q_rank * q : c.hidden * q;
  const int64_t biases = c.qkv_bias ? down + c.hidden + l.q_rank : 0;
  return queries + c.hidden * down + l.kv_rank + l.kv_rank * c.heads * (l.plain + l.value) +
         c.heads * l.value * c.hidden + biases;
}

// Of the feed-forward part; with `active` only of the experts that a token takes.
int64_t feed_forward_parameters(const ModelConfig& c, bool sparse, bool active) {
  const auto mlp = [&](int64_t width) {
    return 3 * c.hidden * width + (c.mlp_bias ? 2 * width + c.hidden : 0);
  };
  if (!sparse) return mlp(c.intermediate);
  const ExpertOptions& e = c.experts;
  return (active ? e.per_token : e.count) * 3 * c.hidden * e.intermediate + c.hidden * e.count +
         (e.router == Router::sigmoid ? e.count : 0) +
         (e.shared_intermediate ? mlp(e.shared_intermediate) : 0);
}

int64_t count_parameters(const ModelConfig& c, bool active) {
  const int64_t block = attention_parameters(c) + 2 * c.hidden;
  int64_t total = c.vocab_size * c.hidden * (c.tied_head ? 1 : 2) + c.hidden;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    total += block + feed_forward_parameters(c, c.is_sparse(layer), active);
  }
  if (active) return total;
  const int64_t predict = block + feed_forward_parameters(c, c.experts.count > 0, false) +
                          2 * c.hidden * c.hidden + 3 * c.hidden;
  return total + c.predict_layers * predict;
}

}  // namespace

void describe(OptionVisitor& v, ModelConfig& c) {
  v.value("family", c.family, "architecture: model_type of config.json");
  v.value("hidden", c.hidden, "width of the residual stream");
  v.value("layers", c.layers, "number of blocks");
  v.value("heads", c.heads, "query heads");
  v.value("kv_heads", c.kv_heads, "key/value heads");
  v.value("head_dim", c.head_dim, "width of a head");
  v.value("intermediate", c.intermediate, "width of the feed-forward part");
  v.value("max_positions", c.max_positions, "longest sequence, in tokens");
  v.value("rms_eps", c.rms_eps, "epsilon of RMSNorm");
  v.value("rope_theta", c.rope.theta, "base of the rotary embedding");
  v.value("tied_head", c.tied_head, "the head is the embedding");
  v.rest(c.more, "any other key of config.json, e.g. num_experts; lists and objects as JSON text");
}

double ModelConfig::softmax_scale() const {
  if (attention_scale > 0) return attention_scale;
  if (latent.kv_rank == 0) return 1 / std::sqrt(static_cast<double>(head_dim));
  const double scale = 1 / std::sqrt(static_cast<double>(latent.plain + latent.rotary));
  if (rope.kind == "default" || rope.mscale_all_dim == 0) return scale;
  const double mscale = yarn_mscale(rope.factor, rope.mscale_all_dim);
  return scale * mscale * mscale;
}

int64_t ModelConfig::parameter_count() const { return count_parameters(*this, false); }
int64_t ModelConfig::active_parameter_count() const { return count_parameters(*this, true); }

int64_t ModelConfig::eight_bit_parameters() const {
  int64_t total = 0;
  const auto add = [&](int64_t rows, int64_t columns) {
    if (fits_8_bits(rows, columns)) total += rows * columns;
  };
  for (int64_t layer = 0; layer < layers; ++layer) {
    const bool is_latent = latent.kv_rank > 0;
    if (!is_latent) add((heads + 2 * kv_heads) * head_dim, hidden);
    add(hidden, heads * (is_latent ? latent.value : head_dim));
    const int64_t inner = is_sparse(layer) ? experts.shared_intermediate : intermediate;
    add(2 * inner, hidden);
    add(hidden, inner);
  }
  return total;
}

double ModelConfig::eight_bit_share() const {
  const int64_t looked_up = tied_head ? 0 : vocab_size * hidden;  // the embedding, no product
  return static_cast<double>(eight_bit_parameters()) /
         static_cast<double>(active_parameter_count() - looked_up);
}

namespace {
void check_shape(const ModelConfig& c, const std::string& where) {
  if (c.latent.kv_rank == 0 && c.heads % c.kv_heads != 0) {
    throw UserError(cat(where, ": num_attention_heads ", c.heads,
                        " is not a multiple of num_key_value_heads ", c.kv_heads));
  }
  if (c.head_dim % 2 != 0) {
    throw UserError(cat(where, ": a head's width of ", c.head_dim,
                        " is odd; its positions are rotated in pairs"));
  }
}
}  // namespace

ModelConfig complete_shape(const ModelConfig& shape, const std::string& where) {
  Json config = model_config_json(shape);
  for (const auto& [key, text] : shape.more) {
    const Json value = Json::parse(text, nullptr, false);
    config[key] = value.is_discarded() ? Json(text) : value;
  }
  for (const char* token : {"bos_token_id", "eos_token_id"}) {
    if (config[token] == -1) config.erase(token);  // a tokenizer without it
  }
  ModelConfig c = model_config_of(config, where);
  c.file["head_dim"] = c.head_dim;  // of latent attention the rotated part, whatever the shape says
  c.bos = shape.bos;
  c.eos = shape.eos;
  c.pad = shape.pad;
  c.stop_ids = shape.stop_ids;
  return c;
}

ModelConfig model_config_of(const Json& json, const std::string& where) {
  const Keys config{json, where};
  ModelConfig c;
  const Family& family = family_of(config.word("model_type", ""), where);
  c.family = family.name;
  c.file = json;
  c.vocab_size = config.whole("vocab_size", 2, kMany, -1);
  c.hidden = config.whole("hidden_size", 1, 1 << 20, -1);
  c.layers = config.whole("num_hidden_layers", 1, 4096, -1);
  c.heads = config.whole("num_attention_heads", 1, 4096, -1);
  const int64_t kv_heads =
      json.contains("num_key_value_heads") || !family.kv_heads ? c.heads : family.kv_heads;
  c.kv_heads = config.whole("num_key_value_heads", 1, 4096, kv_heads);
  const int64_t head_dim = family.head_dim && !json.contains("head_dim")
                               ? family.head_dim
                               : std::max<int64_t>(c.hidden / c.heads, 1);
  c.head_dim = config.whole("head_dim", 1, 4096, head_dim);
  c.intermediate = config.whole("intermediate_size", 1, kMany, -1);
  c.max_positions = config.whole("max_position_embeddings", 1, kMany, 2048);
  c.rms_eps = config.number("rms_norm_eps", family.rms_eps);
  c.activation = activation_of(config);
  read_rope(config, family.rope_theta, c);
  c.tied_head = config.flag("tie_word_embeddings", false);
  family.read(config, c);
  check_shape(c, where);
  c.bos = config.whole("bos_token_id", 0, c.vocab_size - 1, std::min<int64_t>(1, c.vocab_size - 1));
  const Json* pad = config.find("pad_token_id");
  c.pad = pad && pad->is_number_integer() ? pad->get<int64_t>() : -1;
  if (const Json* eos = config.find("eos_token_id"))
    c.stop_ids = id_list(*eos, where, c.vocab_size);
  c.eos = c.stop_ids.empty() ? -1 : c.stop_ids.front();
  return c;
}

ModelConfig load_model_config(const std::string& directory) {
  namespace fs = std::filesystem;
  if (!fs::is_directory(directory)) {
    throw UserError(cat(directory, ": expected a model directory with config.json, found ",
                        fs::exists(directory) ? "a file" : "nothing"));
  }
  const std::string path = directory + "/config.json";
  ModelConfig c = model_config_of(read_json(path), path);
  const std::string generation = directory + "/generation_config.json";
  if (fs::exists(generation)) {
    const Json g = read_json(generation);
    if (g.contains("eos_token_id") && !g["eos_token_id"].is_null()) {
      c.stop_ids = id_list(g["eos_token_id"], generation, c.vocab_size);
      c.eos = c.stop_ids.empty() ? -1 : c.stop_ids.front();
    }
  }
  return c;
}

Json model_config_json(const ModelConfig& c) {
  if (!c.file.is_null()) return c.file;
  Json j = {{"architectures", {family_of(c.family, "shape.family").architecture}},
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
            {"rope_theta", c.rope.theta},
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
  Json j = {{"do_sample", true}};
  if (c.bos >= 0) j["bos_token_id"] = c.bos;
  if (c.eos >= 0) j["eos_token_id"] = c.stop_ids.size() > 1 ? Json(c.stop_ids) : Json(c.eos);
  if (c.pad >= 0) j["pad_token_id"] = c.pad;
  return j;
}

}  // namespace hone
