// The part of the safetensors format that is text: the JSON header of a file and the index of a
// sharded model. Both come from strangers. No tensors here, so that the fuzz target builds without
// LibTorch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace hone {

struct TensorEntry {
  std::string dtype;  // as the file has it: "F32", "BF16", ...
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  // bytes from the start of the file
};

// Reads the header of a file that is mapped at `bytes`. What is kept grows with the bytes that are
// there, never with what they claim. The rules are those of the reference implementation: at most
// 100 MB of header, and tensors that cover the data without overlap, gap or rest.
// Throws UserError beginning with `path`.
constexpr int64_t kLargestHeader = 100'000'000;
std::map<std::string, TensorEntry> read_safetensors_header(std::string_view bytes,
                                                           const std::string& path);

// Bits of one element; 0 for a dtype that the format does not know.
int dtype_bits(std::string_view dtype);

// The weight_map of model.safetensors.index.json: tensor name -> file name, each the name of a
// *.safetensors file without a directory. Throws UserError beginning with `path`.
std::map<std::string, std::string> read_safetensors_index(std::string_view text,
                                                          const std::string& path);

// A name out of a stranger's file as an error line can bear it: short, without control characters.
std::string shown(std::string_view name);

}  // namespace hone
