#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <limits>

#include "kernels/cpu_reference.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

const int64_t kWidths[] = {7, 16, 37, 100, 192, 512};

TEST_CASE("rms_norm gives the bits of its scalar twin, in place too") {
  for (int64_t d : kWidths) {
    const int64_t m = 300;
    const Floats x = random_floats(m * d, 1), w = random_floats(d, 2);
    Floats expected(m * d), expected_inv(m);
    reference::rms_norm(x.data(), w.data(), 1e-5f, expected.data(), expected_inv.data(), m, d);
    for_each_setting([&] {
      Floats y = x, inv(m);
      rms_norm(y.data(), w.data(), 1e-5f, y.data(), inv.data(), m, d);
      REQUIRE(first_difference(y, expected) == -1);
      REQUIRE(first_difference(inv, expected_inv) == -1);
    });
  }
}

TEST_CASE("rms_norm_backward agrees with doubles and does not depend on the threads") {
  for (int64_t d : {7, 64, 100}) {
    const int64_t m = 700;
    const Floats x = random_floats(m * d, 3), w = random_floats(d, 4), dy = random_floats(m * d, 5);
    std::vector<double> expected_dx(m * d), expected_dw(d, 1.0);
    reference::rms_norm_backward(dy.data(), x.data(), w.data(), 1e-5f, expected_dx.data(),
                                 expected_dw.data(), m, d);
    Floats first;
    for_each_setting([&] {
      Floats y(m * d), inv(m), dx(m * d), dw(d, 1.0f);
      rms_norm(x.data(), w.data(), 1e-5f, y.data(), inv.data(), m, d);
      rms_norm_backward(dy.data(), x.data(), w.data(), inv.data(), dx.data(), dw.data(), m, d);
      REQUIRE(largest_error(dx, expected_dx) < 1e-5);
      REQUIRE(largest_error(dw, expected_dw) < 1e-5);
      if (first.empty()) first = dw;
      REQUIRE(first_difference(dw, first) == -1);
    });
  }
}

TEST_CASE("swiglu gives the bits of its scalar twin, also for extreme gates") {
  for (int64_t f : kWidths) {
    const int64_t m = 50;
    Floats gate_up = random_floats(m * 2 * f, 6, 8.0);
    gate_up[0] = -1000;
    gate_up[1] = 1000;
    gate_up[2] = -89;
    Floats expected(m * f);
    reference::swiglu(gate_up.data(), expected.data(), m, f);
    REQUIRE(std::isfinite(expected[0]));
    for_each_setting([&] {
      Floats y(m * f);
      swiglu(gate_up.data(), y.data(), m, f);
      REQUIRE(first_difference(y, expected) == -1);
    });
  }
}

TEST_CASE("swiglu_backward agrees with doubles") {
  const int64_t m = 40, f = 100;
  const Floats gate_up = random_floats(m * 2 * f, 7, 5.0), dy = random_floats(m * f, 8);
  std::vector<double> expected(m * 2 * f);
  reference::swiglu_backward(dy.data(), gate_up.data(), expected.data(), m, f);
  for_each_setting([&] {
    Floats actual(m * 2 * f);
    swiglu_backward(dy.data(), gate_up.data(), actual.data(), m, f);
    REQUIRE(largest_error(actual, expected) < 1e-5);
  });
}

TEST_CASE("rope gives the bits of its scalar twin and its inverse turns back") {
  for (int64_t d : {16, 48, 64}) {
    const int64_t t = 200, heads = 3, ldx = heads * d + 8;
    const Floats x = random_floats(t * ldx, 9);
    Floats cos(t * d / 2), sin(t * d / 2);
    for (size_t i = 0; i < cos.size(); ++i) {
      cos[i] = static_cast<float>(std::cos(0.1 * static_cast<double>(i)));
      sin[i] = static_cast<float>(std::sin(0.1 * static_cast<double>(i)));
    }
    std::vector<int64_t> positions(t);
    for (int64_t i = 0; i < t; ++i) positions[i] = (i * 7) % t;
    Floats expected = x;
    reference::rope(expected.data(), ldx, positions.data(), cos.data(), sin.data(), t, heads, d,
                    false);
    for_each_setting([&] {
      Floats y = x;
      rope(y.data(), ldx, positions.data(), cos.data(), sin.data(), t, heads, d, false);
      REQUIRE(first_difference(y, expected) == -1);
      rope(y.data(), ldx, positions.data(), cos.data(), sin.data(), t, heads, d, true);
      REQUIRE(largest_error(y, {x.begin(), x.end()}) < 1e-6);
    });
  }
}

