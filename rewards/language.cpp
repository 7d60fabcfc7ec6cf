// `language`: the share of the words of a completion's thinking that are in the target language
// (DeepSeek-R1's language consistency reward): option language=, else the row's `language`, as
// ISO 639-1 ("en", also "en-US").
//
// What is thinking: what stands in the thinking block, closed or not, opened by the completion or
// by the prompt; without tags the whole text. Not words: formulas ($..$, \(..\), \[..\]), code
// (fences and `..`), tags, LaTeX commands, digits, single letters and labels such as ABC.
//
// A word is a run of letters of one script. Han characters, kana and Thai letters count one by one,
// since these scripts have no spaces. By script: ru uk bg be sr mk, el, he yi, ar fa ur, hi mr ne,
// th, ko. Chinese and Japanese share characters: a sentence of at least one kana in six letters is
// Japanese, any other Chinese; fewer than six Han characters alone may be either. Latin languages
// are told apart by function words (language_words.cpp): one that only the target has speaks for
// it, one that only others have against it, and any other word goes with the nearest such one.
//
// Known limits: languages of one script other than Latin are not told apart; a Latin language
// without a list (say Finnish) passes for the target. A thinking part without words, empty or all
// formulas, is no_answer and 0: paid 1, silence would be the easiest consistent language.

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/error.h"
#include "base/options.h"
#include "rewards/builtin.h"
#include "rewards/extraction.h"
#include "rewards/language_words.h"
#include "rewards/unicode.h"

namespace hone {
namespace {

constexpr auto npos = std::string_view::npos;

struct ScriptLanguage {
  const char* code;
  Script script;
};

constexpr ScriptLanguage kByScript[] = {
    {"zh", Script::han},        {"ja", Script::kana},       {"ko", Script::hangul},
    {"ru", Script::cyrillic},   {"uk", Script::cyrillic},   {"bg", Script::cyrillic},
    {"be", Script::cyrillic},   {"sr", Script::cyrillic},   {"mk", Script::cyrillic},
    {"el", Script::greek},      {"he", Script::hebrew},     {"yi", Script::hebrew},
    {"ar", Script::arabic},     {"fa", Script::arabic},     {"ur", Script::arabic},
    {"hi", Script::devanagari}, {"mr", Script::devanagari}, {"ne", Script::devanagari},
    {"th", Script::thai},
};

struct Target {
  Script script = Script::none;  // han: Chinese; kana: Japanese
  int latin = -1;                // index of its list of function words
};

std::optional<Target> find_target(std::string code) {
  for (char& c : code) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  code = code.substr(0, code.find_first_of("-_"));
  for (const ScriptLanguage& language : kByScript) {
    if (code == language.code) return Target{language.script, -1};
  }
  const std::vector<WordList>& lists = function_words();
  for (size_t i = 0; i < lists.size(); ++i) {
    if (code == lists[i].code) return Target{Script::latin, static_cast<int>(i)};
  }
  return std::nullopt;
}

std::string known_codes() {
  std::string codes;
  for (const WordList& list : function_words()) codes += std::string(list.code) + " ";
  for (const ScriptLanguage& language : kByScript) codes += std::string(language.code) + " ";
  codes.pop_back();
  return codes;
}

std::string_view thinking_of(std::string_view text, bool prefilled) {
  const size_t open = find_text(text, "<think>"), close = find_text(text, "</think>");
  const bool opened = open != npos && (close == npos || open < close);
  if (!opened && close == npos && !prefilled) return text;  // no tags at all
  const size_t start = opened && !prefilled ? open + 7 : 0;
  // The last one: a second block is thinking too, and a </think> said early hides nothing.
  const size_t end = text.rfind("</think>");
  return text.substr(start, end == npos || end < start ? npos : end - start);
}

bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Four words in a row, or a run of letters outside ASCII as long as six Han characters, are a
// sentence, whatever signs stand around them.
bool is_prose(std::string_view text) {
  int words = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t start = i;
    size_t foreign = 0;
    while (i < text.size() && (letter(text[i]) || (text[i] & 0x80))) foreign += text[i++] < 0;
    words = i - start >= 2 ? words + 1 : 0;
    if (words == 4 || foreign >= 18) return true;
    if (i < text.size() && text[i] != ' ') words = 0;
    ++i;
  }
  return false;
}

// The length of the formula, code, tag or command that begins at `i`; 0 if none does. What is not
// closed hides nothing. `budget`: bytes that may still be looked at in vain, so that a text of
// nothing but opening signs costs no more than another.
size_t not_prose(std::string_view text, size_t i, size_t& budget) {
  constexpr size_t kLongest = 2000;  // bytes of a formula
  const std::string_view rest = text.substr(i);
  const auto in_vain = [&](size_t bytes) -> size_t {
    budget -= std::min(budget, bytes);
    return 0;
  };
  const auto until = [&](std::string_view open, std::string_view close, size_t limit) -> size_t {
    if (!rest.starts_with(open) || budget == 0) return 0;
    const std::string_view part = rest.substr(0, limit);
    const size_t end = part.find(close, open.size());
    return end == npos ? in_vain(part.size()) : end + close.size();
  };
  const auto formula = [&](std::string_view open, std::string_view close) -> size_t {
    const size_t length = until(open, close, kLongest);
    return length != 0 && is_prose(rest.substr(0, length)) ? in_vain(length) : length;
  };
  switch (text[i]) {
    case '`': {
      const size_t fence = until("```", "```", npos);
      if (fence != 0) return fence;
      const size_t line = rest.find('\n');
      return until("`", "`", line == npos ? 200 : std::min<size_t>(line, 200));
    }
    case '$': {
      if (rest.starts_with("$$")) return formula("$$", "$$");
      const size_t length = formula("$", "$");
      // As Pandoc reads it: "$5 and $10" holds no formula.
      if (length < 3 || is_space(text[i + 1]) || is_space(text[i + length - 2])) return 0;
      return rest.substr(0, length).find("\n\n") == npos ? length : 0;
    }
    case '\\': {
      if (const size_t length = formula("\\(", "\\)")) return length;
      if (const size_t length = formula("\\[", "\\]")) return length;
      size_t end = 1;
      while (end < rest.size() && letter(rest[end])) ++end;
      return end;
    }
    case '<': {
      const size_t end = rest.substr(0, 42).find('>');
      if (end == npos || end < 2) return 0;
      const bool name = std::all_of(rest.begin() + 1, rest.begin() + end, [](char c) {
        return letter(c) || (c >= '0' && c <= '9') || c == '/' || c == '_' || c == '-' || c == '|';
      });
      return name ? end + 1 : 0;
    }
    default:
      return 0;
  }
}

// What a word of a Latin language says of the target.
enum class Vote : char { none, target, other };

struct Tally {
  size_t words = 0, target = 0;
};

class Counter {
 public:
  explicit Counter(const Target& target) : target_(target) {}

