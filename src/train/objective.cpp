#include "train/objective.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/objective_row.h"
#include "train/surrogate.h"

namespace hone {

RowCounts row_counts(const ObjectiveRow& row) {
  RowCounts c{0, row.group, row.truncated, row.zero_variance};
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
    int64_t& of_group = n.group_tokens[row.group];
    if (!row_is_used(options, row)) continue;
    n.tokens += row.tokens;
    of_group += row.tokens;
  }
  n.entropy_tokens = n.tokens;
  return n;
}

void ObjectiveStats::merge(const ObjectiveStats& other) {
  // The extremes of no ratio at all are not extremes.
  const auto extremes = [](int64_t n, double& least, double& most, int64_t more, double low,
                           double high) {
    if (more == 0) return;
    least = n > 0 ? std::min(least, low) : low;
    most = n > 0 ? std::max(most, high) : high;
  };
  extremes(ratios, ratio_min, ratio_max, other.ratios, other.ratio_min, other.ratio_max);
  extremes(weights, weight_min, weight_max, other.weights, other.weight_min, other.weight_max);
  sampler_diff_max = std::max(sampler_diff_max, other.sampler_diff_max);
  tokens += other.tokens;
  sequences += other.sequences;
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
  weights += other.weights;
  weights_kept += other.weights_kept;
  weight_sum += other.weight_sum;
  off_policy += other.off_policy;
  selected_out += other.selected_out;
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
  if (s.weights > 0) {
    m.emplace_back("sampling/importance_sampling_ratio/mean", mean(s.weight_sum, s.weights));
    m.emplace_back("sampling/importance_sampling_ratio/min", s.weight_min);
    m.emplace_back("sampling/importance_sampling_ratio/max", s.weight_max);
    m.emplace_back("sampling/importance_sampling_ratio/kept",
                   mean(static_cast<double>(s.weights_kept), s.weights));
  }
  if (s.off_policy > 0) {
    m.emplace_back("off_policy_ratio", mean(static_cast<double>(s.off_policy), s.sequences));
  }
  if (s.selected_out > 0) {
    m.emplace_back("selected_ratio", 1 - mean(static_cast<double>(s.selected_out), s.tokens));
  }
  return m;
}

namespace {

// One completion's part of the loss. The fields that the token loop reads are set before it.
class RowObjective {
 public:
  RowObjective(const ObjectiveOptions& o, const StepNormaliser& n, const ObjectiveRow& row,
               const RowCounts& c)
      : o_(o), row_(row), tokens_(c.tokens), length_(static_cast<double>(c.tokens)) {
    set_token_weight(n, c);
    set_ratio();
    set_correction();
    set_advantage();
    is_off_policy_ = o.off_policy && fallen() > *o.off_policy;
    if (o.surrogate == Surrogate::vespo) set_vespo();
    const auto mean_over = [&](MeanOver over, int64_t tokens) {
      const double of_tokens = 1.0 / static_cast<double>(std::max<int64_t>(1, tokens));
      return over == MeanOver::loss ? weight_ : of_tokens;
    };
    entropy_weight_ = mean_over(o.entropy.over, n.entropy_tokens);
    kl_weight_ = mean_over(o.kl.over, n.tokens) * o.kl.coef;
  }

  ObjectiveStats run(std::vector<double>& grad_logp, std::vector<double>& grad_entropy) {
    for (size_t t = 0; t < row_.logp.size(); ++t) {
      if (!counts(row_, t)) continue;
      add_policy(t, grad_logp);
      add_kl(t, grad_logp);
      add_entropy(t, grad_entropy);
      count_sampler(t);
    }
    if (of_sequence() || o_.ratio == RatioLevel::sequence_token) {
      count_ratio(sequence_ratio_, mean_advantage_, 0, 0);
    }
    if (of_sequence()) {
      // mean_t d has derivative 1 / |o| by each of its log-probabilities
      for (size_t t = 0; t < row_.logp.size(); ++t) {
        if (in_ratio(t) && !clipped_in_ratio(t)) grad_logp[t] += sequence_slope_ / ratio_tokens_;
      }
    }
    stats_.off_policy = left_out_;
    stats_.tokens = tokens_;
    stats_.sequences = 1;
    stats_.loss = stats_.policy_loss + stats_.kl_loss + stats_.entropy_loss;
    return stats_;
  }

