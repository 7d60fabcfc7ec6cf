#include "rewards/extraction.h"

#include <algorithm>
#include <cstring>

namespace hone {
namespace {

constexpr size_t kTail = 2000;  // an answer sentence is looked for in so many last bytes

bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// memchr that is also fast where the byte is frequent.
size_t find_byte(std::string_view text, char c, size_t from) {
  if (from >= text.size()) return std::string_view::npos;
  if (text[from] == c) return from;
  const void* hit = std::memchr(text.data() + from, c, text.size() - from);
  return hit == nullptr ? std::string_view::npos
                        : static_cast<size_t>(static_cast<const char*>(hit) - text.data());
}

bool at(std::string_view text, size_t position, std::string_view word) {
  return text.size() - position >= word.size() &&
         std::memcmp(text.data() + position, word.data(), word.size()) == 0;
}

bool same_text(std::string_view a, std::string_view b) {
  size_t i = 0, j = 0;
  while (true) {
    while (i < a.size() && space(a[i])) ++i;
    while (j < b.size() && space(b[j])) ++j;
    if (i == a.size() || j == b.size()) return i == a.size() && j == b.size();
    if (a[i++] != b[j++]) return false;
  }
}

void add_candidate(Extraction& out, std::string_view answer) {
  answer = trimmed(answer);
  if (answer.empty() || out.candidates.size() == kMaxCandidates) return;
  for (std::string_view known : out.candidates) {
    if (same_text(known, answer)) return;
  }
  out.candidates.push_back(answer);
}

// The parts of a completion outside its thinking blocks, in order; the last is the answer's.
struct Parts {
  std::vector<std::string_view> outside;
  bool unclosed = false;
};

Parts split_thinking(std::string_view text, bool prefilled) {
  Parts parts;
  bool thinking = prefilled, seen = prefilled;
  size_t start = 0;
  for (size_t i = find_byte(text, '<', 0); i != std::string_view::npos;
       i = find_byte(text, '<', i + 1)) {
    if (at(text, i, "</think>")) {
      if (thinking || !seen) start = i + 8;
      thinking = false;
      seen = true;
    } else if (!thinking && at(text, i, "<think>")) {
      if (!trimmed(text.substr(start, i - start)).empty()) {
        parts.outside.push_back(text.substr(start, i - start));
      }
      thinking = true;
      seen = true;
    }
  }
  parts.unclosed = thinking;
  parts.outside.push_back(thinking ? std::string_view() : text.substr(start));
  return parts;
}

Parts parts_of(const RewardItem& item) {
  const bool prefilled = prefilled_think(item.prompt) != std::string_view::npos;
  return split_thinking(without_end_token(item.completion->text), prefilled);
}

size_t box_command(std::string_view text, size_t i) {  // its length, 0 if none stands at i
  const size_t length = at(text, i, "\\boxed") ? 6 : at(text, i, "\\fbox") ? 5 : 0;
  return length != 0 && i + length < text.size() && letter(text[i + length]) ? 0 : length;
}

// Where the group that opens at `open` ends (its closing brace), or npos. \{ and \} do not count.
size_t closing_brace(std::string_view text, size_t open) {
  size_t depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}' && --depth == 0) {
      return i;
    }
  }
  return std::string_view::npos;
}

// \boxed{\boxed{42}} is 42.
std::string_view without_inner_boxes(std::string_view content) {
  for (int level = 0; level < 4; ++level) {
    content = trimmed(content);
    const size_t command = content.empty() ? 0 : box_command(content, 0);
    if (command == 0 || command >= content.size() || content[command] != '{' ||
        closing_brace(content, command) != content.size() - 1) {
      break;
    }
    content = content.substr(command + 1, content.size() - command - 2);
  }
  return content;
}

