#include "rewards/math/identity.h"

#include <algorithm>

namespace hone::math {
namespace {

constexpr int kPrecision = 256, kHighPrecision = 1024;
constexpr uint64_t kPointWork = 500'000;  // at each point at which a function is tried
constexpr uint64_t kPrime = (uint64_t{1} << 61) - 1;

uint64_t mixed(uint64_t x) {  // splitmix64's finaliser
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t multiply_mod(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>(Wide{a} * b % kPrime);
}
uint64_t power_mod(uint64_t base, uint64_t exponent) {
  uint64_t result = 1;
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) result = multiply_mod(result, base);
    base = multiply_mod(base, base);
  }
  return result;
}
std::optional<uint64_t> inverse_mod(uint64_t a) {
  if (a == 0) return std::nullopt;
  return power_mod(a, kPrime - 2);
}

uint64_t structure_hash(Ref a) {
  uint64_t hash = mixed(static_cast<uint64_t>(a->kind) * 0x51 + a->id +
                        static_cast<uint64_t>(a->extra) * 0x1000003);
  if (a->kind == Kind::number) {
    const Rational q = reduced(a.tree->values[static_cast<size_t>(a->value)]);
    hash = mixed(remainder(q.numerator, kPrime) * 31 + remainder(q.denominator, kPrime));
  }
  for (int k = 0; k < a->count; ++k) hash = mixed(hash * 3 + structure_hash(a.child(k)));
  return hash;
}

// Evaluates over the integers modulo kPrime at a random point. What is not a rational operation
// counts as one more variable, so that a true identity of the rest is still found.
class FieldEvaluator {
 public:
  explicit FieldEvaluator(uint64_t seed) : seed_(seed) {}
  bool rational() const { return rational_; }

  std::optional<uint64_t> operator()(Ref a) {
    if (!spend_work(a->kind == Kind::divide || a->kind == Kind::number ? 1000 : 50)) {
      return std::nullopt;
    }
    switch (a->kind) {
      case Kind::number: {
        const Rational& q = a.tree->values[static_cast<size_t>(a->value)];
        const auto low = inverse_mod(remainder(q.denominator, kPrime));
        if (!low) return std::nullopt;
        return multiply_mod(remainder(q.numerator, kPrime), *low);
      }
      case Kind::symbol:
        return variable(a->id);
      case Kind::negate: {
        const auto x = (*this)(a.child(0));
        return x ? std::optional<uint64_t>((kPrime - *x) % kPrime) : std::nullopt;
      }
      case Kind::plus:
      case Kind::times: {
        uint64_t total = a->kind == Kind::plus ? 0 : 1;
        for (int k = 0; k < a->count; ++k) {
          const auto x = (*this)(a.child(k));
          if (!x) return std::nullopt;
          total = a->kind == Kind::plus ? (total + *x) % kPrime : multiply_mod(total, *x);
        }
        return total;
      }
      case Kind::divide: {
        const auto x = (*this)(a.child(0)), y = (*this)(a.child(1));
        const auto low = y ? inverse_mod(*y) : std::nullopt;
        return x && low ? std::optional<uint64_t>(multiply_mod(*x, *low)) : std::nullopt;
      }
      case Kind::power: {
        Ref exponent = a.child(1);
        const bool minus = exponent->kind == Kind::negate;
        if (minus) exponent = exponent.child(0);
        if (exponent->kind != Kind::number) return atom(a);
        const Rational q = reduced(exponent.tree->values[static_cast<size_t>(exponent->value)]);
        if (!q.denominator.one() || !q.numerator.fits64() || q.numerator.low64() > 100000) {
          return atom(a);
        }
        auto x = (*this)(a.child(0));
        if (x) x = power_mod(*x, q.numerator.low64());
        return x && minus ? inverse_mod(*x) : x;
      }
      default:
        return atom(a);
    }
  }

 private:
  uint64_t variable(uint64_t id) const { return mixed(id ^ seed_) % kPrime; }
  uint64_t atom(Ref a) {
    rational_ = false;
    return variable(structure_hash(a));
  }

  uint64_t seed_;
  bool rational_ = true;
};

enum class Verdict { equal, unequal, unknown };

// At one precision; `equal` only for exact numbers, `unknown` where the enclosures meet closely.
Verdict compare_real(const Real& a, const Real& b, int precision) {
  if (a.exact && b.exact) return a.q == b.q ? Verdict::equal : Verdict::unequal;
  const Ball x = to_ball(a, precision), y = to_ball(b, precision);
  const Ball difference = subtract(x, y, precision);
  if (sign(difference) != 0) return Verdict::unequal;
  const Ball one = to_ball(Rational(1), 64);
  const bool close = negligible(difference, x, precision / 2) ||
                     negligible(difference, y, precision / 2) ||
                     negligible(difference, one, precision / 2);
  return close ? Verdict::unknown : Verdict::unequal;
}

Verdict compare_complex(const Complex& a, const Complex& b, int precision) {
  const Verdict re = compare_real(a.re, b.re, precision);
  if (re == Verdict::unequal) return re;
  const Verdict im = compare_real(a.im, b.im, precision);
  if (im == Verdict::unequal) return im;
  return re == Verdict::equal && im == Verdict::equal ? Verdict::equal : Verdict::unknown;
}

void collect_symbols(Ref a, std::vector<uint64_t>& out) {
  if (a->kind == Kind::symbol) out.push_back(a->id);
  for (int k = 0; k < a->count; ++k) collect_symbols(a.child(k), out);
}

// Points at which expressions are tried: positive, of mixed signs, natural numbers.
std::vector<Binding> sample_point(const std::vector<uint64_t>& symbols, int point) {
  std::vector<Binding> out;
  for (const uint64_t symbol : symbols) {
    const uint64_t r = mixed(symbol + static_cast<uint64_t>(point) * 0x9e3779b97f4a7c15);
    Rational value(Natural(1 + r % 97), Natural(1));
    if (point < 6) {
      value = Rational(Natural(7 + r % 89), Natural(31 + (r >> 20) % 17));
      if (point >= 3) value.negative = ((r >> 40) & 1) != 0 || symbols.size() == 1;
    } else {
      value = Rational(Natural(2 + r % 11), Natural(1));
    }
    out.push_back({symbol, value});
  }
  return out;
}
constexpr int kPoints = 9;

bool real_value(const Complex& z) { return z.im.exact ? z.im.q.zero() : sign(z.im) == 0; }

}  // namespace

