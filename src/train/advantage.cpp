#include "train/advantage.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "train/choice.h"

namespace hone {
namespace {

using Rewards = std::vector<std::optional<double>>;

struct Moments {
  double mean = 0;
  double std = 0;
  int64_t count = 0;
  bool constant = true;
};

// Two passes: rewards are few and a one-pass variance loses digits. A constant set has std exactly
// 0, whatever rounding does to its mean.
Moments moments(const std::vector<double>& x, int64_t ddof) {
  Moments m;
  m.count = static_cast<int64_t>(x.size());
  if (x.empty()) return m;
  for (double v : x) m.mean += v;
  m.mean /= static_cast<double>(m.count);
  m.constant = std::all_of(x.begin(), x.end(), [&](double v) { return v == x.front(); });
  if (m.constant) {
    m.mean = x.front();
    return m;
  }
  double squares = 0;
  for (double v : x) squares += (v - m.mean) * (v - m.mean);
  const int64_t degrees = m.count - ddof;
  m.std = degrees > 0 ? std::sqrt(squares / static_cast<double>(degrees)) : 0.0;
  return m;
}

// The rows of one question whose rewards count.
struct GroupRows {
  std::vector<size_t> rows;
  Moments rewards;
};

std::map<int64_t, GroupRows> group_rows(std::span<const std::optional<double>> rewards,
                                        std::span<const int64_t> ids, int64_t ddof) {
  std::map<int64_t, GroupRows> groups;
  for (size_t i = 0; i < rewards.size(); ++i) {
    GroupRows& group = groups[ids[i]];
    if (rewards[i]) group.rows.push_back(i);
  }
  for (auto& [id, group] : groups) {
    std::vector<double> values;
    for (size_t i : group.rows) values.push_back(*rewards[i]);
    group.rewards = moments(values, ddof);
  }
  return groups;
}

// R_i - baseline_i of a group's rows, into `out`.
void subtract_baseline(Baseline kind, const AdvantageInput& in, const Rewards& rewards,
                       const GroupRows& group, std::vector<double>& out) {
  const Moments& m = group.rewards;
  if (kind == Baseline::none) {
    for (size_t i : group.rows) out[i] = *rewards[i];
    return;
  }
  if (kind == Baseline::greedy) {
    for (size_t i : group.rows) out[i] = in.greedy[i] ? *rewards[i] - *in.greedy[i] : 0.0;
    return;
  }
  if (m.constant) return;  // nothing to compare
  const double n = static_cast<double>(m.count);
  if (kind == Baseline::best_of_group) {
    size_t best = group.rows.front();
    for (size_t i : group.rows) {
      if (*rewards[i] > *rewards[best]) best = i;
    }
    double second = -INFINITY;
    for (size_t i : group.rows) {
      if (i != best) second = std::max(second, *rewards[i]);
    }
    out[best] = *rewards[best] - second;
    return;
  }
  double baseline = m.mean, factor = 1;
  if (kind == Baseline::leave_one_out) {
    factor = n / (n - 1);  // R_i - mean of the others = n / (n - 1) (R_i - mean of all)
  } else if (kind == Baseline::length_weighted) {
    double sum = 0, tokens = 0;
    for (size_t i : group.rows) {
      sum += static_cast<double>(in.lengths[i]) * *rewards[i];
      tokens += static_cast<double>(in.lengths[i]);
    }
    if (tokens > 0) baseline = sum / tokens;
  }
  for (size_t i : group.rows) out[i] = (*rewards[i] - baseline) * factor;
}

// The weighted sum of the rewards, each normalised in its groups.
Rewards normalised_rewards(const AdvantageInput& in, const AdvantageOptions& o) {
  Rewards sum(in.rewards.size());
  for (size_t k = 0; k < in.each.size(); ++k) {
    const Rewards& rewards = in.each[k];
    std::vector<double> z(rewards.size(), 0.0);
    for (const auto& [id, group] : group_rows(rewards, in.group_ids, o.ddof)) {
      subtract_baseline(o.kind, in, rewards, group, z);
      if (group.rewards.constant) continue;
      for (size_t i : group.rows) z[i] /= group.rewards.std + o.epsilon;
    }
    for (size_t i = 0; i < rewards.size(); ++i) {
      if (rewards[i] && in.rewards[i]) sum[i] = sum[i].value_or(0) + in.weights[k] * z[i];
    }
  }
  return sum;
}

// (x - mean) / sqrt(variance + 1e-8) over every token of the rows that count.
void whiten_tokens(const AdvantageInput& in, AdvantageResult& r) {
  double sum = 0, tokens = 0;
  const auto each_token = [&](const auto& use) {
    for (size_t i = 0; i < r.values.size(); ++i) {
      if (!in.rewards[i]) continue;
      if (r.token_values.empty()) {
        use(r.values[i], static_cast<double>(in.lengths[i]));
      } else {
        for (double v : r.token_values[i]) use(v, 1.0);
      }
    }
  };
  each_token([&](double v, double n) {
    sum += n * v;
    tokens += n;
  });
  if (tokens < 2) return;
  const double mean = sum / tokens;
  double squares = 0;
  each_token([&](double v, double n) { squares += n * (v - mean) * (v - mean); });
  const double scale = 1 / std::sqrt(squares / (tokens - 1) + 1e-8);
  for (size_t i = 0; i < r.values.size(); ++i) {
    if (!in.rewards[i]) continue;
    r.values[i] = (r.values[i] - mean) * scale;
    if (r.token_values.empty()) continue;
    for (double& v : r.token_values[i]) v = (v - mean) * scale;
  }
}

double mean_of(const std::vector<double>& x) {
  double sum = 0;
  for (double v : x) sum += v;
  return x.empty() ? 0 : sum / static_cast<double>(x.size());
}

// A_t = sum over the spans that end at or after t of their normalised scores.
void process_advantages(const AdvantageInput& in, const AdvantageOptions& o, AdvantageResult& r) {
  std::map<int64_t, std::vector<double>> scores;
  for (size_t i = 0; i < in.spans.size(); ++i) {
    if (!in.rewards[i]) continue;
    for (const TokenSpanScore& s : in.spans[i]) scores[in.group_ids[i]].push_back(s.value);
  }
  r.token_values.resize(in.spans.size());
  for (size_t i = 0; i < in.spans.size(); ++i) {
    std::vector<double>& a = r.token_values[i];
    a.assign(static_cast<size_t>(in.lengths[i]), 0.0);
    const Moments m = moments(scores[in.group_ids[i]], o.ddof);
    if (m.constant || !in.rewards[i]) continue;
    for (const TokenSpanScore& s : in.spans[i]) {
      double z = s.value - m.mean;
      if (o.scale == AdvantageScale::group) z /= m.std + o.epsilon;
      for (size_t t = 0; t < std::min(s.end, a.size()); ++t) a[t] += z;
    }
    r.values[i] = mean_of(a);
    r.zero_variance[i] = false;
  }
}

}  // namespace

void describe(OptionVisitor& v, AdvantageOptions& o) {
  choice(
      v, "kind", o.kind,
      {"group_mean", "leave_one_out", "none", "length_weighted", "greedy", "best_of_group"},
      "what is subtracted from a reward: group_mean, leave_one_out, none, length_weighted (OPO), "
      "greedy (ReMax), best_of_group (pass@k)");
  choice(v, "scale", o.scale, {"group", "batch", "none", "mean", "tokens"},
         "what divides it: standard deviation of the group or the batch, none, the group's mean "
         "(MaxRL), whitening over all tokens (REINFORCE++)");
  choice(v, "gain", o.gain, {"none", "informative", "nonzero"},
         "GPG's factor: none, informative (N / rows of groups with different rewards), nonzero");
  v.value("discount", o.discount, "kind none: of a token's return by the tokens after it");
  v.value("per_reward", o.per_reward, "normalise each reward by itself before the sum (GDPO)");
  v.value("process", o.process, "token advantages from the scores of spans (DeepSeekMath)");
  v.value("epsilon", o.epsilon, "added to the standard deviation");
  v.value("ddof", o.ddof, "standard deviation divides by n - ddof");
  const auto expect = [](bool good, const auto&... what) {
    if (!good) throw UserError(cat("advantage.", what...));
  };
  expect(o.ddof == 0 || o.ddof == 1, "ddof: expected 0 or 1, found ", o.ddof);
  expect(o.epsilon >= 0, "epsilon: expected >= 0, found ", o.epsilon);
  expect(o.discount > 0 && o.discount <= 1, "discount: expected above 0 and at most 1, found ",
         o.discount);
  expect(o.discount == 1 || (o.kind == Baseline::none && (o.scale == AdvantageScale::none ||
                                                          o.scale == AdvantageScale::tokens)),
         "discount: needs kind none and scale none or tokens");
  const bool step_wide = o.scale == AdvantageScale::batch || o.scale == AdvantageScale::tokens;
  expect(!o.per_reward || step_wide,
         "per_reward: needs scale batch or tokens, for the sum of the normalised rewards");
  const bool by_mean = o.kind == Baseline::group_mean || o.kind == Baseline::leave_one_out;
  expect(!o.per_reward || (by_mean && o.gain == AdvantageGain::none),
         "per_reward: needs kind group_mean or leave_one_out, and no gain");
  expect(!o.process || o.gain == AdvantageGain::none, "process: has no gain");
  expect(!o.process || (o.kind == Baseline::group_mean && !o.per_reward &&
                        (o.scale == AdvantageScale::group || o.scale == AdvantageScale::none)),
         "process: needs kind group_mean, scale group or none, and no per_reward");
}

AdvantageResult advantages(const AdvantageInput& in, const AdvantageOptions& o) {
  const size_t size = in.rewards.size();
  HONE_CHECK(in.group_ids.size() == size);
  const bool returns_to_go = (o.kind == Baseline::none || o.kind == Baseline::greedy) &&
                             (o.scale == AdvantageScale::none || o.scale == AdvantageScale::tokens);

  // What the groups compare. Statistics for the log, and which groups have nothing to compare, are
  // of the rewards as they were judged.
  Rewards rewards(in.rewards.begin(), in.rewards.end());
  if (!returns_to_go && !in.token_kl.empty()) {
    for (size_t i = 0; i < size; ++i) {
      if (!rewards[i]) continue;
      for (double kl : in.token_kl[i]) *rewards[i] -= kl;
    }
  }

  AdvantageResult result;
  result.values.assign(size, 0.0);
  result.zero_variance.assign(size, false);
  std::vector<double> all;
  for (const auto& reward : rewards) {
    if (reward) all.push_back(*reward);
  }
  const Moments batch = moments(all, o.ddof);
  const auto groups = group_rows(rewards, in.group_ids, o.ddof);
  const auto judged = group_rows(in.rewards, in.group_ids, o.ddof);
  for (const auto& [id, group] : judged) {
    ++result.groups;
    result.zero_variance_groups += group.rewards.constant;
    result.reward_std += group.rewards.std;
  }
  for (size_t i = 0; i < size; ++i) {
    result.zero_variance[i] = judged.at(in.group_ids[i]).rewards.constant;
  }
  std::vector<double> as_judged;
  for (const auto& reward : in.rewards) {
    if (reward) as_judged.push_back(*reward);
  }
  const Moments all_judged = moments(as_judged, o.ddof);
  result.reward_mean = all_judged.mean;
  if (result.groups > 0) result.reward_std /= static_cast<double>(result.groups);
  if (o.scale == AdvantageScale::batch) result.reward_std = all_judged.std;

  if (o.process) {
    HONE_CHECK(in.spans.size() == size && in.lengths.size() == size);
    result.zero_variance.assign(size, true);
    process_advantages(in, o, result);
    return result;
  }
  if (o.per_reward) {
    const Rewards sums = normalised_rewards(in, o);
    std::vector<double> counted;
    for (const auto& sum : sums) {
      if (sum) counted.push_back(*sum);
    }
    const Moments m = moments(counted, o.ddof);
    for (size_t i = 0; i < size; ++i) {
      if (!sums[i] || m.constant) continue;
      const bool batch_scale = o.scale == AdvantageScale::batch;
      result.values[i] = batch_scale ? (*sums[i] - m.mean) / (m.std + o.epsilon) : *sums[i];
    }
    if (o.scale == AdvantageScale::tokens) whiten_tokens(in, result);
    return result;
  }

  double informative = 0, nonzero = 0;
  for (const auto& [id, group] : groups) {
    const Moments& m = group.rewards;
    subtract_baseline(o.kind, in, rewards, group, result.values);
    for (size_t i : group.rows) {
      informative += !m.constant;
      nonzero += *rewards[i] != 0;
      double& a = result.values[i];
      // A constant set has no scale to divide by.
      if (o.scale == AdvantageScale::group && !m.constant) a /= m.std + o.epsilon;
      if (o.scale == AdvantageScale::batch && !batch.constant) a /= batch.std + o.epsilon;
      if (o.scale == AdvantageScale::mean) a = m.mean > 0 ? a / m.mean : 0.0;
    }
  }
  if (o.gain != AdvantageGain::none) {
    const double rows = o.gain == AdvantageGain::informative ? informative : nonzero;
    const double gain = static_cast<double>(all.size()) / std::max(rows, 1.0);
    for (double& a : result.values) a *= gain;
  }
  if (returns_to_go && (!in.token_kl.empty() || o.discount != 1)) {
    result.token_values.resize(size);
    for (size_t i = 0; i < size; ++i) {
      std::vector<double>& a = result.token_values[i];
      a.assign(static_cast<size_t>(in.lengths[i]), 0.0);
      if (!rewards[i]) continue;
      double to_go = result.values[i];
      for (size_t t = a.size(); t-- > 0;) {
        if (!in.token_kl.empty()) to_go -= in.token_kl[i][t];
        a[t] = to_go;
        to_go *= o.discount;
      }
      result.values[i] = mean_of(a);
    }
  }
  if (o.scale == AdvantageScale::tokens) whiten_tokens(in, result);
  return result;
}

}  // namespace hone
