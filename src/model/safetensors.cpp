#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "kernels/cpu_kernels.h"

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

// Tensors go in and out in pieces of about this size, so that neither a conversion nor the pages of
// a mapped file take memory beside the weights.
constexpr int64_t kPieceBytes = int64_t{4} << 20;

// `t` cut along its first dimension into pieces of kPieceBytes at most where a row is not larger.
struct Pieces {
  at::Tensor whole;
  int64_t rows, rows_each, count, row_bytes;

  explicit Pieces(const at::Tensor& t) : whole(t.dim() > 0 ? t : t.view({1})) {
    rows = whole.size(0);
    const int64_t bytes = whole.numel() * static_cast<int64_t>(whole.element_size());
    row_bytes = rows > 0 ? bytes / rows : 0;
    rows_each = std::max<int64_t>(1, kPieceBytes / std::max<int64_t>(1, row_bytes));
    count = whole.numel() > 0 ? (rows + rows_each - 1) / rows_each : 0;
  }
  int64_t begin(int64_t piece) const { return piece * rows_each; }
  int64_t size(int64_t piece) const { return std::min(rows_each, rows - begin(piece)); }
  at::Tensor operator[](int64_t piece) const { return whole.narrow(0, begin(piece), size(piece)); }
};

bool is_weight_dtype(const std::string& dtype) {
  return dtype == "F32" || dtype == "BF16" || dtype == "F16";
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : path_(path) {
  // Without O_NONBLOCK the opening of a pipe would wait for a writer.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw UserError(cat(path, ": cannot be read: ", std::strerror(errno)));
  struct stat st {};
  ::fstat(fd, &st);
  const auto size = static_cast<size_t>(st.st_size);
  if (!S_ISREG(st.st_mode)) {
    ::close(fd);
    throw UserError(cat(path, ": expected a file, found something else"));
  }
  void* address = size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
  const int error = errno;
  ::close(fd);
  if (address == MAP_FAILED)
    throw UserError(cat(path, ": cannot be mapped: ", std::strerror(error)));
  if (size > 0) map_ = std::shared_ptr<void>(address, [size](void* p) { ::munmap(p, size); });
  entries_ = read_safetensors_header({static_cast<const char*>(map_.get()), size}, path);
}

at::Tensor SafetensorsFile::tensor(const std::string& name) const {
  const TensorEntry& e = entries_.at(name);
  const auto* known = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const DtypeName& d) { return e.dtype == d.name; });
  if (known == std::end(kDtypes)) {
    throw UserError(cat(path_, ": tensor ", shown(name), ": dtype ", e.dtype, " is not supported"));
  }
  char* address = static_cast<char*>(map_.get()) + e.begin;
  return at::from_blob(
      address, e.shape, [owner = map_](void*) {}, at::TensorOptions().dtype(known->type));
}

void SafetensorsFile::check(const std::string& name, const at::Tensor& to) const {
  const TensorEntry& e = entries_.at(name);
  if (at::IntArrayRef(e.shape) != to.sizes()) {
    throw UserError(cat(path_, ": tensor ", name, ": expected shape ", to.sizes(), ", found ",
                        at::IntArrayRef(e.shape)));
  }
  if (to.scalar_type() == at::kByte) {
    if (e.dtype == "U8") return;
    throw UserError(cat(path_, ": tensor ", name, ": expected dtype U8, found ", e.dtype));
  }
  if (!is_weight_dtype(e.dtype)) {
    throw UserError(cat(path_, ": tensor ", name, ": expected dtype F32, BF16 or F16, found ",
                        e.dtype, "; weights that are quantized must be converted to BF16 first"));
  }
}

void SafetensorsFile::copy_to(const std::string& name, const at::Tensor& to) const {
  check(name, to);
  const TensorEntry& e = entries_.at(name);
  const Pieces from(tensor(name));
  const at::Tensor target = to.dim() > 0 ? to : to.view({1});
  const auto copy_piece = [&](int64_t i) {
    target.narrow(0, from.begin(i), from.size(i)).copy_(from[i]);
    const int64_t begin = e.begin + from.begin(i) * from.row_bytes;
    release_bytes(begin, begin + from.size(i) * from.row_bytes);
  };
  if (to.device().is_cpu()) {
#pragma omp parallel for num_threads(kernels::num_threads()) schedule(dynamic)
    for (int64_t i = 0; i < from.count; ++i) copy_piece(i);
  } else {  // not in a parallel region, which no exception of the device may leave
    for (int64_t i = 0; i < from.count; ++i) copy_piece(i);
  }
}

