#ifdef HONE_WITH_CUDA
#include "kernels/cuda_sample.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <numeric>

#include "tests/kernels/cuda_testing.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

using cuda::SamplingParameters;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr int64_t kVocabularies[] = {1, 7, 31, 32, 512, 1000, 1023, 1025, 50257, 151936, 151937};

// Draw i reads row rows[i] of the logits, or row i if there are no rows, at (key, samples[i], 5).
struct Request {
  const Floats& logits;
  int64_t vocab;
  SamplingParameters parameters{1.0f, 0, 1.0f, 0.0f};
  bool filtered = false;
  std::vector<int32_t> rows = {};
  std::vector<int64_t> samples = {};  // empty: 0, 1, 2 ...
  std::vector<int32_t> forbidden = {};
  std::vector<uint8_t> forbid = {};
  uint64_t key = 7;

  int64_t batch() const {
    return static_cast<int64_t>(rows.empty() ? logits.size() / vocab : rows.size());
  }
  std::vector<int64_t> all_samples() const {
    if (!samples.empty()) return samples;
    std::vector<int64_t> numbers(batch());
    std::iota(numbers.begin(), numbers.end(), 0);
    return numbers;
  }
};

struct Draws {
  std::vector<int64_t> tokens;
  Floats logprobs, sampled_logprobs, entropies;
};

// A request's arrays on the GPU; may be run several times.
class DeviceCall {
 public:
  explicit DeviceCall(const Request& r)
      : logits_(r.logits),
        rows_(r.rows),
        keys_(std::vector<uint64_t>(r.batch(), r.key)),
        samples_(r.all_samples()),
        positions_(std::vector<int64_t>(r.batch(), 5)),
        forbidden_(r.forbidden),
        forbid_(r.forbid),
        parameters_({r.parameters}),
        tokens_(std::vector<int64_t>(r.batch(), -1)),
        logprobs_(Floats(r.batch())),
        sampled_logprobs_(Floats(r.batch())),
        entropies_(Floats(r.batch())),
        // What is in it before must not matter.
        workspace_(Floats(cuda::sample_workspace_bytes(r.batch(), r.vocab) / sizeof(float), kNaN)) {
    call_.logits = logits_.get();
    call_.rows = r.rows.empty() ? nullptr : rows_.get();
    call_.batch = r.batch();
    call_.vocab = r.vocab;
    call_.parameters = parameters_.get();
    call_.filtered = r.filtered;
    call_.keys = keys_.get();
    call_.samples = samples_.get();
    call_.positions = positions_.get();
    call_.forbidden = forbidden_.get();
    call_.forbidden_count = static_cast<int64_t>(r.forbidden.size());
    call_.forbid = r.forbid.empty() ? nullptr : forbid_.get();
    call_.tokens = tokens_.get();
    call_.logprobs = logprobs_.get();
    call_.sampled_logprobs = sampled_logprobs_.get();
    call_.entropies = entropies_.get();
    call_.workspace = workspace_.get();
  }
  void set_parameters(const SamplingParameters& parameters) const { parameters_.set({parameters}); }
  void launch(cudaStream_t stream) const { cuda::sample_tokens(call_, stream); }
  Draws result() const {
    wait_for_gpu();
    return {tokens_.host(), logprobs_.host(), sampled_logprobs_.host(), entropies_.host()};
  }

 private:
  OnDevice<float> logits_;
  OnDevice<int32_t> rows_;
  OnDevice<uint64_t> keys_;
  OnDevice<int64_t> samples_, positions_;
  OnDevice<int32_t> forbidden_;
  OnDevice<uint8_t> forbid_;
  OnDevice<SamplingParameters> parameters_;
  OnDevice<int64_t> tokens_;
  OnDevice<float> logprobs_, sampled_logprobs_, entropies_, workspace_;
  cuda::SampleCall call_{};
};

Draws draw(const Request& request) {
  const DeviceCall call(request);
  call.launch(nullptr);
  return call.result();
}

