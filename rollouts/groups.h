// One step's problems to groups of completions: prompt text, token ids, requests, samples.
#pragma once

#include <cstdint>
#include <vector>

#include "base/types.h"
#include "rollouts/prompt.h"
#include "rollouts/sampler.h"
#include "text/tokenizer.h"

namespace hone {

struct GroupOptions {
  int64_t group_size = 8;         // completions of each problem
  int64_t max_prompt_tokens = 0;  // longer prompts are left out of the step; 0: no limit
};

// What the randomness of a step depends on, beside the prompts.
struct StepKey {
  uint64_t seed = 0;
  uint64_t stage = 0;
  uint64_t step = 0;
};

// Groups with problem, prompt and prompt_tokens, in the order of the problems, without those whose
// prompt is too long (one warning tells how many). Throws UserError if none is left, naming the
// first one's id, its tokens and the limit, or if a prompt is empty.
std::vector<Group> prepare_groups(const Tokenizer& tokenizer, const std::vector<Problem>& problems,
                                  const PromptTemplate& form, const GroupOptions& options);

// Whether prepare_groups would keep the problem's prompt.
bool prompt_fits(const Tokenizer& tokenizer, const Problem& problem, const PromptTemplate& form,
                 const GroupOptions& options);

// prepare_groups, then all completions in one call of the sampler.
std::vector<Group> sample_groups(Sampler& sampler, const std::vector<Problem>& problems,
                                 const PromptTemplate& form, const Tokenizer& tokenizer,
                                 const GroupOptions& options, const SamplingOptions& sampling,
                                 const StepKey& key, const SampleProgress& progress = {});

}  // namespace hone
