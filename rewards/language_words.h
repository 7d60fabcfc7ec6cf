// Function words: what tells languages of the Latin script apart.
#pragma once

#include <string>
#include <vector>

namespace hone {

struct WordList {
  const char* code;                // ISO 639-1
  std::vector<std::string> words;  // lower case, without apostrophes
};

const std::vector<WordList>& function_words();

}  // namespace hone
