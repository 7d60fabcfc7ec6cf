// Models in and out as Hugging Face directories.
#include "model/load.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "model/safetensors.h"
#include "model/transformer.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kHead = "lm_head.weight";

// Whether two tensors hold the same numbers, whatever their dtype.
bool same_numbers(const SafetensorsFile& a, const std::string& name_a, const SafetensorsFile& b,
                  const std::string& name_b) {
  const at::Tensor x = a.tensor(name_a), y = b.tensor(name_b);
  bool same = x.sizes() == y.sizes() && x.dim() > 0;
  constexpr int64_t kRows = 1024;
  for (int64_t i = 0; same && i < x.size(0); i += kRows) {
    const int64_t n = std::min(kRows, x.size(0) - i);
    same = x.narrow(0, i, n).to(at::kFloat).equal(y.narrow(0, i, n).to(at::kFloat));
  }
  a.release(name_a);
  b.release(name_b);
  return same;
}

// A head of its own in the file makes a config wrong that says it is the embedding. As transformers
// does: the file counts.
void untie_if_files_do(ModelConfig& config, const SafetensorsDirectory& files,
                       const std::string& directory) {
  const SafetensorsFile* head = files.find(kHead);
  const SafetensorsFile* embedding = files.find(kEmbedding);
  if (!config.tied_head || !head || !embedding) return;
  if (same_numbers(*head, kHead, *embedding, kEmbedding)) return;
  log_warning(cat(directory, ": config.json says tie_word_embeddings, but ", kHead,
                  " differs from ", kEmbedding,
                  "; the model gets a head of its own, as the file has it"));
  config.tied_head = false;
  config.file["tie_word_embeddings"] = false;
}

// One line about the tensors that no part of the model took.
void warn_of_unknown(const SafetensorsDirectory& files, const std::set<std::string>& known,
                     const std::string& directory) {
  constexpr size_t kNamed = 5;
  size_t count = 0;
  std::string names;
  for (const auto& [name, file] : files.tensors()) {
    // Constants that old versions of transformers wrote; the embedding and the head once more.
    if (known.count(name) || name.ends_with("rotary_emb.inv_freq") || name == kHead ||
        name.ends_with(".shared_head.head.weight") ||
        (name.starts_with("model.layers.") && name.ends_with(".embed_tokens.weight"))) {
      continue;
    }
    if (count++ < kNamed) names += (names.empty() ? "" : ", ") + shown(name);
  }
  if (count == 0) return;
  log_warning(cat(directory, ": ", count,
                  " tensors of the files are no part of this model and are left out: ", names,
                  count > kNamed ? ", ..." : ""));
}

constexpr const char* kTokenizerFiles[] = {"tokenizer.model",
                                           "tokenizer.json",
                                           "tokenizer_config.json",
                                           "special_tokens_map.json",
                                           "added_tokens.json",
                                           "vocab.json",
                                           "merges.txt",
                                           "chat_template.jinja",
                                           "chat_template.json",
                                           "hone.json"};

const char* dtype_name(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? "bfloat16" : dtype == at::kHalf ? "float16" : "float32";
}

// config.json and generation_config.json of a model that began as the one in `source`. What these
// files say beside what hone reads goes on with the model.
struct ConfigFiles {
  Json config, generation;
};
ConfigFiles config_files(const ModelConfig& config, const std::string& source) {
  ConfigFiles files{model_config_json(config), generation_config_json(config)};
  files.config.erase("auto_map");  // names code that is not copied; transformers has its own
  const std::string generation = source + "/generation_config.json";
  std::error_code ec;
  if (!config.file.is_null() && !source.empty() && fs::exists(generation, ec)) {
    Json said = Json::parse(read_file(generation), nullptr, false);
    if (said.is_object()) {
      if (!config.stop_ids.empty()) said["eos_token_id"] = files.generation["eos_token_id"];
      files.generation = std::move(said);
    }
  }
  return files;
}

// Writes all but the weights into `directory`, config.json last. No dtype: as the source says.
void write_small_files(const std::string& directory, ConfigFiles files, const std::string& source,
                       std::optional<at::ScalarType> dtype) {
  if (!source.empty()) {
    for (const char* name : kTokenizerFiles) {
      const std::string from = source + "/" + name;
      std::error_code ec;
      if (fs::exists(from, ec)) write_file_atomic(directory + "/" + name, read_file(from));
    }
  }
  if (dtype) {
    const bool new_key = files.config.contains("dtype");  // transformers 5
    files.config[new_key ? "dtype" : "torch_dtype"] = dtype_name(*dtype);
    if (new_key) files.config.erase("torch_dtype");
  }
  write_file_atomic(directory + "/generation_config.json", files.generation.dump(2) + "\n");
  write_file_atomic(directory + "/config.json", files.config.dump(2) + "\n");
}

