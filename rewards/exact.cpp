// `exact`: 1 if the answer is the reference's text, after trimming white space. case=ignore takes
// A and a for one letter (ASCII); spaces=collapse takes any white space for one space,
// spaces=ignore for none.

#include "rewards/builtin.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

enum class Spaces { keep, collapse, ignore };

struct ExactOptions {
  Extract extract;
  bool ignore_case;
  Spaces spaces;
};

class ExactRewarder : public Rewarder {
 public:
  explicit ExactRewarder(const ExactOptions& options) : options_(options) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    for (const RewardItem& item : items) scores.push_back(judge(item));
    return scores;
  }
  bool thread_safe() const override { return true; }

 private:
  Score judge(const RewardItem& item) const {
    const std::string reference = normal(reference_answer(*item.problem));
    if (reference.empty()) return null_score(Status::bad_reference, "missing");
    const Extraction found = extract_answer(item, options_.extract);
    if (found.candidates.empty()) return no_answer(found.reason);
    const std::string answer = normal(found.candidates.front());
    bool hedged = false;
    for (std::string_view other : found.candidates) hedged |= normal(other) != answer;
    Score score;
    if (hedged) {
      score = no_answer("hedged");
    } else {
      score.value = answer == reference ? 1.0 : 0.0;
    }
    score.details["answer"] = clipped(found.candidates.back());
    return score;
  }

  std::string normal(std::string_view text) const {
    std::string out;
    for (char c : trimmed(text)) {
      const bool space = c == ' ' || (c >= '\t' && c <= '\r');
      if (space && options_.spaces != Spaces::keep) {
        if (options_.spaces == Spaces::collapse && out.back() != ' ') out += ' ';
      } else {
        out += options_.ignore_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      }
    }
    return out;
  }

  ExactOptions options_;
};

}  // namespace

std::unique_ptr<Rewarder> make_exact(const RewardSpec& spec) {
  return std::make_unique<ExactRewarder>(ExactOptions{
      static_cast<Extract>(choice_option(spec, "extract", extract_names(), "auto")),
      choice_option(spec, "case", {"keep", "ignore"}, "keep") == 1,
      static_cast<Spaces>(choice_option(spec, "spaces", {"keep", "collapse", "ignore"}, "keep"))});
}

}  // namespace hone
