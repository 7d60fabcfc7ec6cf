#include "model/safetensors_header.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace hone {
namespace {

constexpr size_t kLargestRank = 64;  // PyTorch's own limit

// Takes the header's JSON piece by piece. Only the one form that a header has is accepted, so a
// hostile one is left at its first strange byte and no tree of it is ever built.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  std::map<std::string, TensorEntry> entries;
  std::string error;  // why reading stopped

  bool start_object(size_t) override {
    if (place_ == Place::start) return go(Place::names);
    if (place_ == Place::entry) return go(Place::fields);
    if (place_ == Place::metadata) return go(Place::metadata_keys);
    return unexpected("an object");
  }
  bool end_object() override {
    if (place_ == Place::names) return go(Place::done);
    if (place_ == Place::metadata_keys) return go(Place::names);
    if (!has_dtype_ || !has_shape_ || offsets_ != 2) {
      return stop(!has_dtype_   ? "dtype is missing"
                  : !has_shape_ ? "shape is missing"
                                : "data_offsets must be two numbers");
    }
    entries[name_] = std::move(entry_);
    return go(Place::names);
  }
  bool key(std::string& key) override {
    if (place_ == Place::names) {
      name_ = key;
      if (key == "__metadata__") {
        if (std::exchange(has_metadata_, true)) return stop("the name is there twice");
        return go(Place::metadata);
      }
      if (entries.count(key) != 0) return stop("the name is there twice");
      entry_ = {};
      has_dtype_ = has_shape_ = has_offsets_ = false;
      offsets_ = 0;
      return go(Place::entry);
    }
    if (place_ == Place::metadata_keys) return true;
    bool* has = nullptr;
    if (key == "dtype") {
      has = &has_dtype_;
      place_ = Place::dtype;
    } else if (key == "shape") {
      has = &has_shape_;
      place_ = Place::shape;
    } else if (key == "data_offsets") {
      has = &has_offsets_;
      place_ = Place::offsets;
    } else {
      return stop(cat("expected dtype, shape and data_offsets, found the key ", shown(key)));
    }
    return std::exchange(*has, true) ? stop(cat(key, " is there twice")) : true;
  }
  bool string(std::string& text) override {
    if (place_ == Place::metadata_keys) return true;
    if (place_ != Place::dtype) return unexpected("text");
    if (dtype_bits(text) == 0) return stop(cat("unknown dtype ", shown(text)));
    entry_.dtype = text;
    return go(Place::fields);
  }
  bool start_array(size_t) override {
    if (place_ == Place::shape) return go(Place::in_shape);
    if (place_ == Place::offsets) return go(Place::in_offsets);
    return unexpected("a list");
  }
  bool end_array() override { return go(Place::fields); }
  bool number_unsigned(uint64_t value) override {
    if (place_ != Place::in_shape && place_ != Place::in_offsets) return unexpected("a number");
    if (value > static_cast<uint64_t>(INT64_MAX)) return stop(cat(value, " is too large"));
    const auto number = static_cast<int64_t>(value);
    if (place_ == Place::in_shape) {
      if (entry_.shape.size() == kLargestRank) return stop("bad shape: too many dimensions");
      entry_.shape.push_back(number);
      return true;
    }
    if (offsets_ == 2) return stop("data_offsets must be two numbers");
    (offsets_++ == 0 ? entry_.begin : entry_.end) = number;
    return true;
  }
  bool number_integer(int64_t value) override { return unexpected(cat(value)); }
  bool number_float(double, const std::string& text) override { return unexpected(shown(text)); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool null() override { return unexpected("null"); }
  bool binary(Json::binary_t&) override { return unexpected("bytes"); }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    error = cat("its header is not JSON from byte ", position, " on");
    return false;
  }

 private:
  enum class Place {
    start,          // before everything
    names,          // between the tensors
    entry,          // after a tensor's name
    fields,         // between a tensor's fields
    dtype,          // after "dtype"
    shape,          // after "shape"
    in_shape,       //
    offsets,        // after "data_offsets"
    in_offsets,     //
    metadata,       // after "__metadata__"
    metadata_keys,  // inside of it: text to text
    done
  };
  bool go(Place place) {
    place_ = place;
    return true;
  }
  bool stop(const std::string& what) {
    error = place_ == Place::start ? what : cat(shown(name_), ": ", what);
    return false;
  }
  bool unexpected(const std::string& what) {
    const char* expected = "an object with dtype, shape and data_offsets";
    if (place_ == Place::start) expected = "an object of tensors";
    if (place_ == Place::dtype) expected = "dtype as text";
    if (place_ == Place::shape) expected = "shape as a list";
    if (place_ == Place::in_shape) expected = "sizes from 0 in shape";
    if (place_ == Place::offsets) expected = "data_offsets as a list";
    if (place_ == Place::in_offsets) expected = "numbers from 0 in data_offsets";
    if (place_ == Place::metadata) expected = "an object";
    if (place_ == Place::metadata_keys) expected = "only text";
    return stop(cat("expected ", expected, ", found ", what));
  }

  Place place_ = Place::start;
  std::string name_;
  TensorEntry entry_;
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  int offsets_ = 0;
};

// Bytes of a tensor, or -1 if no tensor can have that shape. Sizes are multiplied as if a 0 were 1,
// so that strides, which are such products, cannot overflow either.
int64_t tensor_bytes(const TensorEntry& e) {
  constexpr int64_t kMostElements = int64_t{1} << 56;
  int64_t count = 1;
  bool empty = false;
  for (const int64_t size : e.shape) {
    empty |= size == 0;
    if (size > 1 && count > kMostElements / size) return -1;
    count *= std::max<int64_t>(size, 1);
  }
  const int64_t bits = empty ? 0 : count * dtype_bits(e.dtype);
  return bits % 8 == 0 ? bits / 8 : -1;
}

}  // namespace