std::vector<uint64_t> symbols_of(Ref a) {
  std::vector<uint64_t> out;
  collect_symbols(a, out);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

bool same_structure(Ref a, Ref b) {
  if (a->kind != b->kind || a->id != b->id || a->count != b->count || a->text != b->text) {
    if (a->kind != Kind::number || b->kind != Kind::number) return false;
  }
  if (a->kind == Kind::number) {
    return a.tree->values[static_cast<size_t>(a->value)] ==
           b.tree->values[static_cast<size_t>(b->value)];
  }
  if (a->extra != b->extra) return false;
  for (int k = 0; k < a->count; ++k) {
    if (!same_structure(a.child(k), b.child(k))) return false;
  }
  return true;
}

bool same_number(Ref a, Ref b) {
  for (const int precision : {kPrecision, kHighPrecision}) {
    Limits limits;
    limits.precision = precision;
    Evaluator evaluate(*a.tree, limits);
    const auto x = evaluate(a.index);
    if (!x) return !evaluate.undefined() && same_structure(a, b);
    if (precision == kPrecision && same_structure(a, b)) return true;
    const auto y = Evaluator(*b.tree, limits)(b.index);
    if (!y) return false;
    const Verdict verdict = compare_complex(*x, *y, precision);
    if (verdict != Verdict::unknown) return verdict == Verdict::equal;
  }
  return true;
}

std::optional<int> order_of(Ref a, Ref b) {
  const auto x = Evaluator(*a.tree, {})(a.index), y = Evaluator(*b.tree, {})(b.index);
  if (!x || !y || !x->real() || !y->real()) return std::nullopt;
  if (x->re.exact && y->re.exact) return compare(x->re.q, y->re.q);
  return sign(subtract(to_ball(x->re, kPrecision), to_ball(y->re, kPrecision), kPrecision));
}

bool same_expression(Ref a, Ref b) {
  const std::vector<uint64_t> symbols = symbols_of(a);
  if (symbols.empty() && symbols_of(b).empty()) return same_number(a, b);
  if (same_structure(a, b)) return true;
  bool rational = true, same = true;
  for (const uint64_t seed : {0x243f6a8885a308d3u, 0x13198a2e03707344u}) {
    FieldEvaluator field(seed);
    const auto x = field(a), y = field(b);
    same = same && x && y && *x == *y;
    rational = rational && field.rational();
  }
  if (same || rational) return same;
  std::vector<uint64_t> all = symbols_of(b);
  all.insert(all.end(), symbols.begin(), symbols.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  int agreed = 0, agreed_complex = 0;
  for (int point = 0; point < kPoints; ++point) {
    const std::vector<Binding> bindings = sample_point(all, point);
    const Limits limits{kPrecision, kPointWork};
    const auto x = Evaluator(*a.tree, limits, &bindings)(a.index);
    const auto y = Evaluator(*b.tree, limits, &bindings)(b.index);
    if (!x || !y) {
      if (static_cast<bool>(x) != static_cast<bool>(y) && point < 3) return false;
      continue;
    }
    const bool equal = compare_complex(*x, *y, limits.precision) != Verdict::unequal;
    if (real_value(*x) && real_value(*y)) {
      if (!equal) return false;
      ++agreed;
    } else if (equal) {
      ++agreed_complex;
    } else if (point < 3) {  // where all variables are positive there is no doubt of the branch
      return false;
    }
  }
  return agreed >= 3 || agreed + agreed_complex >= 4;
}

int same_relation(Ref a, Ref b, Ref c, Ref d) {
  // The ratio of a - b to c - d must be one constant.
  std::vector<uint64_t> all = symbols_of(a);
  for (const Ref side : {b, c, d}) {
    const auto more = symbols_of(side);
    all.insert(all.end(), more.begin(), more.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  if (all.empty()) return 0;
  std::optional<Ball> ratio;
  int agreed = 0;
  for (int point = 0; point < kPoints; ++point) {
    const std::vector<Binding> bindings = sample_point(all, point);
    const Limits limits{kPrecision, kPointWork};
    Ball sides[4];
    bool real = true;
    const Ref refs[4] = {a, b, c, d};
    for (int k = 0; k < 4 && real; ++k) {
      const auto value = Evaluator(*refs[k].tree, limits, &bindings)(refs[k].index);
      real = value && value->real();
      if (real) sides[k] = to_ball(value->re, limits.precision);
    }
    if (!real) continue;
    const Ball left = subtract(sides[0], sides[1], limits.precision);
    const Ball right = subtract(sides[2], sides[3], limits.precision);
    const auto quotient = divide(left, right, limits.precision);
    if (!quotient || sign(*quotient) == 0) {
      if (sign(left) == 0 && sign(right) == 0) continue;  // both hold here
      return 0;
    }
    if (ratio) {
      if (sign(subtract(*quotient, *ratio, limits.precision)) != 0) return 0;
      ++agreed;
    }
    ratio = quotient;
  }
  return agreed >= 2 ? sign(*ratio) : 0;
}

}  // namespace hone::math
