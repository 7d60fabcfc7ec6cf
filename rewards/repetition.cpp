// `repetition`: max_penalty x the share of n-grams that were there before, (1 - distinct / all).
// 0 for a text without any, and for one with fewer than n words (Yeo et al. 2025, as TRL and
// Open R1 have it).
//
// unit=words (the default) needs no tokenizer: words are lower-cased; Chinese characters and kana
// are words by themselves; a run without spaces is cut into pieces, so that "hahaha..." repeats.
// unit=tokens takes the sampler's token ids, as TRL does.

#include <unordered_map>
#include <unordered_set>

#include "base/error.h"
#include "rewards/builtin.h"
#include "rewards/extraction.h"
#include "rewards/unicode.h"

namespace hone {
namespace {

constexpr size_t kLongestWord = 16;  // characters

using Ids = std::u32string;  // words or tokens by number: hashes and compares as a string

Ids word_ids(std::string_view text) {
  std::unordered_map<std::u32string, char32_t> known;
  std::u32string word;
  Ids ids;
  const auto end_word = [&] {
    if (word.empty()) return;
    ids += known.emplace(word, static_cast<char32_t>(known.size())).first->second;
    word.clear();
  };
  for (size_t i = 0; i < text.size();) {
    const char32_t c = lower_case(next_character(text, i));
    const Script script = script_of(c);
    const bool alone = script == Script::han || script == Script::kana;
    if (alone || is_space(c) || word.size() == kLongestWord) end_word();
    if (is_space(c)) continue;
    word += c;
    if (alone) end_word();
  }
  end_word();
  return ids;
}

double repeated_share(const Ids& ids, size_t n) {
  if (ids.size() < n) return 0;
  const std::u32string_view all = ids;
  std::unordered_set<std::u32string_view> distinct;
  const size_t total = ids.size() - n + 1;
  for (size_t i = 0; i < total; ++i) distinct.insert(all.substr(i, n));
  return 1 - static_cast<double>(distinct.size()) / static_cast<double>(total);
}

class RepetitionRewarder : public Rewarder {
 public:
  explicit RepetitionRewarder(const RewardSpec& spec)
      : words_(choice_option(spec, "unit", {"words", "tokens"}, "words") == 0),
        n_(number_option(spec, "n", 3)),
        max_penalty_(number_option(spec, "max_penalty", -1)) {
    if (!(n_ >= 1 && n_ <= 100)) {
      throw UserError("reward 'repetition': n=, words of an n-gram, is not between 1 and 100");
    }
    if (max_penalty_ > 0) {
      throw UserError("reward 'repetition': max_penalty= is above 0 and would pay for repetition");
    }
  }

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    for (const RewardItem& item : items) scores.push_back(judge(*item.completion));
    return scores;
  }
  bool thread_safe() const override { return true; }

 private:
  Score judge(const Completion& completion) const {
    if (!words_ && completion.tokens.empty() && !completion.text.empty()) {
      return null_score(Status::verifier_error,
                        "the tokens are not known: give ids or --tokenizer, or take unit=words");
    }
    const Ids ids = words_ ? word_ids(completion.text)
                           : Ids(completion.tokens.begin(), completion.tokens.end());
    const double share = repeated_share(ids, static_cast<size_t>(n_));
    Score score;
    score.value = share == 0 ? 0 : share * max_penalty_;
    score.details["repeated"] = share;
    return score;
  }

  bool words_;
  double n_, max_penalty_;
};

}  // namespace

std::unique_ptr<Rewarder> make_repetition(const RewardSpec& spec) {
  return std::make_unique<RepetitionRewarder>(spec);
}

}  // namespace hone
