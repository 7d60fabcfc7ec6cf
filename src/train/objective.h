// The objective of an optimizer step: one function of log-probabilities with six switches.
//
//   loss = sum_i sum_t w_it (k_it c_it l_it + coef KL_it) - entropy_coef H
//
// over completions i and their tokens t with mask 1; l is the surrogate and KL the estimator of
// surrogate.h, A the advantage of advantage.h.
//
// ratio x   token          exp(d_it), d = p - o                  (PPO, GRPO: 2402.03300 eq. 3)
//           sequence       exp(mean_t d_it) for every t                   (GSPO: 2507.18071 eq. 7)
//           sequence_token the same value, with token t's gradient alone  (GSPO-token, eq. 14)
//           geometric      exp(mean_t min or max(d_it, clip(d_it, -epsilon, epsilon_high))) by the
//                          sign of A, whose loss is -x A                  (GMPO: 2507.20673 eq. 4)
//           Without old log-probabilities o is p without its gradient: x = 1, the gradient stays.
// aggregation  token_mean       w = 1 / tokens of the step        (DAPO 2503.14476 eq. 8)
//              sequence_mean    w = 1 / (N_seq |o_i|)             (GRPO eq. 3)
//              sequence_sum     w = 1 / N_seq                     (RLOO 2402.14740; LUSPO)
//              constant_length  w = 1 / (N_seq length)            (Dr. GRPO 2503.20783 sec. 3.1)
//              token_sum        w = 1                             (verl's token-sum)
//              prompt_mean      w = 1 / (N_prompts tokens of the prompt's group)  (2510.13786)
// KL        place loss: as above, times x with importance_weighted (2512.02556). place reward:
//           token_kl() is taken off the reward before the advantages; the loss has no KL term then
//           and metrics still show it.
//           over: tokens: the mean over the step's tokens instead of sum w_it KL_it.
// H         mean entropy: over: loss: sum w_it H_it; over: tokens: over the step's tokens.
// filters   zero_variance  drops the groups whose rewards are all equal, before anything is
//                          counted (the dropping half of DAPO's dynamic sampling)
//           truncated      takes the tokens of truncated completions out of loss and token count;
//                          the completion stays in its group's statistics and in N_seq (as TRL's
//                          mask_truncated_completions does)
//   k, 0 or 1:
//           top_entropy    1 for the tokens at or above the (1 - share) quantile of the step's
//                          entropies, also in H                           (2506.01939)
//           clip_cov       0 for a drawn share of the tokens whose (A - mean A)(p - mean p) is in
//                          (low, high) and that the clip left alone       (2505.22617)
//           off_policy     0 where A < 0 in completions and mean_t(s - p) > off_policy, s =
//           sampler's
//                          log-probability, or old                        (2512.02556)
//   drift_coef  adds drift_coef / 2 d^2 to l                                   (DRO, 2405.19107)
//   kl_cov  adds coef |d| to l of the share of tokens of highest covariance  (2505.22617)
//   c, the correction: exp(o - s) of a token, or of the sum over the completion; truncate: clamped
//           to [low, high]; mask: 0 outside. vespo takes it into its weight, GMPO the geometric
//           mean of its tokens' (as verl). A completion's sum grows with its length: `kept` in the
//           metrics tells what a mask leaves.
//
// Normalisers (tokens of the step, N_seq, prompts) are those of the whole optimizer step and
// computed once, before its first micro-batch. So the sum over micro-batches of loss and gradient
// is the step's, however it is cut: objective() divides by nothing that it counts itself. The
// selections by entropy and covariance are made over the whole step too, by select_tokens().
//
// All arithmetic is in double.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "train/objective_options.h"

