#include "rewards/conclusion.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

constexpr size_t kTail = 2000;  // an answer sentence is looked for in so many last bytes

bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool at(std::string_view text, size_t position, std::string_view word) {
  return text.substr(position).starts_with(word);
}

std::string_view line_at(std::string_view text, size_t start) {
  return trimmed(text.substr(start, std::min(text.find('\n', start), text.size()) - start));
}

struct Segment {
  size_t begin, end;      // with its delimiters
  size_t inside, length;  // without them
};

// Formulas between $ $, $$ $$, \( \) and \[ \]. Those of one line stay on their line.
std::vector<Segment> formulas(std::string_view text) {
  std::vector<Segment> out;
  for (size_t i = 0; i < text.size();) {
    std::string_view close;
    if (at(text, i, "$$")) {
      close = "$$";
    } else if (text[i] == '$') {
      close = "$";
    } else if (at(text, i, "\\(")) {
      close = "\\)";
    } else if (at(text, i, "\\[")) {
      close = "\\]";
    } else {
      i += text[i] == '\\' ? 2 : 1;
      continue;
    }
    const size_t start = i + close.size();
    size_t end = start;
    while (end < text.size() && !at(text, end, close)) {
      if (text[end] == '\n' && (close == "$" || close == "\\)")) break;
      end += text[end] == '\\' && !at(text, end, close) ? 2 : 1;
    }
    if (end < text.size() && text[end] != '\n') {
      out.push_back({i, end + close.size(), start, end - start});
      i = end + close.size();
    } else {
      i = start;
    }
  }
  return out;
}

bool word_at_end(std::string_view text, std::string_view word) {
  while (!text.empty() && (space(text.back()) || text.back() == '[' || text.back() == '$')) {
    text.remove_suffix(1);
  }
  if (text.size() < word.size()) return false;
  for (size_t i = 0; i < word.size(); ++i) {
    const char c = text[text.size() - word.size() + i];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != word[i]) return false;
  }
  return text.size() == word.size() || !letter(text[text.size() - word.size() - 1]);
}

// "... is 34", "... : 34"
bool after_copula(std::string_view sentence, std::string_view number) {
  const std::string_view before =
      trimmed(sentence.substr(0, static_cast<size_t>(number.data() - sentence.data())));
  if (before.ends_with(":") || before.ends_with("=")) return true;
  for (const std::string_view copula :
       {"is", "it's", "are", "est", "equals", "es", "ist", "to be"}) {
    if (word_at_end(before, copula)) return true;
  }
  return false;
}

bool same_letters(std::string_view text, size_t i, std::string_view word) {
  if (i + word.size() > text.size()) return false;
  for (size_t k = 0; k < word.size(); ++k) {
    const char c = text[i + k];
    if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != word[k]) return false;
  }
  return true;
}

// Where the answer begins that a marker at `i` announces, npos if none stands there.
size_t behind_marker(std::string_view text, size_t i) {
  constexpr size_t kNone = std::string_view::npos;
  switch (text[i]) {
    case 'a':
    case 'A':
      if (i == 0 && same_letters(text, i, "a:")) return 2;
      if (same_letters(text, i, "answer")) {
        const size_t end = i + 6;
        for (const std::string_view more : {":", " is:", " is", "\uff1a"}) {
          if (same_letters(text, end, more)) return end + more.size();
        }
        for (const std::string_view formula : {" \\[", " \\(", " $"}) {
          if (same_letters(text, end, formula)) return end + 1;
        }
      }
      return same_letters(text, i, "antwort ist") ? i + 11 : kNone;
    case '\n':
      return same_letters(text, i, "\na:") ? i + 3 : kNone;
    case 'r':
    case 'R':
      for (const std::string_view marker : {"r\u00e9ponse est", "respuesta es"}) {
        if (same_letters(text, i, marker)) return i + marker.size();
      }
      return kNone;
    case '\xe7':
      for (const std::string_view marker :
           {"\u7b54\u6848:", "\u7b54\u6848\uff1a", "\u7b54\u6848\u662f"}) {
        if (same_letters(text, i, marker)) return i + marker.size();
      }
      return kNone;
    default:
      return kNone;
  }
}

