// Fuzzes the readers of safetensors headers and of the index of shards. Beyond crashes it checks
// what must hold of every header that is accepted.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/safetensors_header.h"

using namespace hone;

namespace {

void check_header(std::string_view bytes) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const auto& [name, e] : read_safetensors_header(bytes, "file")) {
    unsigned __int128 bits = static_cast<unsigned>(dtype_bits(e.dtype));
    for (const int64_t size : e.shape) bits *= static_cast<uint64_t>(size);
    if (bits != static_cast<uint64_t>(e.end - e.begin) * 8) std::abort();
    ranges.emplace_back(e.begin, e.end);
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first != ranges[i - 1].second) std::abort();
  }
  if (!ranges.empty() && ranges.back().second != static_cast<int64_t>(bytes.size())) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  try {
    check_header(bytes);
  } catch (const UserError& error) {
    if (std::string_view(error.what()).find('\n') != std::string_view::npos) std::abort();
  }
  try {
    for (const auto& [name, file] : read_safetensors_index(bytes, "index")) {
      if (file.find('/') != file.npos || !file.ends_with(".safetensors")) std::abort();
    }
  } catch (const UserError&) {
  }
  return 0;
}
