// JSON: nlohmann's library with keys kept in the order in which they were written, so that a file
// that hone writes is a function of the run alone.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace hone {

using Json = nlohmann::ordered_json;

// One line of JSON. Bytes that are not UTF-8 become U+FFFD; NaN and infinity become null.
inline std::string to_line(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hone
