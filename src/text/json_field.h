// A value of a JSON file together with its place, for errors that say where they are.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"

namespace hone {

// Not hone::Json: that keeps objects in order and looks keys up one by one, which takes minutes for
// a vocabulary of 150,000.
using FileJson = nlohmann::json;

struct JsonField {
  const FileJson* json;
  std::string where;  // "DIR/tokenizer.json: model.vocab"

  [[noreturn]] void fail(const std::string& expected) const {
    std::string found = json->dump(-1, ' ', false, FileJson::error_handler_t::replace);
    if (found.size() > 60) found = found.substr(0, 60) + "...";
    throw UserError(cat(where, ": expected ", expected, ", found ", found));
  }
  // The member, or none where it is absent or null.
  std::optional<JsonField> find(const char* key) const {
    if (!json->is_object()) fail("an object");
    const auto it = json->find(key);
    if (it == json->end() || it->is_null()) return std::nullopt;
    return JsonField{&*it, cat(where, where.ends_with(':') ? " " : ".", key)};
  }
  JsonField at(const char* key) const {
    const auto member = find(key);
    if (!member) fail(cat("an object with '", key, "'"));
    return *member;
  }
  std::vector<JsonField> items() const {
    if (!json->is_array()) fail("a list");
    std::vector<JsonField> out;
    for (size_t i = 0; i < json->size(); ++i) out.push_back({&(*json)[i], cat(where, "[", i, "]")});
    return out;
  }
  const std::string& text() const {
    if (!json->is_string()) fail("a string");
    return json->get_ref<const std::string&>();
  }
  bool boolean() const {
    if (!json->is_boolean()) fail("true or false");
    return json->get<bool>();
  }
  // A count or an id: not negative.
  int32_t number() const {
    const int64_t value = json->is_number_integer() ? json->get<int64_t>() : -1;
    if (value < 0 || value > std::numeric_limits<int32_t>::max()) {
      fail("a whole number from 0 to 2147483647");
    }
    return static_cast<int32_t>(value);
  }
  bool boolean_or(const char* key, bool otherwise) const {
    const auto member = find(key);
    return member ? member->boolean() : otherwise;
  }
  std::string text_or(const char* key, const std::string& otherwise) const {
    const auto member = find(key);
    return member ? member->text() : otherwise;
  }
};

}  // namespace hone
