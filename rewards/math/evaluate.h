// The value of an expression: exact where it is rational, else enclosures of a chosen precision.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "rewards/math/ball.h"
#include "rewards/math/syntax.h"

namespace hone::math {

// Exact as long as the arithmetic is rational and of bounded size, then an enclosure.
struct Real {
  bool exact = true;
  Rational q;
  Ball ball;
};
struct Complex {
  Real re, im;
  bool real() const { return im.exact && im.q.zero(); }
};

struct Binding {  // the value that a variable takes
  uint64_t symbol;
  Rational value;
};

// Budgets, counted in work and never in time, so that a verdict does not depend on the machine. A
// unit of work is about one product of limbs, a nanosecond or so.
struct Limits {
  int precision = 256;  // bits of the enclosures
  uint64_t work = 4'000'000;
};

// While one exists, all evaluations of this thread together may do no more than its work. An inner
// one changes nothing.
class WorkScope {
 public:
  explicit WorkScope(uint64_t work = 8'000'000);
  ~WorkScope();
  WorkScope(const WorkScope&) = delete;
  WorkScope& operator=(const WorkScope&) = delete;

 private:
  bool outer_;
};
bool spend_work(uint64_t work);  // false if the scope has not so much left

class Evaluator {
 public:
  Evaluator(const Tree& tree, Limits limits, const std::vector<Binding>* bindings = nullptr)
      : tree_(tree), limits_(limits), bindings_(bindings) {}

  // No value: undefined there (1/0), over the budget, or not a number at all.
  std::optional<Complex> operator()(int node);

  // After no value: whether the node stands for no number whatever (division by zero).
  bool undefined() const { return undefined_; }

 private:
  std::optional<Complex> compute(int node);
  std::optional<Complex> call(int node);
  std::optional<Complex> power(const Complex& base, const Complex& exponent);
  std::optional<Complex> integer_power(Complex base, const Rational& exponent);
  std::optional<Complex> root(const Complex& radicand, const Complex& degree);
  std::optional<Complex> logarithm(const Complex& z);
  std::optional<Complex> exponential(const Complex& z);
  std::optional<Complex> square_root(const Real& a);
  std::optional<Natural> factorial(const Complex& n);

  Real add(const Real& a, const Real& b);
  Real multiply(const Real& a, const Real& b);
  std::optional<Real> divide(const Real& a, const Real& b);
  Complex add(const Complex& a, const Complex& b);
  Complex multiply(const Complex& a, const Complex& b);
  std::optional<Complex> divide(const Complex& a, const Complex& b);
  Real shortened(Rational q);
  Ball ball(const Real& a) const;
  bool spend(uint64_t work);

  const Tree& tree_;
  Limits limits_;
  const std::vector<Binding>* bindings_;
  bool undefined_ = false;
  int depth_ = 0;
};

Ball to_ball(const Real& a, int precision);
int sign(const Real& a);  // 0 also where it cannot be told

}  // namespace hone::math
