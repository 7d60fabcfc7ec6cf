// What a step of an RL stage writes: its row of metrics, its timing, its line on the screen.
#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "engine/free_memory.h"
#include "rollouts/record.h"
#include "train/format.h"
#include "train/rl_stage.h"
#include "train/trial.h"

namespace hone {
namespace {

double scores_mean(const std::vector<Group>& groups, const std::string& name, int64_t& count) {
  double sum = 0;
  count = 0;
  for (const Group& group : groups) {
    for (const auto& [reward, scores] : group.scores) {
      if (reward != name) continue;
      for (const Score& score : scores) {
        if (!score.value) continue;
        sum += *score.value;
        ++count;
      }
    }
  }
  return count ? sum / static_cast<double>(count) : 0;
}

// What a reward measured beside its score (Score::metrics), over the completions that it did it
// for.
std::map<std::string, double> metric_means(const std::vector<Group>& groups,
                                           const std::string& name) {
  std::map<std::string, double> sums;
  std::map<std::string, int64_t> counts;
  for (const Group& group : groups) {
    for (const auto& [reward, scores] : group.scores) {
      if (reward != name) continue;
      for (const Score& score : scores) {
        for (const auto& [key, value] : score.metrics) {
          sums[key] += value;
          ++counts[key];
        }
      }
    }
  }
  for (auto& [key, sum] : sums) sum /= static_cast<double>(counts[key]);
  return sums;
}

}  // namespace

MetricsRow RlStage::metrics_row(const std::vector<Group>& groups, const Sampled& sampled,
                                const Rollout& r, const UpdateResult& result) {
  int64_t longest = 0, shortest = INT64_MAX, truncated = 0, completions = 0, step_tokens = 0;
  int64_t errors = 0, no_answer = 0, counted = 0;
  double reward = 0;
  for (const Group& group : groups) {
    for (size_t i = 0; i < group.completions.size(); ++i) {
      const Completion& c = group.completions[i];
      const int64_t length = static_cast<int64_t>(c.tokens.size());
      ++completions;
      step_tokens += length;
      longest = std::max(longest, length);
      shortest = std::min(shortest, length);
      truncated += c.finish_reason == FinishReason::length;
      if (!group.rewards[i] || reward_failed(group, i)) continue;
      reward += *group.rewards[i];
      ++counted;
    }
    for (size_t i = 0; i < group.completions.size(); ++i) {
      bool unanswered = false;
      for (const auto& [name, scores] : group.scores) {
        unanswered |= scores[i].status == Status::no_answer;
      }
      no_answer += unanswered;
      errors += reward_failed(group, i);
    }
  }
  const double n = static_cast<double>(completions);
  const auto asked = static_cast<double>(groups.size());
  tokens += step_tokens;
  MetricsRow row;
  row.set("reward", counted ? reward / static_cast<double>(counted) : 0.0);
  row.set("reward_std", r.advantage.reward_std);
  for (const RewardSpec& spec : rewards.specs()) {
    int64_t count = 0;
    const std::string& name = spec.as;
    const double mean = scores_mean(groups, name, count);
    for (const auto& [key, value] : metric_means(groups, name)) {
      row.set(cat("rewards/", name, "/", key), value);
    }
    if (count) row.set(cat("rewards/", name, "/mean"), mean);
  }
  row.set("completions/mean_length", static_cast<double>(step_tokens) / n);
  row.set("completions/min_length", shortest);
  row.set("completions/max_length", longest);
  row.set("completions/clipped_ratio", static_cast<double>(truncated) / n);
  const auto left_out = static_cast<double>(sampled.left_out.size());
  row.set("frac_reward_zero_std",
          (static_cast<double>(r.advantage.zero_variance_groups) + left_out) / asked);
  if (options.dynamic_sampling > 1) {
    row.set("dynamic_sampling/rounds", sampled.rounds);
    row.set("dynamic_sampling/groups", static_cast<int64_t>(groups.size()));
  }
  if (options.selection.retire_at) row.set("selection/retired", selector.retired());
  row.set("loss", result.loss);
  for (const auto& [name, value] : objective_metrics(result.stats)) {
    if (name != "loss") row.set(name, value);
  }
  if (options.objective.kl.target) row.set("kl_coef", result.kl_coef);
  if (options.objective.entropy.target) row.set("entropy_coef", result.entropy_coef);
  row.set("grad_norm", result.gradient_norm);
  set_expert_load(row, result.load);
  row.set("learning_rate", options.optimizer.lr * learning_rate_factor(options.optimizer.schedule,
                                                                       step - 1, options.steps));
  row.set("num_tokens", tokens);
  if (result.sampler_difference) row.set("logp_diff_max", *result.sampler_difference);
  row.set("verifier_errors", errors);
  row.set("no_answer", no_answer);
  for (const auto& [name, value] : evaluation_.values) {
    std::visit([&, key = name](const auto& v) { row.set(key, v); }, value);
  }
  return row;
}

void RlStage::write_timing(int64_t step_tokens) {
  const double total = step_timer_.seconds();
  MetricsRow timing;
  timing.set("step_time", total);
  timing.set("memory_peak", peak_memory(model->device()));
  if (trainer.micro_batch_tokens() < options.micro_batch_tokens) {  // memory was short
    timing.set("micro_batch_tokens", trainer.micro_batch_tokens());
  }
  double sampling_seconds = 0;
  for (const auto& [name, value] : seconds_) {
    timing.set("time/" + name, value);
    if (name == "sample") sampling_seconds = value;
  }
  timing.set("tokens_per_second", static_cast<double>(step_tokens) / total);
  timing.set("sample_tokens_per_second", static_cast<double>(step_tokens) / sampling_seconds);
  if (options.speculate > 0) {
    timing.set("drafted_tokens", engine.stats().drafted - engine_before_.drafted);
    timing.set("accepted_tokens", engine.stats().accepted - engine_before_.accepted);
  }
  context.metrics.write_timing(options.name, step, timing);
}

void RlStage::show_step(const MetricsRow& row, const std::vector<Group>& groups,
                        int64_t step_tokens) {
  const double total = step_timer_.seconds();
  std::vector<std::pair<std::string, std::string>> fields;
  const auto show = [&](const std::string& label, const std::string& name, const char* form) {
    if (const double* value = row.find_double(name)) {
      fields.emplace_back(label, formatted(form, *value));
    }
  };
  show("reward", "reward", "%.3f");
  for (const RewardSpec& spec : rewards.specs()) {
    show(spec.as, cat("rewards/", spec.as, "/mean"), "%.3f");
  }
  show("tokens", "completions/mean_length", "%.1f");
  show("entropy", "entropy", "%.3f");
  show("kl", "kl", "%.4f");
  show("grad", "grad_norm", "%.2f");
  fields.emplace_back("tok/s", formatted("%.0f", static_cast<double>(step_tokens) / total));
  std::string phases;
  for (const auto& [name, value] : seconds_) {
    if (name != "log" && value >= 0.005)
      phases += cat(phases.empty() ? "" : " ", name, " ", formatted("%.2f", value));
  }
  fields.emplace_back("s", cat(formatted("%.2f", total), " (", phases, ")"));
  if (step < options.steps) {
    // From the steps of this process; evaluations between are in the mean.
    const double mean = loop_timer_.seconds() / static_cast<double>(step - first_step_);
    const auto left = static_cast<double>(options.steps - step);
    fields.emplace_back("left", duration_text(mean * left));
  }
  context.display.step(step, options.steps, fields);
  const int64_t every = std::max<int64_t>(options.steps / 5, 1);
  if (step % every == 0 && !groups.empty()) {
    const Group& group = groups.front();
    context.display.sample(cat("a sample of step ", step, ", reward ",
                               group.rewards[0] ? formatted("%.2f", *group.rewards[0]) : "none"),
                           group.prompt, group.completions[0].text);
  }
}

DiagnosisNames diagnosis_names(const StageOptions& stage) {
  DiagnosisNames names;
  names.groups = stage.prompts_per_step;
  names.group_size = stage.group_size;
  for (const RewardSpec& spec : stage.rewards) {
    if (names.accuracy.empty()) names.accuracy = spec.as;
    if (spec.name == "format" && names.format.empty()) names.format = spec.as;
  }
  return names;
}

void RlStage::log_step(const Sampled& sampled, const Rollout& rollout, const UpdateResult& result) {
  std::vector<Group> groups = sampled.groups;
  groups.insert(groups.end(), sampled.left_out.begin(), sampled.left_out.end());
  const int64_t before = tokens;
  const MetricsRow row = metrics_row(groups, sampled, rollout, result);
  write_rollouts(rollout_path(context.directory, step), groups);
  context.metrics.write_metrics(options.name, step, row);
  context.metrics.write_experts(options.name, step, result.load.choices);
  kill_point("metrics");

  end_phase("log");
  write_timing(tokens - before);
  show_step(row, groups, tokens - before);
  diagnose(context, diagnosis_, step, row);
}

}  // namespace hone
