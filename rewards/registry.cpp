// Names and specs of rewards.

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/options.h"
#include "rewards/builtin.h"
#include "rewards/external/external.h"
#include "rewards/reward.h"

namespace hone {
namespace {

struct Entry {
  std::string name;
  std::string meaning;
  std::vector<std::string> options;
  std::unique_ptr<Rewarder> (*make)(const RewardSpec& spec);
};

// Entries of external rewards stand here without what follows the colon of their names; they check
// their options themselves.
std::string entry_name(const std::string& name) {
  return is_external(name) ? name.substr(0, name.find(':')) : name;
}

// A new rewarder gets one line here.
const std::vector<Entry>& entries() {
  static const std::vector<Entry> table = {
      {"math",
       "1 if the answer says what the reference says, as mathematics",
       {"extract", "digits", "tolerance", "percent", "units", "order", "fractions", "forms",
        "boxes"},
       make_math},
      {"exact",
       "1 if the answer is the reference's text",
       {"extract", "case", "spaces"},
       make_exact},
      {"choice", "1 if the answer is the right one of the row's choices", {"extract"}, make_choice},
      {"code",
       "1 if the program passes the tests, run in a sandbox",
       {"language", "fence", "score", "time", "wall", "memory", "disk", "output", "processes",
        "files", "tolerance", "sandbox", "python", "compiler", "threads"},
       make_code},
      {"countdown",
       "1 for an expression of the given numbers that makes the target",
       {"extract", "partial"},
       make_countdown},
      {"logic",
       "1 if the answer says of everyone rightly: knight or knave",
       {"extract", "score"},
       make_logic},
      {"format",
       "1 if the completion has the shape of the pattern",
       {"pattern", "language"},
       make_format},
      {"language",
       "share of the thinking's words that are in the language",
       {"language"},
       make_language},
      {"length",
       "shapes the length: kind=overlong, cosine or kimi",
       {"kind", "unit", "max", "cache", "of", "extract", "min_correct", "max_correct", "min_wrong",
        "max_wrong"},
       make_length},
      {"repetition",
       "below 0 for n-grams that repeat",
       {"n", "max_penalty", "unit"},
       make_repetition},
      {"random",
       "1 with probability p, whatever the completion says: a control",
       {"p"},
       make_random},
      {"plugin", "plugin:PATH.so:NAME[?option=value,...], a C++ shared library", {}, make_plugin},
      {"python", "python:FILE.py:FUNCTION[?...], a function as TRL has them", {}, make_python},
      {"command",
       "command:CMD[?...], a program that reads and writes JSON lines",
       {},
       make_command},
  };
  return table;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string offer(const std::string& word, const std::vector<std::string>& known) {
  const std::string near = nearest_word(word, known);
  return near.empty() ? "" : "; did you mean '" + near + "'?";
}

const Entry& find_entry(const std::string& full_name) {
  const std::string name = entry_name(full_name);
  std::vector<std::string> names;
  for (const Entry& entry : entries()) {
    if (entry.name == name) return entry;
    names.push_back(entry.name);
  }
  throw UserError(
      cat("unknown reward '", name, "'", offer(name, names), " (there are: ", joined(names), ")"));
}

double parse_finite(const std::string& where, const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value)) {
    throw UserError(cat(where, ": expected a number, found '", text, "'"));
  }
  return value;
}

}  // namespace

RewardSpec parse_reward_spec(const std::string& text) {
  RewardSpec spec;
  std::string options;
  bool more = false;
  if (is_external(text)) {
    const ExternalText split = split_external(text);
    spec.name = split.name;
    options = split.options;
    more = !options.empty();
  } else {
    const size_t colon = text.find(':');
    spec.name = text.substr(0, colon);
    more = colon != std::string::npos;
    if (more) options = text.substr(colon + 1);
  }
  find_entry(spec.name);
  for (size_t start = 0; more;) {
    const size_t end = std::min(options.find(',', start), options.size());
    const std::string part = options.substr(start, end - start);
    const size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw UserError(cat("reward '", text, "': expected option=value, found '", part, "'"));
    }
    const std::string key = part.substr(0, equals), value = part.substr(equals + 1);
    bool fresh = true;
    if (key == "weight") {
      spec.weight = parse_finite(cat("reward '", text, "': weight"), value);
    } else if (key == "as") {
      spec.as = value;
    } else if (key.starts_with("when.")) {
      fresh = spec.when.emplace(key.substr(5), value).second;
    } else {
      fresh = spec.options.emplace(key, value).second;
    }
    if (!fresh) throw UserError(cat("reward '", text, "': '", key, "' is given twice"));
    more = end < options.size();
    start = end + 1;
  }
  make_rewarder(spec);  // wrong options are told here, where the text is known
  return spec;
}

std::unique_ptr<Rewarder> make_rewarder(const RewardSpec& spec) {
  const Entry& entry = find_entry(spec.name);
  for (const auto& [key, value] : spec.options) {
    bool known = is_external(spec.name);
    for (const std::string& option : entry.options) known |= option == key;
    if (!known) {
      std::vector<std::string> all = entry.options;
      for (const char* common : {"weight", "as", "when"}) all.push_back(common);
      throw UserError(cat("reward '", spec.name, "': unknown option '", key, "'", offer(key, all),
                          " (there are: ", joined(all), ")"));
    }
  }
  return entry.make(spec);
}

std::vector<std::pair<std::string, std::string>> list_rewarders() {
  std::vector<std::pair<std::string, std::string>> list;
  for (const Entry& entry : entries()) list.emplace_back(entry.name, entry.meaning);
  return list;
}

size_t choice_option(const RewardSpec& spec, const std::string& key,
                     const std::vector<std::string>& values, const std::string& fallback) {
  const auto found = spec.options.find(key);
  const std::string& value = found == spec.options.end() ? fallback : found->second;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] == value) return i;
  }
  throw UserError(cat("reward '", spec.name, "': ", key, "='", value, "' is not one of ",
                      joined(values), offer(value, values)));
}

double number_option(const RewardSpec& spec, const std::string& key, double fallback) {
  const auto found = spec.options.find(key);
  if (found == spec.options.end()) return fallback;
  return parse_finite(cat("reward '", spec.name, "': ", key), found->second);
}

}  // namespace hone
