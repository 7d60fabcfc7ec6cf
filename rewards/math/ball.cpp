#include "rewards/math/ball.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace hone::math {
namespace {

constexpr int64_t kMaxExponent = int64_t{1} << 40;
constexpr int kGuard = 96;  // bits by which the series below are computed more exactly

Bound normal(double m, int64_t e) {
  if (m == 0) return {};
  int shift = 0;
  m = std::frexp(m * (1 + 1e-14), &shift);  // rounded up
  return {m, e + shift};
}
Bound operator+(const Bound& a, const Bound& b) {
  if (a.m == 0) return b;
  if (b.m == 0) return a;
  if (a.e < b.e) return b + a;
  return normal(a.m + std::ldexp(b.m, static_cast<int>(std::max<int64_t>(b.e - a.e, -100))), a.e);
}
Bound operator*(const Bound& a, const Bound& b) { return normal(a.m * b.m, a.e + b.e); }
Bound power_of_two(int64_t e) { return {0.5, e + 1}; }
bool less(const Bound& a, const Bound& b) {
  if (a.m == 0 || b.m == 0) return a.m == 0 && b.m != 0;
  return a.e != b.e ? a.e < b.e : a.m < b.m;
}

int64_t size_of(const Ball& a) {  // |midpoint| < 2^size
  return a.exponent + static_cast<int64_t>(bit_length(a.mantissa));
}
Bound midpoint_bound(const Ball& a) {
  return a.mantissa.zero() ? Bound() : power_of_two(size_of(a));
}
Bound upper(const Ball& a) { return midpoint_bound(a) + a.error; }
// A positive number below |a|; a's enclosure must not contain zero. |midpoint| >= 2^(size-1).
std::optional<int64_t> lower_exponent(const Ball& a) {
  if (a.mantissa.zero()) return std::nullopt;
  const int64_t size = size_of(a);
  if (!less(a.error, power_of_two(size - 2))) return std::nullopt;
  return size - 2;
}

Ball rounded(Ball a, int precision) {
  const auto bits = static_cast<int64_t>(bit_length(a.mantissa));
  if (bits <= precision) return a;
  a.mantissa = a.mantissa >> static_cast<size_t>(bits - precision);
  a.exponent += bits - precision;
  a.error = a.error + power_of_two(a.exponent);
  return a;
}

// Fixed point: the integer round-to-zero(|midpoint| * 2^scale).
Natural fixed(const Ball& a, int64_t scale) {
  const int64_t shift = a.exponent + scale;
  return shift >= 0 ? a.mantissa << static_cast<size_t>(shift)
                    : a.mantissa >> static_cast<size_t>(-shift);
}
Natural fixed_product(const Natural& a, const Natural& b, int scale) {
  return (a * b) >> static_cast<size_t>(scale);
}
Ball from_fixed(Natural value, bool negative, int64_t scale, Bound error) {
  Ball out;
  out.negative = negative && !value.zero();
  out.mantissa = std::move(value);
  out.exponent = -scale;
  out.error = error;
  return out;
}

// atan(1/n) * 2^scale
Natural arctangent_of_inverse(uint32_t n, int scale) {
  Natural power = divide_with_remainder(Natural(1) << static_cast<size_t>(scale), Natural(n)).first;
  Natural plus = power, minus;
  const Natural square(uint64_t{n} * n);
  for (uint32_t k = 3; !power.zero(); k += 2) {
    power = divide_with_remainder(power, square).first;
    const Natural term = divide_with_remainder(power, Natural(k)).first;
    ((k & 2) != 0 ? minus : plus) = ((k & 2) != 0 ? minus : plus) + term;
  }
  return plus - minus;
}

struct Constants {
  int scale = 0;
  Natural pi, ln2;
};

// Both constants to at least `scale` bits. Each thread has its own, so no lock is needed; the
// scales that occur are few and fixed.
const Constants& constants(int scale) {
  thread_local Constants small, large;
  constexpr int kSmall = 1024, kLarge = 4096;
  HONE_CHECK(scale <= kLarge);
  Constants& c = scale <= kSmall ? small : large;
  if (c.scale == 0) {
    c.scale = scale <= kSmall ? kSmall : kLarge;
    // Machin's formula for pi/4; ln 2 = 18 atanh(1/26) - 2 atanh(1/4801) + 8 atanh(1/8749)
    const Natural a = arctangent_of_inverse(5, c.scale + 32) << 4;
    const Natural b = arctangent_of_inverse(239, c.scale + 32) << 2;
    c.pi = (a - b) >> 32;
    const auto atanh_of_inverse = [&](uint32_t n) {
      Natural power =
          divide_with_remainder(Natural(1) << static_cast<size_t>(c.scale + 32), Natural(n)).first;
      Natural sum = power;
      const Natural square(uint64_t{n} * n);
      for (uint32_t k = 3; !power.zero(); k += 2) {
        power = divide_with_remainder(power, square).first;
        sum = sum + divide_with_remainder(power, Natural(k)).first;
      }
      return sum;
    };
    c.ln2 = (atanh_of_inverse(26) * Natural(18) + atanh_of_inverse(8749) * Natural(8) -
             atanh_of_inverse(4801) * Natural(2)) >>
            32;
  }
  return c;
}
Natural scaled(const Natural& constant, int from, int to) {
  return constant >> static_cast<size_t>(from - to);
}

// exp(x / 2^scale) for 0 <= x < 2^scale
Natural exponential_series(const Natural& x, int scale) {
  constexpr int kHalvings = 24;
  const Natural small = x >> kHalvings;
  Natural term = Natural(1) << static_cast<size_t>(scale), sum = term;
  for (uint32_t k = 1; !term.zero(); ++k) {
    term = divide_with_remainder(fixed_product(term, small, scale), Natural(k)).first;
    sum = sum + term;
  }
  for (int i = 0; i < kHalvings; ++i) sum = fixed_product(sum, sum, scale);
  return sum;
}

// cos and sin of x / 2^scale for 0 <= x < 2^(scale + 1)
void circle_series(const Natural& x, int scale, Natural& cosine, Natural& sine) {
  constexpr int kHalvings = 16;
  const Natural small = x >> kHalvings;
  const Natural one = Natural(1) << static_cast<size_t>(scale);
  const Natural square = fixed_product(small, small, scale);
  // 1 - cos and sin by their series, then doubled: v(2a) = 4v - 2v^2, sin(2a) = 2 sin(a) cos(a)
  Natural term = small, plus = small, minus;
  for (uint64_t k = 2; !term.zero(); k += 2) {
    term = divide_with_remainder(fixed_product(term, square, scale), Natural(k * (k + 1))).first;
    Natural& side = (k & 2) != 0 ? minus : plus;
    side = side + term;
  }
  Natural s = plus - minus;
  term = square >> 1;
  plus = term;
  minus = Natural();
  for (uint64_t k = 3; !term.zero(); k += 2) {
    term = divide_with_remainder(fixed_product(term, square, scale), Natural(k * (k + 1))).first;
    Natural& side = (k & 2) != 0 ? minus : plus;
    side = side + term;
  }
  Natural v = plus - minus;
  Natural c = one - v;
  for (int i = 0; i < kHalvings; ++i) {
    s = fixed_product(s, c, scale) << 1;
    const Natural four = v << 2, two = fixed_product(v, v, scale) << 1;
    v = compare(four, two) >= 0 ? four - two : Natural();
    c = compare(v, one) > 0 ? Natural() : one - v;  // the angle is at most pi/2 but for rounding
  }
  cosine = std::move(c);
  sine = std::move(s);
}

// x = turns * unit + rest in fixed point, 0 <= rest < unit; the sign of x is taken into account.
bool reduce(const Ball& x, const Natural& unit, int scale, int64_t& turns, Natural& rest) {
  const auto parts = divide_with_remainder(fixed(x, scale), unit);
  if (!parts.first.fits64() || parts.first.low64() > uint64_t{1} << 40) return false;
  turns = static_cast<int64_t>(parts.first.low64());
  rest = parts.second;
  if (x.negative) {
    turns = -turns;
    if (!rest.zero()) {
      rest = unit - rest;
      --turns;
    }
  }
  return true;
}

struct Circle {
  Ball cosine, sine;
};

std::optional<Circle> circle(const Ball& a, int precision) {
  if (size_of(a) > 40 || !less(a.error, power_of_two(0))) return std::nullopt;
  const int scale = precision + kGuard + 40;
  const Constants& k = constants(scale);
  const Natural half_pi = scaled(k.pi, k.scale, scale) >> 1;
  int64_t turns = 0;
  Natural rest, c, s;
  if (!reduce(a, half_pi, scale, turns, rest)) return std::nullopt;
  circle_series(rest, scale, c, s);
  const Bound error = a.error + power_of_two(-precision - 32);
  const int quarter = static_cast<int>(((turns % 4) + 4) % 4);
  if (quarter % 2 != 0) std::swap(c, s);
  return Circle{
      rounded(from_fixed(std::move(c), quarter == 1 || quarter == 2, scale, error), precision),
      rounded(from_fixed(std::move(s), quarter >= 2, scale, error), precision)};
}

}  // namespace