  Tally count(std::string_view text) {
    std::string word;  // of `script`, lower case
    size_t letters = 0, capitals = 0;
    Script script = Script::none;
    size_t budget = 1'000'000 + text.size();
    const auto end_word = [&] {
      if (letters > 0) end_run(script, word, letters, capitals);
      word.clear();
      letters = capitals = 0;
    };
    for (size_t i = 0; i < text.size();) {
      if (const size_t skip = not_prose(text, i, budget)) {
        end_word();
        i += skip;
        continue;
      }
      const size_t start = i;
      const char32_t c = next_character(text, i);
      if (is_mark(c)) continue;
      const Script own = script_of(c);
      if (own != script) {
        end_word();
        script = own;
      }
      if (own == Script::none) {
        if (ends_sentence(c)) end_sentence();
        continue;
      }
      ++letters;
      capitals += is_upper(c);
      if (own == Script::latin) append_lower(word, c, text.substr(start, i - start));
    }
    end_word();
    end_sentence();
    count_latin();
    return tally_;
  }

 private:
  static bool ends_sentence(char32_t c) {
    return c == '\n' || c == '.' || c == '!' || c == '?' || c == 0x3002 || c == 0xFF01 ||
           c == 0xFF1F || c == 0xFF0E;
  }

  static void append_lower(std::string& word, char32_t c, std::string_view bytes) {
    const char32_t lower = lower_case(c);
    if (lower < 0x80) {
      word += static_cast<char>(lower);
    } else if (lower < 0x800) {
      word += static_cast<char>(0xC0 | lower >> 6);
      word += static_cast<char>(0x80 | (lower & 0x3F));
    } else {
      word += bytes;
    }
  }

  void end_run(Script script, const std::string& word, size_t letters, size_t capitals) {
    if (script == Script::han) {
      han_ += letters;
    } else if (script == Script::kana) {
      kana_ += letters;
    } else if (script == Script::thai) {
      add(script, letters);
    } else if ((letters == 1 && (script == Script::latin || script == Script::greek)) ||
               (capitals == letters && letters <= 4)) {
      return;  // a variable, a label
    } else if (script == Script::latin && target_.latin >= 0) {
      votes_.push_back(vote_of(word));
    } else {
      add(script, 1);
    }
  }

