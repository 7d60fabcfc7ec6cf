#include "text/jinja/lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "text/jinja/unicode.h"

namespace hone::jinja {
namespace {

// \n, \r\n and \r are line breaks; the last one of the template goes.
std::string normalized(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      text += source[i];
    } else if (i + 1 == source.size() || source[i + 1] != '\n') {
      text += '\n';
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

bool ascii_digit(char c) { return c >= '0' && c <= '9'; }

bool digit_of(char c, int base) {
  const int value = ascii_digit(c)                           ? c - '0'
                    : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                             : 99;
  return value < base;
}

bool name_byte(char c) {
  return ascii_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)), text_(source_) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) read_data();
    push(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& message) const { throw SyntaxError{line_, message}; }

  bool here(std::string_view what) const { return text_.substr(at_).starts_with(what); }

  void push(TokenKind kind, std::string_view text) {
    Token token;
    token.kind = kind;
    token.line = line_;
    token.text = text;
    tokens_.push_back(std::move(token));
  }

  // Moves on by `bytes` and keeps count of the lines.
  void skip(size_t bytes) {
    const std::string_view passed = text_.substr(at_, bytes);
    line_ += static_cast<int>(std::count(passed.begin(), passed.end(), '\n'));
    if (!passed.empty()) line_starting_ = passed.back() == '\n';
    at_ += passed.size();
  }

  void skip_space() { skip(text_.size() - at_ - strip_left(text_.substr(at_)).size()); }

  // Text up to the next tag, without what the tag's sign or lstrip_blocks takes from its end.
  void push_data(std::string_view data, char sign, bool lstrip) {
    std::string_view kept = data;
    if (sign == '-') {
      kept = strip_right(data);
    } else if (sign != '+' && lstrip) {
      const size_t newline = data.rfind('\n');
      const size_t start = newline == data.npos ? 0 : newline + 1;
      const bool from_line = start > 0 || line_starting_;
      if (from_line && strip_left(data.substr(start)).empty()) kept = data.substr(0, start);
    }
    if (!kept.empty()) push(TokenKind::data, kept);
    skip(data.size());
  }

  void read_data() {
    size_t tag = at_;
    const auto begins = [&](size_t i) {
      return text_[i] == '{' && (text_[i + 1] == '{' || text_[i + 1] == '%' || text_[i + 1] == '#');
    };
    while (tag + 1 < text_.size() && !begins(tag)) ++tag;
    if (tag + 1 >= text_.size()) {
      push(TokenKind::data, text_.substr(at_));
      skip(text_.size());
      return;
    }
    const char kind = text_[tag + 1];
    char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    if (sign != '-' && sign != '+') sign = '\0';
    push_data(text_.substr(at_, tag - at_), sign, kind != '{');
    if (kind == '%') {
      if (const size_t length = raw_tag("raw", false)) return read_raw(length);
    }
    skip(sign ? 3 : 2);
    if (kind == '#') return read_comment();
    push(kind == '{' ? TokenKind::variable_begin : TokenKind::block_begin, "");
    read_tag(kind == '{');
  }

  // The length of "{% raw %}" or "{% endraw %}" at the current place, or 0. Only the end tag takes
  // the newline behind it.
  size_t raw_tag(std::string_view name, bool trims, char* sign = nullptr) const {
    std::string_view rest = text_.substr(at_);
    if (!rest.starts_with("{%")) return 0;
    rest.remove_prefix(2);
    const bool signed_tag = rest.starts_with('-') || rest.starts_with('+');
    if (sign) *sign = signed_tag ? rest[0] : '\0';
    if (signed_tag) rest.remove_prefix(1);
    rest = strip_left(rest);
    if (!rest.starts_with(name)) return 0;
    rest = strip_left(rest.substr(name.size()));
    if (rest.starts_with("-%}")) {
      rest = strip_left(rest.substr(3));
    } else if (trims && rest.starts_with("+%}")) {
      rest.remove_prefix(3);
    } else if (rest.starts_with("%}")) {
      rest.remove_prefix(2);
      if (trims && rest.starts_with('\n')) rest.remove_prefix(1);
    } else {
      return 0;
    }
    return text_.size() - at_ - rest.size();
  }