// Whether a sentence says that it concludes: a word of that kind, or another script than Latin,
// whose words are not told apart here.
bool concludes(std::string_view sentence) {
  std::string word;
  const auto cue = [&] {
    static const char* const cues[] = {"is",    "are",    "so",  "therefore", "thus", "hence",
                                       "total", "equals", "was", "donc",      "est",  "ainsi",
                                       "also",  "ist",    "es",  "entonces",  "por",  "sono"};
    return std::any_of(std::begin(cues), std::end(cues), [&](const char* c) { return word == c; });
  };
  for (const char c : sentence) {
    if (letter(c)) {
      word += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    } else {
      if (cue()) return true;
      word.clear();
    }
    // The first bytes of scripts beyond Latin, Greek and signs.
    const auto byte = static_cast<unsigned char>(c);
    if ((byte >= 0xD0 && byte <= 0xE1) || (byte >= 0xE3 && byte <= 0xED)) return true;
  }
  return cue();
}

size_t number_end(std::string_view text, size_t i) {
  while (i < text.size() &&
         (digit(text[i]) || ((text[i] == ',' || text[i] == '.' || text[i] == '/') &&
                             i + 1 < text.size() && digit(text[i + 1])))) {
    ++i;
  }
  if (i < text.size() && text[i] == '%') ++i;
  return i;
}

// The numbers of a text as spans, each with its sign and percent.
std::vector<std::string_view> numbers(std::string_view text) {
  std::vector<std::string_view> out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (!digit(text[i]) && !(text[i] == '.' && i + 1 < text.size() && digit(text[i + 1]))) continue;
    const size_t end = number_end(text, i);
    const char before = i == 0 ? ' ' : text[i - 1];
    const bool name = letter(before) || before == '_';  // x2
    const bool minus = before == '-' && (i < 2 || space(text[i - 2]));
    if (!name) out.push_back(text.substr(i - minus, end - i + minus));
    i = end;
  }
  return out;
}

