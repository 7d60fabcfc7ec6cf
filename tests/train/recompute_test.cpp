// What the backward pass computes again gives the gradient that it gives kept.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "small_trainer.h"
#include "train/activation_bytes.h"

namespace hone {
namespace {

using testing::Completions;
using testing::deepseek_model;
using testing::plain_adamw;
using testing::trainable_model;

struct Step {
  Trainer::LikelihoodStep result;
  at::Tensor first, second;  // moments after one step from zero: the gradient and its square
  std::vector<at::Tensor> biases;
};

Step likelihood_step(const std::unique_ptr<Transformer>& model, const TrainerOptions& options) {
  Trainer trainer(*model, plain_adamw(), options);
  Step step;
  step.result = trainer.likelihood_step(Completions().sequences(), {}, 0.0);
  step.first = trainer.optimizer().state()[0].second.clone();
  step.second = trainer.optimizer().state()[1].second.clone();
  for (const Parameter* bias : model->selection_biases()) {
    step.biases.push_back(bias->value.clone());
  }
  return step;
}

// Bytes of tensors held at the moment and at most, since it was made.
class TensorBytes : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
    held += size;
    peak = std::max(peak, held);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t held = 0, peak = 0;
};

struct Measured {
  int64_t held, peak;  // after the forward pass; in both passes
};

Measured bytes_of_pass(const Transformer& model, Recompute recompute) {
  PackedBatch batch = pack(Completions().sequences(), at::kCPU, true);
  batch.forward.recompute = recompute;
  const at::AutoGradMode with_grad(true);
  const auto bytes = std::make_shared<TensorBytes>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, bytes);
  const at::Tensor hidden = model.forward(batch.forward);
  const int64_t held = bytes->held;
  torch::autograd::backward({hidden}, {at::ones_like(hidden)});
  return {held, bytes->peak};
}

}  // namespace

TEST_CASE("layers run again, or their norms and gates, give the same gradient, bit for bit") {
  for (const Recompute recompute : {Recompute::selective, Recompute::layers})
    for (const int64_t tokens : {1, 60, 1 << 20}) {
      INFO("micro-batches of " << tokens << " tokens, " << static_cast<int>(recompute));
      TrainerOptions options{tokens, 0.8, {}};
      const Step kept = likelihood_step(trainable_model(1, 3), options);
      options.recompute = recompute;
      const Step again = likelihood_step(trainable_model(1, 3), options);
      CHECK(kept.result.gradient_norm > 0);
      CHECK(again.first.equal(kept.first));
      CHECK(again.second.equal(kept.second));
      CHECK(again.result.loss == kept.result.loss);
    }
}

TEST_CASE("experts, their balance and the prediction module are the same computed again") {
  for (const Recompute recompute : {Recompute::selective, Recompute::layers})
    for (const double coef : {0.0, 0.5}) {
      for (const double predict_coef : {0.0, 0.3}) {
        INFO("balance " << coef << ", prediction " << predict_coef);
        TrainerOptions options{90, 1.0, {coef, 0.01, predict_coef}};
        const Step kept = likelihood_step(deepseek_model(), options);
        options.recompute = recompute;
        const Step again = likelihood_step(deepseek_model(), options);
        CHECK(again.first.equal(kept.first));
        CHECK(again.result.load.balance == kept.result.load.balance);
        CHECK(again.result.load.most == kept.result.load.most);  // choices are counted once
        CHECK(again.result.load.least == kept.result.load.least);
        CHECK(again.result.predict_loss == kept.result.predict_loss);
        REQUIRE(again.biases.size() == 2);
        for (size_t i = 0; i < 2; ++i) CHECK(again.biases[i].equal(kept.biases[i]));
      }
    }
}

TEST_CASE("the balance loss changes the gradient of layers run again") {
  TrainerOptions options{1 << 20, 1.0, {0.0, 0, 0}};
  options.recompute = Recompute::layers;
  const Step without = likelihood_step(deepseek_model(), options);
  options.balance.coef = 0.5;
  CHECK_FALSE(likelihood_step(deepseek_model(), options).first.equal(without.first));
}