Ball negated(Ball a) {
  if (!a.mantissa.zero()) a.negative = !a.negative;
  return a;
}

int sign(const Ball& a) {
  if (!less(a.error, midpoint_bound(a))) return 0;
  // The midpoint is at least half its power of two: compare exactly enough.
  if (lower_exponent(a)) return a.negative ? -1 : 1;
  return 0;
}

bool negligible(const Ball& a, const Ball& scale, int bits) {
  if (scale.mantissa.zero()) return false;
  return less(upper(a), power_of_two(size_of(scale) - bits));
}

Ball to_ball(const Rational& q, int precision) {
  Ball out;
  if (q.zero()) return out;
  out.negative = q.negative;
  if (q.denominator.one()) {
    out.mantissa = q.numerator;
    return rounded(std::move(out), precision);
  }
  const int64_t shift = precision + 2 + static_cast<int64_t>(bit_length(q.denominator)) -
                        static_cast<int64_t>(bit_length(q.numerator));
  const auto parts =
      shift >= 0 ? divide_with_remainder(q.numerator << static_cast<size_t>(shift), q.denominator)
                 : divide_with_remainder(q.numerator, q.denominator << static_cast<size_t>(-shift));
  out.mantissa = parts.first;
  out.exponent = -shift;
  if (!parts.second.zero()) out.error = power_of_two(-shift);
  return rounded(std::move(out), precision);
}

