#include "model/lora.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "model/transformer.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

constexpr const char* kPrefix = "base_model.model.";
constexpr const char* kWeight = ".weight";

// "model.layers.0.mlp.up_proj" of its weight's name, and "up_proj" of that.
std::string module_of(const std::string& tensor) {
  return tensor.substr(0, tensor.size() - std::string(kWeight).size());
}
std::string last_part(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

// The names of which every matrix in the layers is one of `linears`. PEFT goes by the last part of
// a name: an adapter of a shared expert's up_proj alone could not be written down.
std::vector<std::string> possible_targets(const std::vector<NamedTensor>& tensors,
                                          const std::set<const Parameter*>& linears,
                                          const ModelConfig& config) {
  std::map<std::string, bool> possible;
  for (const NamedTensor& t : tensors) {
    constexpr const char* kLayers = "model.layers.";
    if (!t.name.starts_with(kLayers) || t.shape.size() < 2) continue;
    // Behind the last layer come prediction modules, which are not trained in these stages.
    if (std::stoll(t.name.substr(std::string(kLayers).size())) >= config.layers) continue;
    const bool linear = linears.count(t.parameter) > 0;
    bool& all = possible.try_emplace(last_part(module_of(t.name)), true).first->second;
    all = all && linear;
  }
  std::vector<std::string> names;
  for (const auto& [name, all] : possible) {
    if (all) names.push_back(name);
  }
  return names;
}

}  // namespace

void Transformer::add_adapters(LoraShape shape, bool trainable) {
  std::set<const Parameter*> linears;
  for (const Block& b : blocks_) {
    for (const Parameter* p : {b.qkv, b.output, b.mlp.gate_up, b.mlp.down, b.latent.query,
                               b.latent.query_down, b.latent.down}) {
      if (p) linears.insert(p);
    }
  }
  const auto possible = possible_targets(weights_.tensors(), linears, config_);
  if (shape.targets.empty()) shape.targets = possible;
  for (const std::string& target : shape.targets) {
    if (std::find(possible.begin(), possible.end(), target) != possible.end()) continue;
    throw UserError(cat("lora: '", target,
                        "' cannot have adapters; in this model these can: ", joined(possible),
                        config_.experts.count > 0 ? " (experts and what is called as they are "
                                                    "have none in this version)"
                                                  : ""));
  }
  const std::set<std::string> targets(shape.targets.begin(), shape.targets.end());
  shape.targets.assign(targets.begin(), targets.end());
  adapters_ = std::make_unique<LoraAdapters>();
  WeightArena& arena = adapters_->weights;
  for (Parameter& p : weights_.parameters()) {
    if (!linears.count(&p)) continue;
    std::vector<WeightArena::Piece> ranks;
    for (const NamedTensor& t : weights_.tensors()) {
      const std::string module = module_of(t.name);
      if (t.parameter != &p || !targets.count(last_part(module))) continue;
      const Parameter* b =
          arena.add_matrix({{kPrefix + module + ".lora_B.weight", {t.shape.front()}}}, shape.rank);
      p.adapter.terms.push_back(
          {b, t.begin / p.columns, static_cast<int64_t>(ranks.size()) * shape.rank});
      ranks.push_back({kPrefix + module + ".lora_A.weight", {shape.rank}});
    }
    if (ranks.empty()) continue;
    p.adapter.a = arena.add_matrix(ranks, p.columns);
    p.adapter.scale = shape.alpha / static_cast<double>(shape.rank);
  }
  adapters_->shape = std::move(shape);
  arena.allocate(device(), dtype(), trainable);
}

void initialize_adapters(Transformer& model, uint64_t seed) {
  WeightArena& weights = model.adapters()->weights;
  for (const NamedTensor& t : weights.tensors()) {
    if (!t.name.ends_with(".lora_A.weight")) continue;  // B is zero
    const double bound = 1 / std::sqrt(static_cast<double>(t.parameter->columns));
    at::Tensor draws = at::empty(t.shape, at::kFloat);
    Rng rng(make_key(seed, hash64("lora"), hash64(t.name)));
    float* d = draws.data_ptr<float>();
    for (int64_t i = 0; i < draws.numel(); ++i) {
      d[i] = static_cast<float>(bound * (2 * rng.uniform() - 1));
    }
    weights.view(t).copy_(draws);
  }
  weights.weights_changed();
}

namespace {
Json read_adapter_config(const std::string& directory) {
  const std::string path = directory + kAdapterConfig;
  std::error_code ec;
  if (!fs::exists(path, ec)) {
    throw UserError(
        cat(directory, ": expected a PEFT adapter, found no adapter_config.json there"));
  }
  Json config = Json::parse(read_file(path), nullptr, false);
  if (!config.is_object()) throw UserError(cat(path, ": expected a JSON object"));
  return config;
}
}  // namespace

std::string base_of_adapter(const std::string& directory) {
  const Json config = read_adapter_config(directory);
  const Json base = config.value("base_model_name_or_path", Json());
  return base.is_string() ? base.get<std::string>() : "";
}

