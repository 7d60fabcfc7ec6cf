#include "rewards/rational.h"

#include <algorithm>

#include "base/error.h"

namespace hone {
namespace {

void trim(std::vector<uint32_t>& limbs) {
  while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
}

// value = value * factor + addend
void multiply_add(std::vector<uint32_t>& limbs, uint32_t factor, uint32_t addend) {
  uint64_t carry = addend;
  for (uint32_t& limb : limbs) {
    carry += uint64_t{limb} * factor;
    limb = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  if (carry != 0) limbs.push_back(static_cast<uint32_t>(carry));
}

}  // namespace

Natural::Natural(uint64_t value) {
  for (; value != 0; value >>= 32) limbs.push_back(static_cast<uint32_t>(value));
}

Natural operator+(const Natural& a, const Natural& b) {
  Natural sum;
  uint64_t carry = 0;
  for (size_t i = 0; i < std::max(a.limbs.size(), b.limbs.size()) || carry != 0; ++i) {
    if (i < a.limbs.size()) carry += a.limbs[i];
    if (i < b.limbs.size()) carry += b.limbs[i];
    sum.limbs.push_back(static_cast<uint32_t>(carry));
    carry >>= 32;
  }
  return sum;
}

Natural operator-(const Natural& a, const Natural& b) {
  HONE_CHECK(compare(a, b) >= 0);
  Natural difference = a;
  int64_t borrow = 0;
  for (size_t i = 0; i < a.limbs.size(); ++i) {
    int64_t limb = int64_t{a.limbs[i]} - borrow - (i < b.limbs.size() ? b.limbs[i] : 0);
    borrow = limb < 0;
    difference.limbs[i] = static_cast<uint32_t>(limb + (borrow << 32));
  }
  trim(difference.limbs);
  return difference;
}

Natural operator*(const Natural& a, const Natural& b) {
  Natural product;
  product.limbs.assign(a.limbs.size() + b.limbs.size(), 0);
  for (size_t i = 0; i < a.limbs.size(); ++i) {
    uint64_t carry = 0;
    for (size_t j = 0; j < b.limbs.size() || carry != 0; ++j) {
      carry += product.limbs[i + j];
      if (j < b.limbs.size()) carry += uint64_t{a.limbs[i]} * b.limbs[j];
      product.limbs[i + j] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
  }
  trim(product.limbs);
  return product;
}

int compare(const Natural& a, const Natural& b) {
  if (a.limbs.size() != b.limbs.size()) return a.limbs.size() < b.limbs.size() ? -1 : 1;
  for (size_t i = a.limbs.size(); i-- > 0;) {
    if (a.limbs[i] != b.limbs[i]) return a.limbs[i] < b.limbs[i] ? -1 : 1;
  }
  return 0;
}

Rational::Rational(int64_t value)
    : negative(value < 0),
      numerator(value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value)) {}

Rational operator+(const Rational& a, const Rational& b) {
  const Natural left = a.numerator * b.denominator, right = b.numerator * a.denominator;
  Rational sum;
  sum.denominator = a.denominator * b.denominator;
  if (a.negative == b.negative) {
    sum.numerator = left + right;
    sum.negative = a.negative;
  } else if (compare(left, right) >= 0) {
    sum.numerator = left - right;
    sum.negative = a.negative;
  } else {
    sum.numerator = right - left;
    sum.negative = b.negative;
  }
  if (sum.numerator.zero()) sum.negative = false;
  return sum;
}

Rational operator-(const Rational& a, const Rational& b) {
  Rational minus = b;
  minus.negative = !b.negative && !b.numerator.zero();
  return a + minus;
}

Rational operator*(const Rational& a, const Rational& b) {
  Rational product;
  product.numerator = a.numerator * b.numerator;
  product.denominator = a.denominator * b.denominator;
  product.negative = a.negative != b.negative && !product.numerator.zero();
  return product;
}

std::optional<Rational> divide(const Rational& a, const Rational& b) {
  if (b.numerator.zero()) return std::nullopt;
  Rational inverse;
  inverse.numerator = b.denominator;
  inverse.denominator = b.numerator;
  inverse.negative = b.negative;
  return a * inverse;
}

bool operator==(const Rational& a, const Rational& b) {
  const bool a_zero = a.numerator.zero(), b_zero = b.numerator.zero();
  if (a_zero || b_zero) return a_zero && b_zero;
  return a.negative == b.negative &&
         compare(a.numerator * b.denominator, b.numerator * a.denominator) == 0;
}

// --- reading -----------------------------------------------------------------------------------

namespace {

constexpr char kFrac = '\x01';  // stands for \frac, \dfrac, \tfrac, \cfrac in the plain form
constexpr int kMaxDepth = 8;    // nested parentheses and fractions
constexpr size_t kMaxDigits = 1000;

bool digit(char c) { return c >= '0' && c <= '9'; }
bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

std::string_view stripped(std::string_view s) {
  while (!s.empty() && space(s.front())) s.remove_prefix(1);
  while (!s.empty() && space(s.back())) s.remove_suffix(1);
  return s;
}

bool unwrap(std::string_view& s, std::string_view open, std::string_view close) {
  if (s.size() < open.size() + close.size() || !s.starts_with(open) || !s.ends_with(close)) {
    return false;
  }
  s = stripped(s.substr(open.size(), s.size() - open.size() - close.size()));
  return true;
}

// Removes one pair of mathematics delimiters and one final dot on either side of them.
std::string_view without_delimiters(std::string_view s) {
  s = stripped(s);
  const auto drop_dot = [&s] {
    if (s.size() > 1 && s.back() == '.') s = stripped(s.substr(0, s.size() - 1));
  };
  drop_dot();
  if (unwrap(s, "$$", "$$") || unwrap(s, "\\(", "\\)") || unwrap(s, "\\[", "\\]") ||
      (!s.ends_with("\\$") && unwrap(s, "$", "$"))) {
    drop_dot();
  }
  return s;
}

// The same number in plain ASCII: kinds of space and minus made one, LaTeX spacing removed.
std::optional<std::string> plain_form(std::string_view s) {
  struct Rewrite {
    std::string_view from, to;
  };
  static constexpr char kFracText[] = {kFrac, '\0'};
  static const Rewrite rewrites[] = {{"\\dfrac", kFracText},
                                     {"\\tfrac", kFracText},
                                     {"\\cfrac", kFracText},
                                     {"\\frac", kFracText},
                                     {"\\left(", "("},
                                     {"\\right)", ")"},
                                     {"\\!", ""},
                                     {"\\,", " "},
                                     {"\\;", " "},
                                     {"\\:", " "},
                                     {"\\ ", " "},
                                     {"\\%", "%"},
                                     {"\\$", "$"},
                                     {"{,}", ","},
                                     {"~", " "},
                                     {"\xC2\xA0", " "},
                                     {"\xE2\x80\x89", " "},
                                     {"\xE2\x80\xAF", " "},
                                     {"\xE2\x88\x92", "-"}};
  std::string plain;
  while (!s.empty()) {
    const char c = s.front();
    const Rewrite* found = nullptr;
    if (c == '\\' || c == '{' || c == '~' || static_cast<unsigned char>(c) >= 0x80) {
      for (const Rewrite& r : rewrites) {
        if (s.starts_with(r.from)) {
          found = &r;
          break;
        }
      }
    }
    if (found != nullptr) {
      plain += found->to;
      s.remove_prefix(found->from.size());
    } else if (c == '\\' || static_cast<unsigned char>(c) >= 0x80 || c == kFrac) {
      return std::nullopt;
    } else {
      plain += space(c) ? ' ' : c;
      s.remove_prefix(1);
    }
  }
  return plain;
}

// Recursive descent over the plain form, at most kMaxDepth deep. Every member returns none when
// the text at the cursor is not what it reads; the caller then gives up, so nothing is tried twice.
class NumberParser {
 public:
  explicit NumberParser(std::string_view text) : s_(text) {}

