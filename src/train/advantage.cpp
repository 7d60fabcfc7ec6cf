#include "train/advantage.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "train/choice.h"

namespace hone {
namespace {

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

}  // namespace

void describe(OptionVisitor& v, AdvantageOptions& o) {
  choice(v, "kind", o.kind, {"group_mean", "leave_one_out", "none"},
         "what is subtracted from a reward: group_mean, leave_one_out, none");
  choice(v, "scale", o.scale, {"group", "batch", "none"},
         "the standard deviation that divides it: group, batch, none");
  v.value("epsilon", o.epsilon, "added to the standard deviation");
  v.value("ddof", o.ddof, "standard deviation divides by n - ddof");
  if (o.ddof != 0 && o.ddof != 1) {
    throw UserError(cat("advantage.ddof: expected 0 or 1, found ", o.ddof));
  }
  if (o.epsilon < 0) throw UserError(cat("advantage.epsilon: expected >= 0, found ", o.epsilon));
}

AdvantageResult advantages(std::span<const std::optional<double>> rewards,
                           std::span<const int64_t> group_ids, const AdvantageOptions& options) {
  HONE_CHECK(rewards.size() == group_ids.size());
  std::map<int64_t, std::vector<double>> by_group;
  std::vector<double> all;
  for (size_t i = 0; i < rewards.size(); ++i) {
    std::vector<double>& group = by_group[group_ids[i]];
    if (!rewards[i]) continue;
    group.push_back(*rewards[i]);
    all.push_back(*rewards[i]);
  }

  AdvantageResult result;
  std::map<int64_t, Moments> of_group;
  for (const auto& [id, values] : by_group) {
    const Moments m = moments(values, options.ddof);
    of_group[id] = m;
    ++result.groups;
    result.zero_variance_groups += m.constant;
    result.reward_std += m.std;
  }
  const Moments batch = moments(all, options.ddof);
  result.reward_mean = batch.mean;
  if (result.groups > 0) result.reward_std /= static_cast<double>(result.groups);
  if (options.scale == AdvantageScale::batch) result.reward_std = batch.std;

  for (size_t i = 0; i < rewards.size(); ++i) {
    const Moments& m = of_group[group_ids[i]];
    result.zero_variance.push_back(m.constant);
    if (!rewards[i] || (m.constant && options.kind != Baseline::none)) {
      result.values.push_back(0.0);
      continue;
    }
    const double reward = *rewards[i];
    double centred = reward;
    if (options.kind == Baseline::group_mean) centred = reward - m.mean;
    if (options.kind == Baseline::leave_one_out) {
      // R_i - mean of the others = n / (n - 1) (R_i - mean of all)
      const double n = static_cast<double>(m.count);
      centred = (reward - m.mean) * n / (n - 1);
    }
    const bool constant = options.scale == AdvantageScale::batch ? batch.constant : m.constant;
    const double std = options.scale == AdvantageScale::batch ? batch.std : m.std;
    // A constant set has no scale to divide by (only `none` as the baseline comes here with one).
    if (options.scale != AdvantageScale::none && !constant) centred /= std + options.epsilon;
    result.values.push_back(centred);
  }
  return result;
}

}  // namespace hone
