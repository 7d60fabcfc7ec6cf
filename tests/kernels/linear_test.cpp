#include <catch2/catch_test_macros.hpp>

#include "kernels/cpu_reference.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

const int64_t kSizes[] = {7, 37, 100, 192, 512};

Floats run_linear(const Floats& x, const Floats& packed, int64_t m, int64_t n, int64_t k) {
  Floats y(m * n, 99.0f);
  linear(x.data(), k, packed.data(), y.data(), n, m, n, k);
  return y;
}

TEST_CASE("linear gives the bits of its scalar twin for any shape, threads and vector width") {
  for (int64_t n : kSizes) {
    for (int64_t k : kSizes) {
      const Floats w = random_floats(n * k, 1), x = random_floats(257 * k, 2);
      Floats expected(257 * n);
      reference::linear(x.data(), k, w.data(), expected.data(), n, 257, n, k);
      for_each_setting([&] {
        Floats packed(packed_size(n, k), 7.0f);
        pack_weight(w.data(), n, k, packed.data());
        for (int64_t m : {1, 2, 3, 5, 7, 8, 13, 64, 257}) {
          INFO("m " << m << " n " << n << " k " << k);
          REQUIRE(first_difference(run_linear(x, packed, m, n, k),
                                   Floats(expected.begin(), expected.begin() + m * n)) == -1);
        }
      });
    }
  }
}

TEST_CASE("linear gives a row the same bits alone and in a large batch") {
  const int64_t m = 1000, n = 1024, k = 700;
  const Floats w = random_floats(n * k, 3), x = random_floats(m * k, 4);
  Floats packed(packed_size(n, k));
  pack_weight(w.data(), n, k, packed.data());
  const Floats whole = run_linear(x, packed, m, n, k);
  for_each_setting([&] {
    REQUIRE(first_difference(run_linear(x, packed, m, n, k), whole) == -1);
    for (int64_t row : {0, 499, 999}) {
      const Floats alone =
          run_linear(Floats(x.begin() + row * k, x.begin() + (row + 1) * k), packed, 1, n, k);
      REQUIRE(first_difference(
                  alone, Floats(whole.begin() + row * n, whole.begin() + (row + 1) * n)) == -1);
    }
  });
}

TEST_CASE("linear keeps to its rows and columns when the strides are wider") {
  const int64_t m = 14, n = 37, k = 50, ldx = 61, ldy = 45;
  const Floats w = random_floats(n * k, 5), x = random_floats(m * ldx, 6);
  Floats expected(m * ldy, 3.0f);
  reference::linear(x.data(), ldx, w.data(), expected.data(), ldy, m, n, k);
  for_each_setting([&] {
    Floats packed(packed_size(n, k)), y(m * ldy, 3.0f);
    pack_weight(w.data(), n, k, packed.data());
    linear(x.data(), ldx, packed.data(), y.data(), ldy, m, n, k);
    REQUIRE(first_difference(y, expected) == -1);
  });
}

TEST_CASE("a weight packed as its transpose takes a gradient back through the layer") {
  const int64_t m = 9, n = 37, k = 70;
  const Floats w = random_floats(n * k, 7), dy = random_floats(m * n, 8);
  Floats transposed(k * n), expected(m * k);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < k; ++j) transposed[j * n + i] = w[i * k + j];
  }
  reference::linear(dy.data(), n, transposed.data(), expected.data(), k, m, k, n);
  for_each_setting([&] {
    Floats packed(packed_size(k, n));
    pack_weight_transposed(w.data(), n, k, packed.data());
    REQUIRE(first_difference(run_linear(dy, packed, m, k, n), expected) == -1);
  });
}

TEST_CASE("linear_weight_grad adds dy^T x, with the same bits for any threads and vector width") {
  for (int64_t n : {7, 37, 192, 300}) {
    for (int64_t k : {7, 100, 192, 300}) {
      for (int64_t m : {1, 13, 257, 500}) {
        INFO("m " << m << " n " << n << " k " << k);
        const Floats dy = random_floats(m * (n + 3), 9), x = random_floats(m * (k + 5), 10);
        const Floats before = random_floats(n * k, 11);
        std::vector<double> expected(before.begin(), before.end());
        reference::linear_weight_grad(dy.data(), n + 3, x.data(), k + 5, expected.data(), m, n, k);
        Floats first;
        for_each_setting([&] {
          Floats dw = before;
          linear_weight_grad(dy.data(), n + 3, x.data(), k + 5, dw.data(), m, n, k);
          if (first.empty()) {
            REQUIRE(largest_error(dw, expected) < 2e-5);
            first = dw;
          }
          REQUIRE(first_difference(dw, first) == -1);
        });
      }
    }
  }
}

}  // namespace
}  // namespace hone::kernels
