#include "rewards/math/lexer.h"

#include <algorithm>

#include "rewards/extraction.h"
#include "rewards/math/vocabulary.h"
#include "rewards/math/words.h"

namespace hone::math {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r' && c != '\f'); }

// U+2070 and its kin: the superscript as ASCII, 0 if it is none. Moves `i` past it.
char superscript_at(std::string_view s, size_t& i) {
  static const std::pair<std::string_view, char> table[] = {
      {"\u2070", '0'}, {"\u00b9", '1'}, {"\u00b2", '2'}, {"\u00b3", '3'},
      {"\u2074", '4'}, {"\u2075", '5'}, {"\u2076", '6'}, {"\u2077", '7'},
      {"\u2078", '8'}, {"\u2079", '9'}, {"\u207b", '-'}};
  for (const auto& [bytes, c] : table) {
    if (s.substr(i).starts_with(bytes)) {
      i += bytes.size();
      return c;
    }
  }
  return 0;
}

// A white space of any kind at `i`, LaTeX's included: its length, 0 if there is none.
size_t space_at(std::string_view s, size_t i) {
  if (i >= s.size()) return 0;
  if (space(s[i]) || s[i] == '~') return 1;
  for (const std::string_view kind : {"\\!", "\\,", "\\;", "\\:", "\\ ", "\\>", "\u00a0", "\u2009",
                                      "\u202f", "\u2002", "\u2003", "\u2005", "\u3000"}) {
    if (s.substr(i).starts_with(kind)) return kind.size();
  }
  return 0;
}
size_t skip_space(std::string_view s, size_t i) {
  while (const size_t n = space_at(s, i)) i += n;
  return i;
}

bool three_digits(std::string_view s, size_t i) {
  return i + 3 <= s.size() && digit(s[i]) && digit(s[i + 1]) && digit(s[i + 2]) &&
         (i + 3 == s.size() || !digit(s[i + 3]));
}

size_t closing(std::string_view s, size_t open) {  // of the brace at `open`
  int depth = 0;
  for (size_t i = open; i < s.size(); ++i) {
    if (s[i] == '\\') {
      ++i;
    } else if (s[i] == '{') {
      ++depth;
    } else if (s[i] == '}' && --depth == 0) {
      return i;
    }
  }
  return std::string_view::npos;
}

class Lexer {
 public:
  Lexer(std::string_view text, std::vector<Lexeme>& out) : s_(text), out_(out) {}

  bool run() {
    while (true) {
      const size_t before = at_;
      at_ = skip_space(s_, at_);
      spaced_ = at_ != before;
      if (at_ >= s_.size()) break;
      if (out_.size() >= kMaxTokens || !next()) return false;
    }
    add(Token::end);
    return true;
  }

 private:
  char peek(size_t ahead = 0) const { return at_ + ahead < s_.size() ? s_[at_ + ahead] : '\0'; }

  Lexeme& add(Token token, std::string_view text = {}, uint64_t id = 0) {
    Lexeme lexeme;
    lexeme.token = token;
    lexeme.text.assign(text.data(), text.size());
    lexeme.id = id;
    lexeme.spaced = spaced_;
    out_.push_back(std::move(lexeme));
    spaced_ = false;
    return out_.back();
  }
  bool take(Token token, size_t length, std::string_view text = {}) {
    if (token == Token::open || token == Token::set_open) ++depth_;
    if (token == Token::close || token == Token::set_close) --depth_;
    add(token, text);
    at_ += length;
    return true;
  }

  // Digits beyond nine, as in A5_{11}; with at least one of 0 to 9, since AB_1 may be a segment.
  bool based_digits() {
    size_t end = at_;
    bool digits = false, capitals = false;
    for (; end < s_.size(); ++end) {
      const bool capital = s_[end] >= 'A' && s_[end] <= 'Z';
      if (!capital && !digit(s_[end])) break;
      capitals = capitals || capital;
      digits = digits || !capital;
    }
    if (!digits || !capitals || end + 1 >= s_.size() || s_[end] != '_') return false;
    if (!digit(s_[end + 1]) && s_[end + 1] != '{') return false;
    add(Token::text, s_.substr(at_, end - at_));
    at_ = end;
    return true;
  }