Ball add(const Ball& a, const Ball& b, int precision) {
  Ball out;
  out.error = a.error + b.error;
  if (a.mantissa.zero() || b.mantissa.zero()) {
    const Ball& one = a.mantissa.zero() ? b : a;
    out.negative = one.negative;
    out.mantissa = one.mantissa;
    out.exponent = one.exponent;
    return rounded(std::move(out), precision);
  }
  const Ball& high = size_of(a) >= size_of(b) ? a : b;
  const Ball& low = size_of(a) >= size_of(b) ? b : a;
  if (size_of(high) - size_of(low) > precision + 64) {  // out of sight
    out.negative = high.negative;
    out.mantissa = high.mantissa;
    out.exponent = high.exponent;
    out.error = out.error + midpoint_bound(low);
    return rounded(std::move(out), precision);
  }
  out.exponent = std::min(a.exponent, b.exponent);
  const Natural x = a.mantissa << static_cast<size_t>(a.exponent - out.exponent);
  const Natural y = b.mantissa << static_cast<size_t>(b.exponent - out.exponent);
  if (a.negative == b.negative) {
    out.mantissa = x + y;
    out.negative = a.negative;
  } else if (compare(x, y) >= 0) {
    out.mantissa = x - y;
    out.negative = a.negative;
  } else {
    out.mantissa = y - x;
    out.negative = b.negative;
  }
  if (out.mantissa.zero()) out.negative = false;
  return rounded(std::move(out), precision);
}

