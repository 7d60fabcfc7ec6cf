// Completion::routes: the experts that sampling chose are those that the trainer's pass chooses.
#include <ATen/ATen.h>

#include <catch2/catch_test_macros.hpp>

#include "engine/decode_graph.h"
#include "tiny_model.h"

namespace hone {
namespace {

using testing::random_prompt;

ModelConfig sparse_config(Router router) {
  ModelConfig c;
  c.vocab_size = 97;
  c.hidden = 32;
  c.layers = 3;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.intermediate = 40;
  c.max_positions = 400;
  c.stop_ids = {2};
  c.experts.count = 8;
  c.experts.per_token = 3;
  c.experts.intermediate = 24;
  c.experts.router = router;
  c.experts.normalize = router == Router::sigmoid;
  if (router == Router::sigmoid) {
    c.experts.groups = 4;
    c.experts.best_groups = 2;
    c.experts.shared_intermediate = 16;
    c.sparse = {0, 1, 1};
  }
  return c;
}

std::unique_ptr<Transformer> sparse_model(Router router, const ModelPlace& place = {}) {
  auto model = std::make_unique<Transformer>(sparse_config(router), place);
  model->initialize(5);
  model->weights().master().mul_(8.0);
  model->weights().weights_changed();
  return model;
}

// What the training forward pass over the prompt and the completion's inputs chooses.
std::vector<int16_t> training_routes(const Transformer& model, const std::vector<int32_t>& prompt,
                                     const Completion& c) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> tokens(prompt.begin(), prompt.end());
  tokens.insert(tokens.end(), c.tokens.begin(), c.tokens.end() - 1);
  const auto t = static_cast<int64_t>(tokens.size());
  ForwardBatch batch;
  batch.segments.push_back({0, t, 0, 0});
  batch.tokens = at::tensor(tokens, at::kLong).to(model.device());
  batch.positions = at::arange(t, at::kLong).to(model.device());
  const ModelConfig& config = model.config();
  batch.routes = at::full({t, config.sparse_layers(), config.experts.per_token}, -1, at::kShort)
                     .to(model.device());
  model.forward(batch);
  const at::Tensor routes = batch.routes.cpu();
  return {routes.const_data_ptr<int16_t>(), routes.const_data_ptr<int16_t>() + routes.numel()};
}

std::vector<SampleRequest> some_requests() {
  std::vector<SampleRequest> requests;
  const std::vector<int64_t> lengths = {1, 15, 16, 17, 40, 70};
  for (size_t i = 0; i < lengths.size(); ++i) {
    requests.push_back({random_prompt(lengths[i], i), static_cast<int64_t>(1 + i), 100 + i});
  }
  return requests;
}

SamplingOptions recording(int64_t max_tokens) {
  SamplingOptions sampling;
  sampling.max_tokens = max_tokens;
  sampling.record_routing = true;
  return sampling;
}

}  // namespace

TEST_CASE("recorded experts are those of the training forward pass") {
  const std::vector<SampleRequest> requests = some_requests();
  for (const Router router : {Router::softmax, Router::softmax_of_chosen, Router::sigmoid}) {
    const auto model = sparse_model(router);
    int64_t preemptions = 0, chunks = 0;
    for (const EngineOptions& options :
         {EngineOptions{}, EngineOptions{.max_running = 3}, EngineOptions{.prefill_tokens = 7},
          EngineOptions{.kv_blocks = 12}, EngineOptions{.kv_blocks = 12, .prefill_tokens = 5},
          EngineOptions{.speculate = 4}}) {
      Engine engine(*model, nullptr, options);
      const auto results = engine.sample(requests, recording(50));
      preemptions += engine.stats().preemptions;
      chunks += engine.stats().prefill_steps;
      for (size_t r = 0; r < requests.size(); ++r) {
        for (const Completion& c : results[r]) {
          CAPTURE(static_cast<int>(router), options.kv_blocks, r, c.tokens.size());
          const int64_t width = model->config().sparse_layers() * 3;
          REQUIRE(static_cast<int64_t>(c.routes.size()) ==
                  (static_cast<int64_t>(requests[r].prompt.size() + c.tokens.size()) - 1) * width);
          REQUIRE(c.routes == training_routes(*model, requests[r].prompt, c));
        }
      }
    }
    CHECK(preemptions > 0);
    CHECK(chunks > 20);
  }
}

