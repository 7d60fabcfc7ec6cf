// However completions are packed and cut into micro-batches, the step's gradient is the same.
#include "train/trainer.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "small_trainer.h"

namespace hone {
namespace {

using testing::Completions;
using testing::plain_adamw;
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

struct Step {
  at::Tensor gradient;
  double loss, norm;
};

// One step of the objective; `reversed` turns the order of its completions.
Step policy_step(int64_t micro_batch_tokens, const ObjectiveOptions& objective,
                 bool reversed = false) {
  const auto model = trainable_model(1, 3);  // of a norm at which rounding is that of real models
  Trainer trainer(*model, plain_adamw(), {micro_batch_tokens, 0.8, {}});
  const Completions data;
  auto sequences = data.sequences();
  std::vector<Trainer::PolicyRow> rows(sequences.size());
  const auto old = trainer.token_stats(*model, sequences).logp;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].old_logp = old[i];
    for (double& p : rows[i].old_logp) p += 0.05 * static_cast<double>(i % 3);
    rows[i].ref_logp = rows[i].old_logp;
    rows[i].advantage = i % 2 ? 1.0 : -0.7;
    rows[i].group = static_cast<int64_t>(data.prompt_of[i]);
    rows[i].truncated = i == 3;
  }
  if (reversed) {
    std::reverse(rows.begin(), rows.end());
    std::reverse(sequences.begin(), sequences.end());
  }
  const auto step = trainer.policy_step(sequences, rows, objective, 0.0);
  return {trainer.optimizer().state().front().second.clone(), step.stats.loss, step.gradient_norm};
}

struct Variant {
  const char* name;
  ObjectiveOptions objective;
};

// One of each kind of sum over the step: tokens, completions, prompts, selections.
std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const char* name : {"grpo", "dapo", "dr_grpo", "gspo", "gmpo", "cispo", "vespo"}) {
    all.push_back({name, preset_options(name)});
    all.back().objective.kl.coef = 0.05;
    all.back().objective.length = 50;
  }
  all.push_back({"entropy", preset_options("grpo")});
  all.back().objective.entropy_coef = 0.01;
  all.push_back({"prompt mean", preset_options("grpo")});
  all.back().objective.aggregation = Aggregation::prompt_mean;
  all.push_back({"top entropy", preset_options("dapo")});
  all.back().objective.top_entropy = 0.3;
  all.back().objective.entropy_coef = 0.01;
  all.back().objective.entropy.over = MeanOver::tokens;
  all.push_back({"kl-cov", preset_options("grpo")});
  all.back().objective.kl_cov = {0.1, 1};
  all.push_back({"clip-cov", preset_options("grpo")});
  all.back().objective.clip_cov = {0.1, -10, 10};
  all.push_back({"truncated", preset_options("dapo")});
  all.back().objective.filters = {"truncated"};
  return all;
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

TEST_CASE("the step's gradient does not depend on micro-batches or on the order of completions") {
  for (const Variant& v : variants()) {
    const Step whole = policy_step(1 << 20, v.objective);
    CHECK(whole.norm > 0);
    CHECK(policy_step(1 << 20, v.objective).gradient.equal(whole.gradient));  // bit for bit
    for (const int64_t tokens : {1, 60, 130}) {
      INFO(v.name << ", micro-batches of " << tokens << " tokens");
      const Step cut = policy_step(tokens, v.objective);
      CHECK(relative_difference(cut.gradient, whole.gradient) < 1e-6);
      CHECK(std::abs(cut.loss - whole.loss) < 1e-9 * (1 + std::abs(whole.loss)));
    }
    INFO(v.name << ", reversed");
    const Step reversed = policy_step(130, v.objective, true);
    CHECK(relative_difference(reversed.gradient, whole.gradient) < 1e-6);
    CHECK(std::abs(reversed.loss - whole.loss) < 1e-9 * (1 + std::abs(whole.loss)));
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

TEST_CASE("a step of no completions, or of those without a gradient alone, changes nothing") {
  const auto model = trainable_model();
  Trainer trainer(*model, {}, {});
  const at::Tensor before = model->weights().master().clone();
  CHECK(trainer.token_stats(*model, {}).logp.empty());
  const Completions data;
  const auto sequences = data.sequences();
  std::vector<Trainer::PolicyRow> rows(sequences.size());
  for (Trainer::PolicyRow& row : rows) row.zero_variance = true;
  const auto step = trainer.policy_step(sequences, rows, preset_options("dapo"), 1e-3);
  CHECK(step.gradient_norm == 0);
  CHECK(at::equal(model->weights().master(), before));
}

}  // namespace hone
