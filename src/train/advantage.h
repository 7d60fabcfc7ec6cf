// Advantages: how much better an answer is than the others to the same question.
//
//   A_i = (R_i - baseline_i) / (s + epsilon)
//
// kind      group_mean       mean of the group's rewards           GRPO, arXiv 2402.03300 eq. 3
//           leave_one_out    mean of the other rewards of the group          RLOO, 2402.14740
//           length_weighted  sum_j |o_j| R_j / sum_j |o_j| over the group    OPO, 2505.23585
//           greedy           reward of the group's greedy answer             ReMax, 2310.10505
//           none             0                                       REINFORCE(++), 2501.03262
//           best_of_group    only the best answer of a group has an advantage: its lead over the
//                            second best (of equals the first)       pass@k, 2503.19595
// scale s   group            standard deviation of the group's rewards                 GRPO
//           batch            standard deviation of all rewards of the step        TRL's "batch"
//           mean             mean of the group's rewards, without epsilon; 0 where it is
//                            not above 0                                 MaxRL, 2602.02710
//           tokens           the differences are whitened over all tokens of the step: minus
//                            their mean, by sqrt(variance + 1e-8), n - 1   REINFORCE++, 2501.03262
//           none             not divided: A_i = R_i - baseline_i       Dr. GRPO, 2503.20783
// gain      none             1
//           informative      N / rows of groups with different rewards        GPG, 2504.02546
//           nonzero          N / rows with a reward other than 0          verl's reading of GPG
// discount  with kind none: a token's return is discount^(tokens after it) R    (verl's gamma)
// per_reward  each reward is normalised in its groups (kind, group deviation + epsilon), then the
//             weighted sum over the step, by scale batch or tokens       GDPO, 2601.05242
// process     spans' scores, normalised over all spans of the group; a token's advantage is the
//             sum over the spans that end at or after it           DeepSeekMath 2402.03300, 4.1.3
//
// The standard deviation has `ddof` 1 (n - 1 in the denominator), as torch.std and TRL have it;
// epsilon 1e-4 is TRL's (verl: 1e-6).
//
// A KL in the reward is taken off R_i as a sum over the tokens; with kind none or greedy, which
// compare with nothing of the group, a token's return holds the KL from that token on (as verl and
// OpenRLHF have it), and advantages differ by token. (Only with scale none or tokens: the others
// are scales of whole answers.)
//
// A null reward (its verifier failed) is left out of every statistic and gets advantage 0: the
// answer is neither praised nor blamed for what the verifier did. A group in which fewer than two
// rewards count, or all are equal, says nothing about which answer is better: its differences are
// exactly 0 under group_mean, leave_one_out, length_weighted and best_of_group. (verl gives a
// singleton group A = R, which pushes every lone answer up; here it is 0.)
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/options.h"

namespace hone {

enum class Baseline { group_mean, leave_one_out, none, length_weighted, greedy, best_of_group };
enum class AdvantageScale { group, batch, none, mean, tokens };
enum class AdvantageGain { none, informative, nonzero };

struct AdvantageOptions {
  Baseline kind = Baseline::group_mean;
  AdvantageScale scale = AdvantageScale::group;
  AdvantageGain gain = AdvantageGain::none;
  double discount = 1;
  bool per_reward = false;
  bool process = false;
  double epsilon = 1e-4;
  int64_t ddof = 1;
};

void describe(OptionVisitor& v, AdvantageOptions& o);

// The score of a part of a completion that ends before token `end`.
struct TokenSpanScore {
  size_t end = 0;  // in counted tokens
  double value = 0;
};

// Index i is a completion of the step everywhere, n its counted tokens (mask 1); what is marked "or
// empty" may be missing where the options do not need it.
struct AdvantageInput {
  std::span<const std::optional<double>> rewards;  // [N] weighted sum
  std::span<const int64_t> group_ids;              // [N]; rows of a group need not be neighbours
  std::span<const int64_t> lengths;                // [N] counted tokens, or empty
  std::span<const std::optional<double>> greedy;   // [N] of the row's group, or empty
  // [K][N] the rewards before they are summed, and their weights [K], or empty
  std::span<const std::vector<std::optional<double>>> each;
  std::span<const double> weights;
  std::span<const std::vector<double>> token_kl;  // [N][n] what a token's reward loses, or empty
  std::span<const std::vector<TokenSpanScore>> spans;  // [N], or empty
};

struct AdvantageResult {
  std::vector<double> values;                     // [N]; where they differ by token, their mean
  std::vector<std::vector<double>> token_values;  // [N][n], or empty: values for every token
  std::vector<bool> zero_variance;  // [N] whether the row's group has nothing to compare
  int64_t groups = 0;
  int64_t zero_variance_groups = 0;
  // Over the rewards that count; what TRL logs as `reward` and `reward_std` (the mean over groups
  // of the group's standard deviation, or the batch's one with scale `batch`).
  double reward_mean = 0;
  double reward_std = 0;
};

// REQUIRES: lengths for length_weighted and for scale tokens, greedy for kind greedy, each and
// weights for per_reward, spans (with lengths) for process.
AdvantageResult advantages(const AdvantageInput& input, const AdvantageOptions& options);

}  // namespace hone