// A box that shows nothing: \boxed{}, \boxed{\phantom{42}}.
bool placeholder(std::string_view content) {
  content = trimmed(content);
  return content.empty() || content.starts_with("\\phantom") || content.starts_with("\\hspace") ||
         content == "\\ " || content == "\\quad" || content == "..." || content == "\\ldots";
}

// Whether what stands between two boxes makes them one list.
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

// Adds the contents of all outermost boxes. False if the last one is not closed. `last_end`: where
// the last one ended.
bool collect_boxes(std::string_view text, Extraction& out, size_t* last_end = nullptr) {
  size_t i = find_byte(text, '\\', 0), previous = std::string_view::npos;
  while (i != std::string_view::npos) {
    const size_t command = box_command(text, i);
    if (command == 0) {
      i = find_byte(text, '\\', i + 1);
      continue;
    }
    size_t open = i + command;
    while (open < text.size() && (text[open] == ' ' || text[open] == '\t')) ++open;
    size_t end;
    std::string_view content;
    if (open < text.size() && text[open] == '{') {
      end = closing_brace(text, open);
      if (end == std::string_view::npos) return false;
      content = without_inner_boxes(text.substr(open + 1, end - open - 1));
    } else {  // plain TeX: \boxed 42$
      end = std::min(text.find_first_of("$\n", open), text.size());
      content = text.substr(open, end - open);
    }
    if (!placeholder(content)) {
      const size_t known = out.candidates.size();
      add_candidate(out, content);
      if (out.candidates.size() > known) {
        const bool joined =
            previous != std::string_view::npos && connects(text.substr(previous, i - previous));
        out.run = joined ? out.run + 1 : 1;
      }
      previous = std::min(end + 1, text.size());
      if (last_end != nullptr) *last_end = previous;
    }
    i = find_byte(text, '\\', end);
  }
  return true;
}

bool has_box(std::string_view text) {
  for (size_t i = find_byte(text, '\\', 0); i != std::string_view::npos;
       i = find_byte(text, '\\', i + 1)) {
    if (box_command(text, i) != 0) return true;
  }
  return false;
}

// Adds the contents of all <answer> blocks; of one with boxes, those if `boxes`, else nothing.
// False if a block is not closed, or opens inside another.
bool collect_answer_tags(std::string_view text, bool boxes, Extraction& out) {
  size_t open = std::string_view::npos;
  for (size_t i = find_byte(text, '<', 0); i != std::string_view::npos;
       i = find_byte(text, '<', i + 1)) {
    if (at(text, i, "<answer>")) {
      if (open != std::string_view::npos) return false;
      open = i + 8;
    } else if (open != std::string_view::npos && at(text, i, "</answer>")) {
      const std::string_view content = text.substr(open, i - open);
      if (!has_box(content)) {
        add_candidate(out, content);
      } else if (boxes && !collect_boxes(content, out)) {
        return false;
      }
      open = std::string_view::npos;
    }
  }
  return open == std::string_view::npos;
}

std::string_view line_at(std::string_view text, size_t start) {
  return trimmed(text.substr(start, std::min(text.find('\n', start), text.size()) - start));
}

std::string_view last_hash(std::string_view text) {
  size_t start = std::string_view::npos;
  for (size_t i = find_byte(text, '#', 0); i != std::string_view::npos;
       i = find_byte(text, '#', i + 1)) {
    if (at(text, i, "####")) {
      start = i + 4;
      i += 3;
    }
  }
  return start == std::string_view::npos ? std::string_view() : line_at(text, start);
}

