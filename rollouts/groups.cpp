#include "rollouts/groups.h"

#include <map>

#include "base/error.h"
#include "base/log.h"

namespace hone {

namespace {

std::vector<int32_t> prompt_ids(const Tokenizer& tokenizer, const std::string& prompt,
                                const PromptTemplate& form) {
  std::vector<int32_t> ids = tokenizer.encode(prompt);
  // A chat template writes them itself where the model wants them.
  if (form.chat) return ids;
  const std::vector<int32_t> before = tokenizer.special_ids_around().before;
  ids.insert(ids.begin(), before.begin(), before.end());
  return ids;
}

}  // namespace

bool prompt_fits(const Tokenizer& tokenizer, const Problem& problem, const PromptTemplate& form,
                 const GroupOptions& options) {
  if (options.max_prompt_tokens == 0) return true;
  const std::vector<int32_t> ids = prompt_ids(tokenizer, render_prompt(form, problem), form);
  return static_cast<int64_t>(ids.size()) <= options.max_prompt_tokens;
}

std::vector<Group> prepare_groups(const Tokenizer& tokenizer, const std::vector<Problem>& problems,
                                  const PromptTemplate& form, const GroupOptions& options) {
  std::vector<Group> groups;
  std::string first_long;
  size_t dropped = 0;
  for (const Problem& problem : problems) {
    Group group;
    group.problem = problem;
    group.prompt = render_prompt(form, problem);
    group.prompt_tokens = prompt_ids(tokenizer, group.prompt, form);
    const int64_t tokens = static_cast<int64_t>(group.prompt_tokens.size());
    if (group.prompt.empty() || tokens == 0) {
      throw UserError(cat("problem '", problem.id, "': the prompt is empty, nothing to continue"));
    }
    if (options.max_prompt_tokens > 0 && tokens > options.max_prompt_tokens) {
      if (dropped++ == 0) {
        first_long = cat("problem '", problem.id, "' has a prompt of ", tokens,
                         " tokens, max_prompt_tokens is ", options.max_prompt_tokens);
      }
      continue;
    }
    groups.push_back(std::move(group));
  }
  if (groups.empty()) {
    throw UserError(dropped == 0 ? "no problems to sample for"
                                 : cat("no prompt of the step fits: ", first_long));
  }
  if (dropped > 0) {
    log_warning(cat("left out ", dropped, " of ", problems.size(), " prompts: ", first_long));
  }
  return groups;
}

std::vector<Group> sample_groups(Sampler& sampler, const std::vector<Problem>& problems,
                                 const PromptTemplate& form, const Tokenizer& tokenizer,
                                 const GroupOptions& options, const SamplingOptions& sampling,
                                 const StepKey& key, const SampleProgress& progress) {
  std::vector<Group> groups = prepare_groups(tokenizer, problems, form, options);
  std::vector<SampleRequest> requests;
  std::map<std::vector<int32_t>, uint64_t> occurrences;  // equal prompts draw differently
  for (const Group& group : groups) {
    SampleRequest request;
    request.prompt = group.prompt_tokens;
    request.n = options.group_size;
    request.key =
        request_key(key.seed, key.stage, key.step, request.prompt, occurrences[request.prompt]++);
    requests.push_back(std::move(request));
  }
  std::vector<std::vector<Completion>> sampled = sampler.sample(requests, sampling, progress);
  HONE_CHECK(sampled.size() == groups.size());
  for (size_t i = 0; i < groups.size(); ++i) {
    HONE_CHECK(static_cast<int64_t>(sampled[i].size()) == options.group_size);
    groups[i].completions = std::move(sampled[i]);
  }
  return groups;
}

}  // namespace hone