  bool next() {
    const char c = peek();
    if ((digit(c) || (c >= 'A' && c <= 'Z')) && based_digits()) return true;
    if (digit(c) || (c == '.' && digit(peek(1)))) return number();
    if (letter(c)) return letters();
    switch (c) {
      case '+':
        return take(Token::plus, 1);
      case '-':
        return take(Token::minus, 1);
      case '*':
        return peek(1) == '*' ? take(Token::caret, 2) : take(Token::times, 1);
      case '/':
        return take(Token::slash, 1);
      case '^':
        return take(Token::caret, 1);
      case '_':
        return take(Token::underscore, 1);
      case ',':
        return take(Token::comma, 1);
      case ';':
        return take(Token::semicolon, 1);
      case ':':
        return take(Token::colon, 1);
      case '|':
        return take(Token::bar, 1);
      case '\'':
        return take(Token::prime, 1);
      case '%':
        return take(Token::percent, 1);
      case '$':
        return take(Token::currency, 1, "dollar");
      case '(':
        return take(Token::open, 1, "(");
      case '[':
        return take(Token::open, 1, "[");
      case ')':
        return take(Token::close, 1, ")");
      case ']':
        return take(Token::close, 1, "]");
      case '{':
        return take(Token::group_open, 1);
      case '}':
        return take(Token::group_close, 1);
      case '&':
        return take(Token::ampersand, 1);
      case '=':
        return take(Token::relation, peek(1) == '=' ? 2 : 1, "=");
      case '<':
        return peek(1) == '=' ? take(Token::relation, 2, "l") : take(Token::relation, 1, "<");
      case '>':
        return peek(1) == '=' ? take(Token::relation, 2, "g") : take(Token::relation, 1, ">");
      case '!':
        return peek(1) == '=' && peek(2) != '=' ? take(Token::relation, 2, "#")
                                                : take(Token::bang, 1);
      case '.':
        if (peek(1) == '.' && peek(2) == '.') return take(Token::ellipsis, 3);
        return false;
      case '\f':  // "\frac" that a string literal has swallowed the first letter of
        if (!s_.substr(at_ + 1).starts_with("rac")) return false;
        return take(Token::frac, 4);
      case '\\':
        return command();
      default:
        return static_cast<unsigned char>(c) >= 0x80 && unicode();
    }
  }

  bool unicode() {
    std::string digits;
    size_t i = at_;
    while (const char c = superscript_at(s_, i)) digits += c;
    if (!digits.empty()) {
      add(Token::superscript, digits);
      at_ = i;
      return true;
    }
    static const std::pair<std::string_view, std::string_view> fractions[] = {
        {"\u00bd", "12"}, {"\u00bc", "14"}, {"\u00be", "34"}, {"\u2153", "13"}, {"\u2154", "23"}};
    for (const auto& [bytes, parts] : fractions) {
      if (!s_.substr(at_).starts_with(bytes)) continue;
      add(Token::frac);
      for (char c : parts) add(Token::number).text = c;
      at_ += bytes.size();
      return true;
    }
    for (unsigned d = 0; d < 10; ++d) {  // subscripts
      const char bytes[] = {'\xe2', '\x82', static_cast<char>(0x80 + d), 0};
      if (!s_.substr(at_).starts_with(bytes)) continue;
      if (out_.size() < 2 || out_.back().token != Token::number ||
          out_[out_.size() - 2].token != Token::underscore || !subscript_) {
        add(Token::underscore);
        add(Token::number);
      }
      out_.back().text += static_cast<char>('0' + d);
      subscript_ = true;
      at_ += 3;
      return true;
    }
    for (const Sign& sign : signs()) {
      if (s_.substr(at_).starts_with(sign.bytes)) {
        if (sign.meaning.token == Token::symbol) {
          add(Token::symbol, sign.meaning.text);
        } else {
          take(sign.meaning.token, 0, sign.meaning.text);
          out_.back().id = sign.meaning.id;
        }
        at_ += sign.bytes.size();
        return true;
      }
    }
    return false;
  }