struct LogProbs {
  Floats logp, entropy, lse;
};
LogProbs log_probs(const Floats& logits, const std::vector<int64_t>& targets, int64_t vocab,
                   float inv_temperature) {
  const int64_t rows = static_cast<int64_t>(targets.size());
  const OnDevice<float> d_logits(logits), logp{Floats(rows)}, entropy{Floats(rows)},
      lse{Floats(rows)};
  const OnDevice<int64_t> d_targets(targets);
  const OnDevice<uint8_t> workspace(
      std::vector<uint8_t>(cuda::sample_workspace_bytes(rows, vocab), 0xFF));
  cuda::log_prob(d_logits.get(), d_targets.get(), rows, vocab, inv_temperature, logp.get(),
                 entropy.get(), lse.get(), workspace.get(), nullptr);
  wait_for_gpu();
  return {logp.host(), entropy.host(), lse.host()};
}

// The plain form in doubles.
struct Distribution {
  std::vector<double> logp;
  double entropy = 0, lse = 0;

  Distribution(const Floats& row, double inv_temperature) {
    const double max = *std::max_element(row.begin(), row.end());
    double total = 0;
    for (float x : row) total += std::exp((x - max) * inv_temperature);
    lse = max * inv_temperature + std::log(total);
    for (float x : row) {
      logp.push_back((x - max) * inv_temperature - std::log(total));
      if (std::isfinite(x)) entropy -= std::exp(logp.back()) * logp.back();
    }
  }
};

Floats row_of(const Floats& logits, int64_t vocab, int64_t row) {
  return Floats(logits.begin() + row * vocab, logits.begin() + (row + 1) * vocab);
}

// What request `r` may draw from row `row`, the rest at -infinity.
Floats allowed(const Request& r, int64_t row, bool forbid) {
  Floats x = row_of(r.logits, r.vocab, row);
  if (forbid) {
    for (int32_t id : r.forbidden) x[id] = -kInfinity;
  }
  const SamplingParameters& p = r.parameters;
  if (r.filtered) {
    filter_logits(x.data(), r.vocab, p.top_k, p.top_p, p.min_p, p.inv_temperature);
  }
  return x;
}

// Every fifth is -infinity, and in the last row the first 1024 of more than that.
Floats logits_with_holes(int64_t rows, int64_t vocab, uint64_t key, double scale) {
  Floats logits = random_floats(rows * vocab, key, scale);
  for (int64_t i = 3; i < rows * vocab; i += 5) {
    if (vocab > 1) logits[i] = -kInfinity;
  }
  if (vocab > 1024) std::fill_n(logits.end() - vocab, 1024, -kInfinity);
  return logits;
}

bool close(float actual, double expected, double tolerance) {
  return std::abs(actual - expected) <= tolerance * (1 + std::abs(expected));
}

TEST_CASE("the GPU draws the tokens that the CPU draws, up to rounding") {
  skip_without_gpu();
  for (int64_t vocab : {7, 512, 1000, 3001, 151936}) {
    const int64_t batch = vocab > 10000 ? 8 : 1000;
    const Floats logits = logits_with_holes(batch, vocab, 1, 6.0);
    for (float inv_temperature : {0.0f, 1.0f, 0.7f}) {
      INFO("vocabulary " << vocab << ", inverse temperature " << inv_temperature);
      const Request request{
          .logits = logits, .vocab = vocab, .parameters = {inv_temperature, 0, 1.0f, 0.0f}};
      const Draws gpu = draw(request);
      std::vector<int64_t> tokens(batch);
      sample_tokens(logits.data(), batch, vocab, Floats(batch, inv_temperature).data(),
                    std::vector<uint64_t>(batch, request.key).data(), request.all_samples().data(),
                    std::vector<int64_t>(batch, 5).data(), tokens.data(), nullptr, nullptr);
      int64_t same = 0;
      for (int64_t row = 0; row < batch; ++row) {
        REQUIRE(gpu.tokens[row] >= 0);
        REQUIRE(gpu.tokens[row] < vocab);
        REQUIRE(logits[row * vocab + gpu.tokens[row]] != -kInfinity);
        if (gpu.tokens[row] == tokens[row]) ++same;
      }
      // Of 1000 draws, rounding may move one or two over the edge between two tokens.
      REQUIRE(same >= (inv_temperature == 0.0f ? batch : batch - 2));
    }
  }
}