TEST_CASE("layers run again keep one row of the hidden width for each token") {
  const auto model = trainable_model();
  const int64_t tokens = pack(Completions().sequences(), at::kCPU, true).forward.tokens.numel();
  const int64_t row = tokens * model->config().hidden * 4;
  bytes_of_pass(*model, Recompute::layers);  // tables and packed weights are made
  const Measured kept = bytes_of_pass(*model, Recompute::none),
                 again = bytes_of_pass(*model, Recompute::layers);
  INFO("kept " << kept.held << " bytes, peak " << kept.peak << "; run again " << again.held
               << ", peak " << again.peak << "; a row of all tokens " << row);
  // The input of each layer, of the last norm, and its result, with the norm's and some integers.
  CHECK(again.held < (model->config().layers + 3) * row);
  CHECK(again.held < kept.held / 3);
  CHECK(again.peak < kept.peak);
}

TEST_CASE(
    "norms and gates computed again save two hidden widths and the inner one for each token") {
  const auto model = trainable_model();
  const int64_t tokens = pack(Completions().sequences(), at::kCPU, true).forward.tokens.numel();
  const ModelConfig& c = model->config();
  bytes_of_pass(*model, Recompute::layers);
  const Measured kept = bytes_of_pass(*model, Recompute::none),
                 again = bytes_of_pass(*model, Recompute::selective);
  CHECK(kept.held - again.held == c.layers * tokens * (2 * c.hidden + c.intermediate) * 4);
  CHECK(again.peak < kept.peak);
}

TEST_CASE("of experts the rows that go to them are formed again, too") {
  const auto model = deepseek_model();
  const int64_t tokens = pack(Completions().sequences(), at::kCPU, true).forward.tokens.numel();
  const ModelConfig& c = model->config();
  bytes_of_pass(*model, Recompute::layers);
  const Measured kept = bytes_of_pass(*model, Recompute::none),
                 again = bytes_of_pass(*model, Recompute::selective);
  const int64_t k = c.experts.per_token;
  const int64_t sparse = k * (c.hidden + c.experts.intermediate) + c.experts.shared_intermediate;
  // The latent is part of the keys as well on the CPU, where only the up-projection reads it on
  // CUDA.
  CHECK(kept.held - again.held == tokens * 4 * (3 * 2 * c.hidden + c.intermediate + 2 * sparse));
}

TEST_CASE("a plan counts what a pass keeps") {
  const auto model = trainable_model();
  const int64_t tokens = pack(Completions().sequences(), at::kCPU, true).forward.tokens.numel();
  bytes_of_pass(*model, Recompute::layers);
  StageOptions stage;
  for (const Recompute r : {Recompute::none, Recompute::selective, Recompute::layers}) {
    stage.recompute = r;
    const PassBytes planned = pass_bytes(model->config(), stage, {4}, {tokens, 8, 0});
    const Measured measured = bytes_of_pass(*model, r);
    INFO("planned " << planned.kept << ", measured " << measured.held);
    // Beside these a few integers a token.
    CHECK(measured.held - planned.kept >= 0);
    CHECK(measured.held - planned.kept < 64 * tokens);
  }
}

TEST_CASE("a plan counts the copies of keys where completions share their prompt") {
  ModelConfig c = trainable_model()->config();
  c.vocab_size = 8;  // what the head needs beside does not count
  const StageOptions stage;
  const int64_t tokens = 1 << 14, keys = 5 * tokens;
  for (const int64_t kv_heads : {4, 2}) {
    c.kv_heads = kv_heads;
    const PassBytes alone = pass_bytes(c, stage, {2}, {tokens, 64, 0});
    const PassBytes shared = pass_bytes(c, stage, {2}, {tokens, 64, 0, keys});
    CHECK(shared.kept == alone.kept);
    // The gradients of keys and values, where heads are shared those of every query head as well,
    // and the copy.
    const int64_t kv = 2 * kv_heads * c.head_dim;
    const int64_t expanded = kv_heads < c.heads ? 2 * c.heads * c.head_dim : 0;
    CHECK(shared.temporary - alone.temporary ==
          2 * ((keys - tokens) * (kv + expanded) + keys * kv));
  }
}

}  // namespace hone
