#include "train/rollout.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/log.h"
#include "rewards/reward.h"
#include "rollouts/groups.h"
#include "train/rl_stage.h"

namespace hone {
namespace {

StepKey step_key(const RlStage& s, int64_t round) {
  // A problem that is asked again in the same step draws differently.
  const auto step = static_cast<uint64_t>(s.step) + (static_cast<uint64_t>(round) << 40);
  return {s.seed(), static_cast<uint64_t>(s.context.index), step};
}

// Whether the group's answers fare differently: by their rewards, or under process supervision by
// the scores of their spans.
bool says_something(const RlStage& s, const Group& group) {
  std::optional<double> first;
  bool differ = false;
  const auto look = [&](double value) {
    differ |= first && *first != value;
    if (!first) first = value;
  };
  for (size_t i = 0; i < group.rewards.size(); ++i) {
    if (!group.rewards[i] || reward_failed(group, i)) continue;
    if (!s.options.objective.advantage.process) {
      look(*group.rewards[i]);
      continue;
    }
    for (const auto& [name, scores] : group.scores) {
      for (const SpanScore& span : scores[i].spans) look(span.value);
    }
  }
  return differ;
}

// What the sampler recorded of the completion, under the distribution that the policy is trained
// as: the model's softmax at the sampling temperature, without top-k, top-p, min-p and min_tokens.
// The engine keeps `logprobs` at temperature 1 and `sampled_logprobs` of the distribution drawn
// from; where neither fits (another temperature and these), empty.
std::vector<double> sampler_logp(const RlStage& s, const Completion& c) {
  if (s.sampling.temperature == 1.0) return {c.logprobs.begin(), c.logprobs.end()};
  if (restricts(s.sampling)) return {};
  return {c.sampled_logprobs.begin(), c.sampled_logprobs.end()};
}

// The spans' ends in tokens: a span ends with the token that completes its last byte.
std::vector<TokenSpanScore> token_spans(const RlStage& s, const Group& group, size_t i) {
  std::vector<TokenSpanScore> spans;
  const std::vector<int32_t>& tokens = group.completions[i].tokens;
  StreamDecoder decoder(*s.tokenizer);
  std::vector<size_t> bytes;  // of the text after each token
  size_t length = 0;
  for (int32_t id : tokens) {
    length += decoder.push(id).size();
    bytes.push_back(length);
  }
  for (const RewardSpec& spec : s.rewards.specs()) {
    for (const auto& [name, scores] : group.scores) {
      if (name != spec.as) continue;
      for (const SpanScore& span : scores[i].spans) {
        const auto end = std::lower_bound(bytes.begin(), bytes.end(), span.end);
        const auto count = static_cast<size_t>(end - bytes.begin()) + 1;
        spans.push_back({std::min(count, tokens.size()), spec.weight * span.value});
      }
    }
  }
  return spans;
}

// Rewards of one greedy answer to each group's problem.
std::vector<std::optional<double>> greedy_rewards(RlStage& s, const std::vector<Group>& groups) {
  std::vector<Problem> problems;
  for (const Group& group : groups) problems.push_back(group.problem);
  GroupOptions options = s.group_options();
  options.group_size = 1;
  SamplingOptions sampling = s.sampling;
  sampling.temperature = 0;
  sampling.record_routing = false;
  std::vector<Group> answered =
      sample_groups(s.engine, problems, s.prompt, *s.tokenizer, options, sampling, step_key(s, 0),
                    s.progress("sampling greedily"));
  s.rewards.score(answered, {s.step, s.options.steps});
  std::vector<std::optional<double>> rewards;
  for (const Group& group : answered) {
    rewards.push_back(reward_failed(group, 0) ? std::nullopt : group.rewards[0]);
  }
  return rewards;
}

// The next problems whose prompts fit: `count`, or fewer where no more come.
std::vector<Problem> next_problems(RlStage& s, int64_t count) {
  const GroupOptions options = s.group_options();
  const int64_t size = s.problems->size();
  const int64_t most = size > 0 ? 2 * size : 10000;
  std::vector<Problem> fitting;
  int64_t too_long = 0, left_out = 0;  // too_long: one after the other
  while (static_cast<int64_t>(fitting.size()) < count) {
    std::vector<Problem> problems = s.selector.next(count - static_cast<int64_t>(fitting.size()));
    if (problems.empty()) break;
    for (Problem& problem : problems) {
      if (prompt_fits(*s.tokenizer, problem, s.prompt, options)) {
        fitting.push_back(std::move(problem));
        too_long = 0;
        continue;
      }
      ++left_out;
      if (++too_long <= most) continue;
      if (fitting.empty()) fitting.push_back(std::move(problem));  // sample_groups says why
      return fitting;
    }
  }
  if (left_out > 0) {
    log_warning(cat("step ", s.step + 1, ": passed over ", left_out, " prompts of more than ",
                    options.max_prompt_tokens, " tokens (max_prompt_tokens)"));
  }
  return fitting;
}

}  // namespace

Sampled sample_and_score(RlStage& s) {
  Sampled result;
  const auto wanted = static_cast<size_t>(s.options.prompts_per_step);
  const int64_t rounds = std::max<int64_t>(s.options.dynamic_sampling, 1);
  for (int64_t round = 0; round < rounds && result.groups.size() < wanted; ++round) {
    const std::vector<Problem> problems =
        next_problems(s, static_cast<int64_t>(wanted - result.groups.size()));
    if (problems.empty()) break;
    std::vector<Group> groups =
        sample_groups(s.engine, problems, s.prompt, *s.tokenizer, s.group_options(), s.sampling,
                      step_key(s, round), s.progress(round == 0 ? "sampling" : "sampling again"));
    s.end_phase("sample");
    s.rewards.score(groups, {s.step, s.options.steps});
    s.selector.record(groups);
    s.end_phase("score");
    result.rounds = round + 1;
    for (Group& group : groups) {
      const bool learn = rounds == 1 || says_something(s, group);
      (learn ? result.groups : result.left_out).push_back(std::move(group));
    }
  }
  // Without any difference there is no better choice than the groups that came first.
  while (result.groups.empty() && !result.left_out.empty()) {
    const auto end =
        result.left_out.begin() + static_cast<int64_t>(std::min(wanted, result.left_out.size()));
    std::move(result.left_out.begin(), end, std::back_inserter(result.groups));
    result.left_out.erase(result.left_out.begin(), end);
  }
  return result;
}

Rollout make_rollout(RlStage& s, const std::vector<Group>& groups) {
  Rollout r;
  const std::vector<RewardSpec>& specs = s.rewards.specs();
  const AdvantageOptions& advantage = s.options.objective.advantage;
  r.each.resize(specs.size());
  for (const RewardSpec& spec : specs) r.weights.push_back(spec.weight);
  std::vector<std::optional<double>> greedy;
  if (advantage.kind == Baseline::greedy) greedy = greedy_rewards(s, groups);
  for (size_t g = 0; g < groups.size(); ++g) {
    const Group& group = groups[g];
    for (size_t i = 0; i < group.completions.size(); ++i) {
      const Completion& c = group.completions[i];
      const bool failed = reward_failed(group, i);
      r.sequences.push_back({group.prompt_tokens, c.tokens, c.routes});
      r.rewards.push_back(failed ? std::nullopt : group.rewards[i]);
      r.group_ids.push_back(static_cast<int64_t>(g));
      r.lengths.push_back(static_cast<int64_t>(c.tokens.size()));
      if (!greedy.empty()) r.greedy.push_back(greedy[g]);
      if (advantage.process) r.spans.push_back(token_spans(s, group, i));
      for (size_t k = 0; k < specs.size(); ++k) {
        std::optional<double>& value = r.each[k].emplace_back();
        for (const auto& [name, scores] : group.scores) {
          if (name == specs[k].as && !failed) value = scores[i].value;
        }
      }
      Trainer::PolicyRow row;
      row.sampler_logp = sampler_logp(s, c);
      row.group = static_cast<int64_t>(g);
      row.truncated = c.finish_reason == FinishReason::length;
      r.rows.push_back(std::move(row));
    }
  }
  return r;
}

void add_advantages(const RlStage& s, std::vector<Group>& groups, Rollout& r) {
  const ObjectiveOptions objective = adapted(s.options.objective, s.controllers);
  const auto none = [](const auto& spans) { return spans.empty(); };
  const bool without = std::all_of(r.spans.begin(), r.spans.end(), none);
  if (objective.advantage.process && without && s.step == 0) {
    throw RunError(
        "objective.advantage.process: no reward scored a span of any completion of the first step; "
        "it needs a reward that gives `spans`");
  }
  std::vector<std::vector<double>> kl;
  for (const Trainer::PolicyRow& row : r.rows) {
    ObjectiveRow as_sampled;
    as_sampled.logp = row.old_logp.empty() ? row.sampler_logp : row.old_logp;
    as_sampled.ref_logp = row.ref_logp;
    if (objective.kl.place == KlPlace::reward) kl.push_back(token_kl(objective, as_sampled));
  }
  AdvantageInput in;
  in.rewards = r.rewards;
  in.group_ids = r.group_ids;
  in.lengths = r.lengths;
  in.greedy = r.greedy;
  in.each = r.each;
  in.weights = r.weights;
  if (objective.kl.place == KlPlace::reward && objective.kl.coef != 0) in.token_kl = kl;
  in.spans = r.spans;
  r.advantage = advantages(in, objective.advantage);
  size_t at = 0;
  for (Group& group : groups) {
    group.advantages.assign(group.completions.size(), 0.0);
    for (double& a : group.advantages) {
      a = r.advantage.values[at];
      r.rows[at].advantage = a;
      r.rows[at].zero_variance = r.advantage.zero_variance[at];
      if (!r.advantage.token_values.empty()) {
        r.rows[at].token_advantages = r.advantage.token_values[at];
      }
      ++at;
    }
  }
}

}  // namespace hone