bool in_range(const Ball& a) {
  return std::abs(size_of(a)) <= kMaxExponent && std::abs(a.error.e) <= kMaxExponent;
}

Ball subtract(const Ball& a, const Ball& b, int precision) { return add(a, negated(b), precision); }

Ball multiply(const Ball& a, const Ball& b, int precision) {
  Ball out;
  out.mantissa = a.mantissa * b.mantissa;
  out.exponent = a.exponent + b.exponent;
  out.negative = a.negative != b.negative && !out.mantissa.zero();
  out.error = midpoint_bound(a) * b.error + upper(b) * a.error;
  return rounded(std::move(out), precision);
}

std::optional<Ball> divide(const Ball& a, const Ball& b, int precision) {
  const auto low = lower_exponent(b);
  if (!low || std::abs(size_of(b)) > kMaxExponent) return std::nullopt;
  Ball out;
  if (!a.mantissa.zero()) {
    const int64_t shift =
        std::max<int64_t>(0, precision + 2 + static_cast<int64_t>(bit_length(b.mantissa)) -
                                 static_cast<int64_t>(bit_length(a.mantissa)));
    out.mantissa =
        divide_with_remainder(a.mantissa << static_cast<size_t>(shift), b.mantissa).first;
    out.exponent = a.exponent - b.exponent - shift;
    out.negative = a.negative != b.negative && !out.mantissa.zero();
  }
  // |a/b - m/n| <= (ea + |m/n| eb) / |b|
  const Bound quotient = midpoint_bound(out) + power_of_two(out.exponent);
  out.error = (a.error + quotient * b.error) * power_of_two(-*low);
  if (!a.mantissa.zero()) out.error = out.error + power_of_two(out.exponent);
  return rounded(std::move(out), precision);
}

std::optional<Ball> square_root(const Ball& a, int precision) {
  const auto low = lower_exponent(a);
  if (!low || a.negative) return std::nullopt;
  int64_t shift =
      std::max<int64_t>(0, 2 * precision + 4 - static_cast<int64_t>(bit_length(a.mantissa)));
  if (((a.exponent - shift) & 1) != 0) ++shift;
  Ball out;
  out.mantissa = root_floor(a.mantissa << static_cast<size_t>(shift), 2);
  out.exponent = (a.exponent - shift) / 2;
  // |sqrt(a) - sqrt(m)| <= ea / sqrt(lower bound of a)
  out.error =
      a.error * power_of_two(-((*low - (*low < 0 ? 1 : 0)) / 2)) + power_of_two(out.exponent);
  return rounded(std::move(out), precision);
}

Ball pi(int precision) {
  const int scale = precision + 8;
  const Constants& k = constants(scale);
  return from_fixed(scaled(k.pi, k.scale, scale), false, scale, power_of_two(1 - scale));
}

std::optional<Ball> exponential(const Ball& a, int precision) {
  if (size_of(a) > 40 || !less(a.error, power_of_two(-1))) return std::nullopt;
  const int scale = precision + kGuard + 40;
  const Constants& k = constants(scale);
  int64_t turns = 0;
  Natural rest;
  if (!reduce(a, scaled(k.ln2, k.scale, scale), scale, turns, rest)) return std::nullopt;
  Ball out = from_fixed(exponential_series(rest, scale), false, scale, {});
  out.exponent += turns;
  // e^(m + d) = e^m (1 + at most 2 |d|), and the series is off by less than 2^-(precision + 32)
  out.error = upper(out) * (normal(2 * a.error.m, a.error.e) + power_of_two(-precision - 32));
  return rounded(std::move(out), precision);
}

