// A stage's held-out problems, and what its model can do of them.
#pragma once

#include <string>
#include <vector>

#include "train/evaluate.h"
#include "train/stage.h"

namespace hone {

// The recipe's `eval.data`, else the held-out split of the stage's own data.
std::vector<Problem> open_heldout(const StageOptions& options, uint64_t seed);

struct HeldOutResult {
  MetricsRow row;             // eval/SOURCE/pass@1, ... for each source of problems
  double score = 0;           // mean pass@1 over the sources: what "best" goes by
  std::vector<Group> groups;  // scored
};

// Samples and scores the problems as the recipe's `eval` says, with completions of at most
// `max_tokens`, and shows a line for each source.
// The draws are the same at every call of a run, so that steps compare.
HeldOutResult evaluate_heldout(StageContext& context, Sampler& sampler, const Tokenizer& tokenizer,
                               RewardSet& rewards, const std::vector<Problem>& problems,
                               int64_t step, int64_t max_tokens, int64_t max_prompt_tokens);

}  // namespace hone