LoraShape read_adapter_shape(const std::string& directory) {
  const std::string path = directory + kAdapterConfig;
  const Json config = read_adapter_config(directory);
  const auto refuse = [&](const char* key, const std::string& expected) {
    throw UserError(cat(path, ": ", key, ": expected ", expected, ", found ",
                        to_line(config.value(key, Json()))));
  };
  if (config.value("peft_type", Json()) != "LORA") refuse("peft_type", "LORA");
  const auto empty = [](const Json& j) { return j.is_null() || j == false || j.empty(); };
  // What would compute something else than the formula above.
  for (const char* key : {"use_dora", "modules_to_save", "rank_pattern", "alpha_pattern",
                          "fan_in_fan_out", "lora_bias", "alora_invocation_tokens",
                          "layer_replication", "trainable_token_indices", "target_parameters"}) {
    if (!empty(config.value(key, Json()))) refuse(key, "none, as hone's adapters have it");
  }
  if (config.value("bias", Json("none")) != "none") refuse("bias", "none");
  const Json rank = config.value("r", Json()), alpha = config.value("lora_alpha", Json());
  if (!rank.is_number_integer() || rank.get<int64_t>() < 1) refuse("r", "a rank of at least 1");
  if (!alpha.is_number()) refuse("lora_alpha", "a number");
  LoraShape shape{rank.get<int64_t>(), alpha.get<double>(), {}};
  // Rank-stabilised: alpha / sqrt(r).
  if (config.value("use_rslora", Json()) == true) {
    shape.alpha *= std::sqrt(static_cast<double>(shape.rank));
  }
  // From the tensors: the config may say it by a regular expression.
  std::set<std::string> targets;
  const SafetensorsFile file(directory + kAdapterFile);
  for (const auto& [name, entry] : file.entries()) {
    const size_t end = name.find(".lora_");
    if (end != std::string::npos) targets.insert(last_part(name.substr(0, end)));
  }
  shape.targets.assign(targets.begin(), targets.end());
  if (targets.empty()) throw UserError(cat(file.path(), ": no tensor of an adapter in it"));
  return shape;
}

void load_adapter(Transformer& model, const std::string& directory) {
  const at::NoGradGuard no_grad;
  const SafetensorsFile file(directory + kAdapterFile);
  WeightArena& weights = model.adapters()->weights;
  std::set<std::string> known;
  for (const NamedTensor& t : weights.tensors()) {
    if (!file.has(t.name)) throw UserError(cat(file.path(), ": tensor ", t.name, " is missing"));
    file.copy_to(t.name, weights.view(t));
    known.insert(t.name);
  }
  for (const auto& [name, entry] : file.entries()) {
    if (known.count(name)) continue;
    throw UserError(
        cat(file.path(), ": tensor ", shown(name), " belongs to nothing that has an adapter here"));
  }
  weights.weights_changed();
}

void save_adapter(const LoraShape& shape, const NamedTensors& tensors, const std::string& base,
                  const std::string& directory) {
  std::error_code ec;
  fs::create_directories(directory, ec);
  if (ec) throw RunError(cat(directory, ": cannot be made: ", ec.message()));
  write_safetensors(directory + kAdapterFile, tensors, {{"format", "pt"}}, at::kFloat);
  const bool whole = shape.alpha == std::floor(shape.alpha) && std::fabs(shape.alpha) < 1e15;
  const Json config = {
      {"peft_type", "LORA"},
      {"task_type", "CAUSAL_LM"},
      {"base_model_name_or_path", base},
      {"r", shape.rank},
      {"lora_alpha", whole ? Json(static_cast<int64_t>(shape.alpha)) : Json(shape.alpha)},
      {"lora_dropout", 0.0},
      {"target_modules", shape.targets},
      {"bias", "none"},
      {"fan_in_fan_out", false},
      {"init_lora_weights", true},
      {"inference_mode", true},
      {"use_rslora", false},
      {"use_dora", false}};
  write_file_atomic(directory + kAdapterConfig, config.dump(2) + "\n");
}

NamedTensors adapter_tensors(const Transformer& model) {
  NamedTensors tensors;
  const WeightArena& weights = model.adapters()->weights;
  for (const NamedTensor& t : weights.tensors()) tensors.emplace_back(t.name, weights.view(t));
  return tensors;
}

NamedTensors merged_tensors(const Transformer& model, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  NamedTensors tensors;
  const auto full = [](const Parameter& p) {
    return (p.master.defined() ? p.master : p.value).to(at::kFloat);
  };
  for (const NamedTensor& t : model.weights().tensors()) {
    at::Tensor merged = model.weights().view(t);
    const Adapter& adapter = t.parameter->adapter;
    for (const LowRankTerm& term : adapter.terms) {
      if (term.row != t.begin / t.parameter->columns) continue;
      const at::Tensor a = full(*adapter.a).narrow(0, term.rank_row, term.b->columns);
      merged =
          (merged.to(at::kFloat) + adapter.scale * at::mm(full(*term.b), a)).to(dtype).to(at::kCPU);
    }
    tensors.emplace_back(t.name, merged);
  }
  return tensors;
}

WithoutAdapters::WithoutAdapters(Transformer& model) : weights_(model.weights()) {
  weights_.set_adapting(false);
}
WithoutAdapters::~WithoutAdapters() { weights_.set_adapting(true); }

}  // namespace hone
