#include "rewards/natural.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace hone {
namespace {

void trim(std::vector<uint32_t>& limbs) {
  while (!limbs.empty() && limbs.back() == 0) limbs.pop_back();
}

// Divides in place, returns the remainder.
uint32_t divide_small(std::vector<uint32_t>& limbs, uint32_t divisor) {
  uint64_t rest = 0;
  for (size_t i = limbs.size(); i-- > 0;) {
    rest = (rest << 32) | limbs[i];
    limbs[i] = static_cast<uint32_t>(rest / divisor);
    rest %= divisor;
  }
  trim(limbs);
  return static_cast<uint32_t>(rest);
}

}  // namespace

Natural::Natural(uint64_t value) {
  for (; value != 0; value >>= 32) limbs.push_back(static_cast<uint32_t>(value));
}

uint64_t Natural::low64() const {
  uint64_t value = limbs.empty() ? 0 : limbs[0];
  if (limbs.size() > 1) value |= uint64_t{limbs[1]} << 32;
  return value;
}

Natural operator+(const Natural& a, const Natural& b) {
  Natural sum;
  sum.limbs.reserve(std::max(a.limbs.size(), b.limbs.size()) + 1);
  uint64_t carry = 0;
  for (size_t i = 0; i < std::max(a.limbs.size(), b.limbs.size()) || carry != 0; ++i) {
    if (i < a.limbs.size()) carry += a.limbs[i];
    if (i < b.limbs.size()) carry += b.limbs[i];
    sum.limbs.push_back(static_cast<uint32_t>(carry));
    carry >>= 32;
  }
  return sum;
}

Natural operator-(const Natural& a, const Natural& b) {
  HONE_CHECK(compare(a, b) >= 0);
  Natural difference = a;
  int64_t borrow = 0;
  for (size_t i = 0; i < a.limbs.size(); ++i) {
    int64_t limb = int64_t{a.limbs[i]} - borrow - (i < b.limbs.size() ? b.limbs[i] : 0);
    borrow = limb < 0;
    difference.limbs[i] = static_cast<uint32_t>(limb + (borrow << 32));
  }
  trim(difference.limbs);
  return difference;
}

Natural operator*(const Natural& a, const Natural& b) {
  Natural product;
  if (a.zero() || b.zero()) return product;
  product.limbs.assign(a.limbs.size() + b.limbs.size(), 0);
  for (size_t i = 0; i < a.limbs.size(); ++i) {
    uint64_t carry = 0;
    const uint64_t factor = a.limbs[i];
    uint32_t* out = product.limbs.data() + i;
    for (size_t j = 0; j < b.limbs.size(); ++j) {
      carry += out[j] + factor * b.limbs[j];
      out[j] = static_cast<uint32_t>(carry);
      carry >>= 32;
    }
    out[b.limbs.size()] = static_cast<uint32_t>(carry);
  }
  trim(product.limbs);
  return product;
}

Natural operator<<(const Natural& a, size_t bits) {
  if (a.zero()) return {};
  Natural out;
  out.limbs.assign(bits / 32, 0);
  const unsigned shift = bits % 32;
  uint64_t carry = 0;
  for (uint32_t limb : a.limbs) {
    carry |= uint64_t{limb} << shift;
    out.limbs.push_back(static_cast<uint32_t>(carry));
    carry >>= 32;
  }
  if (carry != 0) out.limbs.push_back(static_cast<uint32_t>(carry));
  return out;
}

Natural operator>>(const Natural& a, size_t bits) {
  Natural out;
  const unsigned shift = bits % 32;
  for (size_t i = bits / 32; i < a.limbs.size(); ++i) {
    uint64_t limb = a.limbs[i];
    if (i + 1 < a.limbs.size()) limb |= uint64_t{a.limbs[i + 1]} << 32;
    out.limbs.push_back(static_cast<uint32_t>(limb >> shift));
  }
  trim(out.limbs);
  return out;
}

int compare(const Natural& a, const Natural& b) {
  if (a.limbs.size() != b.limbs.size()) return a.limbs.size() < b.limbs.size() ? -1 : 1;
  for (size_t i = a.limbs.size(); i-- > 0;) {
    if (a.limbs[i] != b.limbs[i]) return a.limbs[i] < b.limbs[i] ? -1 : 1;
  }
  return 0;
}

void multiply_add(Natural& value, uint32_t factor, uint32_t addend) {
  uint64_t carry = addend;
  for (uint32_t& limb : value.limbs) {
    carry += uint64_t{limb} * factor;
    limb = static_cast<uint32_t>(carry);
    carry >>= 32;
  }
  if (carry != 0) value.limbs.push_back(static_cast<uint32_t>(carry));
  trim(value.limbs);
}

