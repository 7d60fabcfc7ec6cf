#include "train/selection.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/evaluate.h"

namespace hone {
namespace {

std::string key_of(const Problem& problem) { return problem.source + "\n" + problem.id; }

}  // namespace

void describe(OptionVisitor& v, SelectionOptions& o) {
  v.value("retire_at", o.retire_at,
          "a problem whose pass rate reached it is not asked again; null: never");
  v.value("candidates", o.candidates,
          "problems looked at for each that is asked, by pass rate; 1: the data's order");
  v.value("aim", o.aim, "pass rate that is looked for among the candidates");
  if (o.retire_at && (*o.retire_at <= 0 || *o.retire_at > 1)) {
    throw UserError(
        cat("selection.retire_at: expected above 0 and at most 1, found ", *o.retire_at));
  }
  if (o.candidates < 1) {
    throw UserError(cat("selection.candidates: expected at least 1, found ", o.candidates));
  }
  if (o.aim < 0 || o.aim > 1) {
    throw UserError(cat("selection.aim: expected from 0 to 1, found ", o.aim));
  }
}

bool ProblemSelector::is_retired(const std::string& key) const {
  if (!options_.retire_at) return false;
  const auto found = pass_rates_.find(key);
  return found != pass_rates_.end() && found->second >= *options_.retire_at;
}

std::vector<Problem> ProblemSelector::next(int64_t count) {
  struct Candidate {
    Problem problem;
    double distance;
  };
  std::vector<Candidate> candidates;
  const int64_t wanted = count * options_.candidates;
  int64_t passed_over = 0;  // in a row
  while (static_cast<int64_t>(candidates.size()) < wanted) {
    Problem problem = source_.at(cursor_++);
    const std::string key = key_of(problem);
    if (is_retired(key)) {
      // A file comes whole within two epochs; a task draws, and may draw the same for long.
      const int64_t limit = source_.size() > 0 ? 2 * source_.size() : 100000;
      if (++passed_over >= limit) break;
      continue;
    }
    passed_over = 0;
    const auto rate = pass_rates_.find(key);
    const double distance = rate == pass_rates_.end() ? 0 : std::fabs(rate->second - options_.aim);
    candidates.push_back({std::move(problem), distance});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const auto& a, const auto& b) { return a.distance < b.distance; });
  std::vector<Problem> chosen;
  for (size_t i = 0; i < std::min(candidates.size(), static_cast<size_t>(count)); ++i) {
    chosen.push_back(std::move(candidates[i].problem));
  }
  return chosen;
}

void ProblemSelector::record(const std::vector<Group>& groups) {
  if (!options_.retire_at && options_.candidates == 1) return;
  for (const Group& group : groups) {
    if (group.scores.empty()) continue;  // no reward fits the problem
    double passed = 0, graded = 0;
    for (const Score& score : group.scores.front().second) {
      passed += passes(score);
      graded += score.value.has_value();
    }
    if (graded == 0) continue;
    const std::string key = key_of(group.problem);
    const bool before = is_retired(key);
    pass_rates_[key] = passed / graded;
    retired_ += is_retired(key) - before;
  }
}

Json ProblemSelector::state() const {
  return {{"cursor", cursor_}, {"retired", retired_}, {"pass_rates", pass_rates_}};
}

void ProblemSelector::set_state(const Json& state) {
  cursor_ = state.at("cursor").get<int64_t>();
  retired_ = state.at("retired").get<int64_t>();
  pass_rates_ = state.at("pass_rates").get<std::map<std::string, double>>();
}

}  // namespace hone
