#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <numeric>

#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

struct Draws {
  std::vector<int64_t> tokens;
  Floats logprobs, sampled_logprobs;
};

// Row i is drawn at (key, sample i, position 3).
Draws draw(const Floats& logits, int64_t batch, int64_t vocab, float inv_temperature,
           uint64_t key = 42, int64_t first_sample = 0) {
  const Floats inv_temperatures(batch, inv_temperature);
  const std::vector<uint64_t> keys(batch, key);
  std::vector<int64_t> samples(batch), positions(batch, 3);
  std::iota(samples.begin(), samples.end(), first_sample);
  Draws draws{std::vector<int64_t>(batch), Floats(batch), Floats(batch)};
  sample_tokens(logits.data(), batch, vocab, inv_temperatures.data(), keys.data(), samples.data(),
                positions.data(), draws.tokens.data(), draws.logprobs.data(),
                draws.sampled_logprobs.data());
  return draws;
}

TEST_CASE("tokens are drawn as often as their probabilities say") {
  const int64_t vocab = 200, batch = 40000;
  for (float inv_temperature : {1.0f, 0.5f, 2.0f}) {
    const Floats row = random_floats(vocab, 1, 3.0);
    Floats logits;
    for (int64_t i = 0; i < batch; ++i) logits.insert(logits.end(), row.begin(), row.end());
    const Draws draws = draw(logits, batch, vocab, inv_temperature);
    std::vector<double> p(vocab), count(vocab);
    for (int64_t i = 0; i < vocab; ++i) p[i] = std::exp(double{row[i]} * inv_temperature);
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (int64_t token : draws.tokens) ++count[token];
    double chi_square = 0;
    for (int64_t i = 0; i < vocab; ++i) {
      const double expected = batch * p[i] / total;
      chi_square += (count[i] - expected) * (count[i] - expected) / expected;
    }
    // 199 degrees of freedom: mean 199, standard deviation 20.
    INFO("chi square " << chi_square);
    REQUIRE(chi_square > 199 - 5 * 20);
    REQUIRE(chi_square < 199 + 5 * 20);
  }
}

TEST_CASE("log-probabilities of drawn tokens are log_prob's bits") {
  const int64_t vocab = 517, batch = 300;
  const Floats logits = random_floats(batch * vocab, 2, 6.0);
  for_each_setting([&] {
    for (float inv_temperature : {1.0f, 1.25f, 0.0f}) {
      const Draws draws = draw(logits, batch, vocab, inv_temperature);
      Floats expected(batch);
      log_prob(logits.data(), draws.tokens.data(), 1.0f, expected.data(), nullptr, nullptr, batch,
               vocab);
      REQUIRE(first_difference(draws.logprobs, expected) == -1);
      if (inv_temperature == 0.0f) {
        REQUIRE(draws.sampled_logprobs == Floats(batch, 0.0f));
        continue;
      }
      log_prob(logits.data(), draws.tokens.data(), inv_temperature, expected.data(), nullptr,
               nullptr, batch, vocab);
      REQUIRE(first_difference(draws.sampled_logprobs, expected) == -1);
    }
  });
}

TEST_CASE("a draw does not depend on its batch, the threads or the vector width") {
  const int64_t vocab = 333, batch = 200;
  const Floats logits = random_floats(batch * vocab, 3, 4.0);
  const Draws together = draw(logits, batch, vocab, 1.0f);
  for_each_setting([&] {
    REQUIRE(draw(logits, batch, vocab, 1.0f).tokens == together.tokens);
    for (int64_t row : {0, 57, 199}) {
      const Floats alone(logits.begin() + row * vocab, logits.begin() + (row + 1) * vocab);
      REQUIRE(draw(alone, 1, vocab, 1.0f, 42, row).tokens[0] == together.tokens[row]);
    }
  });
  REQUIRE(draw(logits, batch, vocab, 1.0f, 43).tokens != together.tokens);
}

TEST_CASE("greedy rows take the first of the largest logits") {
  Floats logits = random_floats(100, 4);
  logits[30] = logits[71] = 9.0f;
  REQUIRE(draw(logits, 1, 100, 0.0f).tokens[0] == 30);
}

