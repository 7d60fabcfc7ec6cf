// `exact`: 1 if the answer is the reference, byte for byte after trimming white space.

#include "rewards/builtin.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

class ExactRewarder : public Rewarder {
 public:
  explicit ExactRewarder(Extract mode) : mode_(mode) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    for (const RewardItem& item : items) scores.push_back(judge(item));
    return scores;
  }

 private:
  Score judge(const RewardItem& item) const {
    const std::string reference = reference_answer(*item.problem);
    if (reference.empty()) return null_score(Status::bad_reference, "missing");
    const Extraction found = extract_answer(item, mode_);
    if (found.candidates.empty()) return no_answer(found.reason);
    Score score;
    if (found.candidates.size() > 1) {
      score = no_answer("hedged");
    } else {
      score.value = found.candidates.front() == reference ? 1.0 : 0.0;
    }
    score.details["answer"] = clipped(found.candidates.back());
    return score;
  }

  Extract mode_;
};

}  // namespace

std::unique_ptr<Rewarder> make_exact(const RewardSpec& spec) {
  return std::make_unique<ExactRewarder>(
      static_cast<Extract>(choice_option(spec, "extract", extract_names(), "auto")));
}

}  // namespace hone
