#include "rewards/rational.h"

namespace hone {

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

Rational operator-(const Rational& a, const Rational& b) { return a + negated(b); }

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

bool operator==(const Rational& a, const Rational& b) { return compare(a, b) == 0; }

int compare(const Rational& a, const Rational& b) {
  const int a_sign = a.zero() ? 0 : a.negative ? -1 : 1;
  const int b_sign = b.zero() ? 0 : b.negative ? -1 : 1;
  if (a_sign != b_sign) return a_sign < b_sign ? -1 : 1;
  return a_sign * compare(a.numerator * b.denominator, b.numerator * a.denominator);
}

Rational negated(Rational a) {
  a.negative = !a.negative && !a.numerator.zero();
  return a;
}

Rational reduced(const Rational& a) {
  if (a.denominator.one()) return a;
  const Natural common = gcd(a.numerator, a.denominator);
  if (common.one()) return a;
  Rational out;
  out.numerator = divide_with_remainder(a.numerator, common).first;
  out.denominator = divide_with_remainder(a.denominator, common).first;
  out.negative = a.negative;
  return out;
}

}  // namespace hone
