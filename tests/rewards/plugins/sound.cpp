// A plug-in that does what it should, with all that a Score can hold.
#include "rewards/plugin.h"

namespace {

// The number in the completion, times `times`.
class Number : public hone::Rewarder {
 public:
  explicit Number(double times) : times_(times) {}

  std::vector<hone::Score> score(const std::vector<hone::RewardItem>& items) override {
    std::vector<hone::Score> scores;
    for (const hone::RewardItem& item : items) {
      hone::Score score;
      const std::string& text = item.completion->text;
      if (text.empty()) {
        score.status = hone::Status::no_answer;
        score.value = 0;
      } else {
        score.value = times_ * std::stod(text);
        score.spans = {{0, text.size(), *score.value}};
      }
      score.details = {{"prompt", item.prompt},
                       {"level", item.problem->fields.value("level", 0)},
                       {"tokens", item.completion->tokens.size()},
                       {"finish", hone::to_string(item.completion->finish_reason)},
                       {"step", item.run.step},
                       {"group", items.size()}};
      score.metrics["length"] = static_cast<double>(text.size());
      scores.push_back(std::move(score));
    }
    return scores;
  }

 private:
  double times_;
};

std::unique_ptr<hone::Rewarder> make_number(const hone::RewardSpec& spec) {
  const auto times = spec.options.find("times");
  return std::make_unique<Number>(times == spec.options.end() ? 1 : std::stod(times->second));
}

}  // namespace

HONE_REWARD(number, make_number, "times")
