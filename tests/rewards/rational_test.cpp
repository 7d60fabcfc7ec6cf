#include "rewards/rational.h"

#include <catch2/catch_test_macros.hpp>
#include <string>

using namespace hone;

namespace {

bool equal(const std::string& a, const std::string& b) {
  const auto x = parse_number(a), y = parse_number(b);
  return x && y && *x == *y;
}
bool number(const std::string& text) { return parse_number(text).has_value(); }

}  // namespace

TEST_CASE("the same value in another spelling is equal") {
  for (const auto& [a, b] :
       std::vector<std::pair<std::string, std::string>>{{"42", "42.0"},
                                                        {"42", "$42$"},
                                                        {"42", "\\(42\\)"},
                                                        {"42", "\\[ 42. \\]"},
                                                        {"42", "+42"},
                                                        {"42", "\\$42"},
                                                        {"42", "$42"},
                                                        {"42.", "42"},
                                                        {"1,234.5", "1234.5"},
                                                        {"10{,}000", "10000"},
                                                        {"32,\\!348", "32348"},
                                                        {"1 000", "1000"},
                                                        {"1\xC2\xA0"
                                                         "000",
                                                         "1000"},
                                                        {"1\\,000\\,000", "1000000"},
                                                        {"\xE2\x88\x92"
                                                         "5",
                                                         "-5"},
                                                        {".5", "1/2"},
                                                        {"\\frac{1}{2}", "0.50"},
                                                        {"\\dfrac12", "0.5"},
                                                        {"\\frac{-1}{2}", "-\\frac{1}{2}"},
                                                        {"\\frac{1}{-2}", "-.5"},
                                                        {"2/(-3)", "-2/3"},
                                                        {"8/46", "\\frac{4}{23}"},
                                                        {"2\\frac{1}{2}", "2.5"},
                                                        {"-2\\frac{1}{2}", "-2.5"},
                                                        {"2 1/2", "5/2"},
                                                        {"50\\%", "0.5"},
                                                        {"12.5%", "1/8"},
                                                        {"\\left(\\frac{1}{3}\\right)", "1/3"},
                                                        {"\\frac{1}{\\frac{1}{2}}", "2"},
                                                        {"-0", "0"},
                                                        {"0/5", "0.000"}}) {
    INFO(a << " and " << b);
    CHECK(equal(a, b));
  }
}

TEST_CASE("values that differ anywhere are not equal") {
  for (const auto& [a, b] : std::vector<std::pair<std::string, std::string>>{
           {"1000000000000000000000001", "1000000000000000000000000"},
           {"10000000000000001", "10000000000000000.0"},
           {"42", "42.0000001"},
           {"1/3", "0.3333333333333333"},
           {"5", "-5"},
           {"50", "50\\%"},
           {"18446744073709551617", "1"},
           {"340282366920938463463374607431768211457", "1"},
           {"1/340282366920938463463374607431768211456", "0"}}) {
    INFO(a << " and " << b);
    CHECK_FALSE(equal(a, b));
  }
}

TEST_CASE("what is not exactly one number is not read") {
  for (const std::string text : {"",
                                 " ",
                                 ".",
                                 "-",
                                 "+",
                                 "$",
                                 "%",
                                 "1/0",
                                 "0/0",
                                 "\\frac{1}{0}",
                                 "1/2/3",
                                 "41, 42",
                                 "1,23",
                                 "1,2345",
                                 "0,123",
                                 "1,234,56",
                                 "1 2 3 4 5 42",
                                 "12 34",
                                 "(1,234)",
                                 "(1,2)",
                                 "[41, 43]",
                                 "41 = 42",
                                 "x=42",
                                 "\\pm 42",
                                 "41 \\text{ or } 42",
                                 "42 apples",
                                 "5 cm",
                                 "2^{10}",
                                 "10!",
                                 "1e5",
                                 "0x2a",
                                 "\\sqrt{4}",
                                 "2\\pi",
                                 "--5",
                                 "+-5",
                                 "5-",
                                 "5%%",
                                 "1 100/200",
                                 "2 3/2",
                                 "\xD9\xA4\xD9\xA2",
                                 "\xEF\xBC\x94\xEF\xBC\x92",
                                 "4\xE2\x80\x8B"
                                 "2",
                                 "42\x01",
                                 "inf",
                                 "nan",
                                 "{",
                                 "\\frac{1}",
                                 "\\frac{1}{2",
                                 "((42)",
                                 "1\\frac{3}{2}",
                                 "2.5\\frac{1}{2}",
                                 "2,74",
                                 "1..5",
                                 "1.2.3",
                                 "\\boxed{42}"}) {
    INFO(text);
    CHECK_FALSE(number(text));
  }
}

TEST_CASE("depth and length of a number are bounded") {
  CHECK(number(std::string(900, '9')));
  CHECK_FALSE(equal(std::string(900, '9'), std::string(901, '9')));
  CHECK_FALSE(number(std::string(200000, '9')));
  CHECK_FALSE(number(std::string(100000, '(') + "42" + std::string(100000, ')')));
  std::string tower = "1";
  for (int i = 0; i < 400; ++i) tower = "\\frac{1}{" + tower + "}";
  CHECK_FALSE(number(tower));
  CHECK_FALSE(number(std::string(100000, '-') + "5"));
}

TEST_CASE("arithmetic of rationals is exact") {
  const auto third = *parse_number("1/3");
  CHECK(third + third + third == Rational(1));
  CHECK(third - third == Rational(0));
  CHECK(Rational(-7) * third == *parse_number("-7/3"));
  CHECK(*divide(Rational(1), third) == Rational(3));
  CHECK_FALSE(divide(third, Rational(0)).has_value());
  CHECK(Rational(INT64_MIN) == *parse_number("-9223372036854775808"));
  Rational product(1);
  for (int64_t i = 1; i <= 30; ++i) product = product * Rational(i);
  CHECK(product == *parse_number("265252859812191058636308480000000"));
  for (int64_t i = 1; i <= 30; ++i) product = *divide(product, Rational(-i));
  CHECK(product == Rational(1));
}