// The last number, with all that makes it another one: sign, fraction bar, percent, power.
std::string_view last_number(std::string_view text) {
  std::string_view last;
  size_t i = 0;
  const auto digits = [&] {
    while (i < text.size() && digit(text[i])) ++i;
  };
  while (i < text.size()) {
    const size_t start = i;
    if (text[i] == '\\' &&
        (at(text, i + 1, "frac") || (i + 2 < text.size() && at(text, i + 2, "frac")))) {
      while (i < text.size() && text[i] != '{' && !digit(text[i])) ++i;
      for (int argument = 0; argument < 2 && i < text.size() && text[i] == '{'; ++argument) {
        const size_t end = std::min(text.find('}', i), text.size());
        i = std::min(end + 1, text.size());
      }
      last = text.substr(start, i - start);
      i = std::max(i, start + 1);
      continue;
    }
    const bool decimal = text[i] == '.' && i + 1 < text.size() && digit(text[i + 1]);
    if (!digit(text[i]) && !decimal) {
      ++i;
      continue;
    }
    const char before = start == 0 ? ' ' : text[start - 1];
    while (i < text.size()) {
      digits();
      const bool more = i + 1 < text.size() && digit(text[i + 1]);
      if (!more || (text[i] != ',' && text[i] != '.' && text[i] != '/')) break;
      ++i;
    }
    // 2^10, 5!, 1e9 and 12_8 are not the number that they begin with; kept, they do not parse.
    if (i < text.size() && (text[i] == '^' || text[i] == '!' || text[i] == '_')) ++i;
    if (i + 1 < text.size() && (text[i] == 'e' || text[i] == 'E') && digit(text[i + 1])) ++i;
    if (i < text.size() && text[i] == '%') ++i;
    if (at(text, std::min(i, text.size()), "\\%")) i += 2;
    if (letter(before) || before == '_' || before == '^' ||
        (before == '{' && start > 1 && text[start - 2] == '^')) {
      continue;
    }
    const bool minus =
        before == '-' && (start < 2 || (!digit(text[start - 2]) && !letter(text[start - 2]) &&
                                        text[start - 2] != ')'));
    last = text.substr(start - minus, i - start + minus);
  }
  return last;
}

// A model that goes on after its turn writes the next one's marker.
std::string_view without_next_turn(std::string_view text) {
  const size_t turn = text.find("<|im_start|>");
  return trimmed(turn == std::string_view::npos ? text : text.substr(0, turn));
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

Extraction from_markup(const Parts& parts, Extract mode) {
  Extraction out;
  const bool boxes = mode != Extract::answer_tag, tags = mode != Extract::boxed;
  size_t last_box = 0;
  const auto collect = [&](std::string_view part) {
    if (boxes && !collect_boxes(part, out, &last_box)) out.reason = "unterminated_box";
    const size_t found = out.candidates.size();
    if (tags && !collect_answer_tags(part, !boxes, out)) out.reason = "unterminated_answer";
    if (out.candidates.size() != found) out.run = 0;
  };
  collect(parts.outside.back());
  if (out.candidates.empty() && *out.reason == '\0') return out;
  if (mode == Extract::automatic && out.candidates.size() > 1 && out.run != 0 &&
      out.run != out.candidates.size() && *out.reason == '\0') {
    const std::string_view closing = stated_answer(parts.outside.back().substr(last_box));
    if (!closing.empty()) {
      out.candidates = {closing};
      out.run = 0;
      out.prose = out.stated = true;
    }
  }
  if (parts.outside.size() > 1) out.run = 0;
  // Answers before or between thinking blocks are not graded, but one that differs is a hedge.
  for (size_t i = 0; i + 1 < parts.outside.size(); ++i) collect(parts.outside[i]);
  if (*out.reason != '\0') {
    out.candidates.clear();
    out.run = 0;
  }
  return out;
}

}  // namespace

