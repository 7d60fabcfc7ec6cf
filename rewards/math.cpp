// `math`: 1 if the answer's value is the reference's, compared as exact rational numbers.
//
// First form: numbers only (rewards/rational.h). What is not a number is never compared as text:
// an answer that cannot be read is no_answer, a reference that cannot be read bad_reference.

#include "rewards/builtin.h"
#include "rewards/extraction.h"
#include "rewards/rational.h"

namespace hone {
namespace {

class MathRewarder : public Rewarder {
 public:
  explicit MathRewarder(Extract mode) : mode_(mode) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    const Problem* problem = nullptr;
    std::optional<Rational> reference;
    for (const RewardItem& item : items) {
      if (item.problem != problem) {  // a group shares its problem
        problem = item.problem;
        reference = parse_number(reference_answer(*problem));
      }
      scores.push_back(reference ? judge(item, *reference)
                                 : null_score(Status::bad_reference, "not_a_number"));
    }
    return scores;
  }

 private:
  Score judge(const RewardItem& item, const Rational& reference) const {
    const Extraction found = extract_answer(item, mode_);
    if (found.candidates.empty()) return no_answer(found.reason);
    // Several spellings of one value are one answer; anything else is a hedge.
    const std::optional<Rational> answer = parse_number(found.candidates.back());
    bool hedged = !answer && found.candidates.size() > 1;
    for (std::string_view candidate : found.candidates) {
      if (hedged || !answer) break;
      const std::optional<Rational> other = parse_number(candidate);
      hedged = !other || !(*other == *answer);
    }
    Score score;
    if (hedged || !answer) {
      score = no_answer(hedged ? "hedged" : "not_a_number");
    } else {
      score.value = *answer == reference ? 1.0 : 0.0;
    }
    score.details["answer"] = clipped(found.candidates.back());
    return score;
  }

  Extract mode_;
};

}  // namespace

std::unique_ptr<Rewarder> make_math(const RewardSpec& spec) {
  return std::make_unique<MathRewarder>(
      static_cast<Extract>(choice_option(spec, "extract", extract_names(), "auto")));
}

}  // namespace hone