TEST_CASE("recording routing changes no completion, and without it there are no routes") {
  const auto model = sparse_model(Router::softmax);
  Engine engine(*model, nullptr);
  const auto with = engine.sample(some_requests(), recording(30));
  const auto without = engine.sample(some_requests(), {.max_tokens = 30});
  for (size_t r = 0; r < with.size(); ++r) {
    for (size_t i = 0; i < with[r].size(); ++i) {
      REQUIRE(with[r][i].tokens == without[r][i].tokens);
      REQUIRE(with[r][i].logprobs == without[r][i].logprobs);
      REQUIRE(!with[r][i].routes.empty());
      REQUIRE(without[r][i].routes.empty());
    }
  }
}

TEST_CASE("an aborted completion has the experts of the tokens that it has") {
  const auto model = sparse_model(Router::softmax);
  std::atomic<bool> abort = false;
  Engine engine(*model, nullptr, {.max_running = 4, .prefill_tokens = 30, .abort = &abort});
  const std::vector<SampleRequest> requests = some_requests();
  const auto results = engine.sample(
      requests, recording(300), [&](int64_t tokens, int64_t, int64_t) { abort = tokens > 60; });
  int with = 0, empty = 0;
  for (size_t r = 0; r < requests.size(); ++r) {
    for (const Completion& c : results[r]) {
      if (c.tokens.empty()) {
        REQUIRE(c.routes.empty());
        ++empty;
      } else {
        REQUIRE(c.routes == training_routes(*model, requests[r].prompt, c));
        ++with;
      }
    }
  }
  CHECK(with > 3);
  CHECK(empty > 3);
}

TEST_CASE("a model without experts has no routes to record") {
  const auto model = testing::tiny_model();
  const auto results = Engine(*model, nullptr).sample({{random_prompt(9, 1), 2, 3}}, recording(5));
  CHECK(results[0][0].tokens.size() == 5);
  CHECK(results[0][0].routes.empty());
}

#ifdef HONE_WITH_CUDA
TEST_CASE("on CUDA a model without experts has no routes to record") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  ModelConfig config = sparse_config(Router::softmax);
  config.experts = {};
  Transformer model(config, {at::Device(at::kCUDA, 0), at::kBFloat16, true});
  model.initialize(5);
  const auto results = Engine(model, nullptr).sample({{random_prompt(9, 1), 2, 3}}, recording(5));
  CHECK(results[0][0].routes.empty());
}

TEST_CASE("on CUDA recorded experts come out of captured steps and of others") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  const at::Device device(at::kCUDA, 0);
  for (const Router router : {Router::softmax, Router::sigmoid}) {
    for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
      const auto model = sparse_model(router, {device, type, true});
      REQUIRE(DecodeGraphs::serves(*model) == (type == at::kBFloat16));
      Engine engine(*model, nullptr, {.kv_blocks = 24, .prefill_tokens = 50});
      const std::vector<SampleRequest> requests = some_requests();
      engine.sample(requests, {.max_tokens = 30});  // graphs that do not record stand beside
      const auto results = engine.sample(requests, recording(60));
      int64_t choices = 0, other = 0;
      for (size_t r = 0; r < requests.size(); ++r) {
        for (const Completion& c : results[r]) {
          CAPTURE(static_cast<int>(router), type == at::kFloat, r, c.tokens.size());
          const std::vector<int16_t> expected = training_routes(*model, requests[r].prompt, c);
          REQUIRE(c.routes.size() == expected.size());
          for (size_t i = 0; i < expected.size(); ++i) {
            REQUIRE(c.routes[i] >= 0);
            REQUIRE(c.routes[i] < 8);
            other += c.routes[i] != expected[i];
            ++choices;
          }
        }
      }
      // Rounding may turn a choice, and in bf16 the order of two; two thirds of random ones differ.
      CAPTURE(choices, other);
      REQUIRE(static_cast<double>(other) <
              (type == at::kFloat ? 0.002 : 0.1) * static_cast<double>(choices));
    }
  }
}
#endif

}  // namespace hone