std::optional<Ball> logarithm(const Ball& a, int precision) {
  const auto low = lower_exponent(a);
  if (!low || a.negative || std::abs(size_of(a)) > kMaxExponent) return std::nullopt;
  // a = x 2^k with 1/2 <= x < 1. Newton for y = -ln x: y += 2 (e^-y - x) / (e^-y + x), cubic.
  const int64_t k = size_of(a);
  const int scale = precision + kGuard;
  Ball unit = a;
  unit.exponent -= k;
  const Natural x = fixed(unit, scale);
  const double start = -std::log(std::ldexp(
      static_cast<double>((bit_length(x) > 52 ? x >> (bit_length(x) - 52) : x).low64()), -52));
  Natural y = Natural(static_cast<uint64_t>(std::ldexp(std::max(start, 0.0), 52)))
              << static_cast<size_t>(scale - 52);
  const Natural one_squared = Natural(1) << static_cast<size_t>(2 * scale);
  for (int bits = 45; bits < 2 * scale; bits *= 3) {
    const Natural e = divide_with_remainder(one_squared, exponential_series(y, scale)).first;
    const bool up = compare(e, x) >= 0;
    const Natural top = up ? e - x : x - e;
    const Natural step = divide_with_remainder(top << static_cast<size_t>(scale + 1), e + x).first;
    y = up ? y + step : compare(y, step) > 0 ? y - step : Natural();
  }
  const Ball minus_log = from_fixed(y, true, scale, power_of_two(-precision - 32));
  const Constants& c = constants(scale);
  Ball ln2 = from_fixed(scaled(c.ln2, c.scale, scale), false, scale, power_of_two(1 - scale));
  Ball out = add(multiply(ln2, to_ball(Rational(k), 64), precision + 64), minus_log, precision);
  // |ln(a) - ln(m)| <= ea / lower bound of a
  out.error = out.error + a.error * power_of_two(-*low);
  return out;
}

std::optional<Ball> sine(const Ball& a, int precision) {
  auto both = circle(a, precision);
  return both ? std::optional<Ball>(std::move(both->sine)) : std::nullopt;
}

std::optional<Ball> cosine(const Ball& a, int precision) {
  auto both = circle(a, precision);
  return both ? std::optional<Ball>(std::move(both->cosine)) : std::nullopt;
}

std::optional<Ball> arctangent(const Ball& a, int precision) {
  const int work = precision + 32;
  const Ball one = to_ball(Rational(1), 64);
  // |atan| is halved by x -> x / (1 + sqrt(1 + x^2)) until x is small, then the series.
  constexpr int kHalvings = 8;
  Ball x = a;
  x.negative = false;
  x.error = {};
  const bool inverted = size_of(x) > 1;
  if (inverted) x = *divide(one, x, work);
  for (int i = 0; i < kHalvings && !x.mantissa.zero(); ++i) {
    const auto root = square_root(add(one, multiply(x, x, work), work), work);
    const auto half = root ? divide(x, add(one, *root, work), work) : std::nullopt;
    if (!half) return std::nullopt;
    x = *half;
  }
  const int scale = work + 32;
  const Natural small = fixed(x, scale), square = fixed_product(small, small, scale);
  Natural term = small, plus = small, minus;
  for (uint32_t k = 3; !term.zero(); k += 2) {
    term = fixed_product(term, square, scale);
    Natural& side = (k & 2) != 0 ? minus : plus;
    side = side + divide_with_remainder(term, Natural(k)).first;
  }
  Ball out = from_fixed((plus - minus) << kHalvings, false, scale, power_of_two(-precision - 8));
  if (inverted) {
    Ball half_pi = pi(work);
    --half_pi.exponent;
    half_pi.error = half_pi.error * power_of_two(-1);
    out = subtract(half_pi, out, work);
  }
  out.negative = a.negative && !out.mantissa.zero();
  out.error = out.error + a.error;  // |atan'| <= 1
  return rounded(std::move(out), precision);
}

}  // namespace hone::math