TEST_CASE("log-probabilities and entropies on the GPU are those of plain sums in double") {
  skip_without_gpu();
  for (int64_t vocab : kVocabularies) {
    const int64_t rows = vocab > 10000 ? 2 : 5;
    const Floats logits = logits_with_holes(rows, vocab, 3, 8.0);
    for (float inv_temperature : {1.0f, 0.0f, 1 / 0.7f, 1 / 1.5f, 0.1f}) {
      INFO("vocabulary " << vocab << ", inverse temperature " << inv_temperature);
      const Draws draws =
          draw({.logits = logits, .vocab = vocab, .parameters = {inv_temperature, 0, 1.0f, 0.0f}});
      const float of_targets = inv_temperature == 0.0f ? 1.0f : inv_temperature;
      const LogProbs trained = log_probs(logits, draws.tokens, vocab, of_targets);
      for (int64_t row = 0; row < rows; ++row) {
        const Floats x = row_of(logits, vocab, row);
        const int64_t token = draws.tokens[row];
        const Distribution model(x, 1.0), drawn(x, of_targets);
        REQUIRE(close(draws.logprobs[row], model.logp[token], 2e-6));
        REQUIRE(close(draws.entropies[row], model.entropy, 5e-6));
        REQUIRE(close(trained.logp[row], drawn.logp[token], 2e-6));
        REQUIRE(close(trained.entropy[row], drawn.entropy, 5e-6));
        REQUIRE(close(trained.lse[row], drawn.lse, 2e-6));
        if (inv_temperature == 0.0f) {
          REQUIRE(draws.sampled_logprobs[row] == 0.0f);
        } else {
          REQUIRE(close(draws.sampled_logprobs[row], drawn.logp[token], 2e-6));
        }
      }
    }
  }
}

TEST_CASE("the gradient of log-probabilities and entropies on the GPU is that of sums in double") {
  skip_without_gpu();
  for (const int64_t vocab : {3, 50, 1023, 4096, 5001, 20000}) {
    for (const bool with_entropy : {false, true}) {
      for (const double temperature : {1.0, 0.7}) {
        const int64_t rows = 5;
        const Floats logits = random_floats(rows * vocab, static_cast<uint64_t>(vocab), 6.0);
        const Floats dlogp = random_floats(rows, 2, 1.0), dentropy = random_floats(rows, 3, 1.0);
        std::vector<int64_t> targets;
        std::vector<double> expected(logits.size());
        Floats lse, entropy;
        for (int64_t r = 0; r < rows; ++r) {
          targets.push_back((r * 7919 + vocab - 1) % vocab);
          const auto at = [&](int64_t i) { return static_cast<size_t>(r * vocab + i); };
          double sum = 0, h = 0;
          for (int64_t i = 0; i < vocab; ++i) sum += std::exp(logits[at(i)] / temperature);
          const double z = std::log(sum);
          for (int64_t i = 0; i < vocab; ++i) {
            const double l = logits[at(i)] / temperature - z;
            h -= std::exp(l) * l;
          }
          for (int64_t i = 0; i < vocab; ++i) {
            const double l = logits[at(i)] / temperature - z, p = std::exp(l);
            const auto row = static_cast<size_t>(r);
            double d = dlogp[row] * ((i == targets.back() ? 1.0 : 0.0) - p);
            if (with_entropy) d -= dentropy[row] * p * (l + h);
            expected[at(i)] = d / temperature;
          }
          lse.push_back(static_cast<float>(z));
          entropy.push_back(static_cast<float>(h));
        }
        const OnDevice<float> x(logits), z(lse), h(entropy), dl(dlogp), dh(dentropy);
        const OnDevice<int64_t> target(targets);
        const cuda::LogProbBackward call{x.get(),
                                         target.get(),
                                         rows,
                                         vocab,
                                         static_cast<float>(1 / temperature),
                                         z.get(),
                                         h.get(),
                                         dl.get(),
                                         with_entropy ? dh.get() : nullptr};
        const OnDevice<Half> rounded(std::vector<Half>(logits.size(), kNanHalf));
        cuda::log_prob_backward(call, cuda::Type::bf16, rounded.get(), nullptr);
        cuda::log_prob_backward(call, cuda::Type::float32, x.get(), nullptr);
        wait_for_gpu();
        INFO(vocab << (with_entropy ? ", entropy, " : ", ") << temperature);
        CHECK(largest_error(x.host(), expected) < 1e-5);
        Floats halves;
        for (const Half v : rounded.host()) halves.push_back(from_half(v));
        CHECK(largest_error(halves, expected) < 4e-3);
      }
    }
  }
}

