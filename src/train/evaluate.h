// Evaluation on held-out problems: samples, scores, pass@k.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "rewards/reward.h"
#include "rollouts/groups.h"
#include "rollouts/sampler.h"
#include "text/tokenizer.h"
#include "train/recipe.h"

namespace hone {

struct Evaluation {
  int64_t problems = 0, n = 0;
  double pass1 = 0, pass1_se = 0;  // mean over problems of the share solved; its standard error
  std::vector<std::pair<int64_t, double>> pass_k;     // unbiased: 1 - C(n - c, k) / C(n, k)
  double majority = 0;                                // maj@n; the most frequent answer is right
  double format = 0, truncated = 0, mean_length = 0;  // format NaN: there is no such reward
  std::vector<Group> groups;                          // scored
  Json json() const;                                  // the keys of `hone eval --json`
};

struct EvaluationInput {
  std::vector<Problem> problems;
  PromptTemplate prompt = make_prompt_template({});
  SamplingOptions sampling;
  int64_t n = 1;
  std::vector<int64_t> k;
  uint64_t seed = 0;
  int64_t max_prompt_tokens = 0, max_context = 0;
};

// Whether the first reward of a set gave a completion 1.
bool passes(const Score& score);

// A completion passes if the first reward of the set gives it 1 (at least 1 - 1e-9). `format` is
// the mean of the reward called "format", where there is one.
Evaluation evaluate(Sampler& sampler, const Tokenizer& tokenizer, RewardSet& rewards,
                    const EvaluationInput& input, const SampleProgress& progress = {});

// What scored groups of n completions say.
Evaluation summarise(std::vector<Group> groups, int64_t n, const std::vector<int64_t>& k);

// 1 - C(n - c, k) / C(n, k): the chance that one of k draws without replacement is right
// (Chen et al. 2021, eq. 1). REQUIRES: 0 <= c <= n, 1 <= k <= n.
double pass_at_k(int64_t n, int64_t c, int64_t k);

}  // namespace hone
