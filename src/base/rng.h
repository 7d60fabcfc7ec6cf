// Counter-based randomness: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A draw is a pure function of (key, counter), so it does not depend on what
// was drawn before, in which batch, by which thread or process, or where a run was interrupted.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace hone {

// Compiles as host code and, in .cu files, as device code.
#if defined(__CUDACC__)
#define HONE_HOST_DEVICE __host__ __device__
#else
#define HONE_HOST_DEVICE
#endif

struct PhiloxBlock {
  uint32_t v[4];
};

HONE_HOST_DEVICE inline PhiloxBlock philox(uint64_t key, uint64_t counter_high,
                                           uint64_t counter_low) {
  uint32_t c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in [0, 1) with 24 bits: exact in float32.
HONE_HOST_DEVICE inline float philox_uniform(uint64_t key, uint64_t high, uint64_t low) {
  return static_cast<float>(philox(key, high, low).v[0] >> 8) * 0x1.0p-24f;
}

// A good 64-bit mix (splitmix64's finaliser); used to build keys.
inline uint64_t mix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

template <class... Parts>
uint64_t make_key(uint64_t first, Parts... parts) {
  uint64_t key = mix64(first);
  ((key = mix64(key ^ mix64(static_cast<uint64_t>(parts)))), ...);
  return key;
}

// 64-bit FNV-1a; for keys, not for security.
inline uint64_t hash64(std::string_view bytes) {
  uint64_t h = 0xCBF29CE484222325ull;
  for (unsigned char c : bytes) h = (h ^ c) * 0x100000001B3ull;
  return h;
}

// A stream of draws for host code that needs many: data generation, shuffles. Its whole state is
// (key, position), both of which a checkpoint can keep.
class Rng {
 public:
  explicit Rng(uint64_t key, uint64_t position = 0) : key_(key), position_(position) {}

  uint64_t next() {
    const PhiloxBlock b = philox(key_, 0, position_++);
    return (uint64_t{b.v[1]} << 32) | b.v[0];
  }
  // Uniform integer in [0, n), without bias. REQUIRES: n > 0.
  uint64_t below(uint64_t n) {
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    uint64_t x = next();
    while (x >= limit) x = next();
    return x % n;
  }
  // Uniform integer in [low, high].
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(below(static_cast<uint64_t>(high - low) + 1));
  }
  // Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double p) { return uniform() < p; }

  uint64_t position() const { return position_; }

 private:
  uint64_t key_, position_;
};

}  // namespace hone
