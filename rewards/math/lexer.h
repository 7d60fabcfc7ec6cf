// Tokens of an answer as people and models write it: LaTeX, plain text, Unicode signs, mixed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rewards/math/syntax.h"

namespace hone::math {

enum class Token : uint8_t {
  end,
  number,
  symbol,
  pi,
  euler,
  imaginary,
  infinity,
  function,  // id
  plus,
  minus,
  times,
  slash,
  caret,
  underscore,
  bang,
  comma,
  semicolon,
  colon,
  bar,
  prime,
  percent,
  degree,
  currency,  // text: canonical name
  open,      // ( [ or < for \langle: the character is in text
  close,     // ) ] >
  set_open,
  set_close,
  group_open,
  group_close,
  bar_open,  // \left| \lvert
  bar_close,
  floor_open,
  floor_close,
  ceiling_open,
  ceiling_close,
  frac,
  sqrt,
  binom,
  choose,
  text,      // \text{...}: its content
  word,      // three or more letters that mean nothing to mathematics, or a unit
  relation,  // op in text
  plus_minus,
  minus_plus,
  join,
  meet,
  without,
  such_that,
  ellipsis,
  ampersand,
  line_end,
  begin,  // environment in text
  finish,
  conjunction,  // and, or, \quad: separates answers
  superscript,  // digits in text
  opaque,       // \sum, \int, \lim, \gcd ...
  reals,
  empty_set,
};

struct Lexeme {
  Token token = Token::end;
  std::string text;   // digits without separators, names, contents
  int extra = -1;     // number: digits after the point, -1 without a point
  int exponent = 0;   // number: power of ten
  int repeating = 0;  // number: so many of the last digits repeat for ever
  uint64_t id = 0;
  bool spaced = false;  // white space stood before it
};

constexpr size_t kMaxText = 4000;    // bytes of an answer
constexpr size_t kMaxTokens = 1200;  //
constexpr size_t kMaxDigits = 1000;  // of one number

// False if something is not of this language or too long. `text` must outlive the lexemes.
bool tokenize(std::string_view text, std::vector<Lexeme>& out);

// The answer without mathematics delimiters, outer boxes, final punctuation and emphasis.
std::string cleaned(std::string_view text);

}  // namespace hone::math
