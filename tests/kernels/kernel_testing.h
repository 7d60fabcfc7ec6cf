// What the tests of the kernels share: random arrays, comparison of bits, threads and levels.
#pragma once

#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kernels/cpu_kernels.h"

namespace hone::kernels {

using Floats = std::vector<float>;

inline Floats random_floats(int64_t n, uint64_t key, double scale = 1.0) {
  Rng rng(key);
  Floats values(static_cast<size_t>(n));
  for (float& x : values) x = static_cast<float>(scale * (2 * rng.uniform() - 1));
  return values;
}

// Index of the first element whose bits differ, or -1. Zeros of either sign are the same.
inline int64_t first_difference(const Floats& a, const Floats& b) {
  if (a.size() != b.size()) return 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]) && a[i] != b[i]) {
      return static_cast<int64_t>(i);
    }
  }
  return -1;
}

inline double largest_error(const Floats& actual, const std::vector<double>& expected) {
  double worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::abs(actual[i] - expected[i]) / (1 + std::abs(expected[i]));
    if (!(error <= worst)) worst = error;  // NaN is the worst
  }
  return worst;
}

// Runs `body` at every vector width of this CPU and with 1, 2 and 3 threads.
template <class Body>
void for_each_setting(const Body& body) {
  for (Level level : {Level::avx2, Level::avx512}) {
    if (!set_level(level)) continue;
    for (int threads : {1, 2, 3}) {
      set_num_threads(threads);
      INFO((level == Level::avx2 ? "AVX2, " : "AVX-512, ") << threads << " threads");
      body();
    }
  }
  set_num_threads(1);
}

}  // namespace hone::kernels
