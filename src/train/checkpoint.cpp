#include "train/checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <fcntl.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "engine/free_memory.h"
#include "model/safetensors.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

std::string step_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step-%06lld", static_cast<long long>(step));
  return name;
}

constexpr const char* kModel = "/model";
constexpr const char* kAdapter = "/adapter";
constexpr const char* kOptimizerFile = "/optimizer.safetensors";

// Throws UserError naming what is wrong with the checkpoint.
Json read_state(const std::string& path) {
  Json state;
  try {
    state = Json::parse(read_file(path + "/state.json"));
    for (const char* key : {"step", "updates"}) state.at(key).get<int64_t>();
    state.at("sizes");
    for (const auto& [file, sum] : state.at("sha256").items()) {
      if (sha256_file(path + "/" + file) != sum.get<std::string>()) {
        throw UserError(cat(path, "/", file, ": its checksum does not match"));
      }
    }
  } catch (const Json::exception& e) {
    throw UserError(cat(path, "/state.json: ", e.what()));
  }
  return state;
}

// Copies everything or, if something is missing or of another shape, throws and copies nothing.
void restore(const std::string& path, Transformer& model, Optimizer& optimizer,
             const NamedTensors& more) {
  const at::NoGradGuard no_grad;
  struct Copy {
    const SafetensorsFile* file;
    std::string name;
    at::Tensor to;
  };
  std::vector<Copy> copies;
  const auto take = [&](const SafetensorsFile* file, const std::string& name,
                        const at::Tensor& to) {
    if (!file || !file->has(name)) throw UserError(cat(path, ": no tensor ", name));
    file->check(name, to);
    copies.push_back({file, name, to});
  };
  const SafetensorsDirectory weights(path + (model.adapters() ? kAdapter : kModel));
  WeightArena& trained = model.trained();
  for (const NamedTensor& t : trained.tensors()) {
    take(weights.find(t.name), t.name, trained.view(t));
  }
  const SafetensorsFile rest(path + kOptimizerFile);
  for (const auto& [name, tensor] : optimizer.state()) take(&rest, name, tensor);
  for (const auto& [name, tensor] : more) take(&rest, name, tensor);
  for (const Copy& c : copies) c.file->copy_to(c.name, c.to);
  trained.weights_changed();
}

}  // namespace

std::vector<std::string> list_checkpoints(const std::string& directory) {
  std::vector<std::string> found;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(directory, ec)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("step-", 0) == 0 && entry.path().extension().empty()) {
      found.push_back(entry.path().string());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

void publish_directory(const std::string& from, const std::string& to) {
  std::error_code ec;
  if (fs::exists(to, ec)) {
    // Swapped in one step where the file system can do that: one of the two is there at all times.
    std::string old = from;
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
      old = to + ".old.tmp";
      fs::remove_all(old, ec);
      fs::rename(to, old);
      fs::rename(from, to);
    }
    fs::remove_all(old, ec);
  } else {
    fs::rename(from, to, ec);
    if (ec) throw RunError(cat(to, ": cannot be put in place: ", ec.message()));
  }
  sync_path(fs::path(to).parent_path().string());
}