  // Digits with thousands separators, decimals, repeating decimals, power of ten.
  bool number() {
    std::string digits;
    size_t i = at_;
    while (i < s_.size() && digit(s_[i])) digits += s_[i++];
    const size_t first_group = digits.size();
    if (!digits.empty() && digits.size() <= 3) {
      while (true) {
        const size_t group = separator(i, first_group != 0 && digits[0] != '0');
        if (group == 0) break;
        digits.append(s_, group, 3);
        i = group + 3;
      }
    }
    Lexeme& lexeme = add(Token::number);
    if (i + 1 < s_.size() && s_[i] == '.' && digit(s_[i + 1])) {
      ++i;
      lexeme.extra = 0;
      for (; i < s_.size() && digit(s_[i]); ++lexeme.extra) digits += s_[i++];
    } else if (i < s_.size() && s_[i] == '.' && !s_.substr(i).starts_with("...")) {
      ++i;  // "42." is the integer
    }
    for (const std::string_view over : {"\\overline{", "\\bar{"}) {
      if (lexeme.extra < 0 && !(i > at_ && s_[i - 1] == '.')) break;
      if (!s_.substr(i).starts_with(over)) continue;
      size_t j = i + over.size();
      lexeme.extra = std::max(lexeme.extra, 0);
      for (; j < s_.size() && digit(s_[j]); ++j) {
        digits += s_[j];
        ++lexeme.extra;
        ++lexeme.repeating;
      }
      if (j >= s_.size() || s_[j] != '}' || lexeme.repeating == 0) return false;
      i = j + 1;
    }
    if (i + 1 < s_.size() && (s_[i] == 'e' || s_[i] == 'E')) {
      size_t j = i + 1;
      const bool minus = s_[j] == '-';
      if (minus || s_[j] == '+') ++j;
      int exponent = 0;
      const size_t start = j;
      while (j < s_.size() && digit(s_[j]) && exponent < 10000)
        exponent = exponent * 10 + (s_[j++] - '0');
      if (j > start) {
        if (exponent > 400) return false;
        lexeme.exponent = minus ? -exponent : exponent;
        i = j;
      }
    }
    if (digits.size() > kMaxDigits) return false;
    lexeme.text = std::move(digits);
    at_ = i;
    return true;
  }

  // Where the next group of three digits stands, 0 if there is none. Commas alone separate
  // thousands only outside brackets, where (1,234) is a pair.
  size_t separator(size_t i, bool groupable) {
    if (i >= s_.size()) return 0;
    const size_t gap = skip_space(s_, i);
    if (gap < s_.size() && s_[gap] == '{') {
      size_t j = skip_space(s_, gap + 1);
      if (j < s_.size() && s_[j] == ',') {
        j = skip_space(s_, j + 1);
        if (j < s_.size() && s_[j] == '}') {
          j = skip_space(s_, j + 1);
          if (three_digits(s_, j)) return j;
        }
      }
      return 0;
    }
    if (s_.substr(i).starts_with(",\\!")) {
      const size_t j = skip_space(s_, i + 3);
      return three_digits(s_, j) ? j : 0;
    }
    if (depth_ != 0 || !groupable) return 0;
    if (s_[i] == ',' && three_digits(s_, i + 1)) return i + 1;
    const size_t blank = space_at(s_, i);
    return blank != 0 && three_digits(s_, i + blank) ? i + blank : 0;
  }

