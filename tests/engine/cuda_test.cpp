// The engine on a GPU: bounded agreement with the training forward pass, not bits.
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "tiny_model.h"

namespace hone {

TEST_CASE("on CUDA log-probabilities agree with the training forward pass") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  const auto host = testing::tiny_model(8.0, 3);
  Transformer model(host->config(), ModelPlace{at::Device(at::kCUDA, 0), at::kFloat, false});
  model.weights().master().copy_(host->weights().master());
  model.weights().weights_changed();
  std::vector<SampleRequest> requests;
  for (const int64_t length : {1, 15, 16, 17, 40, 70}) {
    requests.push_back({testing::random_prompt(length, static_cast<uint64_t>(length)), 5, 7});
  }
  for (const SamplingOptions& sampling :
       {SamplingOptions{.max_tokens = 40}, SamplingOptions{.temperature = 0.0, .max_tokens = 40},
        SamplingOptions{
            .temperature = 0.8, .top_p = 0.9, .top_k = 20, .min_p = 0.02, .max_tokens = 40}}) {
    for (int64_t blocks : {0, 9}) {
      Engine engine(model, nullptr, {.kv_blocks = blocks});
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

}  // namespace hone
