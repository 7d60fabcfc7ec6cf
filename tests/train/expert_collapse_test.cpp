// The control: without anything that balances it, a tiny model with experts collapses onto few of
// them; with the balance loss or the selection biases it does not. The diagnosis tells which.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <catch2/catch_test_macros.hpp>

#include "small_trainer.h"
#include "train/diagnosis.h"
#include "train/stage.h"

namespace hone {
namespace {

std::unique_ptr<Transformer> model_with(Router router) {
  ModelConfig c;
  c.vocab_size = 61;
  c.hidden = 32;
  c.layers = 2;
  c.heads = c.kv_heads = 2;
  c.head_dim = 16;
  c.intermediate = 32;
  c.max_positions = 64;
  c.tied_head = false;
  c.experts.count = 8;
  c.experts.per_token = 2;
  c.experts.intermediate = 16;
  c.experts.router = router;
  c.experts.normalize = true;
  ModelPlace place;
  place.trainable = true;
  auto model = std::make_unique<Transformer>(c, place);
  model->initialize(3);
  return model;
}

// Documents of a language of 20 words in which each is followed by one of two.
struct Documents {
  std::vector<std::vector<int32_t>> texts;
  const std::vector<int32_t> begin = {1};

  explicit Documents(uint64_t key) {
    Rng rng(key);
    for (int i = 0; i < 32; ++i) {
      std::vector<int32_t> text{static_cast<int32_t>(rng.between(3, 22))};
      while (text.size() < 32) {
        text.push_back(static_cast<int32_t>(3 + (7 * text.back() + 13 * rng.between(0, 1)) % 20));
      }
      texts.push_back(std::move(text));
    }
  }
  std::vector<TrainingSequence> sequences() const {
    std::vector<TrainingSequence> s;
    for (const auto& text : texts) s.push_back({begin, text});
    return s;
  }
};

struct Run {
  double most = 0;  // mean over the last steps of the busiest expert's load
  double first_loss = 0, last_loss = 0;
  std::vector<Finding> findings;
};

Run pretrain(Router router, const BalanceOptions& balance) {
  constexpr int kSteps = 120, kLast = 10;
  const auto model = model_with(router);
  TrainerOptions options;
  options.balance = balance;
  OptimizerOptions adamw;
  adamw.weight_decay = 0;
  Trainer trainer(*model, adamw, options);
  Diagnosis diagnosis{DiagnosisNames{}};
  Run run;
  for (int step = 1; step <= kSteps; ++step) {
    const Documents documents(static_cast<uint64_t>(step));
    const auto result = trainer.likelihood_step(documents.sequences(), {}, 1e-3);
    MetricsRow row;
    row.set("loss", result.loss);
    row.set("grad_norm", result.gradient_norm);
    set_expert_load(row, result.load);
    for (Finding& f : diagnosis.add(step, numbers_of(Json::parse(metrics_line(row))))) {
      run.findings.push_back(std::move(f));
    }
    if (step == 1) run.first_loss = result.loss;
    run.last_loss = result.loss;
    if (step > kSteps - kLast) run.most += result.load.most / kLast;
  }
  INFO("most " << run.most << ", loss " << run.first_loss << " -> " << run.last_loss);
  CHECK(run.last_loss < run.first_loss - 0.5);  // it learns
  return run;
}

}  // namespace

TEST_CASE("without balance the experts of a tiny model collapse, and the diagnosis says where") {
  for (const Router router : {Router::softmax, Router::sigmoid}) {
    const Run run = pretrain(router, {});
    CAPTURE(static_cast<int>(router), run.most);
    CHECK(run.most > 2);
    REQUIRE(run.findings.size() == 1);
    CHECK(run.findings[0].key == "expert_collapse");
    CHECK(run.findings[0].meaning.find("in layer ") != std::string::npos);
    CHECK(run.findings[0].meaning.find("% of the tokens") != std::string::npos);
    CHECK(run.findings[0].advice.find("experts.coef") != std::string::npos);
  }
}

TEST_CASE("with balance no expert of the tiny model has 1.5 times its share") {
  const struct {
    const char* name;
    Router router;
    BalanceOptions balance;
  } ways[] = {{"balance loss", Router::softmax, {.coef = 0.1}},
              {"selection biases", Router::sigmoid, {.bias_speed = 0.003}},
              {"both", Router::sigmoid, {.coef = 0.001, .bias_speed = 0.003}}};
  for (const auto& way : ways) {
    const Run run = pretrain(way.router, way.balance);
    CAPTURE(way.name, run.most);
    CHECK(run.most < 1.5);
    CHECK(run.findings.empty());
  }
}

}  // namespace hone
