// The safetensors format: an 8-byte header length, a JSON header, raw tensors.
// Files are read by memory map; nothing is allocated from what a header claims.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace hone {

class SafetensorsFile {
 public:
  // Throws UserError naming the file and what is wrong with it: truncated, oversized or overlapping
  // header entries, unknown dtype.
  explicit SafetensorsFile(const std::string& path);

  bool has(const std::string& name) const { return entries_.count(name) != 0; }
  // A view into the mapped file; valid as long as a tensor of it lives. Read-only memory: copy
  // before writing.
  at::Tensor tensor(const std::string& name) const;
  std::vector<std::string> names() const;
  int64_t numel() const;  // of all tensors
  const std::string& path() const { return path_; }

 private:
  struct Entry {
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    int64_t begin, end;  // bytes from the start of the file
  };
  std::string path_;
  std::shared_ptr<void> map_;
  std::map<std::string, Entry> entries_;
};

// All *.safetensors of a directory, by its index where there is one.
class SafetensorsDirectory {
 public:
  explicit SafetensorsDirectory(const std::string& directory);
  // The file that holds `name`, or null.
  const SafetensorsFile* find(const std::string& name) const;
  int64_t numel() const;  // of all tensors

 private:
  std::vector<std::unique_ptr<SafetensorsFile>> files_;
};

// Writes the tensors (any device, contiguous or not), atomically. Throws RunError.
void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace hone
