#include "rewards/extraction.h"

#include <algorithm>
#include <cstring>

#include "rewards/conclusion.h"

namespace hone {
namespace {

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
