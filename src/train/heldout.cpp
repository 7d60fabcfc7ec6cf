#include "train/heldout.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "train/format.h"

namespace hone {

std::vector<Problem> open_heldout(const StageOptions& options, uint64_t seed) {
  const auto& specs = options.eval.data.empty() ? options.data : options.eval.data;
  const auto source = open_problems(specs, Split::heldout, seed);
  constexpr int64_t kOfEndless = 512;
  int64_t n = source->size() < 0 ? kOfEndless : source->size();
  if (options.eval.problems > 0) n = std::min(n, options.eval.problems);
  std::vector<Problem> heldout;
  for (int64_t i = 0; i < n; ++i) heldout.push_back(source->at(i));
  return heldout;
}

HeldOutResult evaluate_heldout(StageContext& context, Sampler& sampler, const Tokenizer& tokenizer,
                               RewardSet& rewards, const std::vector<Problem>& problems,
                               int64_t step, int64_t max_tokens, int64_t max_prompt_tokens) {
  const StageOptions& options = context.stage;
  EvaluationInput input;
  input.problems = problems;
  input.prompt = make_prompt_template(options.prompt, context.model_directory);
  input.sampling = options.sampling;
  input.sampling.max_tokens = max_tokens;
  input.n = options.eval.n;
  input.k = options.eval.k;
  input.seed = make_key(static_cast<uint64_t>(context.recipe.seed), hash64("eval"),
                        static_cast<uint64_t>(context.index));
  input.max_prompt_tokens = max_prompt_tokens;
  HeldOutResult result;
  result.groups =
      evaluate(sampler, tokenizer, rewards, input, [&](int64_t, int64_t done, int64_t all) {
        context.display.progress("evaluating on held-out problems", done, all);
      }).groups;
  std::vector<std::string> sources;
  for (const Group& group : result.groups) {
    if (std::find(sources.begin(), sources.end(), group.problem.source) == sources.end()) {
      sources.push_back(group.problem.source);
    }
  }
  for (const std::string& source : sources) {
    std::vector<Group> groups;
    for (const Group& group : result.groups) {
      if (group.problem.source == source) groups.push_back(group);
    }
    const Evaluation e = summarise(std::move(groups), input.n, input.k);
    std::string line = cat("held-out ", source, " after step ", step);
    const auto set = [&](const std::string& name, const char* format, double value) {
      if (std::isnan(value)) return;  // nothing to take it from, e.g. no format reward
      result.row.set(cat("eval/", source, "/", name), value);
      line += cat(name == "pass@1" ? ": " : ", ", name, " ", formatted(format, value));
    };
    set("pass@1", "%.3f", e.pass1);
    set("pass@1_se", "%.3f", e.pass1_se);
    for (const auto& [k, value] : e.pass_k) set(cat("pass@", k), "%.3f", value);
    set("format", "%.3f", e.format);
    set("mean_length", "%.1f", e.mean_length);
    set("truncated", "%.3f", e.truncated);
    context.display.note(cat(line, " (", e.problems, " problems x ", e.n, ")"));
    result.score += (std::isnan(e.pass1) ? 0 : e.pass1) / static_cast<double>(sources.size());
  }
  return result;
}

}  // namespace hone
