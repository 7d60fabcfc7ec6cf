// Models in and out as Hugging Face directories.
#include <ATen/ATen.h>

#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "model/safetensors.h"
#include "model/transformer.h"

namespace hone {
namespace fs = std::filesystem;

std::unique_ptr<Transformer> load_model(const std::string& directory, const ModelPlace& place) {
  ModelConfig config = load_model_config(directory);
  const SafetensorsDirectory files(directory);
  // Configs tell of prediction modules that few files hold.
  if (!files.find(cat("model.layers.", config.layers, ".eh_proj.weight")))
    config.predict_layers = 0;
  // Nothing is allocated from what a config claims alone. A small gap is left to the tensor that is
  // missing or of another shape, whose name says more.
  if (config.parameter_count() / 16 > files.numel()) {
    throw UserError(cat(directory, ": config.json describes ", config.parameter_count(),
                        " parameters, the safetensors files hold ", files.numel()));
  }
  auto model = std::make_unique<Transformer>(config, place);
  WeightArena& weights = model->weights();
  for (const NamedTensor& t : weights.tensors()) {
    const SafetensorsFile* file = files.find(t.name);
    if (!file) throw UserError(cat(directory, ": tensor ", t.name, " is in no file"));
    const at::Tensor from = file->tensor(t.name);
    const at::Tensor to = weights.view(t);
    if (from.sizes() != to.sizes()) {
      throw UserError(cat(file->path(), ": tensor ", t.name, ": expected shape ", to.sizes(),
                          ", found ", from.sizes()));
    }
    to.copy_(from);
  }
  weights.weights_changed();
  return model;
}

void save_model(const Transformer& model, const std::string& directory,
                const std::string& tokenizer_directory, at::ScalarType dtype) {
  std::error_code ec;
  fs::create_directories(directory, ec);
  if (ec) throw RunError(cat(directory, ": cannot be made: ", ec.message()));
  Json config = model_config_json(model.config());
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] =
      dtype == at::kBFloat16 ? "bfloat16" : "float32";
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  const WeightArena& weights = model.weights();
  for (const NamedTensor& t : weights.tensors()) {
    tensors.emplace_back(t.name, weights.view(t).to(t.parameter->learned ? dtype : at::kFloat));
  }
  write_safetensors(directory + "/model.safetensors", tensors, {{"format", "pt"}});
  write_file_atomic(directory + "/config.json", config.dump(2) + "\n");
  write_file_atomic(directory + "/generation_config.json",
                    generation_config_json(model.config()).dump(2) + "\n");
  if (tokenizer_directory.empty() || fs::equivalent(tokenizer_directory, directory, ec)) return;
  for (const char* name : {"tokenizer.model", "tokenizer.json", "tokenizer_config.json",
                           "special_tokens_map.json", "chat_template.jinja", "hone.json"}) {
    const std::string source = tokenizer_directory + "/" + name;
    if (fs::exists(source)) write_file_atomic(directory + "/" + name, read_file(source));
  }
}

}  // namespace hone
