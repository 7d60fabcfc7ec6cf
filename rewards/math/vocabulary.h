// The words of the language of answers: what commands, names and signs mean.
#pragma once

#include <string_view>
#include <unordered_map>
#include <vector>

#include "rewards/math/lexer.h"

namespace hone::math {

struct Meaning {
  Token token;
  const char* text = "";
  uint64_t id = 0;
};
using Dictionary = std::unordered_map<std::string_view, Meaning>;

const Dictionary& commands();     // LaTeX's, by name without the backslash
const Dictionary& plain_names();  // what a run of letters in plain text means, if not symbols
bool ignored(std::string_view command);  // changes only how things look

struct Sign {
  std::string_view bytes;
  Meaning meaning;
};
const std::vector<Sign>& signs();

}  // namespace hone::math