// Words that take back or blur what stands beside them. A sentence with one is no answer.
bool denies(std::string_view text) {
  static const char* const phrases[] = {
      "not",        "never",   "cannot",      "isn",        "aren",     "wasn",   "doesn",
      "wouldn",     "couldn",  "shouldn",     "neither",    "nor",      "wrong",  "false",
      "incorrect",  "invalid", "incorrectly", "impossible", "unlikely", "hardly", "unless",
      "except",     "besides", "maybe",       "perhaps",    "possibly", "might",  "could be",
      "could also", "may be",  "unclear",     "unknown",    "mistaken", "nicht",  "kein",
      "keine",      "nie",     "pas",         "jamais",     "nunca",    "falsch", "faux",
      "falso",      "non"};
  std::string words = " ";  // in small letters, one space between two; "non-negative" is one word
  for (const char c : text) {
    if (letter(c) || (c == '-' && words.back() != ' ')) {
      words += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    } else if (words.back() != ' ') {
      words += ' ';
    }
  }
  if (words.back() != ' ') words += ' ';
  for (const char* const phrase : phrases) {
    if (words.find(cat(' ', phrase, ' ')) != std::string::npos) return true;
  }
  for (const std::string_view sign : {"\u4e0d", "\u975e", "\u043d\u0435 ", "\uff1f", "?"}) {
    if (text.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

// Whether a number is named only as a bound: "at most 42".
bool bounded(std::string_view before) {
  before = trimmed(before);
  while (!before.empty() && (before.back() == '$' || before.back() == '*' || before.back() == '(' ||
                             before.back() == '\\')) {
    before = trimmed(before.substr(0, before.size() - 1));
  }
  for (const std::string_view bound :
       {"at most",      "at least",    "less than",    "fewer than",  "more than",
        "greater than", "larger than", "smaller than", "bigger than", "other than",
        "up to",        "under",       "below",        "above",       "over",
        "beyond",       "except",      "without",      "exceeds",     "exceed"}) {
    if (before.size() >= bound.size() &&
        same_letters(before, before.size() - bound.size(), bound)) {
      return true;
    }
  }
  return false;
}

// Whether the sentence takes back the part of it that is `answer`. What stands before a word that
// concludes is over: "43 is not even, so it is 42".
bool taken_back(std::string_view sentence, std::string_view answer) {
  if (answer.empty()) return false;
  const auto begin = static_cast<size_t>(answer.data() - sentence.data());
  std::string_view before = sentence.substr(0, begin);
  std::string_view after = sentence.substr(begin + answer.size());
  size_t turn = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    if (i > 0 && letter(before[i - 1])) continue;
    for (const std::string_view word :
         {"so ", "therefore", "thus ", "hence", "but ", "answer is "}) {
      if (same_letters(before, i, word)) turn = i + word.size();
    }
  }
  // "it is not 10 but 12", "not 10, it's 12": what was said of another number
  if (const auto others = numbers(before); !others.empty()) {
    turn = std::max(
        turn, static_cast<size_t>(others.back().data() - before.data()) + others.back().size());
  }
  if (const size_t aside = after.find(", not "); aside != std::string_view::npos) {
    after = after.substr(0, aside);
  }
  return denies(before.substr(turn)) || denies(after) || bounded(before);
}

}  // namespace

bool connects(std::string_view between) {
  if (between.size() > 70) return false;
  size_t i = 0;
  while (i < between.size()) {
    const char c = between[i];
    if (space(c) || c == ',' || c == ';' || c == '$' || c == '&' || c == '{' || c == '}') {
      ++i;
    } else if (c == '\\') {
      size_t length = 0;
      for (const std::string_view command :
           {"\\text", "\\quad", "\\qquad", "\\mathrm", "\\textrm", "\\,", "\\;", "\\ ", "\\(",
            "\\)", "\\[", "\\]", "\\!", "\\\\"}) {
        if (at(between, i, command)) length = std::max(length, command.size());
      }
      if (length == 0) return false;
      i += length;
    } else if (at(between, i, "and") || at(between, i, "or")) {
      i += c == 'a' ? 3 : 2;
      if (i < between.size() && letter(between[i])) return false;
    } else if (letter(c)) {  // the next one's name: y_2 =
      const size_t name = between.find('=', i);
      return name != std::string_view::npos && name - i < 8 &&
             between.find_first_not_of("_{}0123456789 ", i + 1) == name &&
             trimmed(between.substr(name + 1)).empty();
    } else {
      return false;
    }
  }
  return true;
}

std::string_view without_next_turn(std::string_view text) {
  const size_t turn = text.find("<|im_start|>");
  return trimmed(turn == std::string_view::npos ? text : text.substr(0, turn));
}

std::string_view stated_answer(std::string_view text) {
  text = without_next_turn(text);
  if (text.size() > kTail) text.remove_prefix(text.size() - kTail);
  size_t start = std::string_view::npos;
  for (size_t i = text.size(); i-- > 0 && start == std::string_view::npos;) {
    start = behind_marker(text, i);
  }
  if (start == std::string_view::npos) return {};
  // **Answer:** 42, and an answer on the next line
  while (start < text.size() && (space(text[start]) || text[start] == '*')) ++start;
  std::string_view line;
  const std::vector<Segment> first = formulas(text.substr(start));
  if (!first.empty() && first[0].begin == 0 && at(text, start, "\\[")) {
    line = text.substr(start, first[0].end);
  } else if (!first.empty() && first[0].begin == 0 && at(text, start, "$$")) {
    line = text.substr(start, first[0].end);
  } else {
    line = line_at(text, start);
  }
  for (size_t i = 0; i + 1 < line.size(); ++i) {
    // A sentence ends, but not at "D. it cannot be A".
    if (line[i] == '.' && space(line[i + 1]) && i > 1) line = line.substr(0, i);
  }
  const auto star = [](char c) { return c == '*' || space(c); };
  while (!line.empty() && star(line.front())) line.remove_prefix(1);
  while (!line.empty() && star(line.back())) line.remove_suffix(1);
  return line;
}

namespace {

// The last sentence; a full stop within a formula ends none.
std::string_view last_sentence(std::string_view text) {
  text = without_next_turn(text);
  if (text.size() > kTail) text.remove_prefix(text.size() - kTail);
  constexpr std::string_view kHope = "I hope it is correct.";
  if (text.ends_with(kHope)) text = trimmed(text.substr(0, text.size() - kHope.size()));
  while (!text.empty() && (text.back() == '.' || text.back() == '!' || space(text.back()))) {
    text.remove_suffix(1);
  }
  for (const std::string_view stop : {"\u3002", "\u0964"}) {
    if (text.ends_with(stop)) text.remove_suffix(stop.size());
  }
  size_t start = 0;
  const std::vector<Segment> all = formulas(text);
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    while (next < all.size() && all[next].end <= i) ++next;
    if (next < all.size() && all[next].begin <= i) {
      const Segment& formula = all[next];
      i = formula.end - 1;
      // "$$ x = 5.$$ Therefore"
      if (formula.length > 0 && text[formula.inside + formula.length - 1] == '.') start = i + 1;
      continue;
    }
    if (text[i] == '\n' || ((text[i] == '.' || text[i] == '?' || text[i] == '!') &&
                            i + 1 < text.size() && space(text[i + 1]))) {
      start = i + 1;
    } else if (at(text, i, "\u3002") || at(text, i, "\u0964")) {
      start = i + 3;
    }
  }
  return trimmed(text.substr(start));
}

// Its one clear thing, whatever is said of it.
std::string_view named_in(std::string_view sentence, bool announced) {
  const std::vector<Segment> inside = formulas(sentence);
  if (!inside.empty()) {
    size_t k = inside.size() - 1;
    while (k > 0 &&
           connects(sentence.substr(inside[k - 1].end, inside[k].begin - inside[k - 1].end))) {
      --k;
    }
    const size_t end = inside.back().end;
    const auto outside = numbers(sentence.substr(end));
    if (!outside.empty()) {
      // "the largest $n$ is 34"; any other number outside would be a second answer
      return outside.size() == 1 && after_copula(sentence, outside[0]) ? outside[0]
                                                                       : std::string_view();
    }
    if (k + 1 == inside.size()) return sentence.substr(inside[k].inside, inside[k].length);
    return sentence.substr(inside[k].begin, end - inside[k].begin);
  }
  if (sentence.find('\\') != std::string_view::npos) return {};
  const size_t bold_end = sentence.rfind("**");
  if (bold_end != std::string_view::npos && bold_end > 2) {
    const size_t bold = sentence.rfind("**", bold_end - 1);
    if (bold != std::string_view::npos && bold + 2 < bold_end) {
      const auto found = numbers(sentence.substr(bold, bold_end - bold));
      if (found.size() == 1) return found[0];
    }
  }
  const std::vector<std::string_view> found = numbers(sentence);
  if (found.empty()) return {};
  const std::string_view last = found.back();
  // "7 + 4 = 11, so 11 of them": all that stands behind the last "=" is one number
  const size_t equals = sentence.rfind('=');
  if (equals != std::string_view::npos) {
    const auto behind = numbers(sentence.substr(equals + 1));
    if (!behind.empty() &&
        std::all_of(behind.begin(), behind.end(), [&](std::string_view n) { return n == last; })) {
      return last;
    }
  }
  if (after_copula(sentence, last)) return last;
  if (found.size() == 1 && (announced || concludes(sentence))) return last;
  // "there are 12 sequences that meet the three conditions" has one number; 12 of 30 has two
  return {};
}

}  // namespace

std::string_view conclusion(std::string_view text, bool announced) {
  const std::string_view sentence = last_sentence(text);
  const std::string_view answer = named_in(sentence, announced);
  return taken_back(sentence, answer) ? std::string_view() : answer;
}

}  // namespace hone
