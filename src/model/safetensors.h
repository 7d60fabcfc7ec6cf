// The safetensors format: an 8-byte header length, a JSON header (safetensors_header.h), raw
// tensors. Files are read by memory map; nothing is allocated from what a header claims.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "model/safetensors_header.h"

namespace hone {

// A file must not shrink while it is mapped: the kernel answers a read beyond its end by SIGBUS.
// What hone itself writes takes its place by rename, which leaves a mapped file as it was.
class SafetensorsFile {
 public:
  // Throws UserError naming the file and what is wrong with it.
  explicit SafetensorsFile(const std::string& path);

  bool has(const std::string& name) const { return entries_.count(name) != 0; }
  // A view into the mapped file; valid as long as a tensor of it lives. Read-only memory: copy
  // before writing. Throws UserError for a dtype that LibTorch or hone has no use for.
  at::Tensor tensor(const std::string& name) const;
  // Throws UserError if the tensor is not one of the shape of `to` and of a float dtype, or of
  // bytes where `to` is.
  void check(const std::string& name, const at::Tensor& to) const;
  // Copies the tensor into `to` (any device, strides and, of floats, dtype), piece by piece,
  // and gives the pages it read back. Throws as `check`.
  void copy_to(const std::string& name, const at::Tensor& to) const;
  // Takes the tensor's pages out of the process's memory; they are read again when needed.
  void release(const std::string& name) const;

  const std::map<std::string, TensorEntry>& entries() const { return entries_; }
  int64_t numel() const;  // of all tensors
  const std::string& path() const { return path_; }

 private:
  void release_bytes(int64_t begin, int64_t end) const;

  std::string path_;
  std::shared_ptr<void> map_;
  std::map<std::string, TensorEntry> entries_;
};

// The weights of a model directory: what model.safetensors.index.json names where there is one,
// else model.safetensors, else all *.safetensors.
class SafetensorsDirectory {
 public:
  // Throws UserError: no such file; a shard is missing, damaged or not what the index says; a
  // tensor is in two files.
  explicit SafetensorsDirectory(const std::string& directory);
  // The file that holds `name`, or null.
  const SafetensorsFile* find(const std::string& name) const;
  const std::map<std::string, const SafetensorsFile*>& tensors() const { return tensors_; }
  int64_t numel() const;  // of all tensors
  std::vector<std::string> paths() const;

 private:
  void open_indexed(const std::string& directory, const std::string& index);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string, const SafetensorsFile*> tensors_;
};

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Writes the tensors (any device, contiguous or not) piece by piece, atomically; those of a float
// dtype become `dtype` on the way where one is given. `written` is called with the name of each
// tensor that is no longer needed. Throws RunError and leaves no half file.
void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata,
                       std::optional<at::ScalarType> dtype = std::nullopt,
                       const std::function<void(const std::string&)>& written = {});

constexpr int64_t kShardBytes = 5'000'000'000;

// Writes a model's weights into `directory` as transformers does: model.safetensors, or where that
// had more than `shard_bytes`, shards model-00001-of-0000N.safetensors and their index. On a
// RunError none of them is left.
void write_model_weights(const std::string& directory, const NamedTensors& tensors,
                         std::optional<at::ScalarType> dtype, int64_t shard_bytes = kShardBytes,
                         const std::function<void(const std::string&)>& written = {});

}  // namespace hone
