// The text of a template as tokens, with jinja2's rules for white space: trim_blocks and
// lstrip_blocks are on, one newline at the end of the template goes, "-" and "+" say otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hone::jinja {

enum class TokenKind {
  data,
  block_begin,
  block_end,
  variable_begin,
  variable_end,
  name,
  integer,
  real,
  string,
  op,
  end,
};

struct Token {
  TokenKind kind = TokenKind::end;
  int line = 1;
  std::string text;  // of data, names, operators; of a string its content
  int64_t integer = 0;
  double real = 0;
};

// Ends with an `end` token. Throws SyntaxError.
std::vector<Token> tokenize(std::string_view source);

struct SyntaxError {
  int line;
  std::string message;
};

}  // namespace hone::jinja