TEST_CASE("logits of -infinity are never drawn") {
  const int64_t vocab = 150, batch = 2000;
  Floats logits(batch * vocab, kNegativeInfinity);
  for (int64_t row = 0; row < batch; ++row) {
    logits[row * vocab + 70] = 1.0f;
    logits[row * vocab + 131] = 1.0f;
  }
  for (int64_t token : draw(logits, batch, vocab, 1.0f).tokens) {
    REQUIRE((token == 70 || token == 131));
  }
}

// The plain form of the filters: one distribution after the other.
Floats filtered(Floats row, int64_t top_k, float top_p, float min_p, float inv_temperature) {
  const auto probabilities = [&] {
    std::vector<double> p;
    for (float x : row) p.push_back(std::exp(double{x} * inv_temperature));
    const double total = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& x : p) x /= total;
    return p;
  };
  const auto likeliest_first = [&] {
    std::vector<int64_t> order(row.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return row[a] > row[b]; });
    return order;
  };
  if (top_k > 0 && top_k < static_cast<int64_t>(row.size())) {
    const float least = row[likeliest_first()[top_k - 1]];
    for (float& x : row) x = x < least ? kNegativeInfinity : x;
  }
  if (top_p < 1) {
    const std::vector<double> p = probabilities();
    double mass = 0;
    float last_kept = 0;
    for (int64_t i : likeliest_first()) {
      if (mass >= top_p && mass > 0 && row[i] != last_kept) {
        row[i] = kNegativeInfinity;
      } else {
        last_kept = row[i];
      }
      mass += p[i];
    }
  }
  const std::vector<double> p = probabilities();
  const double most = *std::max_element(p.begin(), p.end());
  for (size_t i = 0; i < p.size(); ++i) {
    if (p[i] < min_p * most) row[i] = kNegativeInfinity;
  }
  return row;
}

TEST_CASE("filters keep what their plain form keeps") {
  struct Filter {
    int64_t top_k;
    float top_p, min_p, inv_temperature;
  };
  for (uint64_t key = 0; key < 20; ++key) {
    const Floats row = random_floats(100, 50 + key, 4.0);
    for (Filter f : {Filter{0, 1.0f, 0.0f, 1.0f}, Filter{5, 1.0f, 0.0f, 1.0f},
                     Filter{0, 0.9f, 0.0f, 1.0f}, Filter{0, 1.0f, 0.1f, 2.0f},
                     Filter{20, 0.7f, 0.05f, 0.6f}, Filter{1000, 0.5f, 0.0f, 1.4f}}) {
      Floats actual = row;
      filter_logits(actual.data(), 100, f.top_k, f.top_p, f.min_p, f.inv_temperature);
      REQUIRE(actual == filtered(row, f.top_k, f.top_p, f.min_p, f.inv_temperature));
    }
  }
}

TEST_CASE("filters keep all tokens that tie with the last one kept") {
  const Floats row = {1.0f, 3.0f, 2.0f, 3.0f, 2.0f, 0.0f, 2.0f};
  const auto kept = [&](int64_t top_k, float top_p) {
    Floats actual = row;
    filter_logits(actual.data(), 7, top_k, top_p, 0.0f, 1.0f);
    std::vector<int64_t> ids;
    for (int64_t i = 0; i < 7; ++i) {
      if (actual[i] != kNegativeInfinity) ids.push_back(i);
    }
    return ids;
  };
  REQUIRE(kept(1, 1.0f) == std::vector<int64_t>{1, 3});
  REQUIRE(kept(3, 1.0f) == std::vector<int64_t>{1, 2, 3, 4, 6});
  REQUIRE(kept(0, 0.1f) == std::vector<int64_t>{1, 3});
  REQUIRE(kept(0, 0.7f) == std::vector<int64_t>{1, 2, 3, 4, 6});
  REQUIRE(kept(0, 0.96f) == std::vector<int64_t>{0, 1, 2, 3, 4, 6});
}

TEST_CASE("filters always leave the likeliest token") {
  Floats row = random_floats(50, 6);
  row[13] = 5.0f;
  filter_logits(row.data(), 50, 1, 0.0f, 1.0f, 1.0f);
  for (int64_t i = 0; i < 50; ++i) REQUIRE(std::isfinite(row[i]) == (i == 13));
}

}  // namespace
}  // namespace hone::kernels
