#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

struct DtypeName {
  const char* name;
  at::ScalarType type;
};
constexpr DtypeName kDtypes[] = {{"F32", at::kFloat},  {"BF16", at::kBFloat16}, {"F16", at::kHalf},
                                 {"F64", at::kDouble}, {"I64", at::kLong},      {"I32", at::kInt},
                                 {"U8", at::kByte},    {"BOOL", at::kBool}};

constexpr int64_t kLargestHeader = int64_t{100} << 20;  // as the reference implementation

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw UserError(cat(path, ": cannot be read: ", std::strerror(errno)));
  struct stat st {};
  ::fstat(fd, &st);
  const int64_t size = st.st_size;
  const auto damaged = [&](const auto&... what) {
    return UserError(cat(path, ": not a whole safetensors file: ", what...));
  };
  if (size < 8) {
    ::close(fd);
    throw damaged("expected at least 8 bytes, found ", size);
  }
  void* address = ::mmap(nullptr, static_cast<size_t>(size), PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (address == MAP_FAILED) throw UserError(cat(path, ": cannot be mapped"));
  map_ =
      std::shared_ptr<void>(address, [size](void* p) { ::munmap(p, static_cast<size_t>(size)); });
  uint64_t header_size = 0;
  std::memcpy(&header_size, address, 8);
  if (header_size > static_cast<uint64_t>(std::min(size - 8, kLargestHeader))) {
    throw damaged("the header claims ", header_size, " bytes, the file has ", size);
  }
  const char* text = static_cast<const char*>(address) + 8;
  Json header;
  try {
    header = Json::parse(text, text + header_size);
  } catch (const Json::exception& e) {
    throw damaged("its header is not JSON: ", e.what());
  }
  if (!header.is_object()) throw damaged("its header is not an object");
  const int64_t data = 8 + static_cast<int64_t>(header_size);
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    Entry e;
    try {
      const std::string dtype = entry.at("dtype").get<std::string>();
      const auto* known = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                       [&](const DtypeName& d) { return dtype == d.name; });
      if (known == std::end(kDtypes)) throw damaged(name, ": unknown dtype '", dtype, "'");
      e.dtype = known->type;
      e.shape = entry.at("shape").get<std::vector<int64_t>>();
      const auto offsets = entry.at("data_offsets").get<std::vector<int64_t>>();
      if (offsets.size() != 2) throw damaged(name, ": data_offsets must be two numbers");
      e.begin = offsets[0];
      e.end = offsets[1];
    } catch (const Json::exception& error) {
      throw damaged(name, ": ", error.what());
    }
    if (e.begin < 0 || e.begin > e.end || e.end > size - data) {
      throw damaged(name, ": bytes ", e.begin, " to ", e.end, " of ", size - data);
    }
    int64_t bytes = static_cast<int64_t>(c10::elementSize(e.dtype));
    for (int64_t d : e.shape) {
      if (d < 0 || (d > 0 && bytes > (int64_t{1} << 50) / d)) throw damaged(name, ": bad shape");
      bytes *= d;
    }
    if (bytes != e.end - e.begin) {
      throw damaged(name, ": its shape needs ", bytes, " bytes, it has ", e.end - e.begin);
    }
    e.begin += data;
    e.end += data;
    ranges.emplace_back(e.begin, e.end);
    entries_[name] = e;
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) throw damaged("tensors overlap");
  }
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const Entry& e = entries_.at(name);
  char* address = static_cast<char*>(map_.get()) + e.begin;
  return at::from_blob(
      address, e.shape, [owner = map_](void*) {}, at::TensorOptions().dtype(e.dtype));
}

std::vector<std::string> SafetensorsFile::names() const {
  std::vector<std::string> names;
  for (const auto& entry : entries_) names.push_back(entry.first);
  return names;
}

int64_t SafetensorsFile::numel() const {
  int64_t count = 0;
  for (const auto& [name, e] : entries_) {
    count += (e.end - e.begin) / static_cast<int64_t>(c10::elementSize(e.dtype));
  }
  return count;
}

SafetensorsDirectory::SafetensorsDirectory(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(directory, ec)) {
    if (entry.path().extension() == ".safetensors") paths.push_back(entry.path().string());
  }
  if (paths.empty()) throw UserError(cat(directory, ": no *.safetensors file in it"));
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) files_.push_back(std::make_unique<SafetensorsFile>(path));
}

const SafetensorsFile* SafetensorsDirectory::find(const std::string& name) const {
  for (const auto& file : files_) {
    if (file->has(name)) return file.get();
  }
  return nullptr;
}

int64_t SafetensorsDirectory::numel() const {
  int64_t count = 0;
  for (const auto& file : files_) count += file->numel();
  return count;
}

void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const auto& [name, t] : tensors) {
    const auto* known =
        std::find_if(std::begin(kDtypes), std::end(kDtypes),
                     [&, type = t.scalar_type()](const DtypeName& d) { return type == d.type; });
    HONE_CHECK(known != std::end(kDtypes));
    const int64_t bytes = t.numel() * static_cast<int64_t>(t.element_size());
    header[name] = {{"dtype", known->name},
                    {"shape", t.sizes().vec()},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string bytes(8, '\0');
  const uint64_t size = text.size();
  std::memcpy(bytes.data(), &size, 8);
  bytes += text;
  bytes.reserve(bytes.size() + static_cast<size_t>(offset));
  for (const auto& entry : tensors) {
    const at::Tensor t = entry.second.to(at::kCPU).contiguous();
    bytes.append(static_cast<const char*>(t.const_data_ptr()),
                 static_cast<size_t>(t.numel()) * t.element_size());
  }
  write_file_atomic(path, bytes);
}

}  // namespace hone
