// JSON: nlohmann's library with keys kept in the order in which they were written, so that a file
// that hone writes is a function of the run alone.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace hone {

using Json = nlohmann::ordered_json;

// Whether the containers of a text of JSON nest deeper than `most`, which is asked of text that
// nobody trusts before it is read: readers go down recursively.
inline bool nested_deeper(std::string_view text, int most) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      quoted = c != '"';
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > most) return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

// One line of JSON. Bytes that are not UTF-8 become U+FFFD; NaN and infinity become null.
inline std::string to_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hone
