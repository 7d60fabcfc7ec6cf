// One step through UTF-8 text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hone {

struct Utf8Step {
  size_t length;                                 // bytes that belong together
  enum Kind { whole, broken, unfinished } kind;  // unfinished: the text ends inside a character
};

// REQUIRES: s is not empty.
Utf8Step utf8_step(std::string_view s);

// Takes from `held` all but a sequence that is unfinished at its end; broken parts become U+FFFD.
std::string take_valid_utf8(std::string& held);

}  // namespace hone
