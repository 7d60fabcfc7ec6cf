#include "train/objective.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/choice.h"

namespace hone {
namespace {

const std::vector<std::string> kFilters{"zero_variance", "truncated"};

bool counts(const ObjectiveRow& row, size_t t) { return row.mask.empty() || row.mask[t] != 0; }

// A value and its derivative.
struct Term {
  double value = 0;
  double slope = 0;
};

// KL estimator at u = p - r and its derivative by p.
Term kl_term(KlEstimator estimator, double u) {
  switch (estimator) {
    case KlEstimator::k1:
      return {u, 1};
    case KlEstimator::k2:
      return {0.5 * u * u, u};
    case KlEstimator::k3:
      return {std::exp(-u) + u - 1, 1 - std::exp(-u)};
  }
  return {};
}

// The clipped surrogate at ratio x and its derivative by log x.
Term ppo_clip(const ObjectiveOptions& o, double x, double advantage) {
  if (advantage == 0) return {};  // also where x is infinite
  const double low = 1 - o.epsilon;
  const double high = 1 + o.epsilon_high.value_or(o.epsilon);
  const bool capped = o.delta && x > *o.delta;
  const double free = (capped ? *o.delta : x) * advantage;
  const double clipped = std::clamp(x, low, high) * advantage;
  Term l;
  if (free <= clipped) {
    l = {-free, capped ? 0.0 : -x * advantage};
  } else {
    l = {-clipped, 0.0};
  }
  if (o.dual_clip && advantage < 0 && l.value > -*o.dual_clip * advantage) {
    l = {-*o.dual_clip * advantage, 0.0};
  }
  return l;
}

}  // namespace

const std::vector<std::string>& preset_names() {
  static const std::vector<std::string> names{"grpo", "dr_grpo", "dapo", "gspo", "rloo"};
  return names;
}

ObjectiveOptions preset_options(const std::string& name) {
  word_index("objective.preset", name, preset_names());
  ObjectiveOptions o;
  o.preset = name;
  // grpo: as the struct has it. KL is 0, TRL's default; DeepSeekMath had 0.04.
  if (name == "dr_grpo") {
    o.advantage.scale = AdvantageScale::none;
    o.aggregation = Aggregation::constant_length;
  } else if (name == "dapo") {
    o.epsilon_high = 0.28;
    o.aggregation = Aggregation::token_mean;
    o.filters = {"zero_variance"};
  } else if (name == "gspo") {  // clip range: section 5.1 of the paper
    o.ratio = RatioLevel::sequence;
    o.epsilon = 3e-4;
    o.epsilon_high = 4e-4;
  } else if (name == "rloo") {
    o.advantage.kind = Baseline::leave_one_out;
    o.advantage.scale = AdvantageScale::none;
    o.surrogate = Surrogate::reinforce;
    o.aggregation = Aggregation::sequence_sum;
  }
  return o;
}

void describe(OptionVisitor& v, KlOptions& o) {
  v.value("coef", o.coef, "weight of the KL to the reference; 0: no reference is kept");
  choice(v, "estimator", o.estimator, {"k1", "k2", "k3"}, "Schulman's estimator: k1, k2, k3");
  choice(v, "place", o.place, {"loss", "reward"}, "where it is added: loss, reward");
  v.value("reference_refresh", o.reference_refresh,
          "steps after which the reference becomes the trained model; 0: never");
  if (o.reference_refresh < 0) {
    throw UserError(cat("kl.reference_refresh: expected >= 0, found ", o.reference_refresh));
  }
}

namespace {

void check(const ObjectiveOptions& o) {
  const double high = 1 + o.epsilon_high.value_or(o.epsilon);
  if (o.epsilon < 0) throw UserError(cat("epsilon: expected >= 0, found ", o.epsilon));
  if (high < 1) throw UserError(cat("epsilon_high: expected >= 0, found ", *o.epsilon_high));
  if (o.delta && *o.delta <= high) {
    throw UserError(cat("delta: expected more than 1 + epsilon_high = ", high, ", found ", *o.delta,
                        " (below it every update would be cut)"));
  }
  if (o.dual_clip && *o.dual_clip <= 1) {
    throw UserError(cat("dual_clip: expected more than 1, found ", *o.dual_clip));
  }
  if (o.length < 0) throw UserError(cat("length: expected >= 0, found ", o.length));
  for (const std::string& filter : o.filters) word_index("filters", filter, kFilters);
}

}  // namespace

void describe(OptionVisitor& v, ObjectiveOptions& o) {
  const std::string before = o.preset;
  v.value("preset", o.preset, "grpo, dr_grpo, dapo, gspo, rloo: sets the other keys");
  // Only a reader changes it; what it reads next overrides the preset's switches.
  if (o.preset != before) o = preset_options(o.preset);
  v.section("advantage", o.advantage, "how rewards become advantages");
  choice(v, "ratio", o.ratio, {"token", "sequence"},
         "importance ratio of each token, or of the whole completion: token, sequence");
  choice(v, "surrogate", o.surrogate, {"ppo_clip", "reinforce"}, "ppo_clip, reinforce");
  v.value("epsilon", o.epsilon, "the ratio is clipped below 1 - epsilon");
  v.value("epsilon_high", o.epsilon_high, "and above 1 + epsilon_high; null: epsilon");
  v.value("delta", o.delta, "cap of the unclipped ratio (two-sided clip); null: none");
  v.value("dual_clip", o.dual_clip, "bound of the loss of a negative advantage, times it; null");
  choice(v, "aggregation", o.aggregation,
         {"token_mean", "sequence_mean", "sequence_sum", "constant_length"},
         "token_mean, sequence_mean, sequence_sum, constant_length");
  v.value("length", o.length, "denominator of constant_length; 0: the stage's max_tokens");
  v.section("kl", o.kl, "KL to the reference model");
  v.value("entropy_coef", o.entropy_coef, "weight of the entropy bonus");
  v.value("filters", o.filters, "what is left out: zero_variance, truncated");
  check(o);
}

bool has_filter(const ObjectiveOptions& options, const char* name) {
  return std::find(options.filters.begin(), options.filters.end(), name) != options.filters.end();
}
bool needs_reference(const ObjectiveOptions& options) { return options.kl.coef != 0; }
bool needs_entropy_gradient(const ObjectiveOptions& options) { return options.entropy_coef != 0; }

RowCounts row_counts(const ObjectiveRow& row) {
  RowCounts c{0, row.truncated, row.zero_variance};
  for (size_t t = 0; t < row.logp.size(); ++t) c.tokens += counts(row, t);
  return c;
}

bool row_is_used(const ObjectiveOptions& options, const RowCounts& row) {
  if (row.zero_variance && has_filter(options, "zero_variance")) return false;
  if (row.truncated && has_filter(options, "truncated")) return false;
  return row.tokens > 0;
}

StepNormaliser step_normaliser(const ObjectiveOptions& options, std::span<const RowCounts> rows) {
  StepNormaliser n;
  for (const RowCounts& row : rows) {
    if (row.zero_variance && has_filter(options, "zero_variance")) continue;
    ++n.sequences;
    if (row_is_used(options, row)) n.tokens += row.tokens;
  }
  return n;
}

void ObjectiveStats::merge(const ObjectiveStats& other) {
  tokens += other.tokens;
  sequences += other.sequences;
  if (other.ratios > 0) {  // the extremes of no ratio at all are not extremes
    ratio_min = ratios > 0 ? std::min(ratio_min, other.ratio_min) : other.ratio_min;
    ratio_max = ratios > 0 ? std::max(ratio_max, other.ratio_max) : other.ratio_max;
  }
  ratios += other.ratios;
  clipped_low += other.clipped_low;
  clipped_high += other.clipped_high;
  ratio_sum += other.ratio_sum;
  kl_tokens += other.kl_tokens;
  kl_sum += other.kl_sum;
  entropy_tokens += other.entropy_tokens;
  entropy_sum += other.entropy_sum;
  sampler_tokens += other.sampler_tokens;
  sampler_diff_sum += other.sampler_diff_sum;
  sampler_diff_max = std::max(sampler_diff_max, other.sampler_diff_max);
  loss += other.loss;
  policy_loss += other.policy_loss;
  kl_loss += other.kl_loss;
  entropy_loss += other.entropy_loss;
}

std::vector<std::pair<std::string, double>> objective_metrics(const ObjectiveStats& s) {
  const auto mean = [](double sum, int64_t n) {
    return n > 0 ? sum / static_cast<double>(n) : 0.0;
  };
  const auto share = [&](int64_t n) { return mean(static_cast<double>(n), s.ratios); };
  std::vector<std::pair<std::string, double>> m{{"loss", s.loss}};
  if (s.kl_tokens > 0) m.emplace_back("kl", mean(s.kl_sum, s.kl_tokens));
  if (s.entropy_tokens > 0) m.emplace_back("entropy", mean(s.entropy_sum, s.entropy_tokens));
  m.emplace_back("clip_ratio/low_mean", share(s.clipped_low));
  m.emplace_back("clip_ratio/high_mean", share(s.clipped_high));
  m.emplace_back("clip_ratio/region_mean", share(s.clipped_low + s.clipped_high));
  m.emplace_back("ratio/mean", s.ratios > 0 ? mean(s.ratio_sum, s.ratios) : 1.0);
  m.emplace_back("ratio/min", s.ratio_min);
  m.emplace_back("ratio/max", s.ratio_max);
  if (s.sampler_tokens > 0) {
    m.emplace_back("sampling/sampling_logp_difference/mean",
                   mean(s.sampler_diff_sum, s.sampler_tokens));
    m.emplace_back("sampling/sampling_logp_difference/max", s.sampler_diff_max);
  }
  return m;
}

namespace {

// w_t of a completion: see the table in the header. An empty step has no loss.
double token_weight(const ObjectiveOptions& o, const StepNormaliser& n, int64_t row_tokens) {
  const double sequences = static_cast<double>(std::max<int64_t>(1, n.sequences));
  switch (o.aggregation) {
    case Aggregation::token_mean:
      return 1.0 / static_cast<double>(std::max<int64_t>(1, n.tokens));
    case Aggregation::sequence_mean:
      return 1.0 / (sequences * static_cast<double>(row_tokens));
    case Aggregation::sequence_sum:
      return 1.0 / sequences;
    case Aggregation::constant_length:
      return 1.0 / (sequences * o.length);
  }
  return 0;
}

// Clip counts are of ratios whose update the range can cut, as TRL counts them.
void count_ratio(const ObjectiveOptions& o, double x, double advantage, ObjectiveStats& s) {
  s.ratio_sum += x;
  s.ratio_min = s.ratios == 0 ? x : std::min(s.ratio_min, x);
  s.ratio_max = s.ratios == 0 ? x : std::max(s.ratio_max, x);
  ++s.ratios;
  if (o.surrogate != Surrogate::ppo_clip) return;
  s.clipped_low += x < 1 - o.epsilon && advantage < 0;
  s.clipped_high += x > 1 + o.epsilon_high.value_or(o.epsilon) && advantage > 0;
}

void objective_row(const ObjectiveOptions& o, double weight, int64_t row_tokens,
                   const ObjectiveRow& row, std::vector<double>& grad_logp,
                   std::vector<double>& grad_entropy, ObjectiveStats& stats) {
  const size_t size = row.logp.size();
  const double length = static_cast<double>(row_tokens);
  const auto log_ratio = [&](size_t t) {
    return row.old_logp.empty() ? 0.0 : row.logp[t] - row.old_logp[t];
  };
  const auto advantage = [&](size_t t) {
    return row.token_advantages.empty() ? row.advantage : row.token_advantages[t];
  };

  double sequence_ratio = 1;
  if (o.ratio == RatioLevel::sequence) {
    double sum = 0;
    for (size_t t = 0; t < size; ++t) {
      if (counts(row, t)) sum += log_ratio(t);
    }
    sequence_ratio = std::exp(sum / length);
  }

  ObjectiveStats s;
  double sequence_slope = 0;  // d loss / d mean log-ratio
  double advantage_sum = 0;
  for (size_t t = 0; t < size; ++t) {
    if (!counts(row, t)) continue;
    const double a = advantage(t);
    const double x = o.ratio == RatioLevel::sequence ? sequence_ratio : std::exp(log_ratio(t));
    advantage_sum += a;
    if (o.ratio == RatioLevel::token) count_ratio(o, x, a, s);
    if (o.surrogate == Surrogate::reinforce) {
      s.policy_loss += weight * -a * row.logp[t];
      grad_logp[t] += weight * -a;
    } else {
      const Term l = ppo_clip(o, x, a);
      s.policy_loss += weight * l.value;
      if (o.ratio == RatioLevel::sequence) {
        sequence_slope += weight * l.slope;
      } else {
        grad_logp[t] += weight * l.slope;
      }
    }
    if (!row.ref_logp.empty()) {
      const Term kl = kl_term(o.kl.estimator, row.logp[t] - row.ref_logp[t]);
      s.kl_sum += kl.value;
      ++s.kl_tokens;
      if (o.kl.place == KlPlace::loss && o.kl.coef != 0) {
        s.kl_loss += weight * o.kl.coef * kl.value;
        grad_logp[t] += weight * o.kl.coef * kl.slope;
      }
    }
    if (!row.entropy.empty()) {
      s.entropy_sum += row.entropy[t];
      ++s.entropy_tokens;
      if (o.entropy_coef != 0) {
        s.entropy_loss -= weight * o.entropy_coef * row.entropy[t];
        grad_entropy[t] = -weight * o.entropy_coef;
      }
    }
    if (!row.sampler_logp.empty()) {
      const double old = row.old_logp.empty() ? row.logp[t] : row.old_logp[t];
      const double difference = std::fabs(old - row.sampler_logp[t]);
      s.sampler_diff_sum += difference;
      s.sampler_diff_max = std::max(s.sampler_diff_max, difference);
      ++s.sampler_tokens;
    }
  }
  if (o.ratio == RatioLevel::sequence) {
    count_ratio(o, sequence_ratio, advantage_sum / length, s);
    // mean_t d has derivative 1 / |o| by each of its log-probabilities
    for (size_t t = 0; t < size; ++t) {
      if (counts(row, t)) grad_logp[t] += sequence_slope / length;
    }
  }
  s.tokens = row_tokens;
  s.sequences = 1;
  s.loss = s.policy_loss + s.kl_loss + s.entropy_loss;
  stats.merge(s);
}

}  // namespace

ObjectiveResult objective(const ObjectiveOptions& options, const StepNormaliser& normaliser,
                          std::span<const ObjectiveRow> rows) {
  HONE_CHECK(options.aggregation != Aggregation::constant_length || options.length > 0);
  ObjectiveResult result;
  for (const ObjectiveRow& row : rows) {
    const size_t size = row.logp.size();
    for (size_t given : {row.old_logp.size(), row.ref_logp.size(), row.sampler_logp.size(),
                         row.entropy.size(), row.mask.size(), row.token_advantages.size()}) {
      HONE_CHECK(given == 0 || given == size);
    }
    std::vector<double>& grad_logp = result.grad_logp.emplace_back(size, 0.0);
    std::vector<double>& grad_entropy =
        result.grad_entropy.emplace_back(needs_entropy_gradient(options) ? size : 0, 0.0);
    const RowCounts c = row_counts(row);
    if (!row_is_used(options, c)) continue;
    HONE_CHECK(!needs_reference(options) || !row.ref_logp.empty());
    HONE_CHECK(!needs_entropy_gradient(options) || !row.entropy.empty());
    objective_row(options, token_weight(options, normaliser, c.tokens), c.tokens, row, grad_logp,
                  grad_entropy, result.stats);
  }
  result.loss = result.stats.loss;
  return result;
}

double kl_in_reward(const ObjectiveOptions& options, const ObjectiveRow& row) {
  if (options.kl.place != KlPlace::reward || options.kl.coef == 0) return 0;
  HONE_CHECK(row.ref_logp.size() == row.logp.size());
  const std::span<const double> sampled = row.old_logp.empty() ? row.logp : row.old_logp;
  double sum = 0;
  for (size_t t = 0; t < sampled.size(); ++t) {
    if (counts(row, t)) sum += kl_term(options.kl.estimator, sampled[t] - row.ref_logp[t]).value;
  }
  return options.kl.coef * sum;
}

}  // namespace hone