  bool letters() {
    size_t end = at_;
    while (end < s_.size() && letter(s_[end])) ++end;
    std::string_view run = s_.substr(at_, end - at_);
    // "1orW(x)=-1": a conjunction glued to what follows
    for (const std::string_view word : {"or", "and"}) {
      if (run.size() > word.size() && run.starts_with(word) && !spaced_ && !out_.empty() &&
          (out_.back().token == Token::number || out_.back().token == Token::close)) {
        run = word;
      }
    }
    const auto plain = plain_names().find(run);
    if (plain != plain_names().end()) return meaning(plain->second, run.size());
    const auto known = commands().find(run);
    if (known != commands().end() && known->second.token == Token::function) {
      return meaning(known->second, run.size());
    }
    // sinx
    if (run.size() >= 3 && run.size() <= 4) {
      const auto prefix = commands().find(run.substr(0, run.size() - 1));
      if (prefix != commands().end() && prefix->second.token == Token::function) {
        return meaning(prefix->second, run.size() - 1);
      }
    }
    if (run.size() >= 3 ||
        (run.size() == 2 && spaced_ && !out_.empty() && canonical_unit(run).known)) {
      add(Token::word, run);
      at_ += run.size();
      return true;
    }
    if (run.size() == 1 && spaced_ && out_.size() == 1 && out_.back().token == Token::number &&
        canonical_unit(run).known && at_ + 1 == s_.size()) {
      add(Token::word, run);  // "5 m" and nothing else
      ++at_;
      return true;
    }
    for (char c : run) symbol(c);
    at_ += run.size();
    return true;
  }

  void symbol(char c) {
    if (c == 'e') {
      add(Token::euler);
    } else if (c == 'i') {
      add(Token::imaginary);
    } else {
      add(Token::symbol, std::string_view(&c, 1));
    }
  }

  bool meaning(const Meaning& m, size_t length) {
    if (m.token == Token::open || m.token == Token::set_open) ++depth_;
    if (m.token == Token::close || m.token == Token::set_close) --depth_;
    add(m.token, m.text, m.id);
    at_ += length;
    return true;
  }

  // \text{...} and its kin: the content's bytes, or false.
  bool argument(size_t from, std::string_view& content, size_t& end) {
    const size_t open = skip_space(s_, from);
    if (open >= s_.size() || s_[open] != '{') return false;
    const size_t close = closing(s_, open);
    if (close == std::string_view::npos) return false;
    content = s_.substr(open + 1, close - open - 1);
    end = close + 1;
    return true;
  }

