// The objective of an optimizer step: one function of log-probabilities with switches.
//
//   loss = sum_i sum_t w_it (l_it + coef KL_it - entropy_coef H_it)
//
// over completions i and their tokens t with mask 1. Notation: p = log-probability under the
// weights being trained, o = old log-probability (the weights that sampled), r = reference's,
// d = p - o, A = advantage, |o_i| = tokens of completion i, N_seq = completions of the step.
//
// ratio     token          x_it = exp(d_it)                       (PPO, GRPO: arXiv 2402.03300 eq.
// 3)
//           sequence       x_it = exp(mean_t d_it) for every t    (GSPO: arXiv 2507.18071 eq. 7)
//           Without old log-probabilities o is p without its gradient: x = 1, the gradient stays.
// surrogate ppo_clip       l = -min(min(x, delta) A, clip(x, 1 - epsilon, 1 + epsilon_high) A)
//                          epsilon_high absent: = epsilon; apart ("clip-higher"): DAPO 2503.14476
//                          delta, absent by default: INTELLECT-2, 2505.07291 sec. 3.4
//                          dual_clip c, absent by default: for A < 0 also l = min(l, -c A), which
//                          bounds the loss of a bad answer that became likely (1912.09729 eq. 5)
//           reinforce      l = -A p                               (Williams 1992)
// aggregation  token_mean       w = 1 / tokens of the step        (DAPO eq. 8)
//              sequence_mean    w = 1 / (N_seq |o_i|)             (GRPO eq. 3)
//              sequence_sum     w = 1 / N_seq                     (RLOO 2402.14740)
//              constant_length  w = 1 / (N_seq length)            (Dr. GRPO 2503.20783 sec. 3.1)
// kl        Schulman's estimators of KL(trained || reference) from a sample, u = p - r:
//           k1 = u                  unbiased, its gradient is not that of a KL (expectation 0)
//           k2 = u^2 / 2            biased, gradient u grad p is right
//           k3 = exp(-u) + u - 1    unbiased, never negative; GRPO eq. 4
//           place loss: as above. place reward: kl_in_reward() is taken off the reward before
//           the advantages; the loss has no KL term then and metrics still show it.
// filters   zero_variance  drops the groups whose rewards are all equal, before anything is
//                          counted (the dropping half of DAPO's dynamic sampling)
//           truncated      takes the tokens of truncated completions out of loss and token count;
//                          the completion stays in its group's statistics and in N_seq (as TRL's
//                          mask_truncated_completions does)
//
// Normalisers (tokens of the step, N_seq) are those of the whole optimizer step and computed
// once, before its first micro-batch. So the sum over micro-batches of loss and gradient is the
// step's, however it is cut: objective() divides by nothing that it counts itself.
//
// All arithmetic is in double. Gradients are analytic and exact where the function has a kink:
// at the edge of the clip range the unclipped branch counts, as in PyTorch.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/options.h"
#include "train/advantage.h"

namespace hone {

enum class RatioLevel { token, sequence };
enum class Surrogate { ppo_clip, reinforce };
enum class Aggregation { token_mean, sequence_mean, sequence_sum, constant_length };
enum class KlEstimator { k1, k2, k3 };
enum class KlPlace { loss, reward };

struct KlOptions {
  double coef = 0;
  KlEstimator estimator = KlEstimator::k3;
  KlPlace place = KlPlace::loss;
  int64_t reference_refresh = 0;  // steps; the trainer's business, 0 = never
};

struct ObjectiveOptions {
  std::string preset = "grpo";
  AdvantageOptions advantage;
  RatioLevel ratio = RatioLevel::token;
  Surrogate surrogate = Surrogate::ppo_clip;
  double epsilon = 0.2;
  std::optional<double> epsilon_high;
  std::optional<double> delta;
  std::optional<double> dual_clip;
  Aggregation aggregation = Aggregation::sequence_mean;
  double length = 0;  // constant_length's denominator; 0: the trainer fills in max_tokens
  KlOptions kl;
  double entropy_coef = 0;
  std::vector<std::string> filters;
};

// The names preset_options() knows.
const std::vector<std::string>& preset_names();

// A preset expanded into the switches. Throws UserError for an unknown name.
ObjectiveOptions preset_options(const std::string& name);

void describe(OptionVisitor& v, KlOptions& o);
// `preset` is read first and expands; every key beside it overrides what it set, whatever the
// order in the file. What is written is the expanded form.
void describe(OptionVisitor& v, ObjectiveOptions& o);

bool has_filter(const ObjectiveOptions& options, const char* name);
bool needs_reference(const ObjectiveOptions& options);
bool needs_entropy_gradient(const ObjectiveOptions& options);

// One completion. Spans are over its tokens and have the same length; those marked "or empty" may
// have none.
struct ObjectiveRow {
  std::span<const double> logp;
  std::span<const double> old_logp;      // or empty: logp without its gradient
  std::span<const double> ref_logp;      // or empty: no reference
  std::span<const double> sampler_logp;  // or empty; for metrics
  std::span<const double> entropy;       // or empty
  std::span<const uint8_t> mask;         // or empty: all 1
  double advantage = 0;
  std::span<const double> token_advantages;  // or empty: `advantage` for every token
  bool truncated = false;
  bool zero_variance = false;
};

// What the normaliser counts of a completion; known before the forward pass.
struct RowCounts {
  int64_t tokens = 0;
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
};
StepNormaliser step_normaliser(const ObjectiveOptions& options, std::span<const RowCounts> rows);

// Sums and extremes, so that micro-batches (and processes) merge to the step's.
struct ObjectiveStats {
  int64_t tokens = 0;
  int64_t sequences = 0;
  // Clipped tokens (ratio token) or completions (ratio sequence), of `ratios`.
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
  double loss = 0;  // its three parts add up to it
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
// REQUIRES: ref_logp where needs_reference, entropy where needs_entropy_gradient, length > 0 with
// constant_length.
ObjectiveResult objective(const ObjectiveOptions& options, const StepNormaliser& normaliser,
                          std::span<const ObjectiveRow> rows);

// coef sum_t KL_t of the completion as it was sampled (old_logp, else logp): what `place: reward`
// takes off its reward.
double kl_in_reward(const ObjectiveOptions& options, const ObjectiveRow& row);

}  // namespace hone