// Makes `directory` and calls `fill`; if that throws, what was made is gone again.
void fill_directory(const std::string& directory, const std::function<void()>& fill) {
  std::error_code ec;
  const bool made = fs::create_directories(directory, ec);
  if (ec) throw RunError(cat(directory, ": cannot be made: ", ec.message()));
  try {
    fill();
  } catch (...) {
    if (made) fs::remove_all(directory, ec);
    throw;
  }
}

}  // namespace

std::unique_ptr<Transformer> load_model(const std::string& directory, const ModelPlace& place) {
  ModelConfig config = load_model_config(directory);
  const SafetensorsDirectory files(directory);
  untie_if_files_do(config, files, directory);
  // Configs tell of prediction modules that few files hold.
  if (!files.find(cat("model.layers.", config.layers, ".eh_proj.weight"))) {
    config.predict_layers = 0;
  }
  // Nothing is allocated from what a config claims alone. A small gap is left to the tensor that is
  // missing or of another shape, whose name says more.
  if (config.parameter_count() / 16 > files.numel()) {
    throw UserError(cat(directory, ": config.json describes ", config.parameter_count(),
                        " parameters, the safetensors files hold ", files.numel()));
  }
  auto model = std::make_unique<Transformer>(config, place);
  WeightArena& weights = model->weights();
  std::set<std::string> known;
  for (const NamedTensor& t : weights.tensors()) {
    // A tied model may have been saved under the head's name only.
    const bool by_head = config.tied_head && t.name == kEmbedding && !files.find(kEmbedding);
    const std::string name = by_head ? kHead : t.name;
    const SafetensorsFile* file = files.find(name);
    if (!file) {
      throw UserError(
          cat(directory, ": tensor ", t.name, " is in no file",
              t.name == kHead ? ", and config.json does not say tie_word_embeddings" : ""));
    }
    file->copy_to(name, weights.view(t));
    known.insert(name);
  }
  warn_of_unknown(files, known, directory);
  weights.weights_changed();
  return model;
}

void save_model(const Transformer& model, const std::string& directory, const std::string& source,
                at::ScalarType dtype, int64_t shard_bytes) {
  save_tensors(model.config(), merged_tensors(model, dtype), directory, source, dtype, shard_bytes);
}

void save_tensors(const ModelConfig& config, const NamedTensors& tensors,
                  const std::string& directory, const std::string& source, at::ScalarType dtype,
                  int64_t shard_bytes) {
  fill_directory(directory, [&] {
    write_model_weights(directory, tensors, dtype, shard_bytes);
    write_small_files(directory, config_files(config, source), source, dtype);
  });
}

void copy_model(const std::string& source, const std::string& directory,
                std::optional<at::ScalarType> dtype, int64_t shard_bytes) {
  const ConfigFiles configs = config_files(load_model_config(source), source);
  if (configs.config.contains("quantization_config")) {
    throw UserError(cat(source, "/config.json: quantized weights cannot be exported"));
  }
  const SafetensorsDirectory files(source);
  NamedTensors tensors;
  for (const auto& [name, file] : files.tensors()) tensors.emplace_back(name, file->tensor(name));
  // In the order of the files, in which they are best read; so the copy of one is the same bytes.
  std::sort(tensors.begin(), tensors.end(), [&](const auto& a, const auto& b) {
    const auto place = [&](const std::string& name) {
      const SafetensorsFile* file = files.find(name);
      return std::pair(file->path(), file->entries().at(name).begin);
    };
    return place(a.first) < place(b.first);
  });
  fill_directory(directory, [&] {
    write_model_weights(directory, tensors, dtype, shard_bytes,
                        [&](const std::string& name) { files.find(name)->release(name); });
    write_small_files(directory, configs, source, dtype);
  });
}

std::map<std::string, std::string> weight_hashes(const std::string& directory) {
  std::map<std::string, std::string> hashes;
  for (const std::string& path : SafetensorsDirectory(directory).paths()) {
    hashes[fs::path(path).filename().string()] = sha256_file(path);
  }
  return hashes;
}

}  // namespace hone