TEST_CASE("exp is within 2 ulp of the true value") {
  double worst = 0;
  for (float x = -87.0f; x < 88.0f; x += 0.0137f) {
    const double truth = std::exp(static_cast<double>(x));
    const float near = static_cast<float>(truth);
    const double ulp = static_cast<double>(std::nextafter(near, 2 * near)) - near;
    worst = std::max(worst, std::abs(reference::exp(x) - truth) / ulp);
  }
  REQUIRE(worst < 2.0);
  REQUIRE(reference::exp(0.0f) == 1.0f);
  REQUIRE(reference::exp(-std::numeric_limits<float>::infinity()) == 0.0f);
}

TEST_CASE("log_prob gives the bits of its scalar twin and agrees with doubles") {
  for (int64_t v : {7, 37, 512, 1000}) {
    for (float inv_temperature : {1.0f, 1.7f}) {
      const int64_t m = 60;
      const Floats logits = random_floats(m * v, 10, 12.0);
      std::vector<int64_t> targets(m);
      for (int64_t i = 0; i < m; ++i) targets[i] = i * 5 % v;
      const Floats dlogp = random_floats(m, 11), dentropy = random_floats(m, 12);
      Floats expected_logp(m), expected_entropy(m), expected_lse(m);
      reference::log_prob(logits.data(), targets.data(), inv_temperature, expected_logp.data(),
                          expected_entropy.data(), expected_lse.data(), m, v);
      std::vector<double> true_logp(m), true_entropy(m), gradient(m * v), plain_gradient(m * v);
      reference::log_prob_backward(logits.data(), targets.data(), inv_temperature, dlogp.data(),
                                   nullptr, true_logp.data(), true_entropy.data(),
                                   plain_gradient.data(), m, v);
      reference::log_prob_backward(logits.data(), targets.data(), inv_temperature, dlogp.data(),
                                   dentropy.data(), true_logp.data(), true_entropy.data(),
                                   gradient.data(), m, v);
      for_each_setting([&] {
        Floats logp(m), entropy(m), lse(m);
        log_prob(logits.data(), targets.data(), inv_temperature, logp.data(), entropy.data(),
                 lse.data(), m, v);
        REQUIRE(first_difference(logp, expected_logp) == -1);
        REQUIRE(first_difference(entropy, expected_entropy) == -1);
        REQUIRE(first_difference(lse, expected_lse) == -1);
        REQUIRE(largest_error(logp, true_logp) < 1e-5);
        REQUIRE(largest_error(entropy, true_entropy) < 1e-5);

        Floats in_place = logits;
        log_prob_backward(in_place.data(), targets.data(), inv_temperature, lse.data(),
                          entropy.data(), dlogp.data(), dentropy.data(), in_place.data(), m, v);
        REQUIRE(largest_error(in_place, gradient) < 1e-5);
        Floats plain(m * v);
        log_prob_backward(logits.data(), targets.data(), inv_temperature, lse.data(), nullptr,
                          dlogp.data(), nullptr, plain.data(), m, v);
        REQUIRE(largest_error(plain, plain_gradient) < 1e-5);
      });
    }
  }
}

TEST_CASE("log_prob and its gradient stay finite where logits are -infinity") {
  const int64_t v = 20;
  Floats logits = random_floats(v, 13);
  for (int64_t i = 3; i < v; ++i) logits[i] = -std::numeric_limits<float>::infinity();
  const int64_t target = 1;
  const float one = 1.0f;
  for_each_setting([&] {
    float logp, entropy, lse;
    log_prob(logits.data(), &target, 1.0f, &logp, &entropy, &lse, 1, v);
    REQUIRE(std::isfinite(logp));
    REQUIRE(entropy > 0.5f);
    REQUIRE(entropy < 1.0987f);
    Floats gradient(v);
    log_prob_backward(logits.data(), &target, 1.0f, &lse, &entropy, &one, &one, gradient.data(), 1,
                      v);
    for (int64_t i = 0; i < v; ++i) {
      REQUIRE(std::isfinite(gradient[i]));
      if (i >= 3) REQUIRE(gradient[i] == 0.0f);
    }
  });
}

TEST_CASE("a logit that is NaN is not hidden") {
  Floats logits = random_floats(40, 14);
  logits[33] = std::numeric_limits<float>::quiet_NaN();
  const int64_t target = 0;
  for_each_setting([&] {
    float logp;
    log_prob(logits.data(), &target, 1.0f, &logp, nullptr, nullptr, 1, 40);
    REQUIRE(std::isnan(logp));
  });
}

}  // namespace
}  // namespace hone::kernels