void SafetensorsFile::release(const std::string& name) const {
  const TensorEntry& e = entries_.at(name);
  release_bytes(e.begin, e.end);
}

void SafetensorsFile::release_bytes(int64_t begin, int64_t end) const {
  const int64_t page = ::sysconf(_SC_PAGESIZE);
  begin -= begin % page;  // a neighbour who still reads this page gets it anew
  char* address = static_cast<char*>(map_.get()) + begin;
  if (end > begin) ::madvise(address, static_cast<size_t>(end - begin), MADV_DONTNEED);
}

int64_t SafetensorsFile::numel() const {
  int64_t count = 0;
  for (const auto& [name, e] : entries_) count += (e.end - e.begin) * 8 / dtype_bits(e.dtype);
  return count;
}

SafetensorsDirectory::SafetensorsDirectory(const std::string& directory) {
  const std::string index = directory + "/model.safetensors.index.json";
  const std::string single = directory + "/model.safetensors";
  std::error_code ec;
  if (fs::exists(index, ec)) {
    open_indexed(directory, index);
    return;
  }
  std::vector<std::string> paths, others;
  for (const auto& entry : fs::directory_iterator(directory, ec)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".safetensors") paths.push_back(entry.path().string());
    if (extension == ".bin" || extension == ".pth" || extension == ".gguf") {
      others.push_back(entry.path().filename().string());
    }
  }
  if (paths.empty()) {
    std::string hint;
    if (!others.empty()) {
      hint = cat(" (", *std::min_element(others.begin(), others.end()),
                 " is no format that hone reads; convert it with transformers: "
                 "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(NEW_DIR))");
    }
    throw UserError(cat(directory, ": no *.safetensors file in it", hint));
  }
  // Beside it there may be optimizer states, adapters, or the same weights in another layout.
  if (fs::exists(single, ec)) paths = {single};
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    files_.push_back(std::make_unique<SafetensorsFile>(path));
    for (const auto& [name, e] : files_.back()->entries()) {
      const auto [other, is_new] = tensors_.emplace(name, files_.back().get());
      if (!is_new) {
        throw UserError(cat(path, ": tensor ", shown(name), " is also in ", other->second->path(),
                            ", and no model.safetensors.index.json says which counts"));
      }
    }
  }
}

void SafetensorsDirectory::open_indexed(const std::string& directory, const std::string& index) {
  if (fs::file_size(index) > kLargestHeader) {
    throw UserError(cat(index, ": larger than 100 MB, which no index is"));
  }
  const std::map<std::string, std::string> weight_map =
      read_safetensors_index(read_file(index), index);
  std::map<std::string, const SafetensorsFile*> opened;
  for (const auto& [name, file] : weight_map) {
    const SafetensorsFile*& shard = opened[file];
    if (!shard) {
      const std::string path = directory + "/" + file;
      if (!fs::exists(path)) {
        throw UserError(cat(path, ": expected a shard here, as ", index, " says; found nothing"));
      }
      shard = files_.emplace_back(std::make_unique<SafetensorsFile>(path)).get();
    }
    if (!shard->has(name)) {
      throw UserError(cat(shard->path(), ": tensor ", shown(name), " is not in it, although ",
                          index, " says so"));
    }
    tensors_[name] = shard;
  }
  for (const auto& file : files_) {
    for (const auto& [name, e] : file->entries()) {
      const SafetensorsFile* named = find(name);
      if (named && named != file.get()) {
        throw UserError(cat(file->path(), ": tensor ", shown(name), " is also in ", named->path(),
                            ", the only one that ", index, " names"));
      }
    }
  }
  // transformers would read the single file and leave the index.
  const std::string single = directory + "/model.safetensors";
  if (fs::exists(single) && opened.count("model.safetensors") == 0) {
    throw UserError(cat(directory,
                        ": model.safetensors and model.safetensors.index.json, which does not "
                        "name it, are both there; remove the one that does not belong here"));
  }
}

const SafetensorsFile* SafetensorsDirectory::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

int64_t SafetensorsDirectory::numel() const {
  int64_t count = 0;
  for (const auto& file : files_) count += file->numel();
  return count;
}

