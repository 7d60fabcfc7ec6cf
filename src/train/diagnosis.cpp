#include "train/diagnosis.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/format.h"

namespace hone {
namespace {

// Rows whose means are compared, and that a state must last to be one.
constexpr size_t kRows = 5;

double value_of(const std::map<std::string, double>& row, const std::string& name,
                double fallback = 0) {
  const auto found = row.find(name);
  return found == row.end() ? fallback : found->second;
}

std::string percent(double share) { return formatted("%.0f%%", 100 * share); }
std::string number(double x) { return formatted("%.3g", x); }

}  // namespace

std::map<std::string, double> numbers_of(const Json& row) {
  std::map<std::string, double> numbers;
  for (const auto& [name, value] : row.items()) {
    if (value.is_number()) numbers[name] = value.get<double>();
    if (value.is_null()) numbers[name] = NAN;  // how metrics.jsonl writes what is not finite
  }
  return numbers;
}

bool Diagnosis::window(const std::string& name, Window& w) const {
  if (rows_.size() < 2 * kRows) return false;
  const auto mean = [&](size_t begin, double& sum) {
    sum = 0;
    for (size_t i = begin; i < begin + kRows; ++i) {
      const auto found = rows_[i].find(name);
      if (found == rows_[i].end()) return false;
      sum += found->second / kRows;
    }
    return true;
  };
  return mean(0, w.first) && mean(rows_.size() - kRows, w.last);
}

bool Diagnosis::lasting(const std::string& name, double above, double below) const {
  if (rows_.size() < kRows) return false;
  return std::all_of(rows_.end() - kRows, rows_.end(), [&](const Row& row) {
    const auto found = row.find(name);
    return found != row.end() && found->second > above && found->second <= below;
  });
}

void Diagnosis::find(int64_t step, const char* key, const std::string& meaning,
                     const std::string& advice) {
  if (said_.insert(key).second) new_.push_back({step, key, meaning, advice});
}

void Diagnosis::look_at_rewards(int64_t step, const Row& row) {
  const bool constant =
      rows_.size() >= kRows && std::all_of(rows_.end() - kRows, rows_.end(), [&](const Row& r) {
        return value_of(r, "frac_reward_zero_std") == 1 &&
               value_of(r, "reward") == value_of(row, "reward");
      });
  if (constant) {
    find(
        step, "constant_reward",
        cat("every answer of the last ", kRows, " steps got the reward ",
            number(value_of(row, "reward")), ", so nothing is learned"),
        "see a few answers by `hone show`, and what the reward pays for by `hone score --audit`; a "
        "reward that is never given needs easier problems, an answer form that the base writes "
        "now and then, or SFT first");
  } else if (lasting("frac_reward_zero_std", 0.8)) {
    const bool low = value_of(row, "rewards/" + names_.accuracy + "/mean") < 0.5;
    find(step, "zero_variance",
         cat(percent(value_of(row, "frac_reward_zero_std")),
             " of the groups say nothing: their answers all get the same reward"),
         low ? "the problems are too hard for most groups: easier ones, a larger group_size, or "
               "dynamic_sampling"
             : "the problems are too easy for most groups: harder ones, selection.retire_at, or "
               "dynamic_sampling");
  }
  const auto asked = [&](const Row& r) {
    const double groups =
        value_of(r, "dynamic_sampling/groups", static_cast<double>(names_.groups));
    return std::max(1.0, groups * static_cast<double>(names_.group_size));
  };
  const auto lasting_share = [&](const std::string& name, double above) {
    return rows_.size() >= kRows &&
           std::all_of(rows_.end() - kRows, rows_.end(),
                       [&](const Row& r) { return value_of(r, name) > above * asked(r); });
  };
  const double n = asked(row);
  if (lasting_share("verifier_errors", 0.05)) {
    find(step, "verifier_errors",
         cat("the verifier failed on ", percent(value_of(row, "verifier_errors") / n),
             " of the answers; these count neither as right nor as wrong"),
         "`hone show RUN --where 'status != ok'` shows them: a reference it cannot read, a limit "
         "that is too tight, or a plug-in that fails");
  }
  if (lasting_share("no_answer", 0.5)) {
    find(step, "no_answer",
         cat("in ", percent(value_of(row, "no_answer") / n),
             " of the answers there is none to "
             "grade"),
         "does the prompt say where the answer goes, and does the reward's `extract` look there? "
         "The longest answers may end at max_tokens before they come to it");
  }
  if (lasting("completions/clipped_ratio", 0.3)) {
    find(step, "truncated",
         cat(percent(value_of(row, "completions/clipped_ratio")),
             " of the answers are cut off at "
             "max_tokens"),
         "raise max_tokens; or leave them out of the loss (objective.filters: [truncated]), or "
         "pay for short answers (reward length, kind overlong)");
  }
}

void Diagnosis::look_at_policy(int64_t step, const Row& row) {
  const double norm = value_of(row, "grad_norm", NAN);
  const bool on_policy = value_of(row, "ratio/min", 1) == 1 && value_of(row, "ratio/max", 1) == 1;
  if (std::fabs(value_of(row, "loss", 1)) < 1e-6 && norm > 0 && on_policy &&
      row.count("ratio/max")) {
    find(step, "zero_loss",
         "the loss is 0 because the ratio is 1 on the policy that sampled and advantages add up "
         "to 0; its gradient is not",
         "nothing: look at grad_norm and at the reward, not at the loss");
  }
  if (!std::isfinite(norm)) {
    find(step, "gradient_not_finite", "the gradient is not a finite number; the step was left out",
         "a smaller learning rate; if it stays, dtype=float32");
  }
  if (value_of(row, "ratio/max", 1) > 100 || lasting("clip_ratio/region_mean", 0.3)) {
    find(step, "exploding_ratio",
         cat("the policy moves far within a step: largest ratio ",
             number(value_of(row, "ratio/max", 1)), ", ",
             percent(value_of(row, "clip_ratio/region_mean")), " of the updates clipped"),
         "a smaller learning rate, fewer minibatches x epochs, or objective.dual_clip: 3");
  }
  if (lasting("kl", 1)) {
    find(step, "exploding_kl",
         cat("the policy is far from the reference: KL ", number(value_of(row, "kl")), " a token"),
         "a larger kl.coef, a smaller learning rate, or kl.reference_refresh");
  }
  if (lasting("logp_diff_max", 1)) {
    find(step, "sampler_mismatch",
         cat("sampler and trainer differ by up to ", number(value_of(row, "logp_diff_max")),
             " in log-probability"),
         "objective.correction: {mode: token_truncate, high: 2} corrects for it; dtype=float32 "
         "removes it");
  }
  if (lasting("experts/load_max", 3) || lasting("experts/load_entropy", -1, 0.7)) {
    find(step, "expert_collapse",
         cat("the routers collapse onto few experts: in layer ",
             number(value_of(row, "experts/load_max_layer")), " one expert gets ",
             percent(value_of(row, "experts/load_max_share")), " of the tokens, ",
             number(value_of(row, "experts/load_max")), " times its share"),
         "experts.coef: 1e-2 (the balance loss), or for a sigmoid router with selection bias "
         "experts.bias_speed: 1e-3; ten times as much where that is set already. experts.jsonl has "
         "every expert's load");
  }
}

void Diagnosis::look_at_trends(int64_t step) {
  Window entropy, length, accuracy, format, reward;
  const bool graded = window("rewards/" + names_.accuracy + "/mean", accuracy);
  if (window("entropy", entropy) && entropy.last < 0.2 * entropy.first && graded &&
      accuracy.last < 0.9) {
    find(step, "entropy_collapse",
         cat("entropy fell from ", number(entropy.first), " to ", number(entropy.last),
             ": the answers of a group become the same one before they become right"),
         "objective.epsilon_high: 0.28 (DAPO), objective.entropy_coef: 0.001, a smaller learning "
         "rate, or more kinds of problems");
  }
  if (!window("completions/mean_length", length) || !graded) return;
  const bool longer = length.last > 1.3 * length.first;
  const bool no_better = accuracy.last <= accuracy.first + 0.02;
  if (!names_.format.empty() && window("rewards/" + names_.format + "/mean", format) &&
      format.last > format.first + 0.1 && longer && no_better) {
    find(step, "weak_base",
         cat("form improves (", number(format.first), " to ", number(format.last),
             ") and answers grow (", number(length.first), " to ", number(length.last),
             " tokens), but accuracy stays at ", number(accuracy.last)),
         "the sign of a base too weak for these problems: easier problems first, SFT on a few "
         "solved ones, or a larger base");
  } else if (length.last > 2 * length.first && no_better) {
    find(step, "length_drift",
         cat("answers grew from ", number(length.first), " to ", number(length.last),
             " tokens without becoming better"),
         "preset dr_grpo (its loss does not favour long wrong answers), reward length, or a look "
         "at the longest ones by `hone show`");
  }
  if (window("reward", reward) && reward.last > reward.first + 0.1 &&
      accuracy.last < accuracy.first - 0.02) {
    find(
        step, "reward_drift",
        cat("the reward rises (", number(reward.first), " to ", number(reward.last),
            ") while accuracy falls (", number(accuracy.first), " to ", number(accuracy.last), ")"),
        "another reward outweighs it: see its answers, and lower its weight");
  }
}

std::vector<Finding> Diagnosis::add(int64_t step, const std::map<std::string, double>& row) {
  new_.clear();
  rows_.push_back(row);
  look_at_rewards(step, row);
  look_at_policy(step, row);
  look_at_trends(step);
  return std::move(new_);
}

}  // namespace hone
