// Characters of UTF-8 text and the scripts they belong to, as far as rewards need them.
#pragma once

#include <string_view>

namespace hone {

enum class Script {
  none,  // digits, punctuation, symbols, marks, spaces
  latin,
  greek,
  cyrillic,
  hebrew,
  arabic,
  devanagari,
  thai,
  hangul,
  kana,
  han,
  other,  // letters of all others
};

// The character at `i`, which moves behind it. A byte that is not UTF-8 is one U+FFFD.
// REQUIRES: i < text.size().
char32_t next_character(std::string_view text, size_t& i);

Script script_of(char32_t c);
bool is_space(char32_t c);
// A mark that belongs to the letter before it (accents, vowel signs, tone marks).
bool is_mark(char32_t c);

// Latin (to U+017F), Greek and Cyrillic capitals made small; others as they are.
char32_t lower_case(char32_t c);
bool is_upper(char32_t c);

}  // namespace hone