  bool command() {
    size_t end = at_ + 1;
    if (peek(1) == '\f') {
      ++at_;
      return next();
    }
    if (peek(1) == '\\') {
      // Doubled by some serialisation: \\frac; else the end of a line.
      size_t stop = at_ + 2;
      while (stop < s_.size() && letter(s_[stop])) ++stop;
      const std::string_view name = s_.substr(at_ + 2, stop - at_ - 2);
      if (environments_ == 0 && !name.empty() && known(name)) {
        ++at_;
        return command();
      }
      take(Token::line_end, 2);
      const size_t close = s_.find("]", at_);  // \\[2pt]
      if (peek() == '[' && close != std::string_view::npos && close - at_ < 9 &&
          s_[close - 1] >= 'a' && s_[close - 1] <= 'z') {
        at_ = close + 1;
      }
      return true;
    }
    while (end < s_.size() && letter(s_[end])) ++end;
    std::string_view name = s_.substr(at_ + 1, end - at_ - 1);
    if (name.empty()) {
      switch (peek(1)) {
        case '{':
          return take(Token::set_open, 2);
        case '}':
          return take(Token::set_close, 2);
        case '%':
          return take(Token::percent, 2);
        case '$':
          return take(Token::currency, 2, "dollar");
        case '|':
          return take(Token::bar, 2);
        case '#':
        case '_':
        case '&':
          return false;
        default:
          return at_ + 1 >= s_.size() && !out_.empty() ? (++at_, true) : false;
      }
    }
    if (name == "left" || name == "right" || name == "mleft" || name == "mright" ||
        name == "middle") {
      return delimiter(name.ends_with("left"), name == "middle", end);
    }
    if (name == "begin" || name == "end") return environment(name == "begin", end);
    if (name == "text" || name == "textbf" || name == "textit" || name == "textrm" ||
        name == "mbox" || name == "hbox" || name == "mathrm" || name == "textnormal" ||
        name == "operatorname" || name == "textsf" || name == "texttt" || name == "mathbb") {
      return text(name, end);
    }
    if (name == "boxed" || name == "fbox") {
      at_ = end;
      return true;
    }
    if (name == "phantom") {
      std::string_view hidden;
      if (!argument(end, hidden, at_)) at_ = std::min(skip_space(s_, end) + 1, s_.size());
      return true;
    }
    if (name == "hspace" || name == "vspace" || name == "color" || name == "label") {
      std::string_view content;
      return argument(end, content, at_);
    }
    if (name == "not") {  // \not= \not\in
      at_ = skip_space(s_, end);
      if (peek() != '=') return false;
      return take(Token::relation, 1, "#");
    }
    auto found = commands().find(name);
    if (found == commands().end() && ignored(name)) {
      at_ = end;
      return true;
    }
    // \quadx and \pir: the command that the letters begin with
    for (size_t n = name.size() - 1; found == commands().end() && n >= 2; --n) {
      found = commands().find(name.substr(0, n));
      if (found != commands().end() && n + 1 < name.size() &&
          found->second.token != Token::conjunction) {
        found = commands().end();
      }
      if (found != commands().end()) name = name.substr(0, n);
    }
    if (found == commands().end()) return false;
    return meaning(found->second, 1 + name.size());
  }

  static bool known(std::string_view name) {
    return commands().count(name) != 0 || ignored(name) || name == "left" || name == "right" ||
           name == "text" || name == "boxed" || name == "begin" || name == "mathrm" ||
           name == "textbf" || name == "mbox";
  }

  bool delimiter(bool left, bool middle, size_t end) {
    at_ = skip_space(s_, end);
    if (middle) return peek() == '|' && take(Token::such_that, 1);
    if (peek() == '.') {  // \left. shows nothing
      ++at_;
      return true;
    }
    if (peek() == '|') return take(left ? Token::bar_open : Token::bar_close, 1);
    if (s_.substr(at_).starts_with("\\vert")) {
      return take(left ? Token::bar_open : Token::bar_close, 5);
    }
    if (s_.substr(at_).starts_with("\\|")) {
      return take(left ? Token::bar_open : Token::bar_close, 2);
    }
    return at_ < s_.size() && next();
  }

  bool environment(bool begins, size_t end) {
    std::string_view name;
    if (!argument(end, name, at_)) return false;
    environments_ += begins ? 1 : -1;
    if (begins && name == "array") {  // its column specification
      std::string_view columns;
      if (!argument(at_, columns, at_)) return false;
    }
    depth_ += begins ? 1 : -1;
    add(begins ? Token::begin : Token::finish, name);
    return true;
  }

  bool text(std::string_view command, size_t end) {
    std::string_view content;
    if (!argument(end, content, at_)) {
      // \mathrm e
      at_ = skip_space(s_, end);
      if (!letter(peek())) return false;
      symbol(peek());
      ++at_;
      return true;
    }
    content = trimmed(content);
    if (content.empty()) return true;
    if (command == "mathbb") {
      if (content == "R") return add(Token::reals), true;
      add(Token::symbol, std::string("bb") + std::string(content));
      return true;
    }
    const bool upright = command == "operatorname" || command == "mathrm";
    const auto function = upright ? commands().find(content) : commands().end();
    if (function != commands().end() &&
        (function->second.token == Token::function || function->second.token == Token::opaque)) {
      return meaning(function->second, 0);
    }
    return content_token(content);
  }

