// One step through UTF-8 text.
#pragma once

#include <cstddef>
#include <string_view>

namespace hone {

struct Utf8Step {
  size_t length;                                 // bytes that belong together
  enum Kind { whole, broken, unfinished } kind;  // unfinished: the text ends inside a character
};

// REQUIRES: s is not empty.
Utf8Step utf8_step(std::string_view s);

}  // namespace hone
