// The `normalizer` of a tokenizer.json: what is done to the text before it is split.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/json_field.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace hone {

struct LowerCase {};
struct StripMarks {};
struct ByteLevelText {};
struct Replace {
  Pattern pattern;
  std::string content;
};
struct Prepend {
  std::string text;
};
struct StripSpaces {
  bool left, right;
};

// A Sequence is these in a row.
using Normalizer =
    std::variant<NormalForm, LowerCase, StripMarks, ByteLevelText, Replace, Prepend, StripSpaces>;

// Appends what `field` describes. Throws UserError naming a kind that is not known.
void read_normalizer(const JsonField& field, std::vector<Normalizer>& out);

// REQUIRES: text is UTF-8.
std::string normalize(const std::vector<Normalizer>& steps, std::string_view text);

}  // namespace hone
