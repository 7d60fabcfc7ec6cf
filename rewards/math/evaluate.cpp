#include "rewards/math/evaluate.h"

namespace hone::math {
namespace {

constexpr size_t kMaxBits = 40000;        // of an exact numerator or denominator
constexpr uint64_t kMaxFactorial = 3000;  // n!, and n of binomials up to kMaxBinomial
constexpr uint64_t kMaxBinomial = 100000;
constexpr uint64_t kMaxBinomialSteps = 3000;

size_t bits_of(const Rational& q) { return bit_length(q.numerator) + bit_length(q.denominator); }

Real exact(Rational q) {
  Real out;
  out.q = std::move(q);
  return out;
}
Real inexact(Ball b) {
  Real out;
  out.exact = false;
  out.ball = std::move(b);
  return out;
}
Complex complex(Real re) { return {std::move(re), Real()}; }
Real negated(Real a) {
  a.q = hone::negated(std::move(a.q));
  a.ball = negated(std::move(a.ball));
  return a;
}
bool integer(const Rational& q) { return q.denominator.one(); }
bool is_zero(const Real& a) { return a.exact && a.q.zero(); }

uint64_t series_work(int precision) {
  return static_cast<uint64_t>(precision) * static_cast<uint64_t>(precision) / 6;
}

thread_local uint64_t work_left = UINT64_MAX;
thread_local bool work_counted = false;

// The exact root of a natural number, if it has one.
std::optional<Natural> perfect_root(const Natural& a, uint64_t degree) {
  const Natural root = root_floor(a, degree);
  return compare(power(root, degree), a) == 0 ? std::optional<Natural>(root) : std::nullopt;
}

}  // namespace

WorkScope::WorkScope(uint64_t work) : outer_(!work_counted) {
  if (outer_) work_left = work;
  work_counted = true;
}
WorkScope::~WorkScope() {
  if (!outer_) return;
  work_counted = false;
  work_left = UINT64_MAX;
}

bool spend_work(uint64_t work) {
  if (work > work_left) {
    work_left = 0;
    return false;
  }
  work_left -= work;
  return true;
}

Ball to_ball(const Real& a, int precision) { return a.exact ? to_ball(a.q, precision) : a.ball; }

int sign(const Real& a) {
  if (!a.exact) return sign(a.ball);
  return a.q.zero() ? 0 : a.q.negative ? -1 : 1;
}

bool Evaluator::spend(uint64_t work) {
  if (!spend_work(work)) return false;
  if (work > limits_.work) {
    limits_.work = 0;
    return false;
  }
  limits_.work -= work;
  return true;
}

Ball Evaluator::ball(const Real& a) const { return to_ball(a, limits_.precision); }

Real Evaluator::shortened(Rational q) {
  if (bits_of(q) > 128) {
    const uint64_t limbs = bits_of(q) / 32 + 1;
    if (!q.denominator.one() && spend(limbs * limbs)) q = reduced(q);
    if (bits_of(q) > kMaxBits) return inexact(to_ball(q, limits_.precision));
  }
  return exact(std::move(q));
}

Real Evaluator::add(const Real& a, const Real& b) {
  if (is_zero(a)) return b;
  if (is_zero(b)) return a;
  if (a.exact && b.exact && spend((bits_of(a.q) / 32 + 1) * (bits_of(b.q) / 32 + 1))) {
    return shortened(a.q + b.q);
  }
  return inexact(math::add(ball(a), ball(b), limits_.precision));
}

Real Evaluator::multiply(const Real& a, const Real& b) {
  if (is_zero(a) || is_zero(b)) return Real();
  if (a.exact && b.exact && spend((bits_of(a.q) / 32 + 1) * (bits_of(b.q) / 32 + 1))) {
    return shortened(a.q * b.q);
  }
  return inexact(math::multiply(ball(a), ball(b), limits_.precision));
}

std::optional<Real> Evaluator::divide(const Real& a, const Real& b) {
  if (is_zero(b)) {
    undefined_ = true;
    return std::nullopt;
  }
  if (is_zero(a)) return Real();
  if (a.exact && b.exact && spend((bits_of(a.q) / 32 + 1) * (bits_of(b.q) / 32 + 1))) {
    return shortened(*hone::divide(a.q, b.q));
  }
  auto quotient = math::divide(ball(a), ball(b), limits_.precision);
  return quotient ? std::optional<Real>(inexact(std::move(*quotient))) : std::nullopt;
}

Complex Evaluator::add(const Complex& a, const Complex& b) {
  return {add(a.re, b.re), add(a.im, b.im)};
}

Complex Evaluator::multiply(const Complex& a, const Complex& b) {
  if (a.real() && b.real()) return complex(multiply(a.re, b.re));
  return {add(multiply(a.re, b.re), negated(multiply(a.im, b.im))),
          add(multiply(a.re, b.im), multiply(a.im, b.re))};
}

std::optional<Complex> Evaluator::divide(const Complex& a, const Complex& b) {
  if (b.real()) {
    auto re = divide(a.re, b.re), im = divide(a.im, b.re);
    if (!re || !im) return std::nullopt;
    return Complex{std::move(*re), std::move(*im)};
  }
  const Complex conjugate = {b.re, negated(b.im)};
  const Complex top = multiply(a, conjugate);
  const Real norm = add(multiply(b.re, b.re), multiply(b.im, b.im));
  return divide(top, complex(norm));
}

std::optional<Complex> Evaluator::operator()(int node) {
  if (depth_ > 200 || !spend(50)) return std::nullopt;
  ++depth_;
  auto value = compute(node);
  --depth_;
  return value;
}

std::optional<Complex> Evaluator::compute(int i) {
  const Node& node = tree_[i];
  const auto child = [&](int k) { return (*this)(tree_.child(i, k)); };
  switch (node.kind) {
    case Kind::number:
      return complex(exact(tree_.values[static_cast<size_t>(node.value)]));
    case Kind::symbol:
      if (bindings_ != nullptr) {
        for (const Binding& b : *bindings_) {
          if (b.symbol == node.id) return complex(exact(b.value));
        }
      }
      return std::nullopt;
    case Kind::pi:
      return complex(inexact(math::pi(limits_.precision)));
    case Kind::euler:
      return exponential(complex(exact(Rational(1))));
    case Kind::imaginary:
      return Complex{Real(), exact(Rational(1))};
    case Kind::negate: {
      auto a = child(0);
      if (a) *a = {negated(a->re), negated(a->im)};
      return a;
    }
    case Kind::plus:
    case Kind::times: {
      auto total = child(0);
      for (int k = 1; total && k < node.count; ++k) {
        const auto next = child(k);
        if (!next) return std::nullopt;
        total = node.kind == Kind::plus ? add(*total, *next) : multiply(*total, *next);
      }
      return total;
    }
    case Kind::divide: {
      const auto a = child(0), b = a ? child(1) : std::nullopt;
      return b ? divide(*a, *b) : std::nullopt;
    }
    case Kind::power: {
      if (tree_[tree_.child(i, 0)].kind == Kind::euler) {
        const auto b = child(1);
        return b ? exponential(*b) : std::nullopt;
      }
      const auto a = child(0), b = a ? child(1) : std::nullopt;
      return b ? power(*a, *b) : std::nullopt;
    }
    case Kind::root: {
      const auto a = child(0);
      if (!a) return std::nullopt;
      const auto degree = node.count > 1 ? child(1) : complex(exact(Rational(2)));
      return degree ? root(*a, *degree) : std::nullopt;
    }
    case Kind::call:
      return call(i);
    case Kind::factorial: {
      const auto n = child(0);
      auto value = n ? factorial(*n) : std::nullopt;
      return value ? std::optional<Complex>(complex(shortened(Rational(*value, Natural(1)))))
                   : std::nullopt;
    }
    case Kind::binomial: {
      const auto n = child(0), k = n ? child(1) : std::nullopt;
      if (!k || !n->real() || !k->real() || !n->re.exact || !k->re.exact) return std::nullopt;
      const Rational a = reduced(n->re.q), b = reduced(k->re.q);
      if (!integer(a) || !integer(b) || a.negative || b.negative || !a.numerator.fits64() ||
          !b.numerator.fits64()) {
        return std::nullopt;
      }
      const uint64_t top = a.numerator.low64();
      uint64_t low = b.numerator.low64();
      if (low > top) return complex(Real());
      if (low > top - low) low = top - low;
      if (top > kMaxBinomial || low > kMaxBinomialSteps || !spend(low * low)) return std::nullopt;
      Natural value(1);
      for (uint64_t j = 1; j <= low; ++j) {
        multiply_add(value, static_cast<uint32_t>(top - low + j), 0);
        value = divide_with_remainder(value, Natural(j)).first;
      }
      return complex(shortened(Rational(std::move(value), Natural(1))));
    }
    case Kind::magnitude: {
      const auto a = child(0);
      if (!a) return std::nullopt;
      if (a->real()) {
        if (!a->re.exact && sign(a->re) == 0) return std::nullopt;
        return complex(sign(a->re) < 0 ? negated(a->re) : a->re);
      }
      return square_root(add(multiply(a->re, a->re), multiply(a->im, a->im)));
    }
    case Kind::floor:
    case Kind::ceiling: {
      const auto a = child(0);
      if (!a || !a->real() || !a->re.exact) return std::nullopt;
      const auto parts = divide_with_remainder(a->re.q.numerator, a->re.q.denominator);
      Rational value(parts.first, Natural(1));
      value.negative = a->re.q.negative && !value.zero();
      if (!parts.second.zero()) {
        if (node.kind == Kind::floor && a->re.q.negative) value = value - Rational(1);
        if (node.kind == Kind::ceiling && !a->re.q.negative) value = value + Rational(1);
      }
      return complex(exact(std::move(value)));
    }
    case Kind::percent: {
      const auto a = child(0);
      return a ? divide(*a, complex(exact(Rational(100)))) : std::nullopt;
    }
    case Kind::degrees: {
      const auto a = child(0);
      if (!a) return std::nullopt;
      const Complex half_turns = multiply(*a, complex(inexact(math::pi(limits_.precision))));
      return divide(half_turns, complex(exact(Rational(180))));
    }
    case Kind::ratio: {
      if (node.count != 2) return std::nullopt;
      const auto a = child(0), b = a ? child(1) : std::nullopt;
      return b ? divide(*a, *b) : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

std::optional<Natural> Evaluator::factorial(const Complex& n) {
  if (!n.real() || !n.re.exact) return std::nullopt;
  const Rational q = reduced(n.re.q);
  if (!integer(q) || q.negative || !q.numerator.fits64() || q.numerator.low64() > kMaxFactorial) {
    return std::nullopt;
  }
  const uint64_t top = q.numerator.low64();
  if (!spend(top * top / 8)) return std::nullopt;
  // One answer may write the same large factorial hundreds of times; the budget counts each.
  thread_local uint64_t last_top = 0;
  thread_local Natural last(1);
  if (top != last_top) {
    last = Natural(1);
    for (uint64_t j = 2; j <= top; ++j) multiply_add(last, static_cast<uint32_t>(j), 0);
    last_top = top;
  }
  return last;
}

std::optional<Complex> Evaluator::integer_power(Complex base, const Rational& exponent) {
  // exponent: a reduced integer
  if (!exponent.numerator.fits64()) return std::nullopt;
  uint64_t n = exponent.numerator.low64();
  if (n > uint64_t{1} << 40) return std::nullopt;
  if (base.real() && base.re.exact) {
    const size_t bits = bits_of(base.re.q);
    if (bits * n <= kMaxBits) {
      const uint64_t limbs = bits * n / 32 + 1;
      if (!spend(limbs * limbs)) return std::nullopt;
      Rational q(hone::power(base.re.q.numerator, n), hone::power(base.re.q.denominator, n));
      q.negative = base.re.q.negative && (n & 1) != 0 && !q.zero();
      if (exponent.negative) {
        if (q.zero()) {
          undefined_ = true;
          return std::nullopt;
        }
        return complex(exact(*hone::divide(Rational(1), q)));
      }
      return complex(exact(std::move(q)));
    }
    base.re = inexact(ball(base.re));
  }
  Complex result = complex(exact(Rational(1)));
  for (; n != 0; n >>= 1) {
    if (!spend(100)) return std::nullopt;
    if ((n & 1) != 0) result = multiply(result, base);
    if (n > 1) base = multiply(base, base);
    for (const Real* part : {&result.re, &result.im, &base.re, &base.im}) {
      if (!part->exact && !in_range(part->ball)) return std::nullopt;
    }
  }
  return exponent.negative ? divide(complex(exact(Rational(1))), result) : result;
}

std::optional<Complex> Evaluator::square_root(const Real& a) {
  if (a.exact) {
    const Rational q = a.q.negative ? hone::negated(a.q) : a.q;
    const uint64_t limbs = bits_of(q) / 32 + 1;
    if (!spend(4 * limbs * limbs)) return std::nullopt;
    Real root;
    if (const auto top = perfect_root(q.numerator * q.denominator, 2)) {
      root = shortened(Rational(*top, q.denominator));
    } else {
      auto ball_root = math::square_root(to_ball(q, limits_.precision), limits_.precision);
      if (!ball_root) return std::nullopt;
      root = inexact(std::move(*ball_root));
    }
    return a.q.negative ? Complex{Real(), std::move(root)} : complex(std::move(root));
  }
  const int s = sign(a);
  if (s == 0 || !spend(2000)) return std::nullopt;
  auto ball_root = math::square_root(s < 0 ? negated(a.ball) : a.ball, limits_.precision);
  if (!ball_root) return std::nullopt;
  return s < 0 ? Complex{Real(), inexact(std::move(*ball_root))}
               : complex(inexact(std::move(*ball_root)));
}

// \sqrt[n]{x}: the real root where there is one, as at school; else the principal root.
std::optional<Complex> Evaluator::root(const Complex& radicand, const Complex& degree) {
  if (!degree.real() || !degree.re.exact) return std::nullopt;
  const Rational n = reduced(degree.re.q);
  if (n.zero()) {
    undefined_ = true;
    return std::nullopt;
  }
  if (integer(n) && !n.negative && n.numerator.fits64() && n.numerator.low64() == 2) {
    if (radicand.real()) return square_root(radicand.re);
  }
  return power(radicand, complex(exact(*hone::divide(Rational(1), n))));
}

std::optional<Complex> Evaluator::power(const Complex& base, const Complex& exponent) {
  if (base.real() && is_zero(base.re)) {
    if (!exponent.real() || sign(exponent.re) <= 0) {
      if (exponent.real() && is_zero(exponent.re)) return complex(exact(Rational(1)));
      undefined_ = true;
      return std::nullopt;
    }
    return complex(Real());
  }
  if (exponent.real() && exponent.re.exact) {
    const Rational q = reduced(exponent.re.q);
    if (integer(q)) return integer_power(base, q);
    if (base.real() && q.denominator.fits64() && q.denominator.low64() <= 1000) {
      const uint64_t degree = q.denominator.low64();
      Rational whole(q.numerator, Natural(1));
      whole.negative = q.negative;
      if (degree == 2) {
        const auto r = square_root(base.re);
        return r ? integer_power(*r, whole) : std::nullopt;
      }
      const int s = sign(base.re);
      if (s == 0) return std::nullopt;
      if (s > 0 || (degree & 1) != 0) {
        const Real positive = s < 0 ? negated(base.re) : base.re;
        if (positive.exact) {
          const uint64_t limbs = bits_of(positive.q) / 32 + 1;
          if (!spend(40 * limbs * limbs)) return std::nullopt;
          const Rational p = reduced(positive.q);
          const auto top = perfect_root(p.numerator, degree);
          const auto low = top ? perfect_root(p.denominator, degree) : std::nullopt;
          if (low) {
            Rational r(*top, *low);
            r.negative = s < 0;
            return integer_power(complex(exact(std::move(r))), whole);
          }
        }
        auto log = logarithm(complex(positive));
        if (!log) return std::nullopt;
        auto value = exponential(multiply(*log, exponent));
        if (value && s < 0 && q.numerator.odd()) value->re = negated(value->re);
        return value;
      }
    }
  }
  const auto log = logarithm(base);
  return log ? exponential(multiply(*log, exponent)) : std::nullopt;
}

std::optional<Complex> Evaluator::logarithm(const Complex& z) {
  const int precision = limits_.precision;
  if (!spend(series_work(precision) * 3)) return std::nullopt;
  if (z.real()) {
    if (is_zero(z.re)) undefined_ = true;
    const int s = sign(z.re);
    if (s == 0) return std::nullopt;
    if (z.re.exact && z.re.q == Rational(1)) return complex(Real());
    auto log = math::logarithm(ball(s < 0 ? negated(z.re) : z.re), precision);
    if (!log) return std::nullopt;
    Complex out = complex(inexact(std::move(*log)));
    if (s < 0) out.im = inexact(math::pi(precision));
    return out;
  }
  // The argument by atan of im/re, with the quadrant from the signs.
  const Real norm = add(multiply(z.re, z.re), multiply(z.im, z.im));
  auto log = math::logarithm(ball(norm), precision);
  if (!log) return std::nullopt;
  --log->exponent;
  --log->error.e;
  Ball half_pi = math::pi(precision);
  --half_pi.exponent;
  --half_pi.error.e;
  const int imaginary_sign = sign(z.im);
  if (imaginary_sign == 0) return std::nullopt;
  Ball angle;
  if (is_zero(z.re)) {
    angle = imaginary_sign < 0 ? negated(half_pi) : half_pi;
  } else {
    // arg = +-pi/2 - atan(re / im)
    const auto ratio = divide(z.re, z.im);
    auto inner = ratio ? math::arctangent(ball(*ratio), precision) : std::nullopt;
    if (!inner) return std::nullopt;
    angle = math::subtract(imaginary_sign < 0 ? negated(half_pi) : half_pi, *inner, precision);
  }
  return Complex{inexact(std::move(*log)), inexact(std::move(angle))};
}

std::optional<Complex> Evaluator::exponential(const Complex& z) {
  const int precision = limits_.precision;
  if (!spend(series_work(precision))) return std::nullopt;
  Real size = exact(Rational(1));
  if (!is_zero(z.re)) {
    auto value = math::exponential(ball(z.re), precision);
    if (!value) return std::nullopt;
    size = inexact(std::move(*value));
  }
  if (z.real()) return complex(std::move(size));
  auto c = math::cosine(ball(z.im), precision), s = math::sine(ball(z.im), precision);
  if (!c || !s) return std::nullopt;
  return Complex{multiply(size, inexact(std::move(*c))), multiply(size, inexact(std::move(*s)))};
}

std::optional<Complex> Evaluator::call(int i) {
  const Node& node = tree_[i];
  const auto argument = (*this)(tree_.child(i, 0));
  if (!argument) return std::nullopt;
  const int precision = limits_.precision;
  if (!spend(series_work(precision))) return std::nullopt;
  const Complex one = complex(exact(Rational(1)));
  const auto wrap = [](std::optional<Ball> b) {
    return b ? std::optional<Complex>(complex(inexact(std::move(*b)))) : std::nullopt;
  };
  switch (static_cast<Function>(node.id)) {
    case kExp:
      return exponential(*argument);
    case kLn:
      return logarithm(*argument);
    case kLog: {
      const auto base = node.count > 1 ? (*this)(tree_.child(i, 1)) : complex(exact(Rational(10)));
      if (!base) return std::nullopt;
      const auto top = logarithm(*argument), low = logarithm(*base);
      return top && low ? divide(*top, *low) : std::nullopt;
    }
    case kSinh:
    case kCosh:
    case kTanh: {
      const auto up = exponential(*argument);
      const auto down = up ? divide(one, *up) : std::nullopt;
      if (!down) return std::nullopt;
      const Complex minus = {negated(down->re), negated(down->im)};
      const Complex difference = add(*up, minus), total = add(*up, *down);
      if (node.id == kTanh) return divide(difference, total);
      return divide(node.id == kSinh ? difference : total, complex(exact(Rational(2))));
    }
    default:
      break;
  }
  if (!argument->real()) return std::nullopt;
  const Real& x = argument->re;
  const Function f = static_cast<Function>(node.id);
  if (is_zero(x)) {
    if (f == kSin || f == kTan || f == kArcsin || f == kArctan) return complex(Real());
    if (f == kCos || f == kSec) return one;
    if (f == kCot || f == kCsc) {
      undefined_ = true;
      return std::nullopt;
    }
  }
  switch (f) {
    case kSin:
      return wrap(math::sine(ball(x), precision));
    case kCos:
      return wrap(math::cosine(ball(x), precision));
    case kArctan:
      return wrap(math::arctangent(ball(x), precision));
    case kTan:
    case kCot:
    case kSec:
    case kCsc: {
      const auto s = wrap(math::sine(ball(x), precision));
      const auto c = wrap(math::cosine(ball(x), precision));
      if (!s || !c) return std::nullopt;
      return f == kTan   ? divide(*s, *c)
             : f == kCot ? divide(*c, *s)
             : f == kSec ? divide(one, *c)
                         : divide(one, *s);
    }
    case kArcsin:
    case kArccos: {
      // asin x = atan(x / sqrt(1 - x^2)); acos x = pi/2 - asin x
      const Real rest = add(exact(Rational(1)), negated(multiply(x, x)));
      Ball half_pi = math::pi(precision);
      --half_pi.exponent;
      --half_pi.error.e;
      std::optional<Ball> angle;
      if (is_zero(rest)) {
        angle = sign(x) < 0 ? negated(half_pi) : half_pi;
      } else {
        if (sign(rest) <= 0) return std::nullopt;
        const auto side = square_root(rest);
        const auto ratio = side ? divide(x, side->re) : std::nullopt;
        if (!ratio) return std::nullopt;
        angle = math::arctangent(ball(*ratio), precision);
      }
      if (!angle) return std::nullopt;
      if (f == kArccos) angle = math::subtract(half_pi, *angle, precision);
      return wrap(std::move(angle));
    }
    default:
      return std::nullopt;
  }
}

}  // namespace hone::math