 private:
  // Whether the ratio's gradient is that of the completion's mean.
  bool of_sequence() const {
    return o_.ratio == RatioLevel::sequence || o_.ratio == RatioLevel::geometric;
  }

  // w_it of every token: see the table in the header. An empty step has no loss.
  void set_token_weight(const StepNormaliser& n, const RowCounts& c) {
    const auto at_least_one = [](int64_t x) {
      return static_cast<double>(std::max<int64_t>(1, x));
    };
    const double sequences = at_least_one(n.sequences);
    switch (o_.aggregation) {
      case Aggregation::token_mean:
        weight_ = 1.0 / at_least_one(n.tokens);
        break;
      case Aggregation::sequence_mean:
        weight_ = 1.0 / (sequences * length_);
        break;
      case Aggregation::sequence_sum:
        weight_ = 1.0 / sequences;
        break;
      case Aggregation::constant_length:
        weight_ = 1.0 / (sequences * o_.length);
        break;
      case Aggregation::token_sum:
        weight_ = 1;
        break;
      case Aggregation::prompt_mean:
        weight_ = 1.0 / (at_least_one(static_cast<int64_t>(n.group_tokens.size())) *
                         at_least_one(n.group_tokens.at(c.group)));
        break;
    }
  }

  // The log ratio that counts in the completion's; GMPO clips it by token where that is the worse.
  double log_ratio(size_t t) const {
    const double d = row_.old_logp.empty() ? 0.0 : row_.logp[t] - row_.old_logp[t];
    if (o_.ratio != RatioLevel::geometric) return d;
    const double clipped = std::clamp(d, -o_.epsilon, o_.epsilon_high.value_or(o_.epsilon));
    return advantage_of(row_, t) >= 0 ? std::min(d, clipped) : std::max(d, clipped);
  }
  bool clipped_in_ratio(size_t t) const {
    if (o_.ratio != RatioLevel::geometric || row_.old_logp.empty()) return false;
    return log_ratio(t) != row_.logp[t] - row_.old_logp[t];
  }
  bool keeps(size_t t) const { return row_.keep.empty() || row_.keep[t]; }
  // Whether the token is in the completion's ratio; GMPO's is over the tokens learned from.
  bool in_ratio(size_t t) const {
    return counts(row_, t) && (o_.ratio != RatioLevel::geometric || keeps(t));
  }

  void set_ratio() {
    if (o_.ratio == RatioLevel::token) return;
    double sum = 0, tokens = 0;
    for (size_t t = 0; t < row_.logp.size(); ++t) {
      if (!in_ratio(t)) continue;
      sum += log_ratio(t);
      ++tokens;
    }
    ratio_tokens_ = std::max(tokens, 1.0);
    sequence_ratio_ = std::exp(sum / ratio_tokens_);
  }

  double ratio(size_t t) const {
    return o_.ratio == RatioLevel::token ? ratio_of(row_, t) : sequence_ratio_;
  }

  double cut(double weight) {
    const CorrectionOptions& c = o_.correction;
    const bool inside = (!c.low || weight >= *c.low) && (!c.high || weight <= *c.high);
    stats_.weight_sum += weight;
    stats_.weight_min = stats_.weights ? std::min(stats_.weight_min, weight) : weight;
    stats_.weight_max = stats_.weights ? std::max(stats_.weight_max, weight) : weight;
    ++stats_.weights;
    stats_.weights_kept += inside;
    if (inside) return weight;
    if (c.mode == Correction::token_mask || c.mode == Correction::sequence_mask) return 0;
    return c.low && weight < *c.low ? *c.low : *c.high;
  }

  void set_correction() {
    const Correction mode = o_.correction.mode;
    if (mode == Correction::none) return;
    double sum = 0;
    for (size_t t = 0; t < row_.logp.size(); ++t) {
      if (!counts(row_, t)) continue;
      const double d = old_of(row_, t) - row_.sampler_logp[t];
      sum += d;
      if (mode == Correction::token_truncate || mode == Correction::token_mask) {
        correction_.resize(row_.logp.size(), 1.0);
        correction_[t] = cut(std::exp(d));
      }
    }
    if (correction_.empty()) correction_.assign(row_.logp.size(), cut(std::exp(sum)));
    if (o_.ratio != RatioLevel::geometric) return;
    double log_mean = 0;
    for (size_t t = 0; t < row_.logp.size(); ++t) {
      if (counts(row_, t)) log_mean += std::log(correction_[t] + 1e-10) / length_;
    }
    correction_.assign(row_.logp.size(), std::exp(log_mean));
  }

