// The GRPO loop (arXiv 2402.03300): sample groups, score them, turn scores into advantages, update.
// Start reading at run_rl_stage, at the end.
#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "train/rl_stage.h"
#include "train/rollout.h"
#include "train/stage.h"

namespace hone {
namespace {

// Where mini-batch m of the groups begins among the completions.
size_t minibatch_begin(const RlStage& s, const Rollout& r, int64_t m) {
  const int64_t group = (r.group_ids.back() + 1) * m / s.options.minibatches;
  return static_cast<size_t>(std::lower_bound(r.group_ids.begin(), r.group_ids.end(), group) -
                             r.group_ids.begin());
}

std::optional<double> larger(std::optional<double> a, std::optional<double> b) {
  return a && b ? std::max(*a, *b) : a ? a : b;
}

std::optional<double> largest_difference(const std::vector<std::vector<double>>& logp,
                                         std::span<const Trainer::PolicyRow> rows) {
  std::optional<double> largest;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t t = 0; t < rows[i].sampler_logp.size(); ++t) {
      largest = larger(largest, std::fabs(logp[i][t] - rows[i].sampler_logp[t]));
    }
  }
  return largest;
}

// Old log-probabilities: those of the weights that sampled. The sampler's own where it is exact;
// with a single update the loss needs none (the ratio is 1), a KL in the reward may; otherwise a
// forward pass, which for router_replay r2 also says which experts the updates take (a single
// update is that pass itself). All rows of a step have them or none. Returns the largest difference
// between what the sampler recorded and what the trainer computes, of the completions that the
// first update does not run anyway; nullopt where there is none to compare.
std::optional<double> add_old_log_probs(RlStage& s, Rollout& r) {
  const bool recorded = !r.rows.front().sampler_logp.empty();
  const bool exact = s.model->exact() && recorded;
  const bool single = s.options.minibatches * s.options.epochs == 1;
  const KlOptions& kl = s.options.objective.kl;
  const bool for_kl = kl.coef != 0 && kl.place == KlPlace::reward && !recorded;
  const bool for_routes = s.options.router_replay == RouterReplay::r2 && !single;
  if (exact && !for_routes) {
    for (auto& row : r.rows) row.old_logp = row.sampler_logp;
    const size_t first = minibatch_begin(s, r, 1);
    const auto rest = s.trainer.token_stats(*s.model, std::span(r.sequences).subspan(first));
    return largest_difference(rest.logp, std::span(r.rows).subspan(first));
  }
  if (single && !for_kl) return std::nullopt;
  auto old = s.trainer.token_stats(*s.model, r.sequences, for_routes);
  const auto difference = largest_difference(old.logp, r.rows);
  for (size_t i = 0; i < r.rows.size(); ++i) r.rows[i].old_logp = std::move(old.logp[i]);
  r.routes = std::move(old.routes);
  for (size_t i = 0; i < r.routes.size(); ++i) r.sequences[i].routes = r.routes[i];
  return difference;
}

void add_reference_log_probs(RlStage& s, Rollout& r) {
  if (!needs_reference(s.options.objective)) return;
  std::optional<WithoutAdapters> base;
  if (!s.reference) base.emplace(*s.model);
  std::vector<TrainingSequence> sequences = r.sequences;
  for (TrainingSequence& sequence : sequences) sequence.routes = {};  // its routers choose
  auto reference = s.trainer.token_stats(s.reference ? *s.reference : *s.model, sequences);
  for (size_t i = 0; i < r.rows.size(); ++i) r.rows[i].ref_logp = std::move(reference.logp[i]);
}

// minibatches x epochs optimizer steps over whole groups.
UpdateResult update(RlStage& s, const Rollout& r, std::optional<double> sampler_difference) {
  UpdateResult result;
  result.sampler_difference = sampler_difference;
  const ObjectiveOptions objective = adapted(s.options.objective, s.controllers);
  result.kl_coef = objective.kl.coef;
  result.entropy_coef = objective.entropy_coef;
  const double lr = s.learning_rate();
  int64_t updates = 0;
  for (int64_t epoch = 0; epoch < s.options.epochs; ++epoch) {
    for (int64_t m = 0; m < s.options.minibatches; ++m) {
      const size_t begin = minibatch_begin(s, r, m), count = minibatch_begin(s, r, m + 1) - begin;
      if (count == 0) continue;
      const uint64_t draw = make_key(s.seed(), 0x5e1ec7, static_cast<uint64_t>(s.context.index),
                                     static_cast<uint64_t>(s.step), updates);
      const auto step = s.trainer.policy_step(std::span(r.sequences).subspan(begin, count),
                                              std::span(r.rows).subspan(begin, count), objective,
                                              lr, draw, s.update_progress());
      // Only the first step runs under the weights that sampled.
      if (updates == 0) {
        result.sampler_difference = larger(result.sampler_difference, step.sampler_difference);
      }
      result.stats.merge(step.stats);
      result.gradient_norm += step.gradient_norm;
      ++updates;
      kill_point("update");
    }
  }
  result.load = s.trainer.end_step();
  result.gradient_norm /= static_cast<double>(std::max<int64_t>(updates, 1));
  result.loss = result.stats.loss / static_cast<double>(std::max<int64_t>(updates, 1));
  if (s.model->exact() && result.sampler_difference.value_or(0) != 0) {
    throw RunError(cat("step ", s.step + 1,
                       ": the trainer's log-probabilities differ from the "
                       "sampler's by ",
                       *result.sampler_difference,
                       ", which must not happen on the CPU or with exact; please report this"));
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
    if (sampled.groups.empty()) {
      context.display.note("every problem reached selection.retire_at: the stage ends here");
      break;
    }
    Rollout rollout = make_rollout(s, sampled.groups);
    if (s.options.release_cache) s.engine.release_cache();
    const std::optional<double> difference = add_old_log_probs(s, rollout);
    add_reference_log_probs(s, rollout);
    add_advantages(s, sampled.groups, rollout);
    const UpdateResult result = update(s, rollout, difference);
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
