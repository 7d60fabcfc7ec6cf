// Training models with experts and prediction modules: what balances the load, what predicts ahead.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "small_trainer.h"

namespace hone {
namespace {

using testing::Completions;
using testing::deepseek_model;

// Choices of each expert in each sparse layer over all sequences, [E] int64.
std::vector<at::Tensor> choices(const Transformer& model,
                                const std::vector<TrainingSequence>& sequences) {
  const at::NoGradGuard no_grad;
  const PackedBatch batch = pack(sequences, at::kCPU, true);
  ForwardBatch forward = batch.forward;
  RoutingRecord routing;
  forward.routing = &routing;
  model.forward(forward);
  return routing.counts;
}

TrainerOptions with(double coef, double bias_speed, double predict_coef) {
  TrainerOptions options;
  options.micro_batch_tokens = 90;  // several micro-batches
  options.balance = {coef, bias_speed, predict_coef};
  return options;
}

OptimizerOptions adamw() {
  OptimizerOptions o;
  o.weight_decay = 0;
  return o;
}

double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// The weights of the prediction module: those of the layer behind the last.
at::Tensor module_weights(const Transformer& model) {
  std::vector<at::Tensor> parts;
  for (const NamedTensor& t : model.weights().tensors()) {
    if (!t.parameter->learned || !t.name.starts_with("model.layers.3.")) continue;
    parts.push_back(model.weights().view(t).flatten().clone());
  }
  return at::cat(parts);
}

}  // namespace

TEST_CASE("a step moves each selection bias by its speed towards an even load") {
  const auto model = deepseek_model();
  TrainerOptions options = with(0, 0.01, 0);
  options.micro_batch_tokens = 1 << 20;  // one, as `choices` has it: prompts are computed once
  Trainer trainer(*model, adamw(), options);
  const Completions data;
  const auto sequences = data.sequences();
  const auto counts = choices(*model, sequences);
  const auto step = trainer.likelihood_step(sequences, {}, 0.0);
  const std::vector<Parameter*> biases = model->selection_biases();
  REQUIRE(biases.size() == 2);
  REQUIRE(counts.size() == 2);
  double most = 0, least = INFINITY;
  for (size_t layer = 0; layer < 2; ++layer) {
    const at::Tensor share = counts[layer].to(at::kFloat) / counts[layer].to(at::kFloat).mean();
    most = std::max(most, share.max().item<double>());
    least = std::min(least, share.min().item<double>());
    REQUIRE(share.max().item<double>() > 1);
    CHECK(biases[layer]->value.equal(at::sign(1 - share) * 0.01f));
  }
  CHECK(std::abs(step.load.most - most) < 1e-6);
  CHECK(std::abs(step.load.least - least) < 1e-6);
  CHECK(step.load.balance > 0);
}

TEST_CASE("selection biases stand still through the updates of a step, then move by all of it") {
  const auto model = deepseek_model();
  Trainer trainer(*model, adamw(), with(0, 0.01, 0));
  const Completions data;
  const auto sequences = data.sequences();
  const std::vector<Parameter*> biases = model->selection_biases();
  std::vector<at::Tensor> counts;
  std::vector<Trainer::PolicyRow> rows(sequences.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].advantage = i % 2 ? 1.0 : -0.7;
    rows[i].group = static_cast<int64_t>(data.prompt_of[i]);
  }
  for (const auto& [begin, count] : {std::pair<size_t, size_t>{0, 4}, {4, 1}, {5, 3}}) {
    // Each sequence in a micro-batch of its own or with others: choices are those of its tokens,
    // but a prompt's count once for a pack.
    const auto part = std::span(sequences).subspan(begin, count);
    const std::vector<size_t> cuts = cut_micro_batches(part, 90, true);
    for (size_t c = 0; c + 1 < cuts.size(); ++c) {
      const auto pack = part.subspan(cuts[c], cuts[c + 1] - cuts[c]);
      const auto some = choices(*model, {pack.begin(), pack.end()});
      for (size_t layer = 0; layer < 2; ++layer) {
        if (counts.size() <= layer) counts.push_back(at::zeros_like(some[layer]));
        counts[layer] += some[layer];
      }
    }
    trainer.policy_step(part, std::span(rows).subspan(begin, count), preset_options("grpo"), 0.0);
    for (const Parameter* bias : biases) CHECK(bias->value.abs().max().item<double>() == 0);
  }
  const ExpertLoad load = trainer.end_step();
  REQUIRE(load.choices.size() == 2);
  for (size_t layer = 0; layer < 2; ++layer) {
    const at::Tensor share = counts[layer].to(at::kFloat) / counts[layer].to(at::kFloat).mean();
    CHECK(biases[layer]->value.equal(at::sign(1 - share) * 0.01f));
    const auto& of_layer = load.choices.at(static_cast<int64_t>(layer) + 1);  // the first is dense
    CHECK(at::tensor(of_layer, at::kLong).equal(counts[layer]));
  }
  CHECK(load.balance > 0.5);
  CHECK(trainer.end_step().choices.empty());  // nothing since
}