TEST_CASE("on the GPU log_prob has the bits of the draws' log-probabilities") {
  skip_without_gpu();
  for (int64_t vocab : kVocabularies) {
    const int64_t rows = vocab > 10000 ? 3 : 40;
    const Floats logits = logits_with_holes(rows, vocab, 4, 6.0);
    for (float inv_temperature : {1.0f, 0.0f, 1 / 0.7f, 1 / 1.5f}) {
      for (bool filtered : {false, true}) {  // by filters that keep everything
        INFO("vocabulary " << vocab << ", inverse temperature " << inv_temperature);
        const Draws draws = draw({.logits = logits,
                                  .vocab = vocab,
                                  .parameters = {inv_temperature, 0, 1.0f, 0.0f},
                                  .filtered = filtered});
        REQUIRE(first_difference(draws.logprobs,
                                 log_probs(logits, draws.tokens, vocab, 1.0f).logp) == -1);
        REQUIRE(first_difference(draws.entropies,
                                 log_probs(logits, draws.tokens, vocab, 1.0f).entropy) == -1);
        if (inv_temperature == 0.0f) continue;
        REQUIRE(first_difference(draws.sampled_logprobs,
                                 log_probs(logits, draws.tokens, vocab, inv_temperature).logp) ==
                -1);
      }
    }
  }
}

TEST_CASE("a draw on the GPU has the same bits alone, in any batch and through any row number") {
  skip_without_gpu();
  for (int64_t vocab : {50, 3000, 3001}) {  // rows of 3001 begin at any multiple of four bytes
    const int64_t batch = 24;
    const Floats logits = random_floats(batch * vocab, 2, 5.0);
    Request request{.logits = logits, .vocab = vocab};
    request.forbidden = {1, static_cast<int32_t>(vocab - 1)};
    request.forbid.assign(batch, 0);
    for (int64_t i = 0; i < batch; i += 3) request.forbid[i] = 1;
    for (const SamplingParameters& parameters :
         {SamplingParameters{1.0f, 0, 1.0f, 0.0f}, SamplingParameters{0.9f, 40, 0.95f, 0.01f}}) {
      request.parameters = parameters;
      request.filtered = parameters.top_k > 0;
      const Draws together = draw(request);

      Request reversed = request;
      reversed.rows.resize(batch);
      std::iota(reversed.rows.rbegin(), reversed.rows.rend(), 0);
      reversed.samples = request.all_samples();
      std::reverse(reversed.samples.begin(), reversed.samples.end());
      std::reverse(reversed.forbid.begin(), reversed.forbid.end());
      const Draws through_rows = draw(reversed);

      for (int64_t row = 0; row < batch; ++row) {
        const Floats own = row_of(logits, vocab, row);
        const Request single{.logits = own,
                             .vocab = vocab,
                             .parameters = request.parameters,
                             .filtered = request.filtered,
                             .samples = {row},
                             .forbidden = request.forbidden,
                             .forbid = {request.forbid[row]}};
        const Draws alone = draw(single);
        for (const auto& [other, i] :
             {std::pair(&alone, int64_t{0}), std::pair(&through_rows, batch - 1 - row)}) {
          REQUIRE(other->tokens[i] == together.tokens[row]);
          REQUIRE(other->logprobs[i] == together.logprobs[row]);
          REQUIRE(other->sampled_logprobs[i] == together.sampled_logprobs[row]);
          REQUIRE(other->entropies[i] == together.entropies[row]);
        }
      }
    }
  }
}

