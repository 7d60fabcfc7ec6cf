// The six switches of the objective as a recipe has them, and the published combinations by name.
// What each value computes stands in advantage.h, surrogate.h and objective.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "train/advantage.h"

namespace hone {

enum class RatioLevel { token, sequence, sequence_token, geometric };
enum class Surrogate { ppo_clip, unclipped, cispo, sapo, dppo_tv, dppo_kl, vespo, reinforce };
enum class Aggregation {
  token_mean,
  sequence_mean,
  sequence_sum,
  constant_length,
  prompt_mean,
  token_sum,
};
enum class KlEstimator { k1, k2, k3, abs };
enum class KlPlace { loss, reward };
enum class Correction { none, token_truncate, token_mask, sequence_truncate, sequence_mask };
enum class MeanOver { loss, tokens };

struct KlOptions {
  double coef = 0;
  KlEstimator estimator = KlEstimator::k3;
  bool straight_through = false;
  bool importance_weighted = false;
  std::optional<double> cap;
  KlPlace place = KlPlace::loss;
  MeanOver over = MeanOver::loss;
  std::optional<double> target;  // adaptive coefficient; the trainer's business, as all below
  double horizon = 10000;
  int64_t reference_refresh = 0;
  double reference_mix = 1;
};

// How far the sampler's distribution was from the weights that the update begins with.
struct CorrectionOptions {
  Correction mode = Correction::none;
  std::optional<double> low;
  std::optional<double> high = 3;
};

struct EntropyOptions {
  MeanOver over = MeanOver::loss;
  std::optional<double> target;  // adaptive coefficient
  double delta = 0.005;
  double min = 0;
  double max = 1;
};

struct ClipCovOptions {
  double share = 0;
  double low = 1;
  double high = 5;
};

struct KlCovOptions {
  double share = 0;
  double coef = 1;
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
  double ratio_cap = 20;
  double drift_coef = 0;
  double tau_positive = 1.0;
  double tau_negative = 1.05;
  double k_positive = 2, lambda_positive = 3;
  double k_negative = 3, lambda_negative = 2;
  Aggregation aggregation = Aggregation::sequence_mean;
  double length = 0;  // constant_length's denominator; 0: the trainer fills in max_tokens
  KlOptions kl;
  double entropy_coef = 0;
  EntropyOptions entropy;
  std::vector<std::string> filters;
  double top_entropy = 1;
  ClipCovOptions clip_cov;
  KlCovOptions kl_cov;
  std::optional<double> off_policy;
  CorrectionOptions correction;

  double high() const { return 1 + epsilon_high.value_or(epsilon); }
};

// A published variant: its name, where it was published, what it is.
struct Preset {
  std::string name;
  std::string paper;
  std::string meaning;
};
const std::vector<Preset>& presets();

// A preset expanded into the switches. Throws UserError for an unknown name.
ObjectiveOptions preset_options(const std::string& name);

void describe(OptionVisitor& v, KlOptions& o);
// `preset` is read first and expands; every key beside it overrides what it set, whatever the
// order in the file. What is written is the expanded form.
void describe(OptionVisitor& v, ObjectiveOptions& o);

// Throws UserError where switches contradict each other.
void check_objective(const ObjectiveOptions& o);

bool has_filter(const ObjectiveOptions& options, const char* name);
bool needs_reference(const ObjectiveOptions& options);
// Whether the loss has an entropy term, now or later.
bool needs_entropy_gradient(const ObjectiveOptions& options);
// Whether select_tokens() has to see the whole step before its first micro-batch.
bool needs_selection(const ObjectiveOptions& options);

}  // namespace hone