  void set_advantage() {
    for (size_t t = 0; t < row_.logp.size(); ++t) {
      if (counts(row_, t)) mean_advantage_ += advantage_of(row_, t);
    }
    mean_advantage_ /= length_;
  }

  // By how much the mean log-probability fell since the completion was sampled.
  double fallen() const {
    double sum = 0;
    for (size_t t = 0; t < row_.logp.size(); ++t) {
      if (!counts(row_, t)) continue;
      const double sampled = row_.sampler_logp.empty() ? old_of(row_, t) : row_.sampler_logp[t];
      sum += sampled - row_.logp[t];
    }
    return sum / length_;
  }

  void set_vespo() {
    double log_w = 0;
    for (size_t t = 0; t < row_.logp.size(); ++t) {
      if (!counts(row_, t)) continue;
      log_w += std::clamp(row_.logp[t] - old_of(row_, t), -20.0, 20.0);
      if (!correction_.empty()) {
        log_w += std::clamp(std::log(correction_[t]), std::log(1e-8), 20.0);
      }
    }
    vespo_weight_ = vespo_weight(o_, log_w, mean_advantage_);
    correction_.clear();  // it is in the weight
  }

  // Clip counts are of ratios whose update the range can cut, as TRL counts them.
  void count_ratio(double x, double advantage, double p, double old) {
    stats_.ratio_sum += x;
    stats_.ratio_min = stats_.ratios == 0 ? x : std::min(stats_.ratio_min, x);
    stats_.ratio_max = stats_.ratios == 0 ? x : std::max(stats_.ratio_max, x);
    ++stats_.ratios;
    if (o_.ratio == RatioLevel::geometric) return;
    const int side = clip_side(o_, x, advantage, p, old);
    stats_.clipped_low += side < 0;
    stats_.clipped_high += side > 0;
  }

  void add_policy(size_t t, std::vector<double>& grad) {
    const double a = advantage_of(row_, t), x = ratio(t), p = row_.logp[t];
    if (o_.ratio == RatioLevel::token) count_ratio(x, a, p, old_of(row_, t));
    const bool left_out = is_off_policy_ && a < 0;
    left_out_ |= left_out;
    stats_.selected_out += !keeps(t);
    const bool geometric = o_.ratio == RatioLevel::geometric;  // whose ratio leaves tokens out
    if (left_out || (!geometric && !keeps(t))) return;
    const double w = weight_ * (correction_.empty() ? 1.0 : correction_[t]);
    if (geometric) {
      stats_.policy_loss += w * -x * mean_advantage_;
      sequence_slope_ += w * -x * mean_advantage_;
    } else if (is_of_ratio(o_.surrogate)) {
      const Term l = ratio_term(o_, x, a);
      stats_.policy_loss += w * l.value;
      (of_sequence() ? sequence_slope_ : grad[t]) += w * l.slope;
    } else if (a != 0) {
      const double c = o_.surrogate == Surrogate::vespo
                           ? vespo_weight_
                           : likelihood_weight(o_, x, a, p, old_of(row_, t));
      stats_.policy_loss += w * -c * a * p;
      grad[t] += w * -c * a;
    }
    const double d = p - old_of(row_, t);
    if (o_.drift_coef != 0) {
      stats_.policy_loss += w * o_.drift_coef / 2 * d * d;
      grad[t] += w * o_.drift_coef * d;
    }
    if (!row_.hold.empty() && row_.hold[t]) {
      stats_.policy_loss += w * o_.kl_cov.coef * std::fabs(d);
      grad[t] += w * o_.kl_cov.coef * (d > 0 ? 1.0 : d < 0 ? -1.0 : 0.0);
    }
  }

