// An option that is one of several words. The struct holds the enumeration, the recipe the word;
// a word that does not exist is a UserError when the recipe is read, not when the option is used.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/options.h"

namespace hone {

// The place of `word` in `words`. Throws UserError that lists the words.
inline size_t word_index(const std::string& key, const std::string& word,
                         const std::vector<std::string>& words) {
  std::string known;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == word) return i;
    known += (i ? ", " : "") + words[i];
  }
  const std::string near = nearest_word(word, words);
  throw UserError(cat(key, ": expected one of ", known, "; found '", word, "'",
                      near.empty() ? "" : "; did you mean '" + near + "'?"));
}

// Describes `e`, whose values 0, 1, 2, ... are called words[0], words[1], ... in the recipe.
template <class E>
void choice(OptionVisitor& v, const char* key, E& e, const std::vector<std::string>& words,
            const char* meaning) {
  std::string word = words[static_cast<size_t>(e)];
  v.value(key, word, meaning);
  e = static_cast<E>(word_index(key, word, words));
}

}  // namespace hone
