// Sampling with adapters that are not merged: the trainer's bits.
#include <ATen/ATen.h>

#include <catch2/catch_test_macros.hpp>

#include "same_completions.h"
#include "tiny_model.h"

namespace hone {

TEST_CASE("with adapters the sampler's log-probabilities are the trainer's, bit for bit") {
  const auto model = testing::tiny_model();
  const std::vector<SampleRequest> requests = {{testing::random_prompt(17, 1), 4, 10},
                                               {testing::random_prompt(5, 2), 3, 11},
                                               {testing::random_prompt(33, 3), 1, 12}};
  const SamplingOptions sampling{.max_tokens = 40};
  Engine engine(*model, nullptr, {});
  const auto base = engine.sample(requests, sampling);
  model->add_adapters({5, 10, {}});
  initialize_adapters(*model, 3);
  testing::check_same(engine.sample(requests, sampling), base);  // nothing learned yet
  at::manual_seed(2);
  WeightArena& weights = model->trained();
  for (const NamedTensor& t : weights.tensors()) {
    at::Tensor value = weights.view(t);
    value.add_(at::randn_like(value), 0.2);
  }
  weights.weights_changed();
  const auto results = engine.sample(requests, sampling);
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto together = testing::teacher_forced(*model, requests[i].prompt, results[i]);
    for (size_t k = 0; k < results[i].size(); ++k) {
      CHECK(results[i][k].tokens != base[i][k].tokens);
      CHECK(results[i][k].logprobs == together[k]);
      CHECK(results[i][k].logprobs == testing::teacher_forced_alone(*model, requests[i].prompt,
                                                                    results[i][k],
                                                                    /*with_grad=*/true));
    }
  }
  Engine few(*model, nullptr, {.max_running = 2, .prefill_tokens = 7});
  testing::check_same(few.sample(requests, sampling), results);
}

}  // namespace hone
