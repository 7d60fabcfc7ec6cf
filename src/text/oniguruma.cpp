#include "text/oniguruma.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <map>
#include <vector>

#include "base/error.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace hone {
namespace {

constexpr int kMaxNesting = 100;  // of groups and classes

// White_Space; PCRE2's own \s has U+180E too.
constexpr char kSpaces[] =
    R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";

// Items of a bracketed class, without the brackets.
std::string category_items(const std::string& category) {
  std::string items = "\\p{" + category + "}";
  for (const CategoryRange& range : kNewerThanPcre2) {
    if (!std::string_view(range.category).starts_with(category)) continue;
    char text[40];
    std::snprintf(text, sizeof text, "\\x{%X}-\\x{%X}", range.first, range.last);
    items += text;
  }
  return items;
}

std::string word_items() {
  // Oniguruma takes the Latin-1 digits (superscripts, fractions) for word characters.
  return "\\p{Alphabetic}\\xB2\\xB3\\xB9\\xBC-\\xBE" + category_items("L") + category_items("M") +
         category_items("Nd") + category_items("Pc");
}

// The items of \p{name}, where `name` is in lower case without spaces, '-' and '_'; "" if it is
// nothing but the name of a script.
std::string property_items(const std::string& name) {
  static const std::map<std::string, std::string> categories = {
      {"letter", "L"},
      {"uppercaseletter", "Lu"},
      {"lowercaseletter", "Ll"},
      {"titlecaseletter", "Lt"},
      {"modifierletter", "Lm"},
      {"otherletter", "Lo"},
      {"mark", "M"},
      {"nonspacingmark", "Mn"},
      {"spacingmark", "Mc"},
      {"enclosingmark", "Me"},
      {"number", "N"},
      {"decimalnumber", "Nd"},
      {"digit", "Nd"},
      {"letternumber", "Nl"},
      {"othernumber", "No"},
      {"punctuation", "P"},
      {"connectorpunctuation", "Pc"},
      {"dashpunctuation", "Pd"},
      {"openpunctuation", "Ps"},
      {"closepunctuation", "Pe"},
      {"initialpunctuation", "Pi"},
      {"finalpunctuation", "Pf"},
      {"otherpunctuation", "Po"},
      {"symbol", "S"},
      {"mathsymbol", "Sm"},
      {"currencysymbol", "Sc"},
      {"modifiersymbol", "Sk"},
      {"othersymbol", "So"},
      {"separator", "Z"},
      {"spaceseparator", "Zs"},
      {"lineseparator", "Zl"},
      {"paragraphseparator", "Zp"},
      {"control", "Cc"},
      {"cntrl", "Cc"},
      {"format", "Cf"},
      {"privateuse", "Co"},
  };
  const auto long_name = categories.find(name);
  if (long_name != categories.end()) return category_items(long_name->second);
  if (name == "space" || name == "whitespace") return kSpaces;
  if (name == "word") return word_items();
  if (name == "alpha" || name == "alphabetic") return "\\p{Alphabetic}" + category_items("L");
  if (name == "alnum") return "\\p{Alphabetic}" + category_items("L") + category_items("Nd");
  if (name == "upper" || name == "uppercase") return "\\p{Uppercase}" + category_items("Lu");
  if (name == "lower" || name == "lowercase") return "\\p{Lowercase}" + category_items("Ll");
  if (name == "punct") return category_items("P") + category_items("S");
  if (name == "blank") return "\\t\\p{Zs}";
  if (name == "xdigit") return "0-9A-Fa-f";
  if (name == "ascii") return "\\x00-\\x7F";
  if (name == "any") return "\\x{0}-\\x{10FFFF}";
  static const std::string kFirst = "lmnpsz";
  if (name.size() <= 2 && !name.empty() && kFirst.find(name[0]) != std::string::npos) {
    std::string category = name;
    category[0] = static_cast<char>(std::toupper(category[0]));
    return category_items(category);
  }
  if (name == "cc" || name == "cf" || name == "co") {
    return category_items(std::string("C") + name[1]);
  }
  if (name == "han") {
    return "\\p{sc:Han}\\x{2B739}\\x{2EBF0}-\\x{2EE5D}\\x{31350}-\\x{323AF}";
  }
  return "";
}

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& where)
      : pattern_(pattern), where_(where) {}

  std::string translate() {
    groups_.push_back({0, 0});
    while (at_ < pattern_.size()) step();
    if (groups_.size() != 1) fail("a group is not closed");
    out_.append(groups_.back().scopes, ')');
    // Newlines are as in Ruby, whatever PCRE2 was built with.
    return "(*LF)(*BSR_UNICODE)" + out_;
  }

 private:
  struct Group {
    size_t begin;   // in out_
    size_t scopes;  // groups opened by (?i) and the like, which reach to the group's end
  };
  // One operand of && in a class.
  struct ClassPart {
    std::string items;                // without brackets
    std::vector<std::string> nested;  // classes that cannot be written as items
  };

  [[noreturn]] void fail(const std::string& reason) const {
    throw UserError(cat(where_, ": the regular expression ", pattern_, " cannot be used: ", reason,
                        " (at byte ", at_, ")"));
  }
  bool has(std::string_view s) const { return pattern_.substr(at_).starts_with(s); }
  std::string_view take_char() {
    if (at_ == pattern_.size()) fail("it ends too early");
    const std::string_view c = pattern_.substr(at_, utf8_step(pattern_.substr(at_)).length);
    at_ += c.size();
    return c;
  }
  void atom(const std::string& text) {
    atom_ = out_.size();
    out_ += text;
  }

  void step() {
    const char c = pattern_[at_];
    if (c == '\\') {
      ++at_;
      outside_escape();
    } else if (c == '[') {
      ++at_;
      atom(read_class(0));
    } else if (c == '(') {
      open_group();
    } else if (c == ')') {
      if (groups_.size() == 1) fail("a ')' without '('");
      out_.append(groups_.back().scopes + 1, ')');
      atom_ = groups_.back().begin;
      groups_.pop_back();
      ++at_;
    } else if (c == '*' || c == '+' || c == '?') {
      out_ += c;
      ++at_;
      if (has("?") || has("+")) out_ += pattern_[at_++];
    } else if (c == '{') {
      interval();
    } else if (c == '|' || c == '^' || c == '$') {
      out_ += c;
      ++at_;
    } else {
      atom(std::string(take_char()));
    }
  }

  // {n}, {n,}, {,m}, {n,m}; anything else is a brace.
  void interval() {
    size_t end = at_ + 1;
    std::string numbers[2];
    int which = 0;
    for (; end < pattern_.size() && pattern_[end] != '}'; ++end) {
      const char c = pattern_[end];
      if (c == ',' && which == 0) {
        which = 1;
      } else if (std::isdigit(static_cast<unsigned char>(c))) {
        numbers[which] += c;
      } else {
        break;
      }
    }
    if (end >= pattern_.size() || pattern_[end] != '}' || (numbers[0] + numbers[1]).empty()) {
      ++at_;
      atom("\\{");
      return;
    }
    at_ = end + 1;
    out_ += "{" + (numbers[0].empty() ? "0" : numbers[0]) + (which ? "," + numbers[1] : "") + "}";
    // In Ruby's syntax x{1,3}+ repeats x{1,3}, where PCRE2 has a possessive quantifier; x{3}? is
    // optional.
    if (has("+") || (has("?") && which == 0)) {
      out_.insert(atom_, "(?:");
      out_ += ')';
      out_ += pattern_[at_++];
    } else if (has("?")) {
      out_ += pattern_[at_++];
    }
  }

  void open_group() {
    if (groups_.size() > kMaxNesting) fail("its groups nest too deep");
    if (has("(*")) fail("(* is not supported");
    const size_t begin = out_.size();
    if (!has("(?")) {
      out_ += '(';
      ++at_;
      groups_.push_back({begin, 0});
      return;
    }
    if (has("(?#")) {
      while (at_ < pattern_.size() && pattern_[at_] != ')') ++at_;
      ++at_;
      return;
    }
    for (const char* known : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (!has(known)) continue;
      out_ += known;
      at_ += std::string_view(known).size();
      groups_.push_back({begin, 0});
      return;
    }
    if (has("(?<") || has("(?'")) fail("named groups are not supported");
    size_t end = at_ + 2;
    std::string options;
    for (; end < pattern_.size(); ++end) {
      const char c = pattern_[end];
      if (c != 'i' && c != 'm' && c != 'x' && c != '-') break;
      options += c == 'm' ? 's' : c;  // Ruby's (?m) lets '.' match a newline
    }
    if (end >= pattern_.size() || options.empty() || options == "-" ||
        (pattern_[end] != ':' && pattern_[end] != ')')) {
      fail("this kind of group is not supported");
    }
    if (pattern_[end] == ')') {
      ++groups_.back().scopes;
    } else {
      groups_.push_back({begin, 0});
    }
    out_ += "(?" + options + ":";
    at_ = end + 1;
  }

  // What `\` begins and means the same in a class and outside: items of a class, or "" if it is
  // something else. `negated` if the items are those that do not match.
  std::string escape_items(bool& negated) {
    const char c = pattern_[at_];
    negated = false;
    switch (c) {
      case 's':
      case 'S':
        ++at_;
        negated = c == 'S';
        return kSpaces;
      case 'd':
      case 'D':
        ++at_;
        negated = c == 'D';
        return category_items("Nd");
      case 'w':
      case 'W':
        ++at_;
        negated = c == 'W';
        return word_items();
      case 'h':
      case 'H':
        ++at_;
        negated = c == 'H';
        return "0-9A-Fa-f";
      case 'p':
      case 'P':
        return property(negated);
      default:
        return "";
    }
  }

  std::string property(bool& negated) {
    negated = pattern_[at_] == 'P';
    ++at_;
    if (!has("{")) fail("expected \\p{NAME}");
    const size_t close = pattern_.find('}', at_);
    if (close == std::string_view::npos) fail("expected \\p{NAME}");
    std::string_view name = pattern_.substr(at_ + 1, close - at_ - 1);
    at_ = close + 1;
    if (name.starts_with("^")) {
      negated = !negated;
      name.remove_prefix(1);
    }
    std::string plain;
    for (const char c : name) {
      if (c == ' ' || c == '_' || c == '-') continue;
      if (!std::isalnum(static_cast<unsigned char>(c))) fail("expected \\p{NAME}");
      plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    const std::string items = property_items(plain);
    // A script, or nothing that PCRE2 knows either: then it says so.
    return items.empty() ? "\\p{sc:" + std::string(name) + "}" : items;
  }

  // A character written by an escape that both worlds have, as PCRE2 wants it.
  std::string escaped_char() {
    const std::string_view c = take_char();
    if (c == "u") {
      const std::string_view digits = pattern_.substr(at_, 4);
      if (digits.size() < 4 || !std::all_of(digits.begin(), digits.end(),
                                            [](unsigned char d) { return std::isxdigit(d); })) {
        fail("expected \\u with four hexadecimal digits");
      }
      at_ += 4;
      return "\\x{" + std::string(digits) + "}";
    }
    if (c == "x") {
      if (has("{")) {
        const size_t close = pattern_.find('}', at_);
        if (close == std::string_view::npos) fail("expected \\x{...}");
        const std::string hex(pattern_.substr(at_, close + 1 - at_));
        at_ = close + 1;
        return "\\x" + hex;
      }
      return "\\x";
    }
    if (c == "v") return "\\x0B";
    if (c.size() > 1) return std::string(c);
    static const std::string kSame = "tnrfae0";
    if (kSame.find(c[0]) != std::string::npos) return "\\" + std::string(c);
    if (c == "c" || c == "C" || c == "M") fail("control escapes are not supported");
    if (std::isalnum(static_cast<unsigned char>(c[0]))) return std::string(c);
    return "\\" + std::string(c);
  }

  void outside_escape() {
    if (at_ == pattern_.size()) fail("it ends with a backslash");
    bool negated;
    const std::string items = escape_items(negated);
    if (!items.empty()) {
      atom((negated ? "[^" : "[") + items + "]");
      return;
    }
    const char c = pattern_[at_];
    static const std::string kAnchors = "AzZbBGRXK";
    if (kAnchors.find(c) != std::string::npos || (c >= '1' && c <= '9')) {
      ++at_;
      atom(std::string("\\") + c);
      return;
    }
    if (c == 'k' || c == 'g' || c == 'N' || c == 'O' || c == 'y' || c == 'Y') {
      fail(cat("\\", c, " is not supported"));
    }
    atom(escaped_char());
  }

  // After '[': a PCRE2 atom. Classes in classes and && become alternatives and lookaheads.
  std::string read_class(int depth) {
    if (depth > kMaxNesting) fail("its classes nest too deep");
    const bool negated = has("^");
    if (negated) ++at_;
    std::vector<ClassPart> parts(1);
    bool first = true, many = false;  // many: the last item stands for several characters
    for (;; first = false) {
      if (at_ == pattern_.size()) fail("a class is not closed");
      ClassPart& part = parts.back();
      if (has("]") && !first) {
        ++at_;
        break;
      }
      if (has("&&")) {
        at_ += 2;
        parts.emplace_back();
        many = false;
      } else if (has("[:")) {
        many = true;
        posix_class(part);
      } else if (has("[")) {
        ++at_;
        part.nested.push_back(read_class(depth + 1));
        many = true;
      } else if (has("-") && many) {
        ++at_;
        part.items += "\\-";
        many = false;
      } else if (has("\\")) {
        ++at_;
        if (at_ == pattern_.size()) fail("it ends with a backslash");
        bool not_items;
        const std::string items = escape_items(not_items);
        many = !items.empty();
        if (!many) {
          part.items += has("b") ? (++at_, "\\x08") : escaped_char();
        } else if (not_items) {
          part.nested.push_back("[^" + items + "]");
        } else {
          part.items += items;
        }
      } else {
        const std::string_view c = take_char();
        many = false;
        if (c == "]" || c == "^" || c == "[") part.items += '\\';
        part.items += c;
      }
    }
    if (parts.size() == 1 && parts[0].nested.empty()) {
      if (parts[0].items.empty()) fail("a class is empty");
      return (negated ? "[^" : "[") + parts[0].items + "]";
    }
    std::string out = "(?:";
    for (size_t i = 0; i < parts.size(); ++i) {
      const std::string one = alternatives(parts[i]);
      out += i + 1 < parts.size() ? "(?=" + one + ")" : one;
    }
    out += ")";
    return negated ? "(?:(?!" + out + ")(?s:.))" : out;
  }

  std::string alternatives(const ClassPart& part) const {
    if (part.items.empty() && part.nested.empty()) fail("a class is empty");
    std::string out = "(?:" + (part.items.empty() ? "" : "[" + part.items + "]");
    for (const std::string& nested : part.nested) {
      if (out.back() != ':') out += '|';
      out += nested;
    }
    return out + ")";
  }

  void posix_class(ClassPart& part) {
    const size_t close = pattern_.find(":]", at_);
    if (close == std::string_view::npos) fail("expected [:NAME:]");
    std::string name(pattern_.substr(at_ + 2, close - at_ - 2));
    at_ = close + 2;
    const bool negated = name.starts_with("^");
    if (negated) name.erase(0, 1);
    const std::string items = property_items(name);
    if (items.empty()) fail(cat("[:", name, ":] is not supported"));
    if (negated) {
      part.nested.push_back("[^" + items + "]");
    } else {
      part.items += items;
    }
  }

  std::string_view pattern_;
  const std::string& where_;
  size_t at_ = 0;
  std::string out_;
  size_t atom_ = 0;  // where the last atom begins in out_
  std::vector<Group> groups_;
};

}  // namespace

std::string pcre2_from_oniguruma(std::string_view pattern, const std::string& where) {
  return Translator(pattern, where).translate();
}

}  // namespace hone
