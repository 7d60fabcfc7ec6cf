// However completions are packed and cut into micro-batches, the step's gradient is the same.
#include "train/trainer.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch_test_macros.hpp>

#include "small_trainer.h"

namespace hone {
namespace {

using testing::Completions;
using testing::relative_difference;
using testing::trainable_model;

at::Tensor gradient_packed(bool share_prompts) {
  const auto model = trainable_model();
  const Completions data;
  const auto sequences = data.sequences();
  const PackedBatch batch = pack(sequences, at::kCPU, share_prompts);
  at::manual_seed(8);
  const at::Tensor dlogp = at::randn({batch.targets.numel()});
  const at::AutoGradMode with_grad(true);
  const at::Tensor hidden = model->forward(batch.forward).index_select(0, batch.hidden_rows);
  torch::autograd::backward({model->log_probs(hidden, batch.targets).logp}, {dlogp});
  return model->weights().grad().clone();
}

// The first moment after one step from zero is the gradient times 1 - beta1.
OptimizerOptions plain_adamw() {
  OptimizerOptions o;
  o.clip_norm = 0;
  return o;
}

struct Step {
  at::Tensor gradient;
  double loss, norm;
};

Step policy_step(int64_t micro_batch_tokens, double entropy_coef) {
  const auto model = trainable_model();
  Trainer trainer(*model, plain_adamw(), {micro_batch_tokens, 0.8, {}});
  const Completions data;
  const auto sequences = data.sequences();
  std::vector<Trainer::PolicyRow> rows(sequences.size());
  const auto old = trainer.token_stats(*model, sequences).logp;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].old_logp = old[i];
    for (double& p : rows[i].old_logp) p += 0.05 * static_cast<double>(i % 3);
    rows[i].ref_logp = rows[i].old_logp;
    rows[i].advantage = i % 2 ? 1.0 : -0.7;
    rows[i].truncated = i == 3;
  }
  ObjectiveOptions objective = preset_options("grpo");
  objective.kl.coef = 0.05;
  objective.entropy_coef = entropy_coef;
  const auto step = trainer.policy_step(sequences, rows, objective, 0.0);
  return {trainer.optimizer().state().front().second.clone(), step.stats.loss, step.gradient_norm};
}

}  // namespace

TEST_CASE("prompts computed once for all their completions give the same gradient") {
  CHECK(relative_difference(gradient_packed(true), gradient_packed(false)) < 1e-5);
}

TEST_CASE("shared prompts give the same log-probabilities, bit for bit") {
  const at::NoGradGuard no_grad;
  const auto model = trainable_model();
  const Completions data;
  const auto sequences = data.sequences();
  at::Tensor logp[2];
  for (const bool share : {false, true}) {
    const PackedBatch batch = pack(sequences, at::kCPU, share);
    const at::Tensor hidden = model->forward(batch.forward).index_select(0, batch.hidden_rows);
    logp[share] = model->log_probs(hidden, batch.targets).logp;
  }
  CHECK(logp[0].equal(logp[1]));
}

TEST_CASE("sharing prompts packs fewer tokens") {
  const Completions data;
  const auto sequences = data.sequences();
  const auto tokens = [&](bool share) {
    return pack(sequences, at::kCPU, share).forward.tokens.numel();
  };
  CHECK(tokens(false) - tokens(true) == 3 * 17 + 2 * 32);
}

TEST_CASE("the step's gradient does not depend on the cut into micro-batches") {
  for (const double entropy_coef : {0.0, 0.01}) {
    const Step whole = policy_step(1 << 20, entropy_coef);
    CHECK(whole.norm > 0);
    for (const int64_t tokens : {1, 60, 130}) {
      INFO(tokens << " tokens, entropy " << entropy_coef);
      const Step cut = policy_step(tokens, entropy_coef);
      CHECK(relative_difference(cut.gradient, whole.gradient) < 1e-6);
      CHECK(std::abs(cut.loss - whole.loss) < 1e-9 * (1 + std::abs(whole.loss)));
    }
  }
}

TEST_CASE("micro-batches hold what fits, in order, and a longer sequence alone") {
  const Completions data;
  const auto sequences = data.sequences();
  for (const bool share : {false, true}) {
    for (const int64_t budget : {1, 40, 77, 1000}) {
      const auto cuts = cut_micro_batches(sequences, budget, share);
      REQUIRE(cuts.front() == 0);
      REQUIRE(cuts.back() == sequences.size());
      for (size_t c = 0; c + 1 < cuts.size(); ++c) {
        REQUIRE(cuts[c] < cuts[c + 1]);
        const std::span part(sequences.data() + cuts[c], cuts[c + 1] - cuts[c]);
        const int64_t packed = pack(part, at::kCPU, share).forward.tokens.numel();
        CHECK((part.size() == 1 || packed <= budget));
      }
    }
  }
}

TEST_CASE("steps on the likelihood make what they saw likelier, and masked tokens do not count") {
  const auto model = trainable_model(2, 1);
  Trainer trainer(*model, plain_adamw(), {});
  const Completions data;
  const auto sequences = data.sequences();
  const double first = trainer.likelihood_step(sequences, {}, 3e-3).loss;
  double last = first;
  for (int i = 0; i < 10; ++i) last = trainer.likelihood_step(sequences, {}, 3e-3).loss;
  CHECK(last < first - 0.3);
  std::vector<std::vector<uint8_t>> masks;
  for (const auto& s : sequences) masks.emplace_back(s.completion.size(), uint8_t{0});
  const at::Tensor before = model->weights().master().clone();
  CHECK(trainer.likelihood_step(sequences, masks, 3e-3).tokens == 0);
  CHECK(model->weights().master().equal(before));
  masks[3][7] = 1;
  const auto one = trainer.likelihood_step(sequences, masks, 0.0);
  CHECK(one.tokens == 1);
  CHECK(std::abs(one.loss + trainer.token_stats(*model, sequences).logp[3][7]) < 1e-6);
}

}  // namespace hone
