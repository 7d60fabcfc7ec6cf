#include "rewards/rational.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

using namespace hone;

namespace {

Natural natural(const std::string& digits) {
  Natural n;
  for (char c : digits) multiply_add(n, 10, static_cast<uint32_t>(c - '0'));
  return n;
}
Rational fraction(int64_t top, int64_t low) { return *divide(Rational(top), Rational(low)); }

}  // namespace

TEST_CASE("arithmetic of rationals is exact") {
  const Rational third = fraction(1, 3);
  CHECK(third + third + third == Rational(1));
  CHECK(third - third == Rational(0));
  CHECK(Rational(-7) * third == fraction(-7, 3));
  CHECK(fraction(7, -3) == fraction(-7, 3));
  CHECK(*divide(Rational(1), third) == Rational(3));
  CHECK_FALSE(divide(third, Rational(0)).has_value());
  CHECK(compare(third, fraction(1, 2)) < 0);
  CHECK(compare(negated(third), fraction(-1, 2)) > 0);
  CHECK(reduced(fraction(6, 8)).numerator.low64() == 3);
  CHECK(Rational(INT64_MIN) == negated(Rational(natural("9223372036854775808"), Natural(1))));
  Rational product(1);
  for (int64_t i = 1; i <= 30; ++i) product = product * Rational(i);
  CHECK(product == Rational(natural("265252859812191058636308480000000"), Natural(1)));
  for (int64_t i = 1; i <= 30; ++i) product = *divide(product, Rational(-i));
  CHECK(product == Rational(1));
}

TEST_CASE("division of naturals gives back the dividend") {
  // Limbs of all ones and of zeros find the corrections of the quotient's digits.
  const Natural ones = (Natural(1) << 320) - Natural(1), power = Natural(1) << 192;
  for (const Natural& a :
       {ones, power, ones * power, ones * ones, natural("12345678901234567890")}) {
    for (const Natural& b : {Natural(1), Natural(7), power, power - Natural(1), power + Natural(1),
                             ones, natural("340282366920938463463374607431768211455")}) {
      const auto [quotient, rest] = divide_with_remainder(a, b);
      CHECK(compare(rest, b) < 0);
      CHECK(compare(quotient * b + rest, a) == 0);
    }
  }
}

TEST_CASE("roots of naturals are the largest that fit") {
  for (const uint64_t degree : {2, 3, 7}) {
    const Natural base = natural("123456789123456789");
    const Natural exact = power(base, degree);
    CHECK(compare(root_floor(exact, degree), base) == 0);
    CHECK(compare(root_floor(exact - Natural(1), degree), base - Natural(1)) == 0);
    CHECK(compare(root_floor(exact + Natural(1), degree), base) == 0);
  }
  CHECK(root_floor(Natural(0), 2).zero());
  CHECK(root_floor(Natural(1), 5).one());
  CHECK(gcd(natural("123456789123456789000"), natural("987654321987654321000")).low64() ==
        9000000009000u);
}