  void read_raw(size_t tag_length) {
    skip(tag_length);
    const size_t start = at_;
    const int line = line_;
    const bool line_starting = line_starting_;
    for (size_t end = text_.find("{%", start); end != text_.npos; end = text_.find("{%", end + 1)) {
      at_ = end;
      char sign = '\0';
      const size_t length = raw_tag("endraw", true, &sign);
      if (!length) continue;
      at_ = start;
      line_starting_ = line_starting;
      push_data(text_.substr(start, end - start), sign, true);
      skip(length);
      return;
    }
    at_ = start;
    line_ = line;
    fail("'raw' is not closed by 'endraw'");
  }

  void read_comment() {
    const size_t end = text_.find("#}", at_);
    if (end == text_.npos) fail("a comment is not closed by '#}'");
    const char before = end > at_ ? text_[end - 1] : '\0';
    skip(end + 2 - at_);
    close(before);
  }

  // After "%}" or "#}": what the sign before it or trim_blocks takes from the text that follows.
  void close(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && here("\n")) {
      skip(1);
    }
  }

  bool read_end(bool variable) {
    if (!closers_.empty()) return false;
    if (variable) {
      if (!here("}}") && !here("-}}")) return false;
      push(TokenKind::variable_end, "");
      const bool strips = here("-");
      skip(strips ? 3 : 2);
      if (strips) skip_space();
      return true;
    }
    const char sign = here("-%}") || here("+%}") ? text_[at_] : '\0';
    if (!sign && !here("%}")) return false;
    push(TokenKind::block_end, "");
    skip(sign ? 3 : 2);
    close(sign);
    return true;
  }

  void read_tag(bool variable) {
    while (true) {
      if (read_end(variable)) return;
      if (at_ >= text_.size()) return;  // the parser says what is missing
      skip_space();
      if (at_ >= text_.size()) return;
      if (read_end(variable)) return;
      const char c = text_[at_];
      if (ascii_digit(c)) {
        read_number();
      } else if (name_byte(c)) {
        size_t end = at_;
        while (end < text_.size() && name_byte(text_[end])) ++end;
        push(TokenKind::name, text_.substr(at_, end - at_));
        skip(end - at_);
      } else if (c == '\'' || c == '"') {
        read_string();
      } else {
        read_operator();
      }
    }
  }

  // Digits with single underscores between them, from `i`; where they end.
  size_t digits(size_t i, int base) const {
    size_t end = i;
    while (end < text_.size()) {
      if (digit_of(text_[end], base)) {
        ++end;
      } else if (text_[end] == '_' && end > i && end + 1 < text_.size() &&
                 digit_of(text_[end + 1], base)) {
        end += 2;
      } else {
        break;
      }
    }
    return end;
  }

  void read_number() {
    size_t end = digits(at_, 10);
    // "x.1.2" is two subscripts, not a float.
    bool real = false;
    if (at_ == 0 || text_[at_ - 1] != '.') {
      const auto at = [&](size_t i) { return i < text_.size() ? text_[i] : '\0'; };
      size_t more = end;
      if (at(more) == '.' && ascii_digit(at(more + 1))) {
        more = end = digits(more + 1, 10);
        real = true;
      }
      if (at(more) == 'e' || at(more) == 'E') {
        ++more;
        if (at(more) == '+' || at(more) == '-') ++more;
        if (ascii_digit(at(more))) {
          end = digits(more, 10);
          real = true;
        }
      }
    }
    if (real) return push_real(end);
    int base = 10;
    size_t start = at_;
    const char mark = at_ + 1 < text_.size() ? static_cast<char>(text_[at_ + 1] | 0x20) : '\0';
    if (text_[at_] == '0' && (mark == 'x' || mark == 'o' || mark == 'b')) {
      const int other = mark == 'x' ? 16 : mark == 'o' ? 8 : 2;
      size_t first = at_ + 2;
      if (first < text_.size() && text_[first] == '_') ++first;
      if (digits(first, other) > first) {
        base = other;
        start = first;
        end = digits(first, other);
      }
    }
    // Zeros before a number stand for themselves, as in jinja's grammar.
    if (base == 10 && text_[at_] == '0') {
      end = at_ + 1;
      while (end < text_.size() &&
             (text_[end] == '0' ||
              (text_[end] == '_' && end + 1 < text_.size() && text_[end + 1] == '0'))) {
        ++end;
      }
    }
    const std::string plain = without_underscores(start, end);
    push(TokenKind::integer, plain);
    const auto read =
        std::from_chars(plain.data(), plain.data() + plain.size(), tokens_.back().integer, base);
    if (read.ec != std::errc()) fail("the integer " + plain + " does not fit 64 bits");
    skip(end - at_);
  }

  void push_real(size_t end) {
    const std::string plain = without_underscores(at_, end);
    push(TokenKind::real, plain);
    tokens_.back().real = std::strtod(plain.c_str(), nullptr);
    skip(end - at_);
  }

  std::string without_underscores(size_t start, size_t end) const {
    std::string plain(text_.substr(start, end - start));
    std::erase(plain, '_');
    return plain;
  }

  void read_string() {
    const char quote = text_[at_];
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) fail("a string is not closed");
    push(TokenKind::string, unescaped(text_.substr(at_ + 1, end - at_ - 1)));
    skip(end + 1 - at_);
  }

  // Python's "unicode-escape" of the text with its other characters written as escapes, which is
  // how jinja reads strings: a backslash before such a character stands for itself and spoils it.
  std::string unescaped(std::string_view body) const {
    std::string ascii;
    for (size_t at = 0; at < body.size();) {
      const char32_t c = next_code_point(body, at);
      if (c < 0x80) {
        ascii += static_cast<char>(c);
      } else {
        append_escape(ascii, c);
      }
    }
    std::string out;
    for (size_t i = 0; i < ascii.size(); ++i) {
      if (ascii[i] != '\\' || i + 1 == ascii.size()) {
        out += ascii[i];
        continue;
      }
      const char c = ascii[++i];
      constexpr std::string_view kLetters = "abfnrtv\\'\"";
      constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
      if (const size_t letter = kLetters.find(c); letter != kLetters.npos) {
        out += kMeanings[letter];
      } else if (c == '\n') {
        continue;
      } else if (c == 'x' || c == 'u' || c == 'U') {
        const size_t width = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        append_code(out, ascii, i + 1, width, 16);
        i += width;
      } else if (digit_of(c, 8)) {
        size_t width = 1;
        while (width < 3 && i + width < ascii.size() && digit_of(ascii[i + width], 8)) ++width;
        append_code(out, ascii, i, width, 8);
        i += width - 1;
      } else if (c == 'N') {
        fail("characters by name (\\N) are not supported in strings");
      } else {
        out += '\\';
        out += c;
      }
    }
    return out;
  }

  void append_code(std::string& out, std::string_view text, size_t start, size_t width,
                   int base) const {
    uint32_t code = 0;
    const std::string_view digits = text.substr(start, width);
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), code, base);
    if (digits.size() != width || read.ptr != digits.data() + digits.size() || code > 0x10FFFF ||
        (code >= 0xD800 && code < 0xE000)) {
      fail("an escape in a string is no character");
    }
    append_code_point(out, code);
  }

  void read_operator() {
    constexpr std::string_view kTwo[] = {"//", "**", "==", "!=", ">=", "<="};
    const std::string_view two = text_.substr(at_, 2);
    const size_t length =
        std::find(std::begin(kTwo), std::end(kTwo), two) != std::end(kTwo) ? 2 : 1;
    const char c = text_[at_];
    if (std::string_view("+-/*%~[](){}><=.:|,;!").find(c) == std::string_view::npos ||
        (c == '!' && length == 1)) {
      fail(cat("unexpected character '", c, "'"));
    }
    if (c == '(' || c == '[' || c == '{') {
      closers_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (closers_.empty()) fail(cat("unexpected '", c, "'"));
      if (closers_.back() != c) fail(cat("unexpected '", c, "', expected '", closers_.back(), "'"));
      closers_.pop_back();
    }
    push(TokenKind::op, text_.substr(at_, length));
    skip(length);
  }

  const std::string source_;
  const std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last match ended a line
  std::string closers_;        // of the brackets that are open in this tag
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace hone::jinja
