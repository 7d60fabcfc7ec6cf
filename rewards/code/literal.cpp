#include "rewards/code/literal.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/error.h"

namespace hone {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool word_char(char c) {
  return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

int hex_digit(char c) {
  if (digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

Json object_of(const char* tag, Json content) {
  Json value;
  value[tag] = std::move(content);
  return value;
}

// A hexadecimal, octal or binary integer in decimal. Quadratic in its length, which is bounded.
std::string to_decimal(std::string_view digits, int base) {
  constexpr uint64_t kLimb = 1'000'000'000;
  std::vector<uint32_t> limbs;  // base 10^9, the least significant first
  for (char c : digits) {
    uint64_t carry = static_cast<uint64_t>(hex_digit(c));
    for (uint32_t& limb : limbs) {
      carry += uint64_t{limb} * static_cast<uint64_t>(base);
      limb = static_cast<uint32_t>(carry % kLimb);
      carry /= kLimb;
    }
    if (carry != 0) limbs.push_back(static_cast<uint32_t>(carry));
  }
  std::string text;
  for (auto limb = limbs.rbegin(); limb != limbs.rend(); ++limb) {
    std::string part = std::to_string(*limb);
    text += (text.empty() ? "" : std::string(9 - part.size(), '0')) + part;
  }
  return text.empty() ? "0" : text;
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Json whole() {
    Json value = read(0);
    skip_space();
    if (at_ < text_.size()) fail("expected the end");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw LiteralError(cat("at byte ", at_, ": ", what));
  }

  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  bool starts(std::string_view word) const { return text_.substr(at_).starts_with(word); }
  bool take(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void skip_space() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == ' ' || (c >= '\t' && c <= '\r')) {
        ++at_;
      } else {
        return;
      }
    }
  }

  Json read(int depth) {
    if (depth > kMaxValueDepth) fail(cat("nested deeper than ", kMaxValueDepth));
    skip_space();
    switch (peek()) {
      case '[':
        ++at_;
        return items(']', depth).first;
      case '(': {
        ++at_;
        auto [list, comma] = items(')', depth);
        if (list.size() == 1 && !comma) return std::move(list[0]);
        return object_of("t", std::move(list));
      }
      case '{':
        ++at_;
        return braces(depth);
      case '"':
      case '\'':
        return quoted();
      case '+':
      case '-':
        return number();
      default:
        break;
    }
    if (digit(peek()) || peek() == '.') return number();
    size_t length = 0;
    while (word_char(peek(length))) ++length;
    const std::string_view word = text_.substr(at_, length);
    if (length <= 2 && (peek(length) == '"' || peek(length) == '\'')) return quoted();
    if (word == "NaN" || word == "Infinity") return number();
    at_ += length;
    if (word == "null" || word == "None") return nullptr;
    if (word == "true" || word == "True") return true;
    if (word == "false" || word == "False") return false;
    if (word == "set" && take('(') && take(')')) return object_of("s", Json::array());
    at_ -= length;
    fail("expected a value");
  }

  // Values up to `close`, and whether the last was followed by a comma.
  std::pair<Json, bool> items(char close, int depth) {
    Json list = Json::array();
    bool comma = true;
    while (!take(close)) {
      if (!comma) fail(cat("expected ',' or '", close, "'"));
      list.push_back(read(depth + 1));
      comma = take(',');
    }
    return {std::move(list), comma};
  }

  Json braces(int depth) {
    if (take('}')) return object_of("d", Json::array());
    Json first = read(depth + 1);
    if (!take(':')) {
      Json list = Json::array();
      list.push_back(std::move(first));
      if (!take('}')) {
        if (!take(',')) fail("expected ':', ',' or '}'");
        for (Json& item : items('}', depth).first) list.push_back(std::move(item));
      }
      return object_of("s", std::move(list));
    }
    Json pairs = Json::array();
    while (true) {
      Json pair = Json::array();
      pair.push_back(std::move(first));
      pair.push_back(read(depth + 1));
      pairs.push_back(std::move(pair));
      const bool comma = take(',');
      if (take('}')) return object_of("d", std::move(pairs));
      if (!comma) fail("expected ',' or '}'");
      first = read(depth + 1);
      if (!take(':')) fail("expected ':'");
    }
  }

  // One or more quoted texts in a row, all of them bytes or none.
  Json quoted() {
    std::string joined;
    bool bytes = false, any = false;
    while (true) {
      bool raw = false, own_bytes = false;
      size_t prefix = 0;
      for (; word_char(peek(prefix)); ++prefix) {
        switch (peek(prefix) | 0x20) {
          case 'r':
            raw = true;
            break;
          case 'b':
            own_bytes = true;
            break;
          case 'u':
            break;
          default:
            fail("expected a value");
        }
      }
      at_ += prefix;
      if (any && own_bytes != bytes) fail("text and bytes side by side");
      any = true;
      bytes = own_bytes;
      quoted_part(raw, bytes, joined);
      skip_space();
      size_t next = 0;
      while (next < 2 && word_char(peek(next))) ++next;
      if (peek(next) != '"' && peek(next) != '\'') break;
    }
    if (!bytes) return joined;
    std::string hex;
    for (unsigned char c : joined) {
      hex += "0123456789abcdef"[c >> 4];
      hex += "0123456789abcdef"[c & 15];
    }
    return object_of("b", hex);
  }

  void quoted_part(bool raw, bool bytes, std::string& out) {
    const char quote = peek();
    const bool triple = peek(1) == quote && peek(2) == quote;
    at_ += triple ? 3 : 1;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == quote && (!triple || (peek(1) == quote && peek(2) == quote))) {
        at_ += triple ? 3 : 1;
        return;
      }
      if (c == '\n' && !triple) fail("a line ends within a text");
      if (c != '\\') {
        out += c;
        ++at_;
      } else if (raw) {
        out += c;
        if (at_ + 1 < text_.size()) out += text_[at_ + 1];
        at_ += 2;
      } else {
        escape(bytes, out);
      }
    }
    at_ = text_.size();
    fail("a text is not closed");
  }

