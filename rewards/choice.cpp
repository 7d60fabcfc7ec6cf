// `choice`: 1 if the answer is the right one of the row's `choices`.
//
// `choices` is a list of texts (labelled A, B, C ...), an object {"A": text} or {"text": [...],
// "label": [...]}; without it the labels are A to Z. `answer` is a label, an index from 0 (a JSON
// number) or a choice's text. Where it could be two of them it is a bad reference.
//
// An answer is a label ("B", "(B)", "B.", "\text{B}", "option B"), a choice's own text if only one
// has it, or both ("B) Paris"). Behind a label other words may follow, but no second label and no
// other choice's text: that is a hedge.

#include <algorithm>
#include <array>

#include "rewards/builtin.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

constexpr size_t kMaxAnswer = 4000;  // bytes
constexpr size_t npos = std::string::npos;

bool alnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         static_cast<unsigned char>(c) >= 0x80;
}

std::string lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return text;
}

// Without LaTeX's commands for text, its braces and dollars, and Markdown's stars; single spaces.
std::string plain(std::string_view text) {
  static constexpr std::array<std::string_view, 12> kCommands = {
      "\\textbf", "\\textit", "\\textrm", "\\text", "\\mathbf", "\\mathrm",
      "\\mathit", "\\mbox",   "\\boxed",  "\\bf",   "\\rm",     "\\quad"};
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t command = 0;
    for (const std::string_view name : kCommands) {
      if (command == 0 && text.substr(i).starts_with(name)) command = name.size();
    }
    const std::string_view two = text.substr(i, 2);
    const bool markup = two == "\\(" || two == "\\)" || two == "\\[" || two == "\\]" ||
                        two == "**" || two == "__" || two == "\\ " || two == "\\," || two == "\\\\";
    const char c = text[i];
    const bool space = c == ' ' || (c >= '\t' && c <= '\r') || c == '~';
    if (command > 0) {
      i += command;
    } else if (markup) {
      i += 2;
    } else {
      ++i;
      if (c == '{' || c == '}' || c == '$' || c == '`' || c == '"') continue;
      if (!space) out += c;
      if (space && !out.empty() && out.back() != ' ') out += ' ';
    }
  }
  return std::string(trimmed(out));
}

// How texts of choices are compared: lower case, no dot at the end.
std::string normal(const std::string& text) {
  std::string out = lower(text);
  while (!out.empty() && (out.back() == '.' || out.back() == ' ')) out.pop_back();
  return out;
}

// Where `part` stands in `text` as words of its own, from `from` on.
size_t find_words(const std::string& text, const std::string& part, size_t from = 0) {
  for (size_t i = text.find(part, from); i != npos; i = text.find(part, i + 1)) {
    const bool left = i == 0 || !alnum(text[i - 1]);
    const size_t end = i + part.size();
    if (left && (end == text.size() || !alnum(text[end]))) return i;
  }
  return npos;
}

struct Choices {
  std::vector<std::string> labels;  // as written
  std::vector<std::string> texts;   // normal; empty if the row has none
  size_t right = npos;
};

bool read_texts(const Json& list, std::vector<std::string>& texts) {
  if (!list.is_array()) return false;
  for (const Json& text : list) {
    if (!text.is_string() && !text.is_number()) return false;
    texts.push_back(text.is_string() ? text.get<std::string>() : text.dump());
  }
  return true;
}

std::optional<Choices> read_choices(const Problem& problem) {
  Choices c;
  const auto field = problem.fields.find("choices");
  if (field != problem.fields.end()) {
    if (field->is_object() && field->contains("text") && field->contains("label")) {
      if (!read_texts((*field)["text"], c.texts) || !read_texts((*field)["label"], c.labels)) {
        return std::nullopt;
      }
    } else if (field->is_object()) {
      for (const auto& [label, text] : field->items()) {
        c.labels.push_back(label);
        if (!text.is_string() && !text.is_number()) return std::nullopt;
        c.texts.push_back(text.is_string() ? text.get<std::string>() : text.dump());
      }
    } else if (!read_texts(*field, c.texts)) {
      return std::nullopt;
    }
    if (c.texts.size() > 26 || c.texts.empty()) return std::nullopt;
  }
  const size_t n = field == problem.fields.end() ? 26 : c.texts.size();
  for (size_t i = c.labels.size(); i < n; ++i) c.labels.push_back({static_cast<char>('A' + i)});
  if (c.labels.size() != n) return std::nullopt;
  for (std::string& text : c.texts) text = normal(plain(text));
  return c;
}

// The choice with that label, or that text alone; npos.
size_t labelled(const Choices& c, const std::string& label) {
  for (size_t i = 0; i < c.labels.size(); ++i) {
    if (lower(c.labels[i]) == lower(label)) return i;
  }
  return npos;
}

size_t with_text(const Choices& c, const std::string& text) {
  const auto first = std::find(c.texts.begin(), c.texts.end(), text);
  if (first == c.texts.end() || std::find(first + 1, c.texts.end(), text) != c.texts.end()) {
    return npos;
  }
  return static_cast<size_t>(first - c.texts.begin());
}