namespace hone {

// One completion. Spans are over its tokens and have the same length; those marked "or empty" may
// have none.
struct ObjectiveRow {
  std::span<const double> logp;
  std::span<const double> old_logp;      // or empty: logp without its gradient
  std::span<const double> ref_logp;      // or empty: no reference
  std::span<const double> sampler_logp;  // or empty: no correction
  std::span<const double> entropy;       // or empty
  std::span<const uint8_t> mask;         // or empty: all 1
  double advantage = 0;
  std::span<const double> token_advantages;  // or empty: `advantage` for every token
  int64_t group = 0;                         // its prompt's
  bool truncated = false;
  bool zero_variance = false;
  std::span<const uint8_t> keep;  // or empty: all 1; from select_tokens()
  std::span<const uint8_t> hold;  // or empty: all 0; KL-Cov's tokens
};

// What the normaliser counts of a completion; known before the forward pass.
struct RowCounts {
  int64_t tokens = 0;
  int64_t group = 0;
  bool truncated = false;
  bool zero_variance = false;
};
RowCounts row_counts(const ObjectiveRow& row);

// Whether objective() gives the completion any gradient; the trainer need not run those it does
// not. (A completion with advantage 0 can still have a KL or an entropy term.)
bool row_is_used(const ObjectiveOptions& options, const RowCounts& row);

// Over every completion of the optimizer step. Processes add theirs.
struct StepNormaliser {
  int64_t tokens = 0;
  int64_t sequences = 0;
  std::map<int64_t, int64_t> group_tokens;  // of the prompts that count
  int64_t entropy_tokens = 0;               // those H is over: `tokens`, or what top_entropy keeps
};
StepNormaliser step_normaliser(const ObjectiveOptions& options, std::span<const RowCounts> rows);

// Which tokens of a completion the selections keep, and which KL-Cov holds back; [n], or empty.
struct TokenSelection {
  std::vector<uint8_t> keep;
  std::vector<uint8_t> hold;
};
// Over every completion of the optimizer step, whose log-probabilities and entropies are those
// before it; `seed` keys Clip-Cov's draw. Sets the normaliser's entropy_tokens.
// (token_selection.cpp)
std::vector<TokenSelection> select_tokens(const ObjectiveOptions& options,
                                          std::span<const ObjectiveRow> rows, uint64_t seed,
                                          StepNormaliser& normaliser);

// Sums and extremes, so that micro-batches (and processes) merge to the step's.
struct ObjectiveStats {
  int64_t tokens = 0;
  int64_t sequences = 0;
  // Clipped tokens (ratio token) or completions (a ratio of completions), of `ratios`.
  int64_t ratios = 0;
  int64_t clipped_low = 0;
  int64_t clipped_high = 0;
  double ratio_sum = 0;
  double ratio_min = 1;
  double ratio_max = 1;
  int64_t kl_tokens = 0;
  double kl_sum = 0;
  int64_t entropy_tokens = 0;
  double entropy_sum = 0;
  int64_t sampler_tokens = 0;
  double sampler_diff_sum = 0;  // |o - sampler|
  double sampler_diff_max = 0;
  // The correction's weights before they were cut, and those it kept whole.
  int64_t weights = 0;
  int64_t weights_kept = 0;
  double weight_sum = 0;
  double weight_min = 1;
  double weight_max = 1;
  int64_t off_policy = 0;    // completions of which tokens are left out
  int64_t selected_out = 0;  // tokens
  double loss = 0;           // its three parts add up to it
  double policy_loss = 0;
  double kl_loss = 0;
  double entropy_loss = 0;

  void merge(const ObjectiveStats& other);
};

// (name, value) in a fixed order, with TRL's names where it has one.
std::vector<std::pair<std::string, double>> objective_metrics(const ObjectiveStats& stats);

struct ObjectiveResult {
  double loss = 0;
  std::vector<std::vector<double>> grad_logp;     // d loss / d logp, [rows][tokens], 0 if masked
  std::vector<std::vector<double>> grad_entropy;  // the same for entropy; empty rows if unused
  ObjectiveStats stats;
};

// The part of the step's loss and gradient that comes from `rows`.
// REQUIRES: ref_logp where needs_reference, entropy where needs_entropy_gradient, sampler_logp with
// a correction, length > 0 with constant_length, select_tokens()'s spans where needs_selection.
ObjectiveResult objective(const ObjectiveOptions& options, const StepNormaliser& normaliser,
                          std::span<const ObjectiveRow> rows);

// coef KL_t of each token as it was sampled (old_logp, else logp), 0 where masked: what
// `place: reward` takes off its reward. Empty where it takes nothing.
std::vector<double> token_kl(const ObjectiveOptions& options, const ObjectiveRow& row);

}  // namespace hone
