// select_tokens(): the tokens that a step learns from, by entropy and covariance.
#include <algorithm>
#include <bit>
#include <cmath>

#include "base/rng.h"
#include "train/objective.h"
#include "train/objective_row.h"
#include "train/surrogate.h"

namespace hone {
namespace {

// A token of the step, as the selections rank them.
struct StepToken {
  size_t row, t;
  double value;  // entropy, or covariance
};

// The value below which a share q of the values lies, between two of them linearly (as
// torch.quantile).
double quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  const double at = q * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - static_cast<double>(below)) * (values[above] - values[below]);
}

void keep_top_entropy(const ObjectiveOptions& o, std::span<const ObjectiveRow> rows,
                      const std::vector<StepToken>& tokens, std::vector<TokenSelection>& selection,
                      StepNormaliser& normaliser) {
  std::vector<double> entropies;
  for (const StepToken& token : tokens) entropies.push_back(rows[token.row].entropy[token.t]);
  const double threshold = quantile(entropies, 1 - o.top_entropy);
  normaliser.entropy_tokens = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool keep = entropies[i] >= threshold;
    selection[tokens[i].row].keep[tokens[i].t] = keep;
    normaliser.entropy_tokens += keep;
  }
}

// (A - mean A)(p - mean p), the part of a token in what makes entropy fall.
void set_covariances(std::span<const ObjectiveRow> rows, std::vector<StepToken>& tokens) {
  double advantage = 0, logp = 0;
  for (const StepToken& token : tokens) {
    advantage += advantage_of(rows[token.row], token.t);
    logp += rows[token.row].logp[token.t];
  }
  advantage /= static_cast<double>(tokens.size());
  logp /= static_cast<double>(tokens.size());
  for (StepToken& token : tokens) {
    const ObjectiveRow& row = rows[token.row];
    token.value = (advantage_of(row, token.t) - advantage) * (row.logp[token.t] - logp);
  }
}

size_t share_of(double share, size_t tokens) {
  return std::max<size_t>(1, static_cast<size_t>(share * static_cast<double>(tokens)));
}

// The tokens with the smallest random numbers, each a function of its completion and place in it,
// so that neither the order of the completions nor those that are left out change the draw.
void clip_covariance(const ObjectiveOptions& o, std::span<const ObjectiveRow> rows,
                     const std::vector<StepToken>& tokens, uint64_t seed,
                     std::vector<TokenSelection>& selection) {
  std::vector<uint64_t> row_keys;
  for (const ObjectiveRow& row : rows) {
    uint64_t key = static_cast<uint64_t>(row.group);
    for (double p : row.logp) key = make_key(key, std::bit_cast<uint64_t>(p));
    row_keys.push_back(key);
  }
  std::vector<std::pair<uint64_t, const StepToken*>> drawn;
  for (const StepToken& token : tokens) {
    const ObjectiveRow& row = rows[token.row];
    const double x = ratio_of(row, token.t), p = row.logp[token.t];
    const bool clipped = clip_side(o, x, advantage_of(row, token.t), p, old_of(row, token.t)) != 0;
    if (clipped || token.value <= o.clip_cov.low || token.value >= o.clip_cov.high) continue;
    drawn.emplace_back(make_key(seed, row_keys[token.row], token.t), &token);
  }
  const size_t count = std::min(share_of(o.clip_cov.share, tokens.size()), drawn.size());
  std::sort(drawn.begin(), drawn.end());
  for (size_t i = 0; i < count; ++i) {
    selection[drawn[i].second->row].keep[drawn[i].second->t] = 0;
  }
}

void hold_covariance(const ObjectiveOptions& o, std::vector<StepToken> tokens,
                     std::vector<TokenSelection>& selection) {
  const size_t count = std::min(share_of(o.kl_cov.share, tokens.size()), tokens.size());
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const StepToken& a, const StepToken& b) { return a.value > b.value; });
  for (size_t i = 0; i < count; ++i) selection[tokens[i].row].hold[tokens[i].t] = 1;
}

}  // namespace

std::vector<TokenSelection> select_tokens(const ObjectiveOptions& o,
                                          std::span<const ObjectiveRow> rows, uint64_t seed,
                                          StepNormaliser& normaliser) {
  std::vector<TokenSelection> selection(rows.size());
  std::vector<StepToken> tokens;
  for (size_t i = 0; i < rows.size(); ++i) {
    selection[i].keep.assign(rows[i].logp.size(), 1);
    selection[i].hold.assign(rows[i].logp.size(), 0);
    if (!row_is_used(o, row_counts(rows[i]))) continue;
    for (size_t t = 0; t < rows[i].logp.size(); ++t) {
      if (counts(rows[i], t)) tokens.push_back({i, t, 0});
    }
  }
  if (tokens.empty()) return selection;
  if (o.top_entropy < 1) keep_top_entropy(o, rows, tokens, selection, normaliser);
  if (o.clip_cov.share > 0 || o.kl_cov.share > 0) set_covariances(rows, tokens);
  if (o.clip_cov.share > 0) clip_covariance(o, rows, tokens, seed, selection);
  if (o.kl_cov.share > 0) hold_covariance(o, tokens, selection);
  return selection;
}

}  // namespace hone
