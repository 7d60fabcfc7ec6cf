// The engine on a GPU: bounded agreement with the training forward pass, not bits.
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "random_schedules.h"

namespace hone {
namespace {

// The same weights in float32 on the GPU.
std::unique_ptr<Transformer> on_cuda(const Transformer& host) {
  auto model = std::make_unique<Transformer>(
      host.config(), ModelPlace{at::Device(at::kCUDA, 0), at::kFloat, false});
  model->weights().master().copy_(host.weights().master());
  model->weights().weights_changed();
  return model;
}

}  // namespace

TEST_CASE("on CUDA log-probabilities agree with the training forward pass") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  const auto host = testing::tiny_model(8.0, 3);
  const auto model = on_cuda(*host);
  std::vector<SampleRequest> requests;
  for (const int64_t length : {1, 15, 16, 17, 40, 70}) {
    requests.push_back({testing::random_prompt(length, static_cast<uint64_t>(length)), 5, 7});
  }
  for (const SamplingOptions& sampling :
       {SamplingOptions{.max_tokens = 40}, SamplingOptions{.temperature = 0.0, .max_tokens = 40},
        SamplingOptions{
            .temperature = 0.8, .top_p = 0.9, .top_k = 20, .min_p = 0.02, .max_tokens = 40}}) {
    for (int64_t blocks : {0, 9}) {
      Engine engine(*model, nullptr, {.kv_blocks = blocks});
      const auto results = engine.sample(requests, sampling);
      for (size_t r = 0; r < requests.size(); ++r) {
        const auto expected = testing::teacher_forced(*host, requests[r].prompt, results[r]);
        for (size_t i = 0; i < results[r].size(); ++i) {
          const Completion& c = results[r][i];
          for (size_t t = 0; t < c.tokens.size(); ++t) {
            REQUIRE(std::abs(c.logprobs[t] - expected[i][t]) < 2e-3);
            REQUIRE(c.sampled_logprobs[t] < 1e-4);
          }
        }
      }
    }
  }
}

TEST_CASE("on CUDA random schedules end every sequence and leak no block") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  const auto host = testing::tiny_model(4.0);
  const auto seen = testing::run_random_schedules(*on_cuda(*host), 300, false);
  CHECK(seen.preemptions > 100);
  CHECK(seen.aborted > 50);
}

}  // namespace hone
