// The GRPO loop (arXiv 2402.03300): sample groups, score them, turn scores into advantages, update.
// Start reading at run_rl_stage, at the end.
#include <algorithm>
#include <span>

#include "base/error.h"
#include "base/file.h"
#include "data/dataset.h"
#include "engine/engine.h"
#include "rollouts/record.h"
#include "train/evaluate.h"
#include "train/rl_stage.h"
#include "train/stage.h"
#include "train/trainer.h"

namespace hone {
namespace {

std::vector<Group> sample(RlStage& s) {
  std::vector<Problem> batch;
  for (int64_t i = 0; i < s.options.prompts_per_step; ++i) {
    const int64_t index = s.step * s.options.prompts_per_step + i;
    const int64_t size = s.problems->size();  // 0: a task, which makes problems without end
    batch.push_back(s.problems->at(size > 0 ? index % size : index));
  }
  const StepKey key{s.seed(), static_cast<uint64_t>(s.context.index),
                    static_cast<uint64_t>(s.step)};
  return sample_groups(s.engine, batch, s.prompt, *s.tokenizer, s.group_options(), s.sampling, key,
                       s.progress("sampling"));
}

// What the sampler recorded of the completion, under the distribution that the policy is trained
// as: the model's softmax at the sampling temperature, without top-k, top-p and min-p. The engine
// keeps `logprobs` at temperature 1 and `sampled_logprobs` after temperature and filters; where
// neither fits (another temperature and filters), empty.
std::vector<double> sampler_logp(const RlStage& s, const Completion& c) {
  if (s.sampling.temperature == 1.0) return {c.logprobs.begin(), c.logprobs.end()};
  const bool filtered = s.sampling.top_p < 1 || s.sampling.top_k > 0 || s.sampling.min_p > 0;
  if (filtered) return {};
  return {c.sampled_logprobs.begin(), c.sampled_logprobs.end()};
}

// The completions of a step as the trainer takes them, group after group.
Rollout make_rollout(RlStage& s, std::vector<Group>& groups) {
  Rollout r;
  for (size_t g = 0; g < groups.size(); ++g) {
    for (size_t i = 0; i < groups[g].completions.size(); ++i) {
      const Completion& c = groups[g].completions[i];
      r.sequences.push_back({groups[g].prompt_tokens, c.tokens});
      r.rewards.push_back(reward_failed(groups[g], i) ? std::nullopt : groups[g].rewards[i]);
      r.group_ids.push_back(static_cast<int64_t>(g));
      Trainer::PolicyRow row;
      row.sampler_logp = sampler_logp(s, c);
      row.truncated = c.finish_reason == FinishReason::length;
      r.rows.push_back(std::move(row));
    }
  }
  return r;
}

bool kl_in_rewards(const RlStage& s) {
  const KlOptions& kl = s.options.objective.kl;
  return kl.coef != 0 && kl.place == KlPlace::reward;
}

// Old log-probabilities: those of the weights that sampled. The sampler's own where it is exact;
// with a single update the loss needs none (the ratio is 1), a KL in the reward may; otherwise a
// forward pass. All rows of a step have them or none.
void add_old_log_probs(RlStage& s, Rollout& r) {
  const bool recorded = !r.rows.front().sampler_logp.empty();
  const bool exact = s.model->device().is_cpu() && recorded;
  const bool single = s.options.minibatches * s.options.epochs == 1;
  const bool for_kl = kl_in_rewards(s) && !recorded;
  if (exact) {
    for (auto& row : r.rows) row.old_logp = row.sampler_logp;
  } else if (!single || for_kl) {
    std::vector<std::vector<double>> old = s.trainer.log_probs(*s.model, r.sequences);
    for (size_t i = 0; i < r.rows.size(); ++i) r.rows[i].old_logp = std::move(old[i]);
  }
}

void add_reference_log_probs(RlStage& s, Rollout& r) {
  if (!s.reference) return;
  std::vector<std::vector<double>> ref = s.trainer.log_probs(*s.reference, r.sequences);
  for (size_t i = 0; i < r.rows.size(); ++i) r.rows[i].ref_logp = std::move(ref[i]);
}

// From the rewards that become advantages; those in the log and the record stay as judged.
void take_kl_off_rewards(const RlStage& s, Rollout& r) {
  if (!kl_in_rewards(s)) return;
  for (size_t i = 0; i < r.rows.size(); ++i) {
    const Trainer::PolicyRow& row = r.rows[i];
    const std::vector<double>& sampled = row.old_logp.empty() ? row.sampler_logp : row.old_logp;
    ObjectiveRow kl_row;
    kl_row.logp = sampled;
    kl_row.ref_logp = row.ref_logp;
    if (r.rewards[i]) *r.rewards[i] -= kl_in_reward(s.options.objective, kl_row);
  }
}

void add_advantages(const RlStage& s, std::vector<Group>& groups, Rollout& r) {
  r.advantage = advantages(r.rewards, r.group_ids, s.options.objective.advantage);
  size_t at = 0;
  for (Group& group : groups) {
    group.advantages.assign(group.completions.size(), 0.0);
    for (double& a : group.advantages) {
      a = r.advantage.values[at];
      r.rows[at].advantage = a;
      r.rows[at].zero_variance = r.advantage.zero_variance[at];
      ++at;
    }
  }
}

// minibatches x epochs optimizer steps over whole groups.
UpdateResult update(RlStage& s, const Rollout& r) {
  UpdateResult result;
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
      const auto step = s.trainer.policy_step(std::span(r.sequences).subspan(begin, count),
                                              std::span(r.rows).subspan(begin, count),
                                              s.options.objective, lr, s.update_progress());
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

void refresh_reference(RlStage& s) {
  const int64_t every = s.options.objective.kl.reference_refresh;
  if (!s.reference || every == 0 || s.step % every != 0) return;
  s.reference->weights().copy_values(s.model->weights());
}

}  // namespace

RunEnd run_rl_stage(StageContext& context) {
  RlStage s(context);
  s.resume_or_begin();  // evaluates the base when it begins
  CheckpointClock clock(s.options.checkpoint);
  while (s.step < s.options.steps) {
    s.start_step();
    std::vector<Group> groups = sample(s);
    s.end_phase("sample");
    s.rewards.score(groups, {s.step, s.options.steps});
    s.end_phase("score");
    Rollout rollout = make_rollout(s, groups);
    add_old_log_probs(s, rollout);
    add_reference_log_probs(s, rollout);
    take_kl_off_rewards(s, rollout);
    add_advantages(s, groups, rollout);
    const UpdateResult result = update(s, rollout);
    ++s.step;
    refresh_reference(s);
    s.end_phase("update");
    if (s.evaluation_due()) s.evaluate_now();
    s.log_step(groups, rollout, result);
    const std::optional<RunEnd> stop = stop_asked(context);
    if (stop || clock.due(s.step)) s.save();
    if (stop && s.step < s.options.steps) return *stop;
  }
  s.finish();
  return RunEnd::finished;
}

}  // namespace hone
