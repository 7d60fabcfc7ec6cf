#include "rewards/math/words.h"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <vector>

#include "rewards/extraction.h"

namespace hone::math {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool upper(char c) { return c >= 'A' && c <= 'Z'; }
bool lower(char c) { return c >= 'a' && c <= 'z'; }
bool letter(char c) { return upper(c) || lower(c); }
char lowered(char c) { return upper(c) ? static_cast<char>(c + 32) : c; }

struct KnownUnit {
  const char* name;
  const char* measure;
  int64_t numerator, denominator;
  std::vector<const char*> spellings;  // besides the name; plurals in s need none
};

const std::vector<KnownUnit>& known_units() {
  static const std::vector<KnownUnit> table = {
      {"mm", "length", 1, 1000, {"millimeter", "millimetre"}},
      {"cm", "length", 1, 100, {"centimeter", "centimetre"}},
      {"m", "length", 1, 1, {"meter", "metre"}},
      {"km", "length", 1000, 1, {"kilometer", "kilometre"}},
      {"inch", "length", 254, 10000, {"inches", "in"}},
      {"foot", "length", 3048, 10000, {"feet", "ft"}},
      {"yard", "length", 9144, 10000, {"yd"}},
      {"mile", "length", 1609344, 1000, {"mi"}},
      {"second", "time", 1, 1, {"sec", "s"}},
      {"minute", "time", 60, 1, {"min"}},
      {"hour", "time", 3600, 1, {"hr", "h"}},
      {"day", "time", 86400, 1, {}},
      {"week", "time", 604800, 1, {}},
      {"month", "month", 1, 1, {}},
      {"year", "month", 12, 1, {"yr"}},
      {"mg", "mass", 1, 1000, {"milligram"}},
      {"g", "mass", 1, 1, {"gram"}},
      {"kg", "mass", 1000, 1, {"kilogram"}},
      {"pound", "pound", 1, 1, {"lb"}},
      {"ounce", "ounce", 1, 1, {"oz"}},
      {"ml", "volume", 1, 1000, {"mL", "milliliter", "millilitre"}},
      {"liter", "volume", 1, 1, {"litre", "L"}},
      {"dollar", "money", 1, 1, {"usd", "USD"}},
      {"cent", "money", 1, 100, {}},
      {"euro", "euro", 1, 1, {}},
      {"yuan", "yuan", 1, 1, {}},
      {"rupee", "rupee", 1, 1, {"rs", "Rs"}},
      {"degree", "angle", 1, 1, {"deg"}},
      {"mph", "mph", 1, 1, {"miles per hour", "mile per hour"}},
      {"pm", "clock pm", 1, 1, {"p.m"}},
      {"am", "clock am", 1, 1, {"a.m"}}};
  return table;
}

const std::unordered_map<std::string_view, const KnownUnit*>& unit_index() {
  static const std::unordered_map<std::string_view, const KnownUnit*> index = [] {
    std::unordered_map<std::string_view, const KnownUnit*> map;
    for (const KnownUnit& unit : known_units()) {
      map[unit.name] = &unit;
      for (const char* spelling : unit.spellings) map[spelling] = &unit;
    }
    return map;
  }();
  return index;
}

const KnownUnit* find_unit(std::string_view word) {
  const auto& index = unit_index();
  auto found = index.find(word);
  if (found == index.end() && word.size() > 3 && word.ends_with("s")) {
    found = index.find(word.substr(0, word.size() - 1));
  }
  return found == index.end() ? nullptr : found->second;
}

std::vector<std::string> split_words(std::string_view text) {
  std::vector<std::string> words(1);
  for (char c : text) {
    if (c == ' ' || c == '-' || c == '~' || c == '\n' || c == '\t' || c == ',' || c == ';') {
      if (!words.back().empty()) words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

bool contains_all(const std::vector<std::string>& all, const std::vector<std::string>& some) {
  return std::all_of(some.begin(), some.end(), [&](const std::string& word) {
    return std::find(all.begin(), all.end(), word) != all.end();
  });
}

// Wrappers that only say how a text is set.
std::string without_text_commands(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] != '\\') {
      if (s[i] != '{' && s[i] != '}' && s[i] != '$') out += s[i];
      continue;
    }
    bool found = false;
    for (const std::string_view name :
         {"\\textbf", "\\textit", "\\textrm", "\\textnormal", "\\texttt", "\\textsf", "\\text",
          "\\mbox", "\\hbox", "\\mathrm", "\\mathbf", "\\mathit", "\\operatorname", "\\left",
          "\\right", "\\(", "\\)", "\\[", "\\]"}) {
      if (s.substr(i).starts_with(name)) {
        i += name.size() - 1;
        found = true;
        break;
      }
    }
    if (found) continue;
    if (i + 1 < s.size() && (s[i + 1] == ' ' || s[i + 1] == ',' || s[i + 1] == '!' ||
                             s[i + 1] == ';' || s[i + 1] == ':')) {
      out += ' ';
      ++i;
    } else {
      out += s[i];
    }
  }
  return out;
}

// Whether a capital from A to J stands alone, or "or" does: more than one choice.
bool names_choice(std::string_view s) {
  for (size_t i = 0; i < s.size(); ++i) {
    if (!letter(s[i]) || (i > 0 && letter(s[i - 1]))) continue;
    const bool lone = i + 1 == s.size() || !letter(s[i + 1]);
    if (lone && s[i] >= 'A' && s[i] <= 'J') return true;
    if (s.substr(i).starts_with("or") && (i + 2 == s.size() || !letter(s[i + 2]))) return true;
  }
  return false;
}

}  // namespace

