#include "train/evaluate.h"

#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "rollouts/groups.h"

namespace hone {

bool passes(const Score& score) { return score.value && *score.value >= 1 - 1e-9; }

namespace {

// The scores that decide whether a completion is right: the first reward that fits the problem.
const std::vector<Score>* deciding(const Group& group) {
  return group.scores.empty() ? nullptr : &group.scores.front().second;
}

// Whether the most frequent answer is right; of several that are as frequent, the share that is.
// Completions without an answer have no vote.
double majority_of(const std::vector<Score>& scores) {
  std::map<std::string, std::pair<int64_t, bool>> votes;  // answer -> (count, right)
  int64_t most = 0;
  for (const Score& score : scores) {
    const auto answer = score.details.find("answer");
    if (answer == score.details.end()) continue;
    auto& vote = votes[answer->is_string() ? answer->get<std::string>() : answer->dump()];
    vote.second |= passes(score);
    most = std::max(most, ++vote.first);
  }
  double tied = 0, right = 0;
  for (const auto& [answer, vote] : votes) {
    if (vote.first != most) continue;
    tied += 1;
    right += vote.second;
  }
  return tied > 0 ? right / tied : 0;
}

struct Mean {
  double sum = 0;
  int64_t count = 0;
  void add(double x) {
    sum += x;
    ++count;
  }
  // NaN, null in JSON: there was nothing to take the mean of.
  double value() const {
    return count > 0 ? sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
  }
};

double standard_error(const std::vector<double>& values, double mean) {
  const double n = static_cast<double>(values.size());
  if (n < 2) return 0;
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / (n - 1) / n);
}

}  // namespace

double pass_at_k(int64_t n, int64_t c, int64_t k) {
  HONE_CHECK(0 <= c && c <= n && 1 <= k && k <= n);
  if (n - c < k) return 1;
  double none = 1;  // C(n - c, k) / C(n, k) as a product, without large numbers
  for (int64_t i = n - c + 1; i <= n; ++i) {
    none *= 1 - static_cast<double>(k) / static_cast<double>(i);
  }
  return 1 - none;
}

Evaluation evaluate(Sampler& sampler, const Tokenizer& tokenizer, RewardSet& rewards,
                    const EvaluationInput& input, const SampleProgress& progress) {
  for (const int64_t k : input.k) {
    if (k < 1 || k > input.n) {
      throw UserError(cat("evaluation: pass@", k, " needs 1 <= k <= n, and n is ", input.n));
    }
  }
  GroupOptions options;
  options.group_size = input.n;
  options.max_prompt_tokens = input.max_prompt_tokens;
  if (options.max_prompt_tokens == 0 && input.max_context > 0) {
    options.max_prompt_tokens = input.max_context - 1;  // room for one token at least
  }

  // Stage -1: the draws are the same at every evaluation and differ from training's.
  std::vector<Group> groups =
      sample_groups(sampler, input.problems, input.prompt, tokenizer, options, input.sampling,
                    {input.seed, ~uint64_t{0}, 0}, progress);
  rewards.score(groups, {1, 1});
  return summarise(std::move(groups), input.n, input.k);
}

Evaluation summarise(std::vector<Group> groups, int64_t n, const std::vector<int64_t>& k) {
  Evaluation e;
  e.n = n;
  e.groups = std::move(groups);
  e.problems = static_cast<int64_t>(e.groups.size());
  std::vector<double> shares;  // of each problem, the share solved
  Mean pass, majority, format, truncated, length;
  std::vector<Mean> pass_k(k.size());
  for (const Group& group : e.groups) {
    for (const Completion& completion : group.completions) {
      truncated.add(completion.finish_reason == FinishReason::length);
      length.add(static_cast<double>(completion.tokens.size()));
    }
    for (const auto& [name, scores] : group.scores) {
      if (name != "format") continue;
      for (const Score& score : scores) {
        if (score.value) format.add(*score.value);
      }
    }
    const std::vector<Score>* scores = deciding(group);
    if (!scores) continue;
    int64_t graded = 0, right = 0;  // a verifier that failed says nothing about the answer
    for (const Score& score : *scores) {
      graded += score.value.has_value();
      right += passes(score);
    }
    if (graded == 0) continue;
    shares.push_back(static_cast<double>(right) / static_cast<double>(graded));
    pass.add(shares.back());
    majority.add(majority_of(*scores));
    for (size_t i = 0; i < k.size(); ++i) {
      if (k[i] <= graded) pass_k[i].add(pass_at_k(graded, right, k[i]));
    }
  }
  e.pass1 = pass.value();
  e.pass1_se = standard_error(shares, e.pass1);
  for (size_t i = 0; i < k.size(); ++i) e.pass_k.emplace_back(k[i], pass_k[i].value());
  e.majority = majority.value();
  e.format = format.value();
  e.truncated = truncated.value();
  e.mean_length = length.value();
  return e;
}

Json Evaluation::json() const {
  Json out = {{"pass@1", pass1}, {"pass@1_se", pass1_se}};
  for (const auto& [k, value] : pass_k) out[cat("pass@", k)] = value;
  if (n > 1) out[cat("maj@", n)] = majority;
  out["format"] = format;  // null: no reward of that name
  out["truncated"] = truncated;
  out["mean_length"] = mean_length;
  out["n"] = n;
  out["problems"] = problems;
  return out;
}

}  // namespace hone
