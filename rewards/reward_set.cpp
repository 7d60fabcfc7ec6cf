// A recipe's rewards together: who judges which problem, on which thread, and the weighted sum.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <thread>

#include "base/error.h"
#include "base/timer.h"
#include "rewards/external/external.h"
#include "rewards/reward.h"

namespace hone {
namespace {

const std::string& score_name(const RewardSpec& spec) { return spec.as; }

bool fits(const RewardSpec& spec, const Problem& problem) {
  for (const auto& [key, wanted] : spec.when) {
    if (key == "data_source" && problem.source == wanted) continue;
    const auto field = problem.fields.find(key);
    if (field == problem.fields.end()) return false;
    if ((field->is_string() ? field->get<std::string>() : field->dump()) != wanted) return false;
  }
  return true;
}

// What a rewarder returned, made safe: a number only where the status allows one, and finite.
Score checked(Score score) {
  const bool counts = score.status == Status::ok || score.status == Status::no_answer;
  if (!counts) score.value.reset();
  if (score.value && !std::isfinite(*score.value)) {
    score.value.reset();
    score.status = Status::verifier_error;
    score.details["error"] = "the reward is not a finite number";
  }
  return score;
}

// One call for all items. A rewarder that throws has failed, not the model.
std::vector<Score> score_items(Rewarder& rewarder, const std::vector<RewardItem>& items) {
  std::string error;
  try {
    std::vector<Score> scores = rewarder.score(items);
    if (scores.size() == items.size()) return scores;
    error = cat("returned ", scores.size(), " scores for ", items.size(), " completions");
  } catch (const UserError&) {
    throw;
  } catch (const std::exception& failure) {
    error = failure.what();
  }
  Score failed;
  failed.status = Status::verifier_error;
  failed.details["error"] = error;
  return std::vector<Score>(items.size(), failed);
}

// Groups that one call of a rewarder judges: all of them, or one if several threads share the work.
struct Part {
  std::vector<RewardItem> items;
  std::vector<Score> scores;
  double seconds = 0;
};

void score_part(Rewarder& rewarder, Part& part) {
  const Timer timer;
  part.scores = score_items(rewarder, part.items);
  part.seconds = timer.seconds();
}

// Every part by one of `threads` threads. An error of the call is the first part's, so that it does
// not depend on who was faster.
void score_parts(Rewarder& rewarder, std::vector<Part>& parts, size_t threads) {
  std::vector<std::exception_ptr> errors(parts.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < parts.size(); i = next++) {
      try {
        score_part(rewarder, parts[i]);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (size_t t = 1; t < std::min(threads, parts.size()); ++t) others.emplace_back(work);
    work();
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace

bool reward_failed(const Group& group, size_t i) {
  for (const auto& [name, scores] : group.scores) {
    const Status status = scores[i].status;
    if (status != Status::ok && status != Status::no_answer) return true;
  }
  return false;
}

RewardSet::RewardSet(const std::vector<RewardSpec>& specs, int64_t threads)
    : specs_(specs),
      threads_(threads > 0 ? static_cast<size_t>(threads)
                           : std::max(1u, std::thread::hardware_concurrency())) {
  for (RewardSpec& spec : specs_) {
    if (spec.as.empty()) {
      spec.as = is_external(spec.name) ? external_short_name(spec.name) : spec.name;
    }
    if (!std::isfinite(spec.weight)) {
      throw UserError(cat("reward '", spec.name, "': the weight is not a finite number"));
    }
    rewarders_.push_back(make_rewarder(spec));
  }
  for (size_t i = 0; i < specs_.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      const bool apart = !specs_[i].when.empty() && !specs_[j].when.empty();
      if (score_name(specs_[i]) == score_name(specs_[j]) && !apart) {
        throw UserError(cat("two rewards are named '", score_name(specs_[i]),
                            "'; give one another name with as="));
      }
    }
  }
}

RewardSet::~RewardSet() = default;
RewardSet::RewardSet(RewardSet&&) noexcept = default;

void RewardSet::score(std::vector<Group>& groups, const RunState& run,
                      std::vector<double>* seconds) {
  for (Group& group : groups) {
    group.scores.clear();
    group.rewards.assign(group.completions.size(), std::nullopt);
  }
  if (seconds) seconds->assign(groups.size(), 0.0);
  for (size_t r = 0; r < specs_.size(); ++r) {
    const std::string name = score_name(specs_[r]);
    const bool shared = rewarders_[r]->thread_safe();
    std::vector<size_t> chosen;
    std::vector<Part> parts;
    for (size_t g = 0; g < groups.size(); ++g) {
      Group& group = groups[g];
      if (group.completions.empty() || !fits(specs_[r], group.problem)) continue;
      chosen.push_back(g);
      if (shared || parts.empty()) parts.emplace_back();
      for (const Completion& completion : group.completions) {
        parts.back().items.push_back({&group.problem, &completion, group.prompt, run});
      }
    }
    score_parts(*rewarders_[r], parts, threads_);
    for (size_t c = 0, next = 0; c < chosen.size(); ++c) {
      Group& group = groups[chosen[c]];
      Part& part = parts[shared ? c : 0];
      if (shared) next = 0;
      for (const auto& [known, unused] : group.scores) {
        if (known == name) {
          throw UserError(cat("two rewards named '", name, "' fit problem '", group.problem.id,
                              "'; their `when` must exclude each other"));
        }
      }
      std::vector<Score> own;
      for (std::optional<double>& reward : group.rewards) {
        own.push_back(checked(std::move(part.scores[next++])));
        if (own.back().value) reward = reward.value_or(0.0) + specs_[r].weight * *own.back().value;
      }
      group.scores.emplace_back(name, std::move(own));
      if (seconds) {
        (*seconds)[chosen[c]] +=
            shared ? part.seconds : part.seconds / static_cast<double>(chosen.size());
      }
    }
  }
}

}  // namespace hone