size_t bit_length(const Natural& a) {
  if (a.zero()) return 0;
  return 32 * a.limbs.size() - static_cast<size_t>(std::countl_zero(a.limbs.back()));
}

// Knuth, The Art of Computer Programming 2, 4.3.1, algorithm D.
std::pair<Natural, Natural> divide_with_remainder(const Natural& a, const Natural& b) {
  HONE_CHECK(!b.zero());
  if (compare(a, b) < 0) return {Natural(), a};
  if (b.limbs.size() == 1) {
    Natural quotient = a;
    const uint32_t rest = divide_small(quotient.limbs, b.limbs[0]);
    return {quotient, Natural(rest)};
  }
  const auto shift = static_cast<size_t>(std::countl_zero(b.limbs.back()));
  std::vector<uint32_t> u = (a << shift).limbs;
  const std::vector<uint32_t> v = (b << shift).limbs;
  u.resize(a.limbs.size() + 1, 0);
  const size_t n = v.size(), m = u.size() - n;
  Natural quotient;
  quotient.limbs.assign(m, 0);
  for (size_t j = m; j-- > 0;) {
    const uint64_t top = (uint64_t{u[j + n]} << 32) | u[j + n - 1];
    uint64_t digit = top / v[n - 1], rest = top % v[n - 1];
    while (digit > UINT32_MAX || digit * v[n - 2] > ((rest << 32) | u[j + n - 2])) {
      --digit;
      rest += v[n - 1];
      if (rest > UINT32_MAX) break;
    }
    int64_t borrow = 0;
    uint64_t carry = 0;
    for (size_t i = 0; i < n; ++i) {
      carry += digit * v[i];
      const int64_t limb = int64_t{u[i + j]} - borrow - static_cast<int64_t>(carry & UINT32_MAX);
      carry >>= 32;
      u[i + j] = static_cast<uint32_t>(limb);
      borrow = limb < 0;
    }
    const int64_t limb = int64_t{u[j + n]} - borrow - static_cast<int64_t>(carry);
    u[j + n] = static_cast<uint32_t>(limb);
    if (limb < 0) {  // the digit was one too large
      --digit;
      carry = 0;
      for (size_t i = 0; i < n; ++i) {
        carry += uint64_t{u[i + j]} + v[i];
        u[i + j] = static_cast<uint32_t>(carry);
        carry >>= 32;
      }
      u[j + n] += static_cast<uint32_t>(carry);
    }
    quotient.limbs[j] = static_cast<uint32_t>(digit);
  }
  trim(quotient.limbs);
  Natural rest;
  rest.limbs.assign(u.begin(), u.begin() + static_cast<std::ptrdiff_t>(n));
  trim(rest.limbs);
  return {quotient, rest >> shift};
}

uint64_t remainder(const Natural& a, uint64_t modulus) {
  __extension__ using Wide = unsigned __int128;
  Wide rest = 0;
  for (size_t i = a.limbs.size(); i-- > 0;) rest = ((rest << 32) | a.limbs[i]) % modulus;
  return static_cast<uint64_t>(rest);
}

Natural gcd(Natural a, Natural b) {
  while (!b.zero()) {
    if (a.fits64() && b.fits64()) {
      uint64_t x = a.low64(), y = b.low64();
      while (y != 0) std::swap(x %= y, y);
      return Natural(x);
    }
    a = divide_with_remainder(a, b).second;
    std::swap(a, b);
  }
  return a;
}

Natural power(Natural base, uint64_t exponent) {
  Natural result(1);
  while (exponent != 0) {
    if ((exponent & 1) != 0) result = result * base;
    exponent >>= 1;
    if (exponent != 0) base = base * base;
  }
  return result;
}

Natural root_floor(const Natural& a, uint64_t degree) {
  if (a.zero() || degree == 1) return a;
  const size_t bits = bit_length(a);
  if (degree >= bits) return Natural(1);
  // Newton's iteration from above falls until it has arrived.
  Natural root = Natural(1) << (bits / degree + 1);
  while (true) {
    Natural next = divide_with_remainder(a, power(root, degree - 1)).first;
    const Natural step = root * Natural(degree - 1);
    next = divide_with_remainder(step + next, Natural(degree)).first;
    if (compare(next, root) >= 0) return root;
    root = std::move(next);
  }
}

}  // namespace hone