  void add(Script script, size_t words) {
    tally_.words += words;
    if (script == target_.script) tally_.target += words;
  }

  void end_sentence() {
    const bool japanese = kana_ * 6 >= kana_ + han_;
    const bool either = kana_ == 0 && han_ < 6;
    const Script language = japanese ? Script::kana : Script::han;
    tally_.words += han_ + kana_;
    if (either && (target_.script == Script::han || target_.script == Script::kana)) {
      tally_.target += han_;
    } else if (language == target_.script) {
      tally_.target += target_.script == Script::kana ? han_ + kana_ : han_;
    }
    han_ = kana_ = 0;
  }

  Vote vote_of(const std::string& word) const {
    static const std::unordered_map<std::string, uint64_t> languages = [] {
      std::unordered_map<std::string, uint64_t> map;
      const std::vector<WordList>& lists = function_words();
      for (size_t i = 0; i < lists.size(); ++i) {
        for (const std::string& w : lists[i].words) map[w] |= uint64_t{1} << i;
      }
      return map;
    }();
    const auto found = languages.find(word);
    if (found == languages.end()) return Vote::none;
    const uint64_t own = uint64_t{1} << target_.latin;
    if ((found->second & own) == 0) return Vote::other;
    return found->second == own ? Vote::target : Vote::none;
  }

  // A vote between two of the other kind on either side is a word that both languages spell alike.
  void drop_single_votes() {
    std::vector<size_t> at;  // of the votes
    for (size_t i = 0; i < votes_.size(); ++i) {
      if (votes_[i] != Vote::none) at.push_back(i);
    }
    std::vector<size_t> single;
    for (size_t k = 2; k + 2 < at.size(); ++k) {
      const auto differs = [&](size_t other) { return votes_[at[other]] != votes_[at[k]]; };
      if (differs(k - 2) && differs(k - 1) && differs(k + 1) && differs(k + 2)) {
        single.push_back(at[k]);
      }
    }
    for (size_t i : single) votes_[i] = Vote::none;
  }

  // Every word without a vote takes the nearest one's; with none at all, the target has it.
  void count_latin() {
    drop_single_votes();
    tally_.words += votes_.size();
    size_t last = 0;  // one past the last vote
    Vote before = Vote::none;
    for (size_t i = 0; i <= votes_.size(); ++i) {
      if (i < votes_.size() && votes_[i] == Vote::none) continue;
      const Vote after = i < votes_.size() ? votes_[i] : Vote::none;
      const size_t gap = i - last;
      size_t left = before == Vote::none ? 0 : after == Vote::none ? gap : (gap + 1) / 2;
      if (before != Vote::other) tally_.target += left;
      if (after != Vote::other) tally_.target += gap - left + (i < votes_.size());
      before = after;
      last = i + 1;
    }
  }

  Target target_;
  Tally tally_;
  size_t han_ = 0, kana_ = 0;  // of the sentence at hand
  std::vector<Vote> votes_;    // of the words in Latin script, if the target has it
};

class LanguageRewarder : public Rewarder {
 public:
  explicit LanguageRewarder(std::optional<Target> target) : target_(target) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    for (const RewardItem& item : items) scores.push_back(judge(item));
    return scores;
  }
  bool thread_safe() const override { return true; }

 private:
  Score judge(const RewardItem& item) const {
    std::optional<Target> target = target_;
    const auto field = item.problem->fields.find("language");
    if (!target && field != item.problem->fields.end() && field->is_string()) {
      target = find_target(field->get<std::string>());
    }
    if (!target) {
      return null_score(Status::bad_reference, "needs language, one of: " + known_codes());
    }
    const bool prefilled = prefilled_think(item.prompt) != npos;
    const std::string_view text = without_end_token(item.completion->text);
    const Tally tally = Counter(*target).count(thinking_of(text, prefilled));
    if (tally.words == 0) return no_answer("no_words");
    Score score;
    score.value = static_cast<double>(tally.target) / static_cast<double>(tally.words);
    score.details["words"] = tally.words;
    return score;
  }

  std::optional<Target> target_;
};

}  // namespace

std::unique_ptr<Rewarder> make_language(const RewardSpec& spec) {
  const auto option = spec.options.find("language");
  std::optional<Target> target;
  if (option != spec.options.end()) {
    target = find_target(option->second);
    if (!target) {
      throw UserError(
          cat("reward 'language': language='", option->second, "' is not one of ", known_codes()));
    }
  }
  return std::make_unique<LanguageRewarder>(target);
}

}  // namespace hone