size_t find_text(std::string_view text, std::string_view word, size_t from) {
  for (size_t i = find_byte(text, word[0], from); i != std::string_view::npos;
       i = find_byte(text, word[0], i + 1)) {
    if (at(text, i, word)) return i;
  }
  return std::string_view::npos;
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

std::string_view conclusion(std::string_view text, bool announced) {
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
  // The last sentence; a full stop within a formula ends none.
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
  const std::string_view sentence = trimmed(text.substr(start));
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

const std::vector<std::string>& extract_names() {
  static const std::vector<std::string> names = {"auto", "boxed",       "answer_tag",
                                                 "hash", "last_number", "whole"};
  return names;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

std::string_view without_end_token(std::string_view text) {
  for (const std::string_view token : {"<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>"}) {
    if (text.ends_with(token)) return text.substr(0, text.size() - token.size());
  }
  return text;
}

size_t prefilled_think(std::string_view prompt) {
  while (!prompt.empty() && space(prompt.back())) prompt.remove_suffix(1);
  return prompt.ends_with("<think>") ? prompt.size() - 7 : std::string_view::npos;
}

std::optional<std::string_view> answer_part(const RewardItem& item) {
  const Parts parts = parts_of(item);
  return parts.unclosed ? std::nullopt : std::optional(parts.outside.back());
}

Extraction extract_answer(const RewardItem& item, Extract mode) {
  const Parts parts = parts_of(item);
  const std::string_view text = trimmed(parts.outside.back());
  Extraction out;
  if (parts.unclosed) {
    out.reason = "unclosed_thinking";
    return out;
  }
  if (mode == Extract::automatic || mode == Extract::boxed || mode == Extract::answer_tag) {
    out = from_markup(parts, mode);
    if (!out.candidates.empty() || *out.reason != '\0') return out;
  }
  switch (mode) {
    case Extract::boxed:
    case Extract::answer_tag:
      break;
    case Extract::hash:
      add_candidate(out, last_hash(text));
      break;
    case Extract::last_number:
      add_candidate(out, last_number(text));
      break;
    case Extract::whole:
      add_candidate(out, text);
      break;
    case Extract::automatic: {
      // "#### Step 1" is a heading.
      const std::string_view hash = last_hash(text);
      if (!hash.empty() && (digit(hash[0]) || std::strchr("+-.$\\", hash[0]) != nullptr)) {
        add_candidate(out, hash);
      }
      if (out.candidates.empty()) {
        add_candidate(out, stated_answer(text));
        out.prose = out.stated = !out.candidates.empty();
      }
      if (out.candidates.empty()) {
        add_candidate(out, without_next_turn(text));
        out.prose = true;
      }
    }
  }
  if (out.candidates.empty()) out.reason = text.empty() ? "empty" : "not_found";
  return out;
}

std::string clipped(std::string_view text) {
  constexpr size_t kLimit = 200;
  if (text.size() <= kLimit) return std::string(text);
  size_t end = kLimit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

Score no_answer(const std::string& reason) {
  Score score;
  score.value = 0.0;
  score.status = Status::no_answer;
  score.details["reason"] = reason;
  return score;
}

Score null_score(Status status, const std::string& reason) {
  Score score;
  score.status = status;
  score.details["reason"] = reason;
  return score;
}

std::string reference_answer(const Problem& problem) {
  for (const char* key : {"answer", "gold", "ground_truth", "solution"}) {
    const auto field = problem.fields.find(key);
    if (field == problem.fields.end() || field->is_null()) continue;
    if (field->is_number()) return field->dump();
    if (!field->is_string()) return "";
    const std::string& text = field->get_ref<const std::string&>();
    Extraction boxes;
    if (!collect_boxes(text, boxes)) {  // references are sometimes cut off; answers never may
      const size_t open = text.rfind("\\boxed{");
      return open == std::string::npos ? "" : std::string(trimmed(text.substr(open + 7)));
    }
    if (!boxes.candidates.empty()) {  // the last box, or the list that ends with it
      std::string answer;
      for (size_t k = boxes.candidates.size() - boxes.run; k < boxes.candidates.size(); ++k) {
        answer += (answer.empty() ? "" : "; ") + std::string(boxes.candidates[k]);
      }
      return answer;
    }
    const std::string_view hash = last_hash(text);
    if (!hash.empty()) return std::string(hash);
    if (std::string_view(key) == "solution") continue;  // prose without a marked answer
    return std::string(trimmed(text));
  }
  return "";
}

}  // namespace hone