TEST_CASE("selection biases even out the load over many steps, and without a speed stay") {
  const auto model = deepseek_model(), still = deepseek_model();
  Trainer trainer(*model, adamw(), with(0, 0.02, 0)), idle(*still, adamw(), with(0, 0, 0));
  const Completions data;
  const auto sequences = data.sequences();
  const double before = trainer.likelihood_step(sequences, {}, 0.0).load.most;
  double after = before;
  for (int i = 0; i < 60; ++i) after = trainer.likelihood_step(sequences, {}, 0.0).load.most;
  INFO(before << " -> " << after);
  CHECK(after < 1 + 0.6 * (before - 1));
  idle.likelihood_step(sequences, {}, 0.0);
  for (const Parameter* bias : still->selection_biases()) {
    CHECK(bias->value.abs().max().item<double>() == 0);
  }
}

TEST_CASE("the balance loss trains the routers towards an even load") {
  const auto model = deepseek_model();
  Trainer trainer(*model, adamw(), with(10.0, 0, 0));
  const Completions data;
  const auto sequences = data.sequences();
  const double before = trainer.likelihood_step(sequences, {}, 3e-3).load.balance;
  double after = before;
  for (int i = 0; i < 20; ++i) after = trainer.likelihood_step(sequences, {}, 3e-3).load.balance;
  INFO(before << " -> " << after);
  CHECK(after < before - 0.02);
}

TEST_CASE("multi-token prediction learns, through its module and the model under it") {
  const auto model = deepseek_model(), without = deepseek_model();
  Trainer trainer(*model, adamw(), with(0, 0, 0.3)), plain(*without, adamw(), with(0, 0, 0));
  const Completions data;
  const auto sequences = data.sequences();
  const at::Tensor fresh = module_weights(*model);
  const auto first = trainer.likelihood_step(sequences, {}, 3e-3);
  const auto ordinary = plain.likelihood_step(sequences, {}, 3e-3);
  CHECK(first.predict_loss > 0);
  CHECK(ordinary.predict_loss == 0);
  CHECK(std::abs(first.loss - ordinary.loss) < 1e-9);  // the loss of the next token is unchanged
  CHECK(distance(module_weights(*model), fresh) > 0);
  CHECK(distance(module_weights(*without), fresh) == 0);
  const auto embedding = [](const Transformer& m) {
    return m.weights().view(m.weights().tensors()[0]);
  };
  CHECK(distance(embedding(*model), embedding(*without)) > 0);
  double last = first.predict_loss;
  for (int i = 0; i < 10; ++i) last = trainer.likelihood_step(sequences, {}, 3e-3).predict_loss;
  INFO(first.predict_loss << " -> " << last);
  CHECK(last < first.predict_loss - 0.2);
}

TEST_CASE("the gradient of multi-token prediction does not depend on the cut into micro-batches") {
  const Completions data;
  const auto sequences = data.sequences();
  const auto gradient = [&](int64_t tokens) {
    const auto model = deepseek_model();
    TrainerOptions options = with(0, 0, 0.3);
    options.micro_batch_tokens = tokens;
    OptimizerOptions o = adamw();
    o.clip_norm = 0;
    Trainer trainer(*model, o, options);
    const double loss = trainer.likelihood_step(sequences, {}, 0.0).predict_loss;
    return std::pair(trainer.optimizer().state().front().second.clone(), loss);
  };
  const auto whole = gradient(1 << 20), cut = gradient(60);
  CHECK(testing::relative_difference(cut.first, whole.first) < 1e-5);
  CHECK(std::abs(cut.second - whole.second) < 1e-5);
}

}  // namespace hone
