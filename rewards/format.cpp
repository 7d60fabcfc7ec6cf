// `format`: 1 if the completion has the shape of a pattern. Counts tags; never judges the answer.
//
//   r1_zero        one thinking block, then one answer block, and nothing else but white space
//   r1             one thinking block, then an answer in free text
//   think          one thinking block first, whatever follows
//   tags           graded: a quarter for each of the four tags; other text is allowed. 0 if a tag
//                  stands twice or out of order; the two tags around nothing do not count
//   open_r1        Open R1's format_reward as published (text after the answer passes, for one)
//   open_r1_code   its get_code_format_reward: a fence of `language` inside the answer
//   open_r1_steps  its reasoning_steps_reward: a third for each "Step 1:", "First,", bullet ...
//   tag_count      its tag_count_reward: a quarter for each tag that stands once on its line
//   trl_think      TRL's think_format_reward as published
//
// The first four want text inside the blocks and a completion that ended by itself: cut off at
// max_tokens, it has no shape yet; an end token is no text. The others are other projects' rules,
// holes included and to the byte, for those who port a run. For all of them a thinking block that
// the prompt opened counts as the completion's.

#include <algorithm>
#include <array>

#include "base/error.h"
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

double tags(std::string_view text) {
  struct Pair {
    std::string_view open, close;
  };
  double score = 0;
  size_t before = 0;  // where the tags so far end
  for (const Pair& pair : {Pair{kThink, kEndThink}, Pair{kAnswer, kEndAnswer}}) {
    const size_t open = find_text(text, pair.open), close = find_text(text, pair.close);
    for (const auto& [tag, at] : {std::pair{pair.open, open}, std::pair{pair.close, close}}) {
      if (at == npos) continue;
      if (at < before || find_text(text, tag, at + tag.size()) != npos) return 0;
      before = at + tag.size();
    }
    if (open != npos && close != npos) {
      const size_t start = open + pair.open.size();
      score += blank(text.substr(start, close - start)) ? 0 : 0.5;
    } else if (open != npos || close != npos) {
      score += 0.25;
    }
  }
  return score;
}

// ^<think>\n.*?\n</think>\n<answer>\n.*? INSIDE .*?\n</answer>$, where . is any byte, $ any line's
// end and INSIDE the given texts, in order.
bool open_r1_with(std::string_view text, std::initializer_list<std::string_view> inside) {
  const std::string_view open = "<think>\n", middle = "\n</think>\n<answer>\n",
                         close = "\n</answer>";
  if (!text.starts_with(open)) return false;
  size_t i = find_text(text, middle, open.size());
  if (i == npos) return false;
  i += middle.size();
  for (const std::string_view part : inside) {
    i = find_text(text, part, i);
    if (i == npos) return false;
    i += part.size();
  }
  for (i = find_text(text, close, i); i != npos; i = find_text(text, close, i + 1)) {
    const size_t end = i + close.size();
    if (end == text.size() || text[end] == '\n') return true;
  }
  return false;
}

bool open_r1(std::string_view text) { return open_r1_with(text, {}); }

bool digit(char c) { return c >= '0' && c <= '9'; }

// (Step \d+:|^\d+\.|\n-|\n\*|First,|Second,|Next,|Finally,), ^ being the start of the text alone.
double open_r1_steps(std::string_view text) {
  const auto number_then = [&](size_t i, char last) {
    const size_t start = i;
    while (i < text.size() && digit(text[i])) ++i;
    return i > start && i < text.size() && text[i] == last;
  };
  int steps = number_then(0, '.');
  for (size_t i = 0; i < text.size() && steps < 3; ++i) {
    const std::string_view rest = text.substr(i);
    if (rest.starts_with("\n-") || rest.starts_with("\n*")) ++steps;
    if (rest.starts_with("Step ") && number_then(i + 5, ':')) ++steps;
    for (const std::string_view word : {"First,", "Second,", "Next,", "Finally,"}) {
      if (rest.starts_with(word)) ++steps;
    }
  }
  return std::min(steps, 3) / 3.0;
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
  bool ours;  // else another project's, to the byte
};

template <bool (*Matches)(std::string_view)>
double matches(std::string_view text) {
  return Matches(text) ? 1.0 : 0.0;
}

constexpr std::string_view kCode = "open_r1_code";  // the one with an option of its own

constexpr std::array<Pattern, 9> kPatterns = {{{"r1_zero", matches<r1_zero>, true},
                                               {"r1", matches<r1>, true},
                                               {"think", matches<think>, true},
                                               {"tags", tags, true},
                                               {"open_r1", matches<open_r1>, false},
                                               {"open_r1_steps", open_r1_steps, false},
                                               {"tag_count", tag_count, false},
                                               {"trl_think", matches<trl_think>, false},
                                               {kCode.data(), nullptr, false}}};

class FormatRewarder : public Rewarder {
 public:
  FormatRewarder(const Pattern& pattern, const std::string& language)
      : pattern_(pattern), fence_("```" + language) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    for (const RewardItem& item : items) scores.push_back(judge(item));
    return scores;
  }
  bool thread_safe() const override { return true; }

 private:
  Score judge(const RewardItem& item) const {
    Score score;
    if (pattern_.ours && item.completion->finish_reason != FinishReason::stop) {
      score.value = 0.0;
      score.details["reason"] = "cut_off";
      return score;
    }
    std::string_view text = item.completion->text;
    if (pattern_.ours) text = without_end_token(text);
    const size_t think = prefilled_think(item.prompt);
    score.value =
        think == npos ? value(text) : value(item.prompt.substr(think) + std::string(text));
    return score;
  }

  double value(std::string_view text) const {
    return pattern_.value ? pattern_.value(text) : open_r1_with(text, {fence_, "```"});
  }

  Pattern pattern_;
  std::string fence_;
};

}  // namespace

std::unique_ptr<Rewarder> make_format(const RewardSpec& spec) {
  std::vector<std::string> names;
  for (const Pattern& pattern : kPatterns) names.push_back(pattern.name);
  const Pattern& pattern = kPatterns[choice_option(spec, "pattern", names, "r1_zero")];
  const auto language = spec.options.find("language");
  if (language != spec.options.end() && pattern.name != kCode) {
    throw UserError("reward 'format': language= belongs to pattern=open_r1_code");
  }
  return std::make_unique<FormatRewarder>(
      pattern, language == spec.options.end() ? "python" : language->second);
}

}  // namespace hone
