// Exact rational numbers, and the one reader of numbers as people and models write them.
//
// Nothing here rounds or overflows: what cannot be read exactly, or is longer than the limits
// below, is not a number. So two answers are equal only if their values are.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hone {

// A natural number of any size; little-endian limbs, no leading zero limb (zero has none).
struct Natural {
  std::vector<uint32_t> limbs;

  Natural() = default;
  explicit Natural(uint64_t value);
  bool zero() const { return limbs.empty(); }
};

Natural operator+(const Natural& a, const Natural& b);
Natural operator-(const Natural& a, const Natural& b);  // REQUIRES: a >= b
Natural operator*(const Natural& a, const Natural& b);
int compare(const Natural& a, const Natural& b);  // -1, 0, 1

// numerator / denominator, not reduced; the denominator is never zero.
struct Rational {
  bool negative = false;
  Natural numerator;
  Natural denominator{1};

  Rational() = default;
  explicit Rational(int64_t value);
};

Rational operator+(const Rational& a, const Rational& b);
Rational operator-(const Rational& a, const Rational& b);
Rational operator*(const Rational& a, const Rational& b);
std::optional<Rational> divide(const Rational& a, const Rational& b);  // none for b = 0
bool operator==(const Rational& a, const Rational& b);

constexpr size_t kMaxNumberText = 2000;  // bytes; longer text is not a number

// Reads one number and nothing else: 42, -3.5, .5, 1,234.5, 1 000, 10{,}000, 3/4, \frac{3}{4},
// 2\frac{1}{2}, 2 1/2, (-7), 12\%, $18, each also between $ $, \( \) or \[ \], with a final dot.
// Signs: one + or - (or U+2212). A percent is a hundredth. Letters, units, equations, lists,
// powers and digits outside ASCII are not numbers.
std::optional<Rational> parse_number(std::string_view text);

}  // namespace hone
