// The plug-in interface of rewards. Torch-free: text in, scores out.
//
// A rewarder judges a batch of completions with their problems. It must not guess: if it fails,
// or cannot read the reference, it says so by the status and gives no number (see Score).
// To add one of one's own, see README.md; a built-in one is a class, a declaration in builtin.h, a
// line in registry.cpp and a test in tests/rewards.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/types.h"

namespace hone {

// Where the run stands, for rewards that change over time.
struct RunState {
  int64_t step = 0;   // steps done
  int64_t steps = 1;  // of so many
};

struct RewardItem {
  const Problem* problem = nullptr;
  const Completion* completion = nullptr;
  std::string prompt;  // the text that the completion continues; may end in "<think>"
  RunState run;
};

class Rewarder {
 public:
  virtual ~Rewarder() = default;
  // One score per item, in order; items of one problem follow each other.
  virtual std::vector<Score> score(const std::vector<RewardItem>& items) = 0;
  // Whether several threads may call score() at once, each with a part of the batch (groups whole).
  // One that says no is called by one thread at a time and may use threads itself.
  virtual bool thread_safe() const { return false; }
};

// One entry of a recipe's `rewards`, or of --reward.
struct RewardSpec {
  std::string name;  // e.g. "math", "python:judge.py:is_short"
  std::string as;    // name in scores and metrics; default: name, or the function's, or "command"
  double weight = 1.0;                         // in the weighted sum
  std::map<std::string, std::string> when;     // only problems whose fields match, all of them
  std::map<std::string, std::string> options;  // the rewarder's own, e.g. extract=boxed
};

// Reads "math:extract=boxed,weight=2,as=accuracy" and "python:judge.py:is_short?weight=2": the
// options of rewards that have a path or a command follow a question mark. Throws UserError.
RewardSpec parse_reward_spec(const std::string& text);

// Throws UserError for an unknown name (the nearest is offered) or option.
std::unique_ptr<Rewarder> make_rewarder(const RewardSpec& spec);

// Names and one line each, for help texts.
std::vector<std::pair<std::string, std::string>> list_rewarders();

// Whether a verifier failed on completion i (verifier_error, timeout, bad_reference). Its reward is
// then not comparable with its siblings' and training leaves it out of the group's statistics, even
// if other rewards gave it a number.
bool reward_failed(const Group& group, size_t i);

// A recipe's rewards together.
class RewardSet {
 public:
  // Rewarders that are thread-safe are called by so many threads; 0: one for each core. Scores and
  // their order do not depend on the number.
  explicit RewardSet(const std::vector<RewardSpec>& specs, int64_t threads = 0);
  ~RewardSet();
  RewardSet(RewardSet&&) noexcept;

  // Fills group.scores and group.rewards. A reward whose `when` does not fit the problem is absent
  // from its group's scores. reward = sum of weight * score over scores with a number, null if
  // there is none. `seconds`, if given, becomes the time spent on each group; what judges many in
  // one call has its time shared out evenly.
  void score(std::vector<Group>& groups, const RunState& run,
             std::vector<double>* seconds = nullptr);

  const std::vector<RewardSpec>& specs() const { return specs_; }

 private:
  std::vector<RewardSpec> specs_;
  size_t threads_;
  std::vector<std::unique_ptr<Rewarder>> rewarders_;
};

}  // namespace hone