namespace {

// What a checkpoint holds, copied or, where there is no room for a copy, as views.
struct Contents {
  std::string directory;
  int64_t step = 0, keep = 1;
  ModelConfig config;
  std::optional<LoraShape> lora;  // `weights` are adapters, of the model `base`
  std::string base;
  NamedTensors weights, rest;
  Json state;
  std::string tokenizer_directory;
};

void write_checkpoint(const Contents& c) {
  kill_point("checkpoint_begin");
  std::error_code ec;
  const std::string path = c.directory + "/" + step_name(c.step);
  const std::string temporary = path + ".tmp";
  fs::remove_all(temporary, ec);
  fs::create_directories(temporary, ec);
  if (ec) throw RunError(cat(temporary, ": cannot be made: ", ec.message()));
  try {
    if (c.lora) {
      save_adapter(*c.lora, c.weights, c.base, temporary + kAdapter);
    } else {
      save_tensors(c.config, c.weights, temporary + kModel, c.tokenizer_directory, at::kFloat);
    }
    write_safetensors(temporary + kOptimizerFile, c.rest, {});
    Json full = c.state;
    std::map<std::string, std::string> sums;
    for (const auto& entry : fs::recursive_directory_iterator(temporary)) {
      if (entry.path().extension() != ".safetensors") continue;
      sums[entry.path().lexically_relative(temporary).string()] =
          sha256_file(entry.path().string());
    }
    full["sha256"] = sums;
    kill_point("checkpoint_middle");
    write_file_atomic(temporary + "/state.json", full.dump(2) + "\n");
  } catch (...) {
    fs::remove_all(temporary, ec);
    throw;
  }
  kill_point("checkpoint_before_rename");
  publish_directory(temporary, path);
  kill_point("checkpoint_after_rename");
  const std::vector<std::string> all = list_checkpoints(c.directory);
  for (size_t i = 0; i + static_cast<size_t>(std::max<int64_t>(c.keep, 1)) < all.size(); ++i) {
    fs::rename(all[i], all[i] + ".tmp", ec);  // a kill must not leave it half removed
  }
  for (const auto& entry : fs::directory_iterator(c.directory, ec)) {  // those, and a kill's rest
    if (entry.path().extension() == ".tmp") fs::remove_all(entry.path(), ec);
  }
}

bool fits_in_memory(const NamedTensors& a, const NamedTensors& b) {
  int64_t bytes = 0;
  for (const auto* tensors : {&a, &b}) {
    for (const auto& [name, tensor] : *tensors) bytes += static_cast<int64_t>(tensor.nbytes());
  }
  return bytes < free_memory(at::kCPU) / 2;
}

void copy_to_host(NamedTensors& tensors) {
  for (auto& [name, tensor] : tensors) {
    tensor = tensor.is_cpu() ? tensor.clone() : tensor.to(at::kCPU);
  }
}

}  // namespace

CheckpointWriter::CheckpointWriter(std::string directory, int64_t keep)
    : directory_(std::move(directory)), keep_(keep) {}

CheckpointWriter::~CheckpointWriter() { settle(); }

void CheckpointWriter::settle() {
  if (writing_.valid()) writing_.wait();
}

void CheckpointWriter::wait() {
  if (writing_.valid()) writing_.get();
}

void CheckpointWriter::save(int64_t step, const Transformer& model, Optimizer& optimizer,
                            const NamedTensors& more, const Json& state,
                            const std::string& tokenizer_directory) {
  settle();
  const at::NoGradGuard no_grad;
  Contents c{directory_, step, keep_, model.config(), {}, {}, {}, {}, state, tokenizer_directory};
  c.state["step"] = step;
  c.state["updates"] = optimizer.updates();
  if (model.adapters()) {
    c.lora = model.adapters()->shape;
    c.base = model.adapters()->base;
    c.weights = adapter_tensors(model);
  } else {
    for (const NamedTensor& t : model.weights().tensors()) {
      c.weights.emplace_back(t.name, model.weights().view(t));
    }
  }
  c.rest = optimizer.state();
  c.rest.insert(c.rest.end(), more.begin(), more.end());
  const bool copied = fits_in_memory(c.weights, c.rest);
  if (copied) {
    copy_to_host(c.weights);
    copy_to_host(c.rest);
  }
  const auto write = [](const Contents& contents) {
    try {
      write_checkpoint(contents);
    } catch (const std::exception& e) {
      log_warning(cat("no checkpoint of step ", contents.step, ": ", e.what(),
                      "; the earlier ones stay, training goes on"));
      throw RunError(cat("the last checkpoint could not be written: ", e.what()));
    }
  };
  writing_ = std::async(std::launch::async, write, std::move(c));
  if (!copied) writing_.wait();
}

std::optional<LoadedCheckpoint> load_checkpoint(const std::string& directory, Transformer& model,
                                                Optimizer& optimizer, const NamedTensors& more) {
  std::vector<std::string> all = list_checkpoints(directory);
  std::reverse(all.begin(), all.end());
  for (const std::string& path : all) {
    try {
      LoadedCheckpoint loaded{path, read_state(path)};
      restore(path, model, optimizer, more);
      optimizer.set_updates(loaded.state.at("updates").get<int64_t>());
      return loaded;
    } catch (const UserError& e) {
      // Out of the way of those that are written from here on.
      std::error_code ec;
      const std::string aside = path + ".damaged";
      fs::remove_all(aside, ec);
      fs::rename(path, aside, ec);
      log_warning(cat("checkpoint passed over, kept as ", aside, ": ", e.what(),
                      "; the one before is used"));
    }
  }
  return std::nullopt;
}

}  // namespace hone
