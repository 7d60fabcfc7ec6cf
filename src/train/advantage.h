// Advantages: how much better an answer is than the others to the same question.
//
//   A_i = (R_i - baseline_i) / (s + epsilon)
//
//   baseline  group_mean     mean of the group's rewards              (GRPO, arXiv 2402.03300 eq.
//   3)
//             leave_one_out  mean of the other rewards of the group   (RLOO, arXiv 2402.14740)
//             none           0                                        (REINFORCE)
//   scale s   group          standard deviation of the group's rewards      (GRPO)
//             batch          standard deviation of all rewards of the step  (TRL
//             scale_rewards=batch) none           not divided: A_i = R_i - baseline_i (Dr. GRPO,
//             2503.20783)
//
// The standard deviation has `ddof` 1 (n - 1 in the denominator), as torch.std and TRL have it;
// epsilon 1e-4 is TRL's (verl: 1e-6).
//
// A null reward (its verifier failed) is left out of every statistic and gets advantage 0: the
// answer is neither praised nor blamed for what the verifier did. A group in which fewer than two
// rewards count, or all are equal, says nothing about which answer is better: its advantages are
// exactly 0 under group_mean and leave_one_out. (verl gives a singleton group A = R, which pushes
// every lone answer up; here it is 0.)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/options.h"

namespace hone {

enum class Baseline { group_mean, leave_one_out, none };
enum class AdvantageScale { group, batch, none };

struct AdvantageOptions {
  Baseline kind = Baseline::group_mean;
  AdvantageScale scale = AdvantageScale::group;
  double epsilon = 1e-4;
  int64_t ddof = 1;
};

void describe(OptionVisitor& v, AdvantageOptions& o);

struct AdvantageResult {
  std::vector<double> values;       // [N]
  std::vector<bool> zero_variance;  // [N] whether the row's group has nothing to compare
  int64_t groups = 0;
  int64_t zero_variance_groups = 0;
  // Over the rewards that count; what TRL logs as `reward` and `reward_std` (the mean over groups
  // of the group's standard deviation, or the batch's one with scale `batch`).
  double reward_mean = 0;
  double reward_std = 0;
};

// `group_ids` names the group of every row; rows of a group need not be neighbours.
AdvantageResult advantages(std::span<const std::optional<double>> rewards,
                           std::span<const int64_t> group_ids, const AdvantageOptions& options);

}  // namespace hone
