// `length`: shapes the length L of a completion, in tokens (unit=tokens) or characters
// (unit=chars).
//
//   overlong  0 up to max - cache, then falls in a straight line to -1 at max (DAPO, eq. 13)
//   cosine    from max_correct at L = 0 to min_correct at max along half a cosine; for a wrong
//             answer from min_wrong up to max_wrong (TRL; L beyond max counts as max)
//   kimi      lambda = 0.5 - (L - shortest) / (longest - shortest) over the group, at most 0 for a
//             wrong answer; 0 if all have one length (Kimi k1.5)
//
// cosine and kimi ask another reward, of=math by default, whether the answer is right; where that
// has no number this has none either. A completion whose tokens are not known has no length: null.

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "rewards/builtin.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

enum Kind { kOverlong, kCosine, kKimi };

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

class LengthRewarder : public Rewarder {
 public:
  explicit LengthRewarder(const RewardSpec& spec)
      : kind_(static_cast<Kind>(
            choice_option(spec, "kind", {"overlong", "cosine", "kimi"}, "overlong"))),
        characters_(choice_option(spec, "unit", {"tokens", "chars"}, "tokens") == 1),
        max_(number_option(spec, "max", 0)),
        cache_(number_option(spec, "cache", 0)),
        correct_{number_option(spec, "min_correct", 0.5), number_option(spec, "max_correct", 1.0)},
        wrong_{number_option(spec, "max_wrong", -0.5), number_option(spec, "min_wrong", -1.0)} {
    if (kind_ != kKimi && max_ <= 0) {
      throw UserError("reward 'length': max= is missing, the length that max_tokens allows");
    }
    if (kind_ == kOverlong && (cache_ <= 0 || cache_ > max_)) {
      throw UserError("reward 'length': cache= is missing or not between 1 and max");
    }
    if (kind_ != kOverlong) {
      RewardSpec judge;
      const auto of = spec.options.find("of"), extract = spec.options.find("extract");
      judge.name = of == spec.options.end() ? "math" : of->second;
      if (judge.name == "length") throw UserError("reward 'length': of=length has no answer");
      if (extract != spec.options.end()) judge.options["extract"] = extract->second;
      judge_ = make_rewarder(judge);
    }
  }

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores(items.size());
    if (judge_ != nullptr) scores = judge_->score(items);
    for (size_t begin = 0; begin < items.size();) {
      size_t end = begin + 1;
      while (end < items.size() && items[end].problem == items[begin].problem) ++end;
      score_group(items.data() + begin, scores.data() + begin, end - begin);
      begin = end;
    }
    return scores;
  }
  bool thread_safe() const override { return judge_ == nullptr || judge_->thread_safe(); }

 private:
  // What the judge said of n completions of one problem becomes what their length is worth.
  void score_group(const RewardItem* items, Score* scores, size_t n) const {
    std::vector<std::optional<double>> lengths;
    double shortest = HUGE_VAL, longest = 0;
    for (size_t i = 0; i < n; ++i) {
      lengths.push_back(length_of(*items[i].completion));
      shortest = std::min(shortest, lengths[i].value_or(shortest));
      longest = std::max(longest, lengths[i].value_or(longest));
    }
    for (size_t i = 0; i < n; ++i) {
      if (judge_ != nullptr && !scores[i].value) continue;  // no verdict, no number
      if (!lengths[i]) {
        scores[i] = null_score(Status::verifier_error,
                               "the number of tokens is not known: give ids or --tokenizer, or "
                               "take unit=chars");
        continue;
      }
      const bool right = judge_ != nullptr && *scores[i].value == 1.0;
      scores[i].status = Status::ok;
      scores[i].value = value(*lengths[i], right, shortest, longest);
    }
  }

  std::optional<double> length_of(const Completion& completion) const {
    if (characters_) return characters(completion.text);
    if (completion.tokens.empty() && !completion.text.empty()) return std::nullopt;
    return completion.tokens.size();
  }

  double value(double length, bool right, double shortest, double longest) const {
    if (kind_ == kOverlong) return std::clamp((max_ - cache_ - length) / cache_, -1.0, 0.0);
    if (kind_ == kCosine) {
      const double half = (1 + std::cos(std::numbers::pi * std::min(length / max_, 1.0))) / 2;
      const double* range = right ? correct_ : wrong_;
      return range[0] + (range[1] - range[0]) * half;
    }
    if (longest == shortest) return 0;
    const double lambda = 0.5 - (length - shortest) / (longest - shortest);
    return right ? lambda : std::min(0.0, lambda);
  }

  Kind kind_;
  bool characters_;
  double max_, cache_;
  double correct_[2], wrong_[2];  // value at max, value at 0
  std::unique_ptr<Rewarder> judge_;
};

}  // namespace

std::unique_ptr<Rewarder> make_length(const RewardSpec& spec) {
  return std::make_unique<LengthRewarder>(spec);
}

}  // namespace hone