// The value that chi-square exceeds with probability 1e-4 (Wilson and Hilferty).
double chi_square_limit(double freedom) {
  const double spread = 2 / (9 * freedom);
  return freedom * std::pow(1 - spread + 3.72 * std::sqrt(spread), 3);
}

TEST_CASE("the GPU draws tokens as often as their probabilities say") {
  skip_without_gpu();
  struct Case {
    const char* name;
    SamplingParameters parameters;
    bool forbid;
  };
  const int64_t vocab = 50;
  // The second of two rows, so that the rows' numbers matter; all draws are of that one.
  const Floats logits = random_floats(2 * vocab, 11, 2.0);
  for (const Case& c :
       {Case{"plain", {1.0f, 0, 1.0f, 0.0f}, false},
        Case{"temperature 0.7", {1 / 0.7f, 0, 1.0f, 0.0f}, false},
        Case{"temperature 1.5", {1 / 1.5f, 0, 1.0f, 0.0f}, false},
        Case{"forbidden", {1.0f, 0, 1.0f, 0.0f}, true},
        Case{"top_k", {1.0f, 10, 1.0f, 0.0f}, false}, Case{"top_p", {1.0f, 0, 0.8f, 0.0f}, false},
        Case{"min_p", {1.0f, 0, 1.0f, 0.2f}, false}, Case{"all", {1 / 0.8f, 20, 0.9f, 0.1f}, false},
        Case{"all and forbidden", {1 / 0.8f, 20, 0.9f, 0.1f}, true}}) {
    INFO(c.name);
    Request request{.logits = logits, .vocab = vocab, .parameters = c.parameters};
    request.filtered = c.parameters.top_k > 0 || c.parameters.top_p < 1 || c.parameters.min_p > 0;
    const int64_t draws = request.filtered ? 50000 : 200000;
    request.rows.assign(draws, 1);
    request.forbidden = {3, 17, 18};
    request.forbid.assign(draws, c.forbid ? 1 : 0);
    request.key = 2025;
    std::vector<int64_t> counts(vocab);
    for (int64_t token : draw(request).tokens) ++counts.at(token);

    const Floats kept = allowed(request, 1, c.forbid);
    const Distribution expected(kept, c.parameters.inv_temperature);
    double chi_square = 0, possible = 0;
    for (int64_t i = 0; i < vocab; ++i) {
      if (kept[i] == -kInfinity) {
        REQUIRE(counts[i] == 0);
        continue;
      }
      const double mean = static_cast<double>(draws) * std::exp(expected.logp[i]);
      chi_square += (counts[i] - mean) * (counts[i] - mean) / mean;
      ++possible;
    }
    INFO("chi square " << chi_square << " of " << possible << " tokens");
    REQUIRE(possible > 1);
    REQUIRE(chi_square < chi_square_limit(possible - 1));
  }
}

