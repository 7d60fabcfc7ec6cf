// Real numbers as enclosures: a midpoint of many digits and a bound of its error. Two numbers whose
// enclosures do not meet are proved to differ; nothing here ever claims that two are equal.
#pragma once

#include <cstdint>
#include <optional>

#include "rewards/rational.h"

namespace hone::math {

// A bound m * 2^e with m = 0 or 0.5 <= m < 1: magnitudes far outside double's range.
struct Bound {
  double m = 0;
  int64_t e = 0;
};

// |x - (+-mantissa * 2^exponent)| <= error
struct Ball {
  bool negative = false;
  Natural mantissa;
  int64_t exponent = 0;
  Bound error;
};

// Whether |a| is within 2^(+-2^40). Products leave that range only slowly and are not checked; who
// squares in a loop asks.
bool in_range(const Ball& a);

// All results are rounded to about `precision` bits. No value: the operation is not defined there,
// the enclosure is too wide to tell, or the magnitude is beyond 2^(+-2^40).
Ball to_ball(const Rational& q, int precision);
Ball add(const Ball& a, const Ball& b, int precision);
Ball subtract(const Ball& a, const Ball& b, int precision);
Ball multiply(const Ball& a, const Ball& b, int precision);
std::optional<Ball> divide(const Ball& a, const Ball& b, int precision);
std::optional<Ball> square_root(const Ball& a, int precision);  // a > 0
std::optional<Ball> exponential(const Ball& a, int precision);
std::optional<Ball> logarithm(const Ball& a, int precision);  // a > 0
std::optional<Ball> sine(const Ball& a, int precision);
std::optional<Ball> cosine(const Ball& a, int precision);
std::optional<Ball> arctangent(const Ball& a, int precision);
Ball pi(int precision);
Ball negated(Ball a);

int sign(const Ball& a);  // -1 or 1; 0 where the enclosure contains zero
// Whether the enclosure of a number that contains zero lies within 2^-bits of |scale|.
bool negligible(const Ball& a, const Ball& scale, int bits);

}  // namespace hone::math
