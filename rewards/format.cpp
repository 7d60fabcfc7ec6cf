// `format`: 1 if the completion has the shape of a pattern. Counts tags; never judges the answer.
//
//   r1_zero    one thinking block, then one answer block, and nothing else but white space
//   r1         one thinking block, then an answer in free text
//   think      one thinking block first, whatever follows
//   tags       each of the four tags once and in order, an answer inside; other text is allowed
//   open_r1    Open R1's format reward as published (text after the answer passes, for one)
//   trl_think  TRL's think_format_reward as published
//   tag_count  a quarter for each tag that stands once on its line, as published
//
// The first four want text inside the blocks and a completion that ended by itself: cut off at
// max_tokens, it has no shape yet. The last three are other projects' rules, holes included, for
// those who port a run. A thinking block that the prompt opened counts as the completion's.

#include <array>

#include "rewards/builtin.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

constexpr std::string_view kThink = "<think>", kEndThink = "</think>";
constexpr std::string_view kAnswer = "<answer>", kEndAnswer = "</answer>";
constexpr auto npos = std::string_view::npos;

// Where `tag` stands, if it stands exactly once; else npos.
size_t only(std::string_view text, std::string_view tag) {
  const size_t first = find_text(text, tag);
  if (first == npos || find_text(text, tag, first + tag.size()) != npos) return npos;
  return first;
}

bool absent(std::string_view text, std::string_view tag) { return find_text(text, tag) == npos; }
bool blank(std::string_view text) { return trimmed(text).empty(); }

// The text begins with a closed, non-empty thinking block and has no other thinking tag. Gives
// what follows it.
bool after_thinking(std::string_view text, std::string_view& rest) {
  text = trimmed(text);
  const size_t open = only(text, kThink), close = only(text, kEndThink);
  if (open != 0 || close == npos) return false;
  if (blank(text.substr(kThink.size(), close - kThink.size()))) return false;
  rest = text.substr(close + kEndThink.size());
  return true;
}

bool r1_zero(std::string_view text) {
  std::string_view rest;
  if (!after_thinking(text, rest) || only(text, kAnswer) == npos ||
      only(text, kEndAnswer) == npos) {
    return false;
  }
  rest = trimmed(rest);
  if (!rest.starts_with(kAnswer) || !rest.ends_with(kEndAnswer)) return false;
  return !blank(rest.substr(kAnswer.size(), rest.size() - kAnswer.size() - kEndAnswer.size()));
}

bool r1(std::string_view text) {
  std::string_view rest;
  return after_thinking(text, rest) && !blank(rest);
}

bool think(std::string_view text) {
  std::string_view rest;
  return after_thinking(text, rest);
}

bool tags(std::string_view text) {
  const std::array<size_t, 4> at = {only(text, kThink), only(text, kEndThink), only(text, kAnswer),
                                    only(text, kEndAnswer)};
  for (size_t i = 0; i < at.size(); ++i) {
    if (at[i] == npos || (i > 0 && at[i] < at[i - 1])) return false;
  }
  const auto inside = [&](size_t i, std::string_view open) {
    return text.substr(at[i] + open.size(), at[i + 1] - at[i] - open.size());
  };
  return !blank(inside(0, kThink)) && !blank(inside(2, kAnswer));
}

// ^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$, where . is any byte and $ any line's end.
bool open_r1(std::string_view text) {
  const std::string_view open = "<think>\n", middle = "\n</think>\n<answer>\n",
                         close = "\n</answer>";
  if (!text.starts_with(open)) return false;
  size_t i = find_text(text, middle, open.size());
  if (i == npos) return false;
  for (i = find_text(text, close, i + middle.size()); i != npos;
       i = find_text(text, close, i + 1)) {
    const size_t end = i + close.size();
    if (end == text.size() || text[end] == '\n') return true;
  }
  return false;
}

// ^<think>(?!.*<think>)(.*?)</think>.*$
bool trl_think(std::string_view text) {
  if (!text.starts_with(kThink)) return false;
  text.remove_prefix(kThink.size());
  return absent(text, kThink) && !absent(text, kEndThink);
}

double tag_count(std::string_view text) {
  double sum = 0;
  for (std::string_view tag : {"<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"}) {
    if (only(text, tag) != npos) sum += 0.25;
  }
  return sum;
}

struct Pattern {
  const char* name;
  double (*value)(std::string_view text);
  bool must_stop;  // a completion that was cut off has 0
};

template <bool (*Matches)(std::string_view)>
double matches(std::string_view text) {
  return Matches(text) ? 1.0 : 0.0;
}

constexpr std::array<Pattern, 7> kPatterns = {{{"r1_zero", matches<r1_zero>, true},
                                               {"r1", matches<r1>, true},
                                               {"think", matches<think>, true},
                                               {"tags", matches<tags>, true},
                                               {"open_r1", matches<open_r1>, false},
                                               {"trl_think", matches<trl_think>, false},
                                               {"tag_count", tag_count, false}}};

class FormatRewarder : public Rewarder {
 public:
  explicit FormatRewarder(const Pattern& pattern) : pattern_(pattern) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    for (const RewardItem& item : items) {
      Score score;
      if (pattern_.must_stop && item.completion->finish_reason != FinishReason::stop) {
        score.value = 0.0;
        score.details["reason"] = "cut_off";
      } else {
        const size_t think = prefilled_think(item.prompt);
        const std::string_view text = without_end_token(item.completion->text);
        score.value = think == npos ? pattern_.value(text)
                                    : pattern_.value(item.prompt.substr(think) + std::string(text));
      }
      scores.push_back(std::move(score));
    }
    return scores;
  }

 private:
  Pattern pattern_;
};

}  // namespace

std::unique_ptr<Rewarder> make_format(const RewardSpec& spec) {
  std::vector<std::string> names;
  for (const Pattern& pattern : kPatterns) names.push_back(pattern.name);
  return std::make_unique<FormatRewarder>(
      kPatterns[choice_option(spec, "pattern", names, "r1_zero")]);
}

}  // namespace hone