std::vector<std::string> SafetensorsDirectory::paths() const {
  std::vector<std::string> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

// ---- writing -----------------------------------------------------------------------------------

namespace {

using NamedTensorPair = NamedTensors::value_type;

// A router's selection bias decides between scores that are nearly equal: it keeps its digits, as
// DeepSeek's own files have it.
at::ScalarType written_dtype(const NamedTensorPair& named, std::optional<at::ScalarType> dtype) {
  const auto& [name, t] = named;
  const bool converted =
      dtype && t.is_floating_point() && !name.ends_with(".e_score_correction_bias");
  return converted ? *dtype : t.scalar_type();
}

int64_t written_bytes(const NamedTensorPair& named, std::optional<at::ScalarType> dtype) {
  return named.second.numel() * static_cast<int64_t>(c10::elementSize(written_dtype(named, dtype)));
}

}  // namespace

void write_safetensors(const std::string& path, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata,
                       std::optional<at::ScalarType> dtype,
                       const std::function<void(const std::string&)>& written) {
  // Wide elements first, as the reference implementation: every tensor is aligned to its elements.
  NamedTensors ordered = tensors;
  std::stable_sort(ordered.begin(), ordered.end(), [&](const auto& a, const auto& b) {
    return c10::elementSize(written_dtype(a, dtype)) > c10::elementSize(written_dtype(b, dtype));
  });
  std::string header = "{";
  if (!metadata.empty()) header += "\"__metadata__\":" + Json(metadata).dump();
  int64_t offset = 0;
  for (const NamedTensorPair& named : ordered) {
    const auto& [name, t] = named;
    const auto* known = std::find_if(
        std::begin(kDtypes), std::end(kDtypes),
        [type = written_dtype(named, dtype)](const DtypeName& d) { return type == d.type; });
    HONE_CHECK(known != std::end(kDtypes));
    const int64_t end = offset + written_bytes(named, dtype);
    const Json entry = {
        {"dtype", known->name}, {"shape", t.sizes().vec()}, {"data_offsets", {offset, end}}};
    header += (header.size() > 1 ? "," : "") + Json(name).dump() + ":" + entry.dump();
    offset = end;
  }
  header += "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t size = header.size();
  AtomicFile file(path);
  file.write({reinterpret_cast<const char*>(&size), sizeof size});
  file.write(header);
  for (const NamedTensorPair& named : ordered) {
    const auto& [name, t] = named;
    const Pieces pieces(t);
    for (int64_t i = 0; i < pieces.count; ++i) {
      const at::Tensor piece = pieces[i].to(at::kCPU, written_dtype(named, dtype)).contiguous();
      file.write({static_cast<const char*>(piece.const_data_ptr()), piece.nbytes()});
    }
    if (written) written(name);
  }
  file.commit();
}

void write_model_weights(const std::string& directory, const NamedTensors& tensors,
                         std::optional<at::ScalarType> dtype, int64_t shard_bytes,
                         const std::function<void(const std::string&)>& written) {
  std::vector<NamedTensors> shards(1);
  int64_t total_bytes = 0, total_numel = 0, bytes = 0;  // bytes: of the last shard
  for (const NamedTensorPair& named : tensors) {
    const auto& [name, t] = named;
    const int64_t more = written_bytes(named, dtype);
    if (!shards.back().empty() && bytes + more > shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().emplace_back(name, t);
    bytes += more;
    total_bytes += more;
    total_numel += t.numel();
  }
  const std::map<std::string, std::string> metadata = {{"format", "pt"}};
  if (shards.size() == 1) {
    write_safetensors(directory + "/model.safetensors", tensors, metadata, dtype, written);
    return;
  }
  nlohmann::json index = {
      {"metadata", {{"total_size", total_bytes}, {"total_parameters", total_numel}}}};
  std::vector<std::string> paths;
  try {
    for (size_t i = 0; i < shards.size(); ++i) {
      char file[64];
      std::snprintf(file, sizeof file, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
      for (const auto& entry : shards[i]) index["weight_map"][entry.first] = file;
      paths.push_back(directory + "/" + file);
      write_safetensors(paths.back(), shards[i], metadata, dtype, written);
    }
    write_file_atomic(directory + "/model.safetensors.index.json", index.dump(2) + "\n");
  } catch (...) {
    std::error_code ec;
    for (const std::string& path : paths) fs::remove(path, ec);
    throw;
  }
}

}  // namespace hone