  void add_kl(size_t t, std::vector<double>& grad) {
    if (row_.ref_logp.empty()) return;
    Term kl = kl_term(o_.kl, row_.logp[t] - row_.ref_logp[t]);
    double by_ratio = 0;  // derivative by log x
    if (o_.kl.importance_weighted) {
      const double x = ratio(t);
      by_ratio = kl.value * x;
      kl = {kl.value * x, kl.slope * x};
    }
    stats_.kl_sum += kl.value;
    ++stats_.kl_tokens;
    if (o_.kl.place != KlPlace::loss || o_.kl.coef == 0) return;
    stats_.kl_loss += kl_weight_ * kl.value;
    grad[t] += kl_weight_ * kl.slope;
    (of_sequence() ? sequence_slope_ : grad[t]) += kl_weight_ * by_ratio;
  }

  void add_entropy(size_t t, std::vector<double>& grad) {
    if (row_.entropy.empty()) return;
    stats_.entropy_sum += row_.entropy[t];
    ++stats_.entropy_tokens;
    const bool kept = o_.top_entropy == 1 || row_.keep.empty() || row_.keep[t];
    if (o_.entropy_coef == 0 || !kept) return;
    stats_.entropy_loss -= entropy_weight_ * o_.entropy_coef * row_.entropy[t];
    grad[t] = -entropy_weight_ * o_.entropy_coef;
  }

  void count_sampler(size_t t) {
    if (row_.sampler_logp.empty()) return;
    const double difference = std::fabs(old_of(row_, t) - row_.sampler_logp[t]);
    stats_.sampler_diff_sum += difference;
    stats_.sampler_diff_max = std::max(stats_.sampler_diff_max, difference);
    ++stats_.sampler_tokens;
  }

  const ObjectiveOptions& o_;
  const ObjectiveRow& row_;
  const int64_t tokens_;
  const double length_;
  double weight_ = 0, entropy_weight_ = 0, kl_weight_ = 0;
  double sequence_ratio_ = 1, sequence_slope_ = 0;  // slope: d loss / d mean log ratio
  double ratio_tokens_ = 1;                         // that the mean is over
  double mean_advantage_ = 0, vespo_weight_ = 1;
  bool is_off_policy_ = false, left_out_ = false;
  std::vector<double> correction_;
  ObjectiveStats stats_;
};

}  // namespace

ObjectiveResult objective(const ObjectiveOptions& options, const StepNormaliser& normaliser,
                          std::span<const ObjectiveRow> rows) {
  HONE_CHECK(options.aggregation != Aggregation::constant_length || options.length > 0);
  ObjectiveResult result;
  for (const ObjectiveRow& row : rows) {
    const size_t size = row.logp.size();
    for (size_t given :
         {row.old_logp.size(), row.ref_logp.size(), row.sampler_logp.size(), row.entropy.size(),
          row.mask.size(), row.token_advantages.size(), row.keep.size(), row.hold.size()}) {
      HONE_CHECK(given == 0 || given == size);
    }
    std::vector<double>& grad_logp = result.grad_logp.emplace_back(size, 0.0);
    std::vector<double>& grad_entropy =
        result.grad_entropy.emplace_back(needs_entropy_gradient(options) ? size : 0, 0.0);
    const RowCounts c = row_counts(row);
    if (!row_is_used(options, c)) continue;
    HONE_CHECK(!needs_reference(options) || !row.ref_logp.empty());
    HONE_CHECK(!needs_entropy_gradient(options) || !row.entropy.empty());
    HONE_CHECK(options.correction.mode == Correction::none || !row.sampler_logp.empty());
    RowObjective part(options, normaliser, row, c);
    result.stats.merge(part.run(grad_logp, grad_entropy));
  }
  result.loss = result.stats.loss;
  return result;
}

std::vector<double> token_kl(const ObjectiveOptions& options, const ObjectiveRow& row) {
  if (options.kl.place != KlPlace::reward || options.kl.coef == 0) return {};
  HONE_CHECK(row.ref_logp.size() == row.logp.size());
  std::vector<double> kl(row.logp.size(), 0.0);
  for (size_t t = 0; t < kl.size(); ++t) {
    if (!counts(row, t)) continue;
    kl[t] = options.kl.coef * kl_term(options.kl, old_of(row, t) - row.ref_logp[t]).value;
  }
  return kl;
}

}  // namespace hone