TEST_CASE("filters on the GPU keep what the CPU's filters keep, ties too") {
  skip_without_gpu();
  for (const auto& [vocab, rows] : {std::pair{100, 40}, std::pair{5003, 6}}) {
    Floats logits = random_floats(int64_t{vocab} * rows, 21, 2.0);
    for (int64_t i = 0; i < int64_t{vocab} * rows / 2; ++i) {
      logits[i] = std::round(logits[i] * 2) / 2;  // many ties, zeros of either sign
    }
    for (int64_t i = 0; i < vocab; ++i) logits[i] = std::min(logits[i], 0.0f);
    for (const SamplingParameters& p :
         {SamplingParameters{1.0f, 5, 1.0f, 0.0f}, SamplingParameters{1.0f, 1, 1.0f, 0.0f},
          SamplingParameters{1.0f, vocab - 1, 1.0f, 0.0f},
          SamplingParameters{1.0f, 2 * vocab, 1.0f, 0.0f}, SamplingParameters{1.0f, 0, 0.9f, 0.0f},
          SamplingParameters{0.6f, 0, 0.3f, 0.0f}, SamplingParameters{1.0f, 0, 1e-6f, 0.0f},
          SamplingParameters{1.0f, 0, 1.0f, 0.1f}, SamplingParameters{2.0f, 0, 1.0f, 0.5f},
          SamplingParameters{1.0f, 0, 1.0f, 1.0f}, SamplingParameters{0.7f, 20, 0.7f, 0.05f}}) {
      INFO("top_k " << p.top_k << ", top_p " << p.top_p << ", min_p " << p.min_p);
      Request request{.logits = logits, .vocab = vocab, .parameters = p, .filtered = true};
      request.forbidden = {0, 50};
      for (int64_t i = 0; i < rows; ++i) request.forbid.push_back(i % 2 == 0);
      const Draws draws = draw(request);
      for (int64_t row = 0; row < rows; ++row) {
        const Floats kept = allowed(request, row, row % 2 == 0);
        const int64_t token = draws.tokens[row];
        REQUIRE(kept[token] != -kInfinity);
        // A token more or less would show in the sum: none has less than e^-4 of the likeliest.
        const Distribution expected(kept, p.inv_temperature);
        REQUIRE(
            close(draws.sampled_logprobs[row], expected.logp[token], vocab < 1000 ? 1e-5 : 1e-6));
      }
    }
  }
}

TEST_CASE("a single kept token is drawn with certainty on the GPU") {
  skip_without_gpu();
  const int64_t vocab = 2500, rows = 6;
  const Floats logits = random_floats(rows * vocab, 31, 5.0);
  for (const SamplingParameters& p :
       {SamplingParameters{1.0f, 1, 1.0f, 0.0f}, SamplingParameters{1.0f, 0, 1e-4f, 0.0f},
        SamplingParameters{1.0f, 0, 1.0f, 1.0f}}) {
    const Draws draws = draw({.logits = logits, .vocab = vocab, .parameters = p, .filtered = true});
    for (int64_t row = 0; row < rows; ++row) {
      const Floats x = row_of(logits, vocab, row);
      REQUIRE(draws.tokens[row] == std::max_element(x.begin(), x.end()) - x.begin());
      REQUIRE(draws.sampled_logprobs[row] == 0.0f);
    }
  }
}

TEST_CASE("greedy draws on the GPU take the first of the largest logits that is not forbidden") {
  skip_without_gpu();
  const int64_t vocab = 3001;
  const std::vector<int64_t> largest = {30, 31, 1029, 2047, 2048, 3000};
  Floats logits = random_floats(7 * vocab, 5);
  std::vector<int32_t> rows;
  for (int64_t row = 0; row < 6; ++row) {  // row r: the r-th and all after it
    for (size_t i = row; i < largest.size(); ++i) logits[row * vocab + largest[i]] = 9.0f;
  }
  Request request{.logits = logits, .vocab = vocab, .parameters = {0.0f, 3, 0.5f, 0.5f}};
  for (bool filtered : {false, true}) {
    request.filtered = filtered;
    request.forbidden.clear();
    request.forbid.clear();
    const Draws free = draw(request);
    for (int64_t row = 0; row < 6; ++row) REQUIRE(free.tokens[row] == largest[row]);
    request.forbidden = {30, 1029, 2047};
    request.forbid.assign(7, 1);
    const Draws draws = draw(request);
    const std::vector<int64_t> expected = {31, 31, 2048, 2048, 2048, 3000};
    for (int64_t row = 0; row < 6; ++row) {
      REQUIRE(draws.tokens[row] == expected[row]);
      REQUIRE(draws.sampled_logprobs[row] == 0.0f);
      REQUIRE(draws.logprobs[row] < 0.0f);
    }
  }
}

