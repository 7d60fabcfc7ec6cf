// `logic`: Knights and Knaves. 1 if the answer says of everyone, once, what the solution says;
// score=fraction pays the share of people it says rightly.
//
// The solution is the row's `solution_text_format` or `solution_text`, else `answer`, `gold`,
// `ground_truth` or `solution`: text ("(1) Zoey is a knave\n(2) Oliver is a knight"), an object
// {"Zoey": "knave"} or {"Zoey": true for a knight}, or a list of such truths beside `names`.
//
// An answer is read word by word: names of the puzzle, then a role for them all ("Zoey and Riley
// are knights", "Oliver: knave"), or a heading and its names ("Knaves: Oliver, Aiden"), among a few
// words that change nothing. Any other word beside a name or role ("not", "or", "if") makes it
// unreadable. Someone missing or named twice is no answer: two tries are not one.

#include <algorithm>
#include <cctype>
#include <map>

#include "rewards/builtin.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

constexpr size_t kMaxAnswer = 20000;  // bytes

using Roles = std::map<std::string, bool>;  // lower-case name -> is a knight

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::optional<bool> role_of(const std::string& word) {
  if (word == "knight" || word == "knights") return true;
  if (word == "knave" || word == "knaves") return false;
  return std::nullopt;
}

bool changes_nothing(const std::string& word) {
  static const std::vector<std::string> words = {
      "is", "are",  "a",  "an",   "the", "and",   "both",  "all",       "so",
      "be", "must", "so", "thus", "is:", "while", "hence", "therefore", "text"};
  return std::find(words.begin(), words.end(), word) != words.end();
}

// The words of a line in lower case, without markup and numbering; ":" is a word, "=" and "->" are
// that too. Letters outside ASCII belong to words.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  const auto end_word = [&] {
    if (!word.empty()) words.push_back(lower(word));
    word.clear();
  };
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || byte >= 0x80 || c == '\'' || c == '-') {
      word += c;
      continue;
    }
    end_word();
    if (c == ':' || c == '=') words.push_back(":");
  }
  end_word();
  std::erase_if(words, [](const std::string& w) {
    return std::all_of(w.begin(), w.end(),
                       [](char c) { return (c >= '0' && c <= '9') || c == '-'; });
  });
  return words;
}

enum class Reading { ok, unreadable, twice };

// Adds what a line says. `names`: who is in the puzzle; empty while the solution itself is read,
// when any word may be a name.
Reading read_line(std::string_view line, const Roles& names, Roles& said) {
  const std::vector<std::string> words = words_of(line);
  const auto is_name = [&](const std::string& word) {
    return names.empty() ? !changes_nothing(word) && !role_of(word) && word != ":"
                         : names.count(word) > 0;
  };
  const bool states = std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return role_of(word) || (!names.empty() && is_name(word));
  });
  if (!states) return Reading::ok;  // "So the answer is:"

  std::vector<std::string> waiting;  // named, without a role so far
  std::optional<bool> heading;
  for (size_t i = 0; i < words.size(); ++i) {
    if (const std::optional<bool> role = role_of(words[i])) {
      if (waiting.empty()) {
        if (i + 1 == words.size() || words[i + 1] != ":") return Reading::unreadable;
        heading = role;
      }
      for (const std::string& name : waiting) {
        if (!said.emplace(name, *role).second) return Reading::twice;
      }
      waiting.clear();
    } else if (is_name(words[i])) {
      if (!heading) {
        waiting.push_back(words[i]);
      } else if (!said.emplace(words[i], *heading).second) {
        return Reading::twice;
      }
    } else if (words[i] != ":" && !changes_nothing(words[i])) {
      return Reading::unreadable;
    }
  }
  return waiting.empty() ? Reading::ok : Reading::unreadable;
}

Reading read_roles(std::string_view text, const Roles& names, Roles& said) {
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of("\n.;"), text.size());
    const Reading reading = read_line(text.substr(0, end), names, said);
    if (reading != Reading::ok) return reading;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return Reading::ok;
}

std::optional<bool> truth(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  return value.is_string() ? role_of(lower(value.get<std::string>())) : std::nullopt;
}

// None if it cannot be read.
std::optional<Roles> solution_of(const Problem& problem) {
  const Json& row = problem.fields;
  const auto names = row.find("names");
  for (const char* key :
       {"solution_text_format", "solution_text", "answer", "gold", "ground_truth", "solution"}) {
    const auto field = row.find(key);
    if (field == row.end() || field->is_null()) continue;
    Roles roles;
    if (field->is_string()) {
      const auto& text = field->get_ref<const std::string&>();
      if (read_roles(text, {}, roles) != Reading::ok || roles.empty()) return std::nullopt;
      return roles;
    }
    if (field->is_object() && field->contains("solution_text_format")) {
      Problem inner;
      inner.fields = *field;
      return solution_of(inner);
    }
    const bool by_names = field->is_array() && names != row.end() && names->is_array() &&
                          names->size() == field->size();
    if (!field->is_object() && !by_names) return std::nullopt;
    size_t i = 0;
    for (const auto& [name, value] : field->items()) {
      const std::optional<bool> role = truth(value);
      if (!role || (by_names && !(*names)[i].is_string())) return std::nullopt;
      roles[lower(by_names ? (*names)[i].get<std::string>() : name)] = *role;
      ++i;
    }
    if (roles.size() != i || roles.empty()) return std::nullopt;
    return roles;
  }
  return std::nullopt;
}

class LogicRewarder : public Rewarder {
 public:
  LogicRewarder(Extract mode, bool fraction) : mode_(mode), fraction_(fraction) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    const Problem* problem = nullptr;
    std::optional<Roles> solution;
    for (const RewardItem& item : items) {
      if (item.problem != problem) {  // a group shares its problem
        problem = item.problem;
        solution = solution_of(*problem);
      }
      scores.push_back(solution ? judge(item, *solution)
                                : null_score(Status::bad_reference, "needs knights and knaves"));
    }
    return scores;
  }
  bool thread_safe() const override { return true; }

 private:
  Score judge(const RewardItem& item, const Roles& solution) const {
    const Extraction found = extract_answer(item, mode_);
    if (found.candidates.empty()) return no_answer(found.reason);
    Score score = found.candidates.size() > 1 ? no_answer("hedged")
                                              : judge_answer(found.candidates.front(), solution);
    score.details["answer"] = clipped(found.candidates.back());
    return score;
  }

  Score judge_answer(std::string_view answer, const Roles& solution) const {
    if (answer.size() > kMaxAnswer) return no_answer("too_long");
    Roles said;
    const Reading reading = read_roles(answer, solution, said);
    if (reading == Reading::unreadable) return no_answer("not_statements");
    if (reading == Reading::twice) return no_answer("hedged");
    if (said.size() != solution.size()) return no_answer("someone_missing");
    size_t right = 0;
    for (const auto& [name, knight] : solution) right += said.at(name) == knight;
    Score score;
    score.details["right"] = right;
    if (fraction_) {
      score.value = static_cast<double>(right) / static_cast<double>(solution.size());
    } else {
      score.value = right == solution.size() ? 1.0 : 0.0;
    }
    return score;
  }

  Extract mode_;
  bool fraction_;
};

}  // namespace

std::unique_ptr<Rewarder> make_logic(const RewardSpec& spec) {
  return std::make_unique<LogicRewarder>(
      static_cast<Extract>(choice_option(spec, "extract", extract_names(), "auto")),
      choice_option(spec, "score", {"all", "fraction"}, "all") == 1);
}

}  // namespace hone