// A label in brackets, with a dot or alone: "(B)", "[B]", "B.", "B)", "B:". Gives what follows it.
size_t leading_label(const Choices& c, const std::string& text, std::string& rest) {
  const size_t open = !text.empty() && (text[0] == '(' || text[0] == '[') ? 1 : 0;
  for (size_t i = 0; i < c.labels.size(); ++i) {
    const size_t end = open + c.labels[i].size();
    if (lower(text.substr(open, c.labels[i].size())) != lower(c.labels[i]) || end > text.size()) {
      continue;
    }
    const std::string after = text.substr(end);
    if (after.empty() && open == 0) {
      rest.clear();
      return i;
    }
    if (!after.empty() && std::string(open ? ")]" : ").:]-,").find(after[0]) != npos) {
      rest = trimmed(std::string_view(after).substr(1));
      return i;
    }
    // "B Paris": only if Paris is what B says.
    if (open == 0 && after.starts_with(' ') && !c.texts.empty() &&
        normal(after.substr(1)) == c.texts[i]) {
      rest = after.substr(1);
      return i;
    }
  }
  return npos;
}

std::string without_phrase(std::string text) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view phrase :
         {"the ", "correct ", "right ", "best ", "final ", "my ", "answer is", "answer:", "answer ",
          "option is", "choice is", "option ", "choice ", ":"}) {
      if (lower(text.substr(0, phrase.size())) == phrase) {
        text = trimmed(std::string_view(text).substr(phrase.size()));
        again = true;
      }
    }
  }
  return text;
}

bool names_another(const Choices& c, const std::string& rest, size_t chosen) {
  const std::string small = lower(rest);
  for (size_t i = 0; i < c.labels.size(); ++i) {
    if (i == chosen) continue;
    // As a label: "C", "(C)", "C)"; "a" and "I" alone are words of English.
    const size_t at = find_words(rest, c.labels[i]);
    const bool word = c.labels[i] == "A" || c.labels[i] == "I";
    const size_t end = at + c.labels[i].size();
    if (at != npos &&
        (!word || end == rest.size() || std::string(").],;").find(rest[end]) != npos)) {
      return true;
    }
    if (!c.texts.empty() && !c.texts[i].empty() && find_words(small, c.texts[i]) != npos) {
      // What the chosen text itself says does not count: "blue" in "light blue".
      const std::string& own = c.texts[chosen];
      if (!small.starts_with(own) || find_words(small, c.texts[i], own.size()) != npos) return true;
    }
  }
  return false;
}

struct Reading {
  size_t choice = npos;
  const char* reason = "not_a_choice";
};

Reading read_answer(const Choices& c, std::string_view answer) {
  if (answer.size() > kMaxAnswer) return {npos, "too_long"};
  const std::string text = plain(answer);
  if (const size_t i = with_text(c, normal(text)); i != npos) {
    // A text that is also another choice's label ("4" as second of 1, 2, 4, 8) says two things.
    const size_t label = labelled(c, text);
    return label == npos || label == i ? Reading{i} : Reading{npos, "ambiguous"};
  }
  const std::string bare = without_phrase(text);
  std::string rest;
  const size_t i = leading_label(c, bare, rest);
  if (i == npos) return {with_text(c, normal(bare))};
  if (c.texts.empty() || normal(rest) != c.texts[i]) {
    if (names_another(c, rest, i)) return {npos, "hedged"};
  }
  return {i};
}

size_t right_choice(const Choices& c, const Problem& problem) {
  for (const char* key : {"answer", "gold", "ground_truth", "answerKey", "solution"}) {
    const auto field = problem.fields.find(key);
    if (field == problem.fields.end() || field->is_null()) continue;
    const std::string text =
        field->is_string() ? plain(field->get<std::string>()) : plain(field->dump());
    const size_t named = with_text(c, normal(text));
    size_t other = npos;  // as index or label
    if (field->is_number_integer()) {
      const double index = field->get<double>();
      if (index >= 0 && index < static_cast<double>(c.labels.size())) other = field->get<size_t>();
    } else if (field->is_string()) {
      std::string rest;
      other = leading_label(c, text, rest);
      if (other != npos && !rest.empty() && (c.texts.empty() || normal(rest) != c.texts[other])) {
        other = npos;
      }
    }
    if (named != npos && other != npos && named != other) return npos;
    return named != npos ? named : other;
  }
  return npos;
}

class ChoiceRewarder : public Rewarder {
 public:
  explicit ChoiceRewarder(Extract mode) : mode_(mode) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    const Problem* problem = nullptr;
    std::optional<Choices> choices;
    for (const RewardItem& item : items) {
      if (item.problem != problem) {  // a group shares its problem
        problem = item.problem;
        choices = read_choices(*problem);
        if (choices) choices->right = right_choice(*choices, *problem);
      }
      scores.push_back(choices && choices->right != npos
                           ? judge(item, *choices)
                           : null_score(Status::bad_reference,
                                        "the answer is not one of the choices, or two of them"));
    }
    return scores;
  }
  bool thread_safe() const override { return true; }

 private:
  Score judge(const RewardItem& item, const Choices& choices) const {
    const Extraction found = extract_answer(item, mode_);
    if (found.candidates.empty()) return no_answer(found.reason);
    const Reading last = read_answer(choices, found.candidates.back());
    bool hedged = false;  // "B" and "(B)" are one answer
    for (std::string_view candidate : found.candidates) {
      hedged |= read_answer(choices, candidate).choice != last.choice;
    }
    hedged |= last.choice == npos && found.candidates.size() > 1;
    Score score;
    if (hedged || last.choice == npos) {
      score = no_answer(hedged ? "hedged" : last.reason);
    } else {
      score.value = last.choice == choices.right ? 1.0 : 0.0;
    }
    score.details["answer"] = clipped(found.candidates.back());
    return score;
  }

  Extract mode_;
};

}  // namespace

std::unique_ptr<Rewarder> make_choice(const RewardSpec& spec) {
  return std::make_unique<ChoiceRewarder>(
      static_cast<Extract>(choice_option(spec, "extract", extract_names(), "auto")));
}

}  // namespace hone