Unit canonical_unit(std::string_view text) {
  Unit unit;
  std::vector<std::string> words = split_words(text);
  // Powers: "square cm", "sq. units", "cm^2", "cm2", "cubic feet".
  std::vector<std::string> kept;
  for (std::string& word : words) {
    while (!word.empty() && word.back() == '.') word.pop_back();
    std::string low = word;
    std::transform(low.begin(), low.end(), low.begin(), lowered);
    if (low == "square" || low == "squared" || low == "sq") {
      unit.power = 2;
      continue;
    }
    if (low == "cubic" || low == "cubed" || low == "cu") {
      unit.power = 3;
      continue;
    }
    for (const auto& [suffix, power] : std::array<std::pair<std::string_view, int>, 6>{
             {{"^2", 2}, {"^3", 3}, {"^{2}", 2}, {"^{3}", 3}, {"\u00b2", 2}, {"\u00b3", 3}}}) {
      if (word.size() > suffix.size() && std::string_view(word).ends_with(suffix)) {
        word.resize(word.size() - suffix.size());
        unit.power = power;
        break;
      }
    }
    if (word == "^2" || word == "^3") {
      unit.power = word[1] - '0';
      continue;
    }
    low = word;
    std::transform(low.begin(), low.end(), low.begin(), lowered);
    if (low == "unit" || low == "units" || low == "of" || low == "the" || low == "a" ||
        low == "an" || low == "in" || low.empty()) {
      if (!(low == "in" && words.size() == 1)) continue;
    }
    kept.push_back(word);
  }
  if (kept.size() == 1 || (kept.size() == 3 && kept[1] == "per")) {
    std::string whole;
    for (const std::string& word : kept) whole += (whole.empty() ? "" : " ") + word;
    const KnownUnit* known = find_unit(whole);
    std::string low = whole;
    std::transform(low.begin(), low.end(), low.begin(), lowered);
    if (known == nullptr) known = find_unit(low);
    if (known != nullptr) {
      unit.known = true;
      unit.measure = known->measure;
      unit.factor = Rational(Natural(static_cast<uint64_t>(known->numerator)),
                             Natural(static_cast<uint64_t>(known->denominator)));
      unit.name = known->name;
      return unit;
    }
  }
  for (const std::string& word : kept) {
    std::string low = word;
    std::transform(low.begin(), low.end(), low.begin(), lowered);
    if (const KnownUnit* known = find_unit(low)) low = known->name;
    if (low.size() > 3 && low.ends_with("s")) low.pop_back();
    unit.name += (unit.name.empty() ? "" : " ") + low;
  }
  return unit;
}

