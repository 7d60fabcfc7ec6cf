// The GRPO loop (arXiv 2402.03300): sample groups, score them, turn scores into advantages, update.
// Start reading at run_rl_stage, at the end.
#include <algorithm>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "train/rl_stage.h"
#include "train/rollout.h"
#include "train/stage.h"

namespace hone {
namespace {

// Old log-probabilities: those of the weights that sampled. The sampler's own where it is exact;
// with a single update the loss needs none (the ratio is 1), a KL in the reward may; otherwise a
// forward pass. All rows of a step have them or none.
void add_old_log_probs(RlStage& s, Rollout& r) {
  const bool recorded = !r.rows.front().sampler_logp.empty();
  const bool exact = s.model->device().is_cpu() && recorded;
  const bool single = s.options.minibatches * s.options.epochs == 1;
  const KlOptions& kl = s.options.objective.kl;
  const bool for_kl = kl.coef != 0 && kl.place == KlPlace::reward && !recorded;
  if (exact) {
    for (auto& row : r.rows) row.old_logp = row.sampler_logp;
  } else if (!single || for_kl) {
    auto old = s.trainer.token_stats(*s.model, r.sequences);
    for (size_t i = 0; i < r.rows.size(); ++i) r.rows[i].old_logp = std::move(old.logp[i]);
  }
}

void add_reference_log_probs(RlStage& s, Rollout& r) {
  if (!s.reference) return;
  auto reference = s.trainer.token_stats(*s.reference, r.sequences);
  for (size_t i = 0; i < r.rows.size(); ++i) r.rows[i].ref_logp = std::move(reference.logp[i]);
}

// minibatches x epochs optimizer steps over whole groups.
UpdateResult update(RlStage& s, const Rollout& r) {
  UpdateResult result;
  const ObjectiveOptions objective = adapted(s.options.objective, s.controllers);
  const double lr = s.learning_rate();
  const int64_t groups = r.group_ids.back() + 1;
  // Where part m of the groups begins among the completions.
  const auto bound = [&](int64_t part) {
    const int64_t group = groups * part / s.options.minibatches;
    return static_cast<size_t>(std::lower_bound(r.group_ids.begin(), r.group_ids.end(), group) -
                               r.group_ids.begin());
  };
  int64_t updates = 0;
  for (int64_t epoch = 0; epoch < s.options.epochs; ++epoch) {
    for (int64_t m = 0; m < s.options.minibatches; ++m) {
      const size_t begin = bound(m), count = bound(m + 1) - begin;
      if (count == 0) continue;
      const uint64_t draw = make_key(s.seed(), 0x5e1ec7, static_cast<uint64_t>(s.context.index),
                                     static_cast<uint64_t>(s.step), updates);
      const auto step = s.trainer.policy_step(std::span(r.sequences).subspan(begin, count),
                                              std::span(r.rows).subspan(begin, count), objective,
                                              lr, draw, s.update_progress());
      // Only the first step runs under the weights that sampled.
      if (updates == 0) result.sampler_difference = step.sampler_difference;
      result.stats.merge(step.stats);
      result.gradient_norm += step.gradient_norm;
      result.load = step.load;
      ++updates;
      kill_point("update");
    }
  }
  result.gradient_norm /= static_cast<double>(std::max<int64_t>(updates, 1));
  result.loss = result.stats.loss / static_cast<double>(std::max<int64_t>(updates, 1));
  if (s.model->device().is_cpu() && result.sampler_difference != 0) {
    throw RunError(cat("step ", s.step + 1,
                       ": the trainer's log-probabilities differ from the "
                       "sampler's by ",
                       result.sampler_difference,
                       ", which must not happen on the CPU; please report this"));
  }
  return result;
}

// Where the step's updates reached the next multiple of `every`.
void refresh_reference(RlStage& s, int64_t updates_before) {
  const KlOptions& kl = s.options.objective.kl;
  const int64_t every = kl.reference_refresh, updates = s.trainer.optimizer().updates();
  if (!s.reference || every == 0 || updates / every == updates_before / every) return;
  s.reference->weights().mix_values(s.model->weights(), kl.reference_mix);
}

}  // namespace

RunEnd run_rl_stage(StageContext& context) {
  RlStage s(context);
  s.resume_or_begin();  // evaluates the base when it begins
  CheckpointClock clock(s.options.checkpoint);
  while (s.step < s.options.steps) {
    s.start_step();
    const int64_t updates_before = s.trainer.optimizer().updates();
    Sampled sampled = sample_and_score(s);
    Rollout rollout = make_rollout(s, sampled.groups);
    add_old_log_probs(s, rollout);
    add_reference_log_probs(s, rollout);
    add_advantages(s, sampled.groups, rollout);
    const UpdateResult result = update(s, rollout);
    adapt(s.options.objective, result.stats, static_cast<int64_t>(rollout.rows.size()),
          s.controllers);
    ++s.step;
    refresh_reference(s, updates_before);
    s.end_phase("update");
    if (s.evaluation_due()) s.evaluate_now();
    s.log_step(sampled, rollout, result);
    const std::optional<RunEnd> stop = stop_asked(context);
    if (stop || clock.due(s.step)) s.save();
    if (stop && s.step < s.options.steps) {
      s.checkpoints.wait();
      return *stop;
    }
  }
  s.finish();
  return RunEnd::finished;
}

}  // namespace hone