TEST_CASE("rows of NaN or infinities give some token of the vocabulary on the GPU") {
  skip_without_gpu();
  for (int64_t vocab : {1, 7, 1024, 1025, 2500}) {
    std::vector<Floats> rows(6, random_floats(vocab, 41, 4.0));
    rows[0].assign(vocab, kNaN);
    rows[1].assign(vocab, -kInfinity);
    rows[2][vocab / 2] = kNaN;
    rows[3].assign(vocab, -kInfinity);
    rows[3][vocab - 1] = kNaN;
    rows[4][vocab - 1] = kInfinity;
    rows[5].assign(vocab, kInfinity);
    Floats logits;
    for (const Floats& row : rows) logits.insert(logits.end(), row.begin(), row.end());
    for (const SamplingParameters& p :
         {SamplingParameters{1.0f, 0, 1.0f, 0.0f}, SamplingParameters{0.0f, 0, 1.0f, 0.0f},
          SamplingParameters{0.7f, 3, 1.0f, 0.0f}, SamplingParameters{1.0f, 0, 0.5f, 0.0f},
          SamplingParameters{1.0f, 0, 1.0f, 0.5f}, SamplingParameters{0.7f, 3, 0.9f, 0.1f}}) {
      for (bool filtered : {false, true}) {
        const Draws draws =
            draw({.logits = logits, .vocab = vocab, .parameters = p, .filtered = filtered});
        for (int64_t row = 0; row < 6; ++row) {
          REQUIRE(draws.tokens[row] >= 0);
          REQUIRE(draws.tokens[row] < vocab);
          REQUIRE(std::isnan(draws.logprobs[row]));
        }
      }
    }
  }
}

TEST_CASE("a row whose tokens are all forbidden gives some token of the vocabulary on the GPU") {
  skip_without_gpu();
  const Floats logits = random_floats(3 * 4, 51);
  for (float inv_temperature : {0.0f, 1.0f}) {
    for (bool filtered : {false, true}) {
      const Draws draws = draw({.logits = logits,
                                .vocab = 4,
                                .parameters = {inv_temperature, 2, 0.5f, 0.1f},
                                .filtered = filtered,
                                .forbidden = {0, 1, 2, 3},
                                .forbid = {1, 0, 1}});
      for (int64_t token : draws.tokens) {
        REQUIRE(token >= 0);
        REQUIRE(token < 4);
      }
    }
  }
}

TEST_CASE("a captured graph draws with the parameters of its replay") {
  skip_without_gpu();
  const int64_t vocab = 2049;
  const Floats logits = random_floats(5 * vocab, 61, 5.0);
  const SamplingParameters warm{1 / 1.5f, 0, 1.0f, 0.0f}, strict{1.0f, 7, 0.8f, 0.02f},
      greedy{0.0f, 0, 1.0f, 0.0f};
  Request request{.logits = logits, .vocab = vocab, .parameters = warm, .filtered = true};
  const DeviceCall call(request);
  call.launch(nullptr);  // loads the kernels
  call.result();
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t replay;
  REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
  REQUIRE(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal) == cudaSuccess);
  call.launch(stream);
  REQUIRE(cudaStreamEndCapture(stream, &graph) == cudaSuccess);
  REQUIRE(cudaGraphInstantiate(&replay, graph, 0) == cudaSuccess);
  for (const SamplingParameters& parameters : {warm, strict, greedy, warm}) {
    call.set_parameters(parameters);
    REQUIRE(cudaGraphLaunch(replay, stream) == cudaSuccess);
    const Draws replayed = call.result();
    request.parameters = parameters;
    const Draws direct = draw(request);
    REQUIRE(replayed.tokens == direct.tokens);
    REQUIRE(first_difference(replayed.logprobs, direct.logprobs) == -1);
    REQUIRE(first_difference(replayed.sampled_logprobs, direct.sampled_logprobs) == -1);
  }
  cudaGraphExecDestroy(replay);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

}  // namespace
}  // namespace hone::kernels
#endif
