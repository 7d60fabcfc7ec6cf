// Natural numbers of any size, exact. Schoolbook arithmetic: callers bound the sizes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace hone {

// Little-endian limbs, no leading zero limb (zero has none).
struct Natural {
  std::vector<uint32_t> limbs;

  Natural() = default;
  explicit Natural(uint64_t value);
  bool zero() const { return limbs.empty(); }
  bool one() const { return limbs.size() == 1 && limbs[0] == 1; }
  bool odd() const { return !limbs.empty() && (limbs[0] & 1) != 0; }
  bool fits64() const { return limbs.size() <= 2; }
  uint64_t low64() const;  // the value modulo 2^64
};

Natural operator+(const Natural& a, const Natural& b);
Natural operator-(const Natural& a, const Natural& b);  // REQUIRES: a >= b
Natural operator*(const Natural& a, const Natural& b);
Natural operator<<(const Natural& a, size_t bits);
Natural operator>>(const Natural& a, size_t bits);
int compare(const Natural& a, const Natural& b);  // -1, 0, 1

// value = value * factor + addend
void multiply_add(Natural& value, uint32_t factor, uint32_t addend);

size_t bit_length(const Natural& a);                                                    // 0 for 0
std::pair<Natural, Natural> divide_with_remainder(const Natural& a, const Natural& b);  // b != 0
uint64_t remainder(const Natural& a, uint64_t modulus);  // modulus != 0
Natural gcd(Natural a, Natural b);
Natural power(Natural base, uint64_t exponent);
Natural root_floor(const Natural& a, uint64_t degree);  // the largest r with r^degree <= a

}  // namespace hone
