// A completion is the same whatever it was batched with, and its log-probabilities are the
// trainer's, bit for bit.
#include <catch2/catch_test_macros.hpp>

#include "base/rng.h"
#include "kernels/cpu_kernels.h"
#include "same_completions.h"
#include "tiny_model.h"

namespace hone {
namespace {

using testing::check_same;
using testing::random_prompt;
using testing::Results;
using testing::teacher_forced;
using testing::teacher_forced_alone;
using testing::tiny_model;

// Prompt lengths around the size of a block, several completions each.
std::vector<SampleRequest> mixed_requests() {
  std::vector<SampleRequest> requests;
  const std::vector<int64_t> lengths = {1, 15, 16, 17, 40, 5, 32, 33, 2, 70};
  for (size_t i = 0; i < lengths.size(); ++i) {
    requests.push_back({random_prompt(lengths[i], i), static_cast<int64_t>(1 + i % 5), 1000 + i});
  }
  return requests;
}

Results sample_with(const Transformer& model, const EngineOptions& options,
                    const SamplingOptions& sampling, int64_t* preemptions = nullptr) {
  Engine engine(model, nullptr, options);
  Results results = engine.sample(mixed_requests(), sampling);
  if (preemptions) *preemptions = engine.stats().preemptions;
  return results;
}

}  // namespace

TEST_CASE("completions do not depend on seats, prefill limits, cache size or threads") {
  const auto model = tiny_model();
  const int threads = kernels::num_threads();
  for (const SamplingOptions& sampling :
       {SamplingOptions{.max_tokens = 50},
        SamplingOptions{.temperature = 0.7, .top_p = 0.9, .top_k = 20, .max_tokens = 30}}) {
    const Results expected = sample_with(*model, {}, sampling);
    check_same(sample_with(*model, {.max_running = 1}, sampling), expected);
    check_same(sample_with(*model, {.max_running = 7, .prefill_tokens = 20}, sampling), expected);
    check_same(sample_with(*model, {.max_running = 5, .prefill_seats = 3}, sampling), expected);
    for (const int64_t tokens : {1, 7, 16, 33}) {
      check_same(sample_with(*model, {.prefill_tokens = tokens}, sampling), expected);
      check_same(sample_with(*model, {.max_running = 6, .kv_blocks = 9, .prefill_tokens = tokens},
                             sampling),
                 expected);
    }
    int64_t preemptions = 0;
    check_same(sample_with(*model, {.kv_blocks = 9}, sampling, &preemptions), expected);
    CHECK(preemptions > 0);
    for (int n : {1, 2, 3}) {
      kernels::set_num_threads(n);
      check_same(sample_with(*model, {}, sampling), expected);
    }
    kernels::set_num_threads(threads);
  }
}

TEST_CASE("a prompt of 32 thousand tokens is computed in chunks, to the same bits") {
  ModelConfig c;
  c.vocab_size = 97;
  c.hidden = 16;
  c.layers = 1;
  c.heads = 1;
  c.kv_heads = 1;
  c.head_dim = 16;
  c.intermediate = 24;
  c.max_positions = 40000;
  Transformer model(c, ModelPlace{});
  model.initialize(3);
  model.weights().master().mul_(20.0);
  model.weights().weights_changed();
  const std::vector<SampleRequest> requests{{random_prompt(32768, 1), 2, 5},
                                            {random_prompt(100, 2), 3, 6}};
  const SamplingOptions sampling{.max_tokens = 40};
  Engine whole(model, nullptr, {.prefill_tokens = 40000});
  const Results expected = whole.sample(requests, sampling);
  CHECK(whole.stats().prefill_steps == 1);
  Engine chunked(model, nullptr, {.prefill_tokens = 4096});
  check_same(chunked.sample(requests, sampling), expected);
  CHECK(chunked.stats().prefill_steps == 9);
  CHECK(chunked.stats().prefill_tokens == 32768 + 100);
}

TEST_CASE("a request alone gives what it gives in a batch") {
  const auto model = tiny_model();
  const SamplingOptions sampling{.max_tokens = 30};
  Engine engine(*model, nullptr);
  const std::vector<SampleRequest> requests = mixed_requests();
  const Results together = engine.sample(requests, sampling);
  for (size_t r = 0; r < requests.size(); ++r) {
    check_same(engine.sample({requests[r]}, sampling), {together[r]});
    SampleRequest first = requests[r];
    first.n = 1;
    check_same(engine.sample({first}, sampling), {{together[r][0]}});
  }
}

TEST_CASE("the order in which sequences start changes nothing but the time") {
  const auto model = tiny_model();
  std::vector<SampleRequest> requests = mixed_requests();
  Rng rng(8);
  for (SampleRequest& r : requests) {
    for (int64_t i = 0; i < r.n; ++i) r.limits.push_back(rng.between(1, 60));
  }
  SamplingOptions sampling{.max_tokens = 50, .min_tokens = 4};
  const Results expected = Engine(*model, nullptr).sample(requests, sampling);
  for (const int64_t seats : {1, 3, 256}) {
    for (const bool longest_first : {false, true}) {
      sampling.longest_first = longest_first;
      Engine engine(*model, nullptr, {.max_running = seats, .kv_blocks = 16});
      check_same(engine.sample(requests, sampling), expected);
    }
  }
}

TEST_CASE("log-probabilities are the training forward pass's, bit for bit") {
  const std::vector<std::pair<int64_t, int64_t>> shapes = {{6, 2}, {3, 3}, {4, 1}};
  for (const auto& [heads, kv_heads] : shapes) {
    const auto model = tiny_model(8.0, 3, heads, kv_heads);
    Engine engine(*model, nullptr);
    const std::vector<SampleRequest> requests = mixed_requests();
    for (double temperature : {1.0, 0.6, 0.0}) {
      const Results results =
          engine.sample(requests, {.temperature = temperature, .max_tokens = 60});
      for (size_t r = 0; r < requests.size(); ++r) {
        CAPTURE(heads, temperature, r);
        const auto expected = teacher_forced(*model, requests[r].prompt, results[r]);
        for (size_t i = 0; i < results[r].size(); ++i) {
          REQUIRE(results[r][i].logprobs == expected[i]);
          if (temperature == 1.0) {
            REQUIRE(results[r][i].sampled_logprobs == expected[i]);
            REQUIRE(teacher_forced_alone(*model, requests[r].prompt, results[r][i]) == expected[i]);
          }
        }
      }
    }
  }
}

TEST_CASE("sampled log-probabilities of filtered distributions keep the model's own beside them") {
  const auto model = tiny_model();
  Engine engine(*model, nullptr);
  const std::vector<SampleRequest> requests = mixed_requests();
  const Results results = engine.sample(
      requests, {.temperature = 0.8, .top_p = 0.8, .top_k = 10, .min_p = 0.05, .max_tokens = 30});
  for (size_t r = 0; r < requests.size(); ++r) {
    const auto expected = teacher_forced(*model, requests[r].prompt, results[r]);
    for (size_t i = 0; i < results[r].size(); ++i) {
      REQUIRE(results[r][i].logprobs == expected[i]);
      for (float logp : results[r][i].sampled_logprobs) {
        REQUIRE(logp < 1e-5f);  // a lone survivor's is 0 but for rounding
        REQUIRE(logp > -8.0f);  // min_p lets nothing unlikely through
      }
    }
  }
}

TEST_CASE("end tokens are not drawn before min_tokens, and the model's log-probabilities stay") {
  const auto model = tiny_model(4.0);
  const std::vector<int64_t> ends = {2, 30, 31, 32, 33};
  Engine engine(*model, nullptr);
  const std::vector<SampleRequest> requests = mixed_requests();
  for (const double temperature : {1.0, 0.0}) {
    const SamplingOptions sampling{
        .temperature = temperature, .max_tokens = 40, .min_tokens = 12, .stop_ids = ends};
    const Results results = engine.sample(requests, sampling);
    int stopped = 0;
    for (size_t r = 0; r < requests.size(); ++r) {
      const auto expected = teacher_forced(*model, requests[r].prompt, results[r]);
      for (size_t i = 0; i < results[r].size(); ++i) {
        const Completion& c = results[r][i];
        REQUIRE(c.logprobs == expected[i]);
        REQUIRE(c.tokens.size() >= 12);
        for (size_t t = 0; t < c.tokens.size(); ++t) {
          const bool end = std::find(ends.begin(), ends.end(), c.tokens[t]) != ends.end();
          REQUIRE(end == (t + 1 == c.tokens.size() && c.finish_reason == FinishReason::stop));
          if (end) REQUIRE(t >= 12);
          if (temperature == 0.0) continue;
          // The others' share is divided among fewer.
          if (t < 12) REQUIRE(c.sampled_logprobs[t] > c.logprobs[t]);
          if (t >= 12) REQUIRE(c.sampled_logprobs[t] == c.logprobs[t]);
        }
        stopped += c.finish_reason == FinishReason::stop;
      }
    }
    if (temperature == 1.0) CHECK(stopped > 5);
  }
}

TEST_CASE("weights that change between calls are used at once") {
  const auto model = tiny_model();
  Engine engine(*model, nullptr);
  const std::vector<SampleRequest> requests = mixed_requests();
  const SamplingOptions sampling{.max_tokens = 20};
  engine.sample(requests, sampling);
  const int64_t blocks = engine.cache_blocks();
  model->initialize(77);
  model->weights().master().mul_(6.0);
  model->weights().weights_changed();
  const Results results = engine.sample(requests, sampling);
  CHECK(engine.cache_blocks() == blocks);
  check_same(Engine(*model, nullptr).sample(requests, sampling), results);
  for (size_t r = 0; r < requests.size(); ++r) {
    const auto expected = teacher_forced(*model, requests[r].prompt, results[r]);
    for (size_t i = 0; i < results[r].size(); ++i) REQUIRE(results[r][i].logprobs == expected[i]);
  }
}

}  // namespace hone