std::map<std::string, TensorEntry> read_safetensors_header(std::string_view bytes,
                                                           const std::string& path) {
  const auto damaged = [&](const auto&... what) {
    return UserError(cat(path, ": not a whole safetensors file: ", what...));
  };
  uint64_t header_size = 0;
  if (bytes.size() < sizeof header_size) {
    throw damaged("expected at least 8 bytes, found ", bytes.size());
  }
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  const std::string_view rest = bytes.substr(sizeof header_size);
  if (header_size > std::min<uint64_t>(rest.size(), kLargestHeader)) {
    throw damaged("the header claims ", header_size, " bytes, the file has ", bytes.size(),
                  ", and at most 100 MB are allowed");
  }
  const std::string_view text = rest.substr(0, header_size);
  // The format says how it begins; and a NUL would end the text for the JSON reader.
  if (text.empty() || text[0] != '{') throw damaged("its header does not begin with {");
  if (text.find('\0') != text.npos) throw damaged("its header is not JSON: it has a NUL byte");
  HeaderReader reader;
  if (!Json::sax_parse(text.begin(), text.end(), &reader)) throw damaged(reader.error);

  const auto data = static_cast<int64_t>(sizeof header_size + header_size);
  const int64_t data_bytes = static_cast<int64_t>(bytes.size()) - data;
  std::vector<std::pair<const std::string*, TensorEntry*>> by_place;
  for (auto& [name, e] : reader.entries) {
    if (e.begin > e.end || e.end > data_bytes) {
      throw damaged(shown(name), ": bytes ", e.begin, " to ", e.end, " of ", data_bytes);
    }
    const int64_t needed = tensor_bytes(e);
    if (needed < 0) throw damaged(shown(name), ": bad shape, too large or no whole bytes");
    if (needed != e.end - e.begin) {
      throw damaged(shown(name), ": its shape needs ", needed, " bytes, it has ", e.end - e.begin);
    }
    by_place.emplace_back(&name, &e);
  }
  std::sort(by_place.begin(), by_place.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second->begin, a.second->end) < std::pair(b.second->begin, b.second->end);
  });
  int64_t covered = 0;
  for (const auto& [name, e] : by_place) {
    if (e->begin != covered) {
      throw damaged(shown(*name), ": expected to begin at byte ", covered, ", it begins at ",
                    e->begin, ": tensors ", e->begin < covered ? "overlap" : "leave a gap");
    }
    covered = e->end;
    e->begin += data;
    e->end += data;
  }
  if (covered != data_bytes) {
    throw damaged("its tensors have ", covered, " bytes, the file has ", data_bytes);
  }
  return std::move(reader.entries);
}

int dtype_bits(std::string_view dtype) {
  static const std::map<std::string_view, int> bits = {
      {"BOOL", 8},   {"U8", 8},          {"I8", 8},         {"F8_E4M3", 8}, {"F8_E5M2", 8},
      {"I16", 16},   {"U16", 16},        {"F16", 16},       {"BF16", 16},   {"F8_E8M0", 8},
      {"I32", 32},   {"U32", 32},        {"F32", 32},       {"I64", 64},    {"U64", 64},
      {"F64", 64},   {"C64", 64},        {"F4", 4},         {"F6_E2M3", 6}, {"F6_E3M2", 6},
      {"C128", 128}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}};
  const auto found = bits.find(dtype);
  return found == bits.end() ? 0 : found->second;
}

std::map<std::string, std::string> read_safetensors_index(std::string_view text,
                                                          const std::string& path) {
  if (nested_deeper(text, 16)) throw UserError(cat(path, ": nested too deeply for an index"));
  // Not `Json`: its objects look a key up by walking, too slow for an index that means ill.
  std::vector<std::set<std::string>> keys;
  std::string twice;
  nlohmann::json index;
  try {
    index = nlohmann::json::parse(
        text, [&](int, nlohmann::json::parse_event_t event, nlohmann::json& value) {
          if (event == nlohmann::json::parse_event_t::object_start) keys.emplace_back();
          if (event == nlohmann::json::parse_event_t::object_end) keys.pop_back();
          if (event == nlohmann::json::parse_event_t::key &&
              !keys.back().insert(value.get<std::string>()).second) {
            twice = value.get<std::string>();
          }
          return true;
        });
  } catch (const nlohmann::json::exception&) {
    throw UserError(cat(path, ": not valid JSON"));
  }
  if (!twice.empty()) throw UserError(cat(path, ": ", shown(twice), " is there twice"));
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw UserError(cat(path, ": expected an object `weight_map` from tensors to files"));
  }
  std::map<std::string, std::string> files;
  for (const auto& [name, value] : index["weight_map"].items()) {
    const std::string file = value.is_string() ? value.get<std::string>() : "";
    const bool plain =
        file.ends_with(".safetensors") && file.find('/') == file.npos && shown(file) == file;
    if (!plain) {
      throw UserError(cat(path, ": ", shown(name),
                          ": expected the name of a *.safetensors file of the same directory, "
                          "found ",
                          shown(value.dump())));
    }
    files[name] = file;
  }
  if (files.empty()) throw UserError(cat(path, ": `weight_map` names no tensor"));
  return files;
}

std::string shown(std::string_view name) {
  constexpr size_t kLongest = 200;
  std::string text(name.substr(0, kLongest));
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  return name.size() > kLongest ? text + "..." : text;
}

}  // namespace hone