bool same_unit(const Unit& a, const Unit& b) {
  if (a.name.empty() || b.name.empty()) {
    return a.name == b.name || a.power == b.power || a.power == 1 || b.power == 1;
  }
  if (a.known && b.known) return a.name == b.name && a.power == b.power;
  const auto x = split_words(a.name), y = split_words(b.name);
  return contains_all(x, y) || contains_all(y, x);
}

std::string normal_words(std::string_view text) {
  if (text.size() > 1000) return "";
  const std::string plain = without_text_commands(text);
  std::vector<std::string> words(1);
  size_t run = 0, longest = 0;
  bool doubtful = false;  // signs and digits that mathematics uses as well
  for (const char c : plain) {
    const bool wide = static_cast<unsigned char>(c) >= 0x80;
    run = letter(c) || wide ? run + 1 : 0;
    longest = std::max(longest, run);
    if (letter(c) || digit(c) || wide) {
      words.back() += lowered(c);
      doubtful = doubtful || digit(c);
    } else if (c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '~') {
      words.emplace_back();
    } else if (std::string_view(".,;:!?()'\"-&`*").find(c) != std::string_view::npos) {
      doubtful = doubtful || (c != '.' && c != '"' && c != '*' && c != '`');
      if (c == ',' || c == ';') words.emplace_back();
    } else {
      return "";
    }
  }
  // "p - q" is a difference; "Hello-123" and "well, no" are not.
  if (longest < (doubtful ? 4 : 1)) return "";
  std::string out;
  for (const std::string& word : words) {
    if (word.empty() || word == "a" || word == "an" || word == "the") continue;
    out += (out.empty() ? "" : " ") + word;
  }
  return out;
}

char choice_letter(std::string_view text, bool prose) {
  const std::string plain = without_text_commands(text);
  std::string_view s = trimmed(plain);
  while (!s.empty() && (s.back() == '.' || s.back() == ',' || s.back() == '*')) s.remove_suffix(1);
  while (!s.empty() && s.front() == '*') s.remove_prefix(1);
  for (const std::string_view lead : {"option ", "Option ", "choice ", "Choice "}) {
    if (s.starts_with(lead)) s.remove_prefix(lead.size());
  }
  s = trimmed(s);
  const bool bracket = !s.empty() && (s.front() == '(' || s.front() == '[');
  if (bracket) s = trimmed(s.substr(1));
  if (s.empty() || !letter(s[0]) || lowered(s[0]) > 'j') return 0;
  const char choice = upper(s[0]) ? s[0] : static_cast<char>(s[0] - 32);
  s.remove_prefix(1);
  s = trimmed(s);
  if (bracket) {
    if (s.empty() || (s.front() != ')' && s.front() != ']')) return 0;
    s = trimmed(s.substr(1));
  } else if (!s.empty()) {
    const bool mark = s.front() == '.' || s.front() == ':' || s.front() == ')' ||
                      (prose && (s.front() == ',' || s.front() == ';'));
    const bool wide = s.starts_with("\u3002") || s.starts_with("\uff0c") || s.starts_with("\uff1a");
    if (!mark && !(prose && wide)) {
      // "C non A": a word goes on
      const bool word = prose && s.size() >= 3 && lower(s[0]) && lower(s[1]) && lower(s[2]) &&
                        !s.starts_with("and");
      if (!word) return 0;
    } else {
      s = trimmed(s.substr(mark ? 1 : 3));
    }
  }
  if (s.empty()) return choice;
  if (!prose) {  // the choice's own content, without another letter
    if (names_choice(s)) return 0;
    const bool words = std::all_of(
        s.begin(), s.end(), [](char c) { return letter(c) || c == ' ' || c == '-' || c == '\''; });
    if (!bracket) return words && s.size() > 1 ? choice : '\0';
    return words || s.find_first_of("(),;=") == std::string_view::npos ? choice : '\0';
  }
  // Another bare capital right behind is a list of choices, not a sentence.
  if (upper(s[0]) && lowered(s[0]) <= 'j' && (s.size() == 1 || !letter(s[1]))) return 0;
  for (const std::string_view more : {"or ", "and ", "and/or "}) {
    if (s.starts_with(more)) return 0;
  }
  return choice;
}

}  // namespace hone::math
