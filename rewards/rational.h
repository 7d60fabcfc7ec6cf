// Exact rational numbers: nothing here rounds or overflows.
#pragma once

#include <cstdint>
#include <optional>

#include "rewards/natural.h"

namespace hone {

// numerator / denominator, not reduced; the denominator is never zero.
struct Rational {
  bool negative = false;
  Natural numerator;
  Natural denominator{1};

  Rational() = default;
  explicit Rational(int64_t value);
  Rational(Natural n, Natural d) : numerator(std::move(n)), denominator(std::move(d)) {}
  bool zero() const { return numerator.zero(); }
};

Rational operator+(const Rational& a, const Rational& b);
Rational operator-(const Rational& a, const Rational& b);
Rational operator*(const Rational& a, const Rational& b);
std::optional<Rational> divide(const Rational& a, const Rational& b);  // none for b = 0
bool operator==(const Rational& a, const Rational& b);
int compare(const Rational& a, const Rational& b);  // -1, 0, 1
Rational negated(Rational a);
Rational reduced(const Rational& a);  // lowest terms

}  // namespace hone