  uint32_t hex(size_t digits) {
    uint32_t code = 0;
    for (size_t i = 0; i < digits; ++i) {
      const int value = hex_digit(peek());
      if (value < 0) fail(cat("expected ", digits, " hexadecimal digits"));
      code = code << 4 | static_cast<uint32_t>(value);
      ++at_;
    }
    return code;
  }

  void escape(bool bytes, std::string& out) {
    const char c = peek(1);
    at_ += 2;
    const auto append = [&](uint32_t code) {
      if (bytes) {
        out += static_cast<char>(code);
      } else {
        append_utf8(out, code);
      }
    };
    if (c >= '0' && c <= '7') {
      uint32_t code = static_cast<uint32_t>(c - '0');
      for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i) {
        code = code * 8 + static_cast<uint32_t>(text_[at_++] - '0');
      }
      return append(bytes ? code & 0xFF : code);
    }
    switch (c) {
      case 'n':
        return append('\n');
      case 't':
        return append('\t');
      case 'r':
        return append('\r');
      case 'b':
        return append('\b');
      case 'f':
        return append('\f');
      case 'a':
        return append('\a');
      case 'v':
        return append('\v');
      case '\\':
      case '\'':
      case '"':
      case '/':  // JSON's; repr never writes a lone backslash before it
        return append(static_cast<uint32_t>(c));
      case '\n':
        return;
      case 'x':
        return append(hex(2));
      case 'u':
      case 'U':
        if (!bytes) return append(code_point(c == 'u' ? 4 : 8));
        break;
      default:
        break;
    }
    out += '\\';  // an escape that Python does not know stays as it is
    --at_;
  }

  // Halves of a surrogate pair are JSON's spelling of one character; a lone one is none.
  uint32_t code_point(size_t digits) {
    uint32_t code = hex(digits);
    if (code >= 0xD800 && code < 0xDC00 && starts("\\u")) {
      at_ += 2;
      const uint32_t low = hex(4);
      if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xD800 && code < 0xE000) {
      fail("half of a surrogate pair");
    }
    if (code > 0x10FFFF) fail("not a character");
    return code;
  }

  Json number() {
    std::string text = sign();
    bool imaginary = false;
    Json value = plain_number(text, imaginary);
    const size_t after = at_;
    skip_space();
    if (!imaginary && (peek() == '+' || peek() == '-')) {  // 1+2j
      std::string second = sign();
      Json other = plain_number(second, imaginary);
      if (!imaginary) fail("expected a complex number");
      return complex(value, other);
    }
    at_ = after;
    return imaginary ? complex(Json(0), value) : value;
  }

  std::string sign() {
    bool minus = false;
    for (; peek() == '+' || peek() == '-'; ++at_) {
      minus ^= peek() == '-';
      if (peek(1) == ' ') fail("expected a digit");
    }
    return minus ? "-" : "";
  }

  static Json complex(const Json& re, const Json& im) {
    const auto digits = [](const Json& number) {
      return number.is_object() ? untagged(number) : Json(number.dump());
    };
    return object_of("c", Json::array({digits(re), digits(im)}));
  }

  // The number at the place, after its sign; `imaginary` if a j follows, which makes it a float.
  Json plain_number(std::string text, bool& imaginary) {
    const size_t start = at_;
    if (starts("NaN") || starts("Infinity")) {
      const std::string_view word = starts("NaN") ? "NaN" : "Infinity";
      at_ += word.size();
      return tagged_float(*parse_float(text + std::string(word)));
    }
    const int base = peek() != '0'             ? 10
                     : (peek(1) | 0x20) == 'x' ? 16
                     : (peek(1) | 0x20) == 'o' ? 8
                     : (peek(1) | 0x20) == 'b' ? 2
                                               : 10;
    if (base != 10) at_ += 2;
    std::string digits;
    bool real = false;
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '_' && word_char(peek(1)) && !digits.empty()) continue;
      if (base == 10 && (c == '.' || c == 'e' || c == 'E')) {
        real = true;
        digits += c;
        if (c != '.' && (peek(1) == '-' || peek(1) == '+')) {
          if (peek(1) == '-') digits += '-';
          ++at_;
        }
      } else if (hex_digit(c) >= 0 && hex_digit(c) < base) {
        digits += c;
      } else {
        break;
      }
    }
    const size_t most = base == 10 ? kMaxDigits : kMaxOtherDigits;
    if (digits.empty() || digits.size() > most) {
      at_ = start;
      fail(digits.empty() ? "expected a number" : cat("a number of over ", most, " digits"));
    }
    imaginary = base == 10 && (peek() | 0x20) == 'j';
    at_ += imaginary;
    if (word_char(peek())) fail("expected the end of a number");
    if (base != 10) return tagged_integer(text + to_decimal(digits, base));
    if (!real && !imaginary) return tagged_integer(text + digits);
    const std::optional<double> value = parse_float(text + digits);
    if (!value) {
      at_ = start;
      fail("expected a number");
    }
    return tagged_float(*value);
  }

  static constexpr size_t kMaxDigits = 1'000'000;
  static constexpr size_t kMaxOtherDigits = 1000;  // to_decimal is quadratic

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

Json read_literal(std::string_view text) { return Reader(text).whole(); }

}  // namespace hone
