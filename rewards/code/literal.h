// Text that spells a value, in JSON or as Python's repr: data sets hold their tests in both.
#pragma once

#include <stdexcept>
#include <string_view>

#include "rewards/code/value.h"

namespace hone {

struct LiteralError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// The tagged value that `text` spells, white space around it allowed. One grammar reads both
// languages: JSON with NaN and Infinity, and what Python's ast.literal_eval takes (True, None,
// tuples, sets, set(), bytes, complex numbers, 0x1f, 1_000, 'a' "b" as one text, r'' and ''''''
// quotes, trailing commas, comments). Integers are exact at any size. Nothing is evaluated.
// Throws LiteralError with the place; nesting beyond kMaxValueDepth is an error.
Json read_literal(std::string_view text);

}  // namespace hone