  std::optional<Rational> whole() {
    skip();
    auto value = signed_value(0);
    skip();
    return value && at_ == s_.size() ? value : std::nullopt;
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < s_.size() ? s_[at_ + ahead] : '\0'; }
  void skip() {
    while (peek() == ' ') ++at_;
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool sign() {  // true: negative
    const bool minus = peek() == '-';
    if (minus || peek() == '+') ++at_;
    skip();
    return minus;
  }

  std::optional<Rational> signed_value(int depth) {
    bool minus = sign();
    if (depth == 0 && take('$')) {
      skip();
      if (!minus) minus = sign();
    }
    auto value = unsigned_value(depth);
    if (!value) return std::nullopt;
    skip();
    if (take('%')) value = divide(*value, Rational(100));
    if (minus && !value->numerator.zero()) value->negative = !value->negative;
    return value;
  }

  std::optional<Rational> unsigned_value(int depth) {
    if (peek() == kFrac) return fraction(depth);
    std::optional<Rational> left;
    if (peek() == '(') {
      left = parenthesis(depth);
    } else {
      left = decimal(depth == 0);
      if (!left) return std::nullopt;
      const size_t end = at_;
      skip();
      if (whole_ && peek() == kFrac) return mixed(*left, fraction(depth));
      if (whole_ && groups_ == 0 && at_ > end && digit(peek())) return mixed_plain(*left);
      if (groups_ == ' ' && peek() == '/') return std::nullopt;  // 1 100/200: two readings
    }
    if (!left) return std::nullopt;
    skip();
    if (!take('/')) return left;
    skip();
    const auto right = peek() == '(' ? parenthesis(depth) : decimal(depth == 0);
    return right ? divide(*left, *right) : std::nullopt;
  }

  // "2" followed by "1/2". The part must be a proper fraction, or it is something else.
  std::optional<Rational> mixed_plain(const Rational& integer) {
    const auto top = decimal(false);
    if (!top || !whole_ || !take('/')) return std::nullopt;
    const auto bottom = decimal(false);
    if (!bottom || !whole_) return std::nullopt;
    return mixed(integer, divide(*top, *bottom));
  }

  static std::optional<Rational> mixed(const Rational& integer,
                                       const std::optional<Rational>& part) {
    if (!part || part->negative || compare(part->numerator, part->denominator) >= 0 ||
        part->numerator.zero()) {
      return std::nullopt;
    }
    return integer + *part;
  }

  std::optional<Rational> parenthesis(int depth) {
    if (depth >= kMaxDepth || !take('(')) return std::nullopt;
    skip();
    auto value = signed_value(depth + 1);
    skip();
    return value && take(')') ? value : std::nullopt;
  }

  std::optional<Rational> fraction(int depth) {
    if (depth >= kMaxDepth || !take(kFrac)) return std::nullopt;
    const auto top = argument(depth);
    if (!top) return std::nullopt;
    const auto bottom = argument(depth);
    return bottom ? divide(*top, *bottom) : std::nullopt;
  }

  // What TeX takes for an argument: a group or a single character.
  std::optional<Rational> argument(int depth) {
    skip();
    if (digit(peek())) return Rational(s_[at_++] - '0');
    if (!take('{')) return std::nullopt;
    skip();
    auto value = signed_value(depth + 1);
    skip();
    return value && take('}') ? value : std::nullopt;
  }

  // Digits with thousands groups and a decimal part. Sets whole_ and groups_.
  std::optional<Rational> decimal(bool allow_groups) {
    std::string digits;
    whole_ = true;
    groups_ = 0;
    while (digit(peek())) digits += s_[at_++];
    const bool groupable = !digits.empty() && digits.size() <= 3 && digits[0] != '0';
    while (allow_groups && groupable && (peek() == ',' || peek() == ' ') &&
           (groups_ == 0 || groups_ == peek()) && digit(peek(1)) && digit(peek(2)) &&
           digit(peek(3)) && !digit(peek(4))) {
      groups_ = peek();
      digits.append(s_, at_ + 1, 3);
      at_ += 4;
    }
    size_t decimals = 0;
    if (peek() == '.' && (!digits.empty() || digit(peek(1)))) {
      ++at_;
      whole_ = false;
      for (; digit(peek()); ++decimals) digits += s_[at_++];
    }
    if (digits.empty() || digits.size() > kMaxDigits) return std::nullopt;
    Rational value;
    for (char c : digits) multiply_add(value.numerator.limbs, 10, static_cast<uint32_t>(c - '0'));
    trim(value.numerator.limbs);
    for (size_t i = 0; i < decimals; ++i) multiply_add(value.denominator.limbs, 10, 0);
    return value;
  }

  std::string s_;
  size_t at_ = 0;
  bool whole_ = true;  // the number last read had no decimal point
  char groups_ = 0;    // and this between its thousands groups
};

}  // namespace

std::optional<Rational> parse_number(std::string_view text) {
  if (text.size() > kMaxNumberText) return std::nullopt;
  const auto plain = plain_form(without_delimiters(text));
  return plain ? NumberParser(*plain).whole() : std::nullopt;
}

}  // namespace hone