  // The content of a text: a number, a letter, a conjunction, several of these, or words.
  bool content_token(std::string_view content) {
    const size_t comma = content.find(',');
    if (comma != std::string_view::npos && content.find_first_of("0123456789") == content.npos) {
      const std::string_view first = trimmed(content.substr(0, comma));
      const std::string_view rest = trimmed(content.substr(comma + 1));
      if (!first.empty() && !content_token(first)) return false;
      add(Token::comma);
      return out_.size() < kMaxTokens && (rest.empty() || content_token(rest));
    }
    if (content.size() == 3 && content.front() == '(' && content.back() == ')') {
      content = content.substr(1, 1);
    }
    const auto plain = plain_names().find(content);
    if (plain != plain_names().end()) return meaning(plain->second, 0);
    if (content.size() == 1 && letter(content[0])) {
      symbol(content[0]);
      if (canonical_unit(content).known) out_.back().extra = 1;  // \text{m} may be metres
      return true;
    }
    if (std::all_of(content.begin(), content.end(), digit) && content.size() <= kMaxDigits) {
      add(Token::number).text = content;
      return true;
    }
    add(Token::text, content);
    return true;
  }

  std::string_view s_;
  std::vector<Lexeme>& out_;
  size_t at_ = 0;
  int depth_ = 0;         // open brackets
  int environments_ = 0;  // open \begin
  bool spaced_ = false;
  bool subscript_ = false;
};

bool unwrap(std::string_view& s, std::string_view open, std::string_view close) {
  if (s.size() < open.size() + close.size() || !s.starts_with(open) || !s.ends_with(close)) {
    return false;
  }
  const std::string_view inner = s.substr(open.size(), s.size() - open.size() - close.size());
  if (inner.find(close) != std::string_view::npos) return false;
  s = trimmed(inner);
  return true;
}

}  // namespace

bool tokenize(std::string_view text, std::vector<Lexeme>& out) {
  if (text.size() > kMaxText) return false;
  out.clear();
  return Lexer(text, out).run();
}

std::string cleaned(std::string_view s) {
  s = trimmed(s);
  for (bool changed = true; changed && !s.empty();) {
    const size_t before = s.size();
    while (!s.empty() && (s.back() == '.' || s.back() == ',' || s.back() == ';' ||
                          s.back() == ':' || space(s.back()))) {
      if (s.ends_with("...")) break;
      s.remove_suffix(1);
    }
    if (s.ends_with("\u3002")) s.remove_suffix(3);
    if (!s.ends_with("\\$") && !unwrap(s, "$$", "$$")) unwrap(s, "$", "$");
    unwrap(s, "\\(", "\\)");
    unwrap(s, "\\[", "\\]");
    unwrap(s, "**", "**");
    unwrap(s, "\"", "\"");
    unwrap(s, "`", "`");
    for (const std::string_view box : {"\\boxed{", "\\fbox{"}) {
      if (s.starts_with(box) && closing(s, box.size() - 1) == s.size() - 1) {
        s = trimmed(s.substr(box.size(), s.size() - box.size() - 1));
      }
    }
    changed = s.size() != before;
  }
  // Dollar signs in pairs delimit mathematics; a single one is money.
  std::string out;
  size_t dollars = 0;
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '\\') {
      ++i;
    } else if (s[i] == '$') {
      ++dollars;
    }
  }
  const bool money = dollars == 1 && s.find('$') + 1 < s.size() && digit(s[s.find('$') + 1]);
  out.reserve(s.size());
  for (size_t i = 0; i < s.size(); ++i) {
    if (s[i] == '\\' && i + 1 < s.size()) {
      const char c = s[i + 1];
      if ((c == '(' || c == ')' || c == '[' || c == ']') && (i == 0 || s[i - 1] != '\\')) {
        out += ' ';
      } else {
        out += s[i];
        out += c;
      }
      ++i;
    } else if (s[i] == '$' && !money) {
      out += ' ';
    } else {
      out += s[i];
    }
  }
  return out;
}

}  // namespace hone::math
