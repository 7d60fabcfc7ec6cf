// Which problems a step asks: the source's order, less the problems that are solved often enough,
// and those first whose pass rate says most.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/options.h"
#include "base/types.h"
#include "data/dataset.h"

namespace hone {

struct SelectionOptions {
  std::optional<double> retire_at;  // pass rate from which a problem is not asked again
  int64_t candidates = 1;           // problems looked at for each that is asked; 1: no choice
  double aim = 0.5;                 // of the candidates, those with a pass rate nearest to it
};
void describe(OptionVisitor& v, SelectionOptions& o);

// A pass rate is the share of a problem's completions that passed when it was asked last; the
// variance of a group's rewards, and with it the gradient, is largest near one half. A problem
// never asked counts as one with the rate `aim`. Its state is a cursor and the rates, so a run goes
// on where it was.
class ProblemSelector {
 public:
  ProblemSelector(const ProblemSource& source, const SelectionOptions& options)
      : source_(source), options_(options) {}

  // The next `count` problems; fewer, or none, where nothing but retired problems comes.
  std::vector<Problem> next(int64_t count);

  // What became of the groups: the share of the graded completions that passed.
  void record(const std::vector<Group>& groups);

  int64_t retired() const { return retired_; }

  Json state() const;
  void set_state(const Json& state);

 private:
  bool is_retired(const std::string& key) const;

  const ProblemSource& source_;
  SelectionOptions options_;
  int64_t cursor_ = 0;
  int64_t retired_ = 0;
  std::map<std::string, double> pass_rates_;  // only where an option reads them
};

}  // namespace hone
