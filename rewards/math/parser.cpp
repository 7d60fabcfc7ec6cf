#include "rewards/math/parser.h"

#include <algorithm>

#include "rewards/math/lexer.h"
#include "rewards/math/words.h"

namespace hone::math {
namespace {

// Recursive descent; every member returns the index of the node that it read, or -1, and then the
// whole answer is given up: nothing is tried twice, so the time is linear in the text.
class Parser {
 public:
  explicit Parser(std::vector<Lexeme> lexemes) : in_(std::move(lexemes)) {}

  std::optional<Tree> whole() {
    tree_.root = answers(Token::end);
    if (tree_.root < 0 || peek() != Token::end) return std::nullopt;
    return std::move(tree_);
  }

 private:
  Token peek(size_t ahead = 0) const {
    return at_ + ahead < in_.size() ? in_[at_ + ahead].token : Token::end;
  }
  const Lexeme& here() const { return in_[at_]; }
  bool take(Token token) {
    if (peek() != token) return false;
    ++at_;
    return true;
  }
  int wrap(Kind kind, int a) { return a < 0 ? -1 : tree_.add(kind, {a}); }
  int pair(Kind kind, int a, int b) { return a < 0 || b < 0 ? -1 : tree_.add(kind, {a, b}); }

  // --- lists -----------------------------------------------------------------------------------

  static bool separates(Token t) {
    return t == Token::comma || t == Token::semicolon || t == Token::conjunction ||
           t == Token::line_end;
  }

  // One answer, or a list of several, up to `closer`. p=5,q=2;p=7,q=2 is a list of two pairs.
  int answers(Token closer) {
    std::vector<int> items;
    std::vector<size_t> groups;  // where a semicolon stood among the items
    while (take(Token::conjunction)) {
    }
    while (peek() != closer) {
      const int item = relation();
      if (item < 0) return -1;
      items.push_back(item);
      if (peek() == closer || (items.size() == 1 && peek() == Token::choose)) break;
      if (!separates(peek())) return -1;
      while (separates(peek())) {
        if (peek() == Token::semicolon) groups.push_back(items.size());
        ++at_;
      }
    }
    if (items.empty()) return -1;
    if (items.size() == 1) return items[0];
    const bool nested = !groups.empty() && groups.size() + 1 < items.size();
    if (!nested) return tree_.add(Kind::list, items);
    groups.push_back(items.size());
    std::vector<int> outer;
    size_t start = 0;
    for (const size_t end : groups) {
      if (end == start) continue;
      const std::vector<int> part(items.begin() + static_cast<std::ptrdiff_t>(start),
                                  items.begin() + static_cast<std::ptrdiff_t>(end));
      if (part.size() == 1) {
        outer.push_back(part[0]);
      } else {
        Node tuple;
        tuple.kind = Kind::tuple;
        tuple.text = "()";
        outer.push_back(tree_.add(std::move(tuple), part));
      }
      start = end;
    }
    return outer.size() == 1 ? outer[0] : tree_.add(Kind::list, outer);
  }

  // --- relations -------------------------------------------------------------------------------

  int relation() {
    std::vector<int> operands;
    std::string operators;
    if (peek() == Token::relation && here().text[0] == kApprox) ++at_;  // "about 5" is 5
    while (true) {
      const int operand = sets();
      if (operand < 0) return -1;
      operands.push_back(operand);
      if (peek() != Token::relation) break;
      operators += here().text;
      ++at_;
      if (peek() == Token::relation && here().text == "=") ++at_;  // "= =" and "\approx ="
    }
    if (operands.size() == 1) return operands[0];
    Node node;
    node.kind = Kind::chain;
    node.text = std::move(operators);
    return tree_.add(std::move(node), operands);
  }

  // Unions and the like, of ratios.
  int sets() {
    int left = ratio();
    while (left >= 0) {
      Kind kind;
      if (peek() == Token::join) {
        kind = Kind::join;
      } else if (peek() == Token::meet) {
        kind = Kind::meet;
      } else if (peek() == Token::without) {
        kind = Kind::without;
      } else {
        break;
      }
      ++at_;
      left = pair(kind, left, ratio());
    }
    return left;
  }

  int ratio() {
    const int first = measured();
    if (first < 0 || peek() != Token::colon || in_set_ > 0) return first;
    if (tree_[first].kind == Kind::words) return -1;  // "Matrix: ..." is a sentence
    std::vector<int> parts = {first};
    while (take(Token::colon)) {
      parts.push_back(measured());
      if (parts.back() < 0) return -1;
    }
    Node node, unit;
    node.kind = Kind::ratio;
    node.extra = clock_digits_ ? 1 : 0;
    if (tree_[parts.back()].kind != Kind::unit) return tree_.add(std::move(node), parts);
    unit = tree_[parts.back()];  // 8:34 p.m.
    parts.back() = tree_.child(parts.back(), 0);
    return tree_.add(std::move(unit), {tree_.add(std::move(node), parts)});
  }

  // A sum with the unit behind it, or a currency before it.
  int measured() {
    if (peek() == Token::text || (peek() == Token::word && !product_word())) return words();
    bool minus = false;
    if (peek() == Token::minus && peek(1) == Token::currency) {
      minus = true;
      ++at_;
    }
    if (peek() == Token::currency) {
      const std::string name = here().text;
      ++at_;
      int amount = sum();
      if (minus) amount = wrap(Kind::negate, amount);
      if (amount < 0) return -1;
      Node unit;
      unit.kind = Kind::unit;
      unit.text = name;
      const int node = tree_.add(std::move(unit), {amount});
      if (peek() == Token::text || peek() == Token::word) {  // "$5 million", "$5 per hour"
        std::string more;
        if (!unit_words(more)) return -1;
      }
      return node;
    }
    return unit_of(sum());
  }

  int unit_of(int value) {
    if (value < 0) return -1;
    if (peek() == Token::currency) {  // 1,000.99 euro
      Node unit;
      unit.kind = Kind::unit;
      unit.text = here().text;
      ++at_;
      return tree_.add(std::move(unit), {value});
    }
    const bool letter_unit = peek() == Token::symbol && here().extra == 1;
    if (peek() != Token::text && peek() != Token::word && !letter_unit) return value;
    Node unit;
    unit.kind = Kind::unit;
    if (!unit_words(unit.text)) return -1;
    return tree_.add(std::move(unit), {value});
  }

  // "square cm", \text{ cm}^2, "miles per hour", up to something that is not a unit. A text that
  // holds digits, a negation or another answer is none.
  bool unit_words(std::string& out) {
    int plain = 0;
    while (true) {
      const bool letter_unit = peek() == Token::symbol && here().extra == 1;
      if (peek() == Token::text || peek() == Token::word || letter_unit) {
        const std::string& word = here().text;
        if (peek() == Token::word && ++plain > 4) return false;
        if (!harmless(word)) return false;
        out += (out.empty() ? "" : " ") + word;
        ++at_;
      } else if (peek() == Token::caret && !out.empty()) {
        ++at_;
        const bool group = take(Token::group_open);
        if (peek() != Token::number || here().text.size() > 1) return false;
        out += "^" + here().text;
        ++at_;
        if (group && !take(Token::group_close)) return false;
      } else if (peek() == Token::superscript && !out.empty()) {
        out += "^" + here().text;
        ++at_;
      } else if (peek() == Token::slash && !out.empty() &&
                 (peek(1) == Token::text || peek(1) == Token::word || peek(1) == Token::symbol)) {
        ++at_;
        if (peek() == Token::symbol) {
          out += " per " + here().text;
          ++at_;
        } else {
          out += " per";
        }
      } else {
        return true;
      }
    }
  }

  static bool harmless(std::string_view text) {
    std::string word;
    const auto bad = [&] {
      static const char* const words[] = {"or",       "and",     "not",      "no",        "is",
                                          "isn't",    "but",     "maybe",    "if",        "either",
                                          "was",      "then",    "thus",     "so",        "where",
                                          "million",  "billion", "thousand", "hundred",   "dozen",
                                          "anything", "equals",  "answer",   "otherwise", "choose"};
      return std::any_of(std::begin(words), std::end(words),
                         [&](const char* w) { return word == w; });
    };
    for (const char c : text) {
      if (c >= '0' && c <= '9') return false;
      if (c == '\\' || c == '=' || c == '$' || c == '<' || c == '>') return false;
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '\'';
      if (letter) {
        word += c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
      } else {
        if (bad()) return false;
        word.clear();
      }
    }
    return !bad();
  }

  // Words as an answer, or as one item of a list: \text{A}, \text{B}.
  int words() {
    Node node;
    node.kind = Kind::words;
    if (peek() == Token::text && peek(1) == Token::underscore) {  // \text{A5}_{11}
      return based(in_[at_++].text);
    }
    std::string text;
    while (peek() == Token::text || peek() == Token::word) {
      text += (text.empty() ? "" : " ") + here().text;
      ++at_;
    }
    node.text = normal_words(text);
    if (node.text.empty()) return -1;
    node.id = hash_name(node.text);
    return tree_.add(std::move(node));
  }

  // --- arithmetic ------------------------------------------------------------------------------

  int sum() {
    std::vector<int> terms;
    bool first = true;
    while (true) {
      const Token t = peek();
      if (t == Token::plus_minus || t == Token::minus_plus) {
        ++at_;
        const int right = term();
        if (right < 0) return -1;
        Node node;
        node.kind = Kind::plus_minus;
        node.extra = t == Token::plus_minus ? 1 : -1;
        std::vector<int> parts = {right};
        if (!terms.empty()) parts.push_back(total(terms));
        terms = {tree_.add(std::move(node), parts)};
      } else if (t == Token::plus || t == Token::minus) {
        ++at_;
        int right = term();
        if (right < 0) return -1;
        if (t == Token::minus) right = wrap(Kind::negate, right);
        terms.push_back(right);
      } else if (first) {
        const int right = term();
        if (right < 0) return -1;
        terms.push_back(right);
      } else {
        return total(terms);
      }
      first = false;
    }
  }
  int total(const std::vector<int>& terms) {
    return terms.size() == 1 ? terms[0] : tree_.add(Kind::plus, terms);
  }

  bool product_word() const {  // "xyz"
    const std::string& word = here().text;
    if (word.size() > 4) return false;
    return !canonical_unit(word).known && std::none_of(word.begin(), word.end(), [](char c) {
      return std::string_view("aeiouAEIOU").find(c) != std::string_view::npos;
    });
  }

  bool starts_factor() const {
    switch (peek()) {
      case Token::symbol:
        return here().extra != 1 || bars_ > 0;
      case Token::pi:
      case Token::euler:
      case Token::imaginary:
      case Token::function:
      case Token::group_open:
      case Token::frac:
      case Token::sqrt:
      case Token::binom:
      case Token::floor_open:
      case Token::ceiling_open:
      case Token::bar_open:
      case Token::begin:
      case Token::opaque:
      case Token::infinity:
        return true;
      case Token::open:
        return here().text != "<";
      case Token::bar:
        return bars_ == 0 && in_set_ == 0;
      case Token::number:  // 3!5!
        return at_ > 0 && in_[at_ - 1].token == Token::bang;
      case Token::word:
        return product_word();
      default:
        return false;
    }
  }

  int term() {
    int left = factor(true);
    while (left >= 0) {
      if (take(Token::times)) {
        left = pair(Kind::times, left, factor(true));
      } else if (peek() == Token::slash) {
        ++at_;
        left = pair(Kind::divide, left, factor(true));
      } else if (starts_factor()) {
        left = juxtaposed(left);
      } else {
        break;
      }
    }
    return left;
  }

  // 2x, 2(3), x\sqrt2, and the mixed number 2\frac{1}{2}. A whole number before a fraction of whole
  // numbers that is not proper could be either, so it is neither.
  int juxtaposed(int left) {
    if (peek() == Token::frac && tree_[left].kind == Kind::number && tree_[left].extra < 0 &&
        last_number_end_ == at_) {
      const int fraction = factor(false);
      if (fraction < 0) return -1;
      const Node& f = tree_[fraction];
      if (f.kind == Kind::divide && literal(tree_.child(fraction, 0)) &&
          literal(tree_.child(fraction, 1))) {
        return proper(fraction) ? tree_.add(Kind::plus, {left, fraction}) : -1;
      }
      return tree_.add(Kind::times, {left, fraction});
    }
    return pair(Kind::times, left, factor(false));
  }
  bool literal(int i) const { return tree_[i].kind == Kind::number && tree_[i].extra < 0; }
  const Rational& value(int i) const { return tree_.values[static_cast<size_t>(tree_[i].value)]; }
  bool proper(int fraction) const {
    return compare(value(tree_.child(fraction, 0)), value(tree_.child(fraction, 1))) < 0;
  }

  int factor(bool sign) {
    if (++depth_ > kMaxDepth) return -1;
    int node;
    if (sign && take(Token::minus)) {
      node = wrap(Kind::negate, factor(true));
    } else if (sign && take(Token::plus)) {
      node = factor(true);
    } else {
      node = postfix(primary());
    }
    --depth_;
    return node;
  }

  int postfix(int node) {
    while (node >= 0) {
      switch (peek()) {
        case Token::bang:
          if (peek(1) == Token::bang) return -1;  // 5!! is not (5!)!
          ++at_;
          node = wrap(Kind::factorial, node);
          continue;
        case Token::percent:
          ++at_;
          node = wrap(Kind::percent, node);
          continue;
        case Token::degree:
          ++at_;
          node = degrees(node);
          continue;
        case Token::superscript: {
          const std::string& text = here().text;
          if (text.size() > 4 || text.find('-', 1) != std::string::npos || text == "-") return -1;
          const int exponent = integer(std::stoi(text));
          ++at_;
          node = pair(Kind::power, node, exponent);
          continue;
        }
        case Token::caret:
          ++at_;
          if (take(Token::degree)) {
            node = degrees(node);
          } else if (peek() == Token::group_open && peek(1) == Token::degree &&
                     peek(2) == Token::group_close) {
            at_ += 3;
            node = degrees(node);
          } else {
            node = pair(Kind::power, node, script());
          }
          continue;
        default:
          return node;
      }
    }
    return node;
  }
  int degrees(int node) {
    if (peek() == Token::symbol && (here().text == "C" || here().text == "F")) ++at_;  // 20 C
    return wrap(Kind::degrees, node);
  }

  int integer(int64_t value) {
    Node node;
    node.kind = Kind::number;
    node.extra = -1;
    node.value = static_cast<int>(tree_.values.size());
    tree_.values.emplace_back(value);
    return tree_.add(std::move(node));
  }

  // An exponent or subscript: a group, or one sign as TeX takes it, but a number whole.
  int script() {
    if (take(Token::minus)) return wrap(Kind::negate, script());
    switch (peek()) {
      case Token::number:
        return here().extra < 0 && here().exponent == 0 ? plain_integer()
                                                        : factor_without_postfix();
      case Token::group_open:
      case Token::open:
      case Token::symbol:
      case Token::pi:
      case Token::euler:
      case Token::imaginary:
      case Token::infinity:
      case Token::frac:
      case Token::sqrt:
        return factor_without_postfix();
      default:
        return -1;
    }
  }
  int factor_without_postfix() {
    if (++depth_ > kMaxDepth) return -1;
    const int node = primary();
    --depth_;
    return node;
  }

  // What TeX takes for an argument: a group, or one digit or sign.
  int argument() {
    if (peek() == Token::number && here().extra < 0 && here().exponent == 0) {
      const int digit = integer(here().text[0] - '0');
      in_[at_].text.erase(0, 1);
      if (in_[at_].text.empty()) ++at_;
      return digit;
    }
    if (peek() == Token::minus) return -1;
    return factor_without_postfix();
  }

  int group() {  // after its {
    const int in_set = in_set_;
    in_set_ = 0;
    int node = answers_or_choose(Token::group_close);
    in_set_ = in_set;
    if (node < 0 || !take(Token::group_close)) return -1;
    if (tree_[node].kind == Kind::list) {  // ${1,2,3}$ lacks its backslashes
      const std::vector<int> items = children(node);
      node = tree_.add(Kind::set, items);
    }
    return node;
  }
  std::vector<int> children(int node) const {
    std::vector<int> out;
    for (int k = 0; k < tree_[node].count; ++k) out.push_back(tree_.child(node, k));
    return out;
  }
  // {n \choose k} and lists
  int answers_or_choose(Token closer) {
    const int node = answers(closer);
    return node >= 0 && take(Token::choose) ? pair(Kind::binomial, node, answers(closer)) : node;
  }

  int primary() {
    const Lexeme& lexeme = in_[at_];
    switch (lexeme.token) {
      case Token::number:
        return number();
      case Token::symbol:
        return symbol();
      case Token::word: {
        if (!product_word()) return -1;
        std::vector<int> letters;
        for (char c : lexeme.text) letters.push_back(named(std::string(1, c)));
        ++at_;
        return tree_.add(Kind::times, letters);
      }
      case Token::pi:
        return constant(Kind::pi);
      case Token::euler:
        return constant(Kind::euler);
      case Token::imaginary:
        return constant(Kind::imaginary);
      case Token::infinity:
        return constant(Kind::infinity);
      case Token::ellipsis:
        return constant(Kind::ellipsis);
      case Token::reals:
        return constant(Kind::reals);
      case Token::empty_set:
        return constant(Kind::empty_set);
      case Token::open:
        return bracket();
      case Token::group_open:
        ++at_;
        return group();
      case Token::set_open:
        ++at_;
        return set();
      case Token::bar:
      case Token::bar_open:
        return magnitude();
      case Token::floor_open:
        return enclosed(Kind::floor, Token::floor_close);
      case Token::ceiling_open:
        return enclosed(Kind::ceiling, Token::ceiling_close);
      case Token::frac: {
        ++at_;
        const int top = argument();
        return pair(Kind::divide, top, top < 0 ? -1 : argument());
      }
      case Token::binom: {
        ++at_;
        const int top = argument();
        return pair(Kind::binomial, top, top < 0 ? -1 : argument());
      }
      case Token::sqrt:
        return root();
      case Token::function:
        return call();
      case Token::opaque:
        return opaque();
      case Token::begin:
        return environment();
      default:
        return -1;
    }
  }

  int constant(Kind kind) {
    ++at_;
    return tree_.add(kind);
  }

  int number() {
    const Lexeme& lexeme = here();
    if (peek(1) == Token::underscore && lexeme.extra < 0) {
      ++at_;
      return based(lexeme.text);
    }
    Node node;
    node.kind = Kind::number;
    node.extra = lexeme.extra;
    node.id = lexeme.text.size() - std::min(lexeme.text.find_first_not_of('0'), lexeme.text.size());
    Rational q;
    const size_t plain = lexeme.text.size() - static_cast<size_t>(lexeme.repeating);
    for (size_t i = 0; i < plain; ++i) digit(q.numerator, lexeme.text[i]);
    if (lexeme.repeating > 0) {  // 0.1(6) = (16 - 1) / 90
      Natural all = q.numerator;
      for (size_t i = plain; i < lexeme.text.size(); ++i) digit(all, lexeme.text[i]);
      q.numerator = all - q.numerator;
      q.denominator = power(Natural(10), static_cast<uint64_t>(lexeme.repeating)) - Natural(1);
      node.extra = -1;
    }
    if (lexeme.extra > 0) {
      q.denominator = q.denominator *
                      power(Natural(10), static_cast<uint64_t>(lexeme.extra - lexeme.repeating));
    }
    if (lexeme.exponent != 0) {
      const Natural factor = power(Natural(10), static_cast<uint64_t>(std::abs(lexeme.exponent)));
      Natural& side = lexeme.exponent > 0 ? q.numerator : q.denominator;
      side = side * factor;
    }
    clock_digits_ = lexeme.text.size() == 2 && lexeme.extra < 0;
    node.value = static_cast<int>(tree_.values.size());
    tree_.values.push_back(std::move(q));
    const bool integer = lexeme.extra < 0 && lexeme.exponent == 0;
    ++at_;
    // 2 1/2
    if (integer && peek() == Token::number && here().spaced && here().extra < 0 &&
        peek(1) == Token::slash && peek(2) == Token::number && in_[at_ + 2].extra < 0) {
      const int whole = tree_.add(std::move(node));
      const int top = plain_integer(), bottom = (++at_, plain_integer());
      const int fraction = tree_.add(Kind::divide, {top, bottom});
      return proper(fraction) ? tree_.add(Kind::plus, {whole, fraction}) : -1;
    }
    if (peek() == Token::number) return -1;  // 1 2 3
    last_number_end_ = at_;
    return tree_.add(std::move(node));
  }
  int plain_integer() {
    Node node;
    node.kind = Kind::number;
    node.extra = -1;
    Rational q;
    for (char c : here().text) digit(q.numerator, c);
    ++at_;
    node.value = static_cast<int>(tree_.values.size());
    tree_.values.push_back(std::move(q));
    return tree_.add(std::move(node));
  }
  static void digit(Natural& n, char c) { multiply_add(n, 10, static_cast<uint32_t>(c - '0')); }

  // 2516_8, \text{A5}_{11}: at the underscore.
  int based(const std::string& digits) {
    ++at_;
    const bool group = take(Token::group_open);
    int base = 0;
    if (peek() == Token::number && here().extra < 0 && here().text.size() <= 2) {
      base = std::stoi(here().text);
    } else if (peek() == Token::text || peek() == Token::word) {
      static const char* const names[] = {"two",   "three", "four", "five",   "six",   "seven",
                                          "eight", "nine",  "ten",  "eleven", "twelve"};
      for (int k = 0; k < 11; ++k) {
        if (here().text == names[k]) base = k + 2;
      }
    }
    if (base < 2 || base > 36) return -1;
    ++at_;
    if (group && !take(Token::group_close)) return -1;
    Node node;
    node.kind = Kind::based;
    node.extra = base;
    for (char c : digits) {
      const int d = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'A' && c <= 'Z' ? c - 'A' + 10
                    : c >= 'a' && c <= 'z' ? c - 'a' + 10
                                           : 99;
      if (d >= base) return -1;
      if (node.text.empty() && d == 0) continue;
      node.text += static_cast<char>(d < 10 ? '0' + d : 'A' + d - 10);
    }
    return tree_.add(std::move(node));
  }

  int named(const std::string& name) {
    Node node;
    node.kind = Kind::symbol;
    node.text = name;
    node.id = hash_name(name);
    return tree_.add(std::move(node));
  }

  // A variable with its subscript and primes: x_1, S_{MBCN}, f'.
  int symbol() {
    std::string name = here().text;
    ++at_;
    if (peek() == Token::underscore) {
      ++at_;
      name += '_';
      if (!subscript(name)) return -1;
    }
    while (take(Token::prime)) name += '\'';
    return named(name);
  }
  bool subscript(std::string& name) {
    const auto one = [&] {
      const Token t = peek();
      if (t == Token::number || t == Token::symbol || t == Token::word || t == Token::text) {
        name += here().text;
      } else if (t == Token::euler || t == Token::imaginary) {
        name += t == Token::euler ? 'e' : 'i';
      } else if (t == Token::plus || t == Token::minus || t == Token::comma) {
        name += t == Token::plus ? '+' : t == Token::minus ? '-' : ',';
      } else {
        return false;
      }
      ++at_;
      return true;
    };
    if (!take(Token::group_open)) return one();
    while (peek() != Token::group_close) {
      if (!one()) return false;
    }
    ++at_;
    return true;
  }

  int bracket() {
    const char open = here().text[0];
    ++at_;
    const int in_set = in_set_, bars = bars_;
    in_set_ = bars_ = 0;
    const int inner = answers_or_choose(Token::close);
    in_set_ = in_set;
    bars_ = bars;
    if (inner < 0 || peek() != Token::close) return -1;
    const char close = here().text[0];
    ++at_;
    if (tree_[inner].kind != Kind::list) {
      return (open == '(') == (close == ')') ? inner : -1;
    }
    Node node;
    node.kind = Kind::tuple;
    node.text = {open, close};
    return tree_.add(std::move(node), children(inner));
  }

  // After \{. {x : x > 1} and {x | x > 1} are their conditions.
  int set() {
    if (take(Token::set_close)) return tree_.add(Kind::empty_set);
    ++in_set_;
    const int inner = answers(peek() == Token::end ? Token::end : Token::set_close);
    --in_set_;
    if (inner >= 0 && take(Token::set_close)) {
      if (tree_[inner].kind != Kind::list) return tree_.add(Kind::set, {inner});
      return tree_.add(Kind::set, children(inner));
    }
    return -1;
  }

  int magnitude() {
    const bool plain = peek() == Token::bar;
    ++at_;
    ++bars_;
    const int inner = sum();
    --bars_;
    if (inner < 0 || !(take(Token::bar_close) || (plain && take(Token::bar)))) return -1;
    return wrap(Kind::magnitude, inner);
  }

  int enclosed(Kind kind, Token closer) {
    ++at_;
    const int inner = sum();
    return inner >= 0 && take(closer) ? wrap(kind, inner) : -1;
  }

  int root() {
    ++at_;
    int degree = -1;
    if (peek() == Token::open && here().text == "[") {
      ++at_;
      degree = sum();
      if (degree < 0 || peek() != Token::close || here().text != "]") return -1;
      ++at_;
    }
    const int radicand = argument();
    if (radicand < 0) return -1;
    return degree < 0 ? wrap(Kind::root, radicand) : pair(Kind::root, radicand, degree);
  }

  // sin x, \sin^2 x, \log_2 8, \sin 2x: the argument runs as far as factors follow each other.
  int call() {
    Node node;
    node.kind = Kind::call;
    node.id = here().id;
    ++at_;
    int exponent = -1, base = -1;
    while (peek() == Token::caret || peek() == Token::underscore || peek() == Token::superscript) {
      if (peek() == Token::superscript) {
        if (here().text.size() > 3 || here().text.find('-', 1) != std::string::npos ||
            here().text == "-") {
          return -1;
        }
        exponent = integer(std::stoi(here().text));
        ++at_;
        continue;
      }
      const bool up = peek() == Token::caret;
      int& place = up ? exponent : base;
      ++at_;
      // \log_28 is the logarithm of 8; log_10 100 and log_2(8) name their base whole.
      const bool whole = up || peek(1) == Token::number || peek(1) == Token::open;
      place = whole ? script() : argument();
      if (place < 0) return -1;
    }
    if (base >= 0 && node.id != kLog) return -1;
    int argument;
    if (peek() == Token::open || peek() == Token::group_open || peek() == Token::bar_open) {
      argument = factor_without_postfix();
    } else {
      argument = factor(true);
      while (argument >= 0 && starts_factor() && peek() != Token::function &&
             peek() != Token::open) {
        argument = pair(Kind::times, argument, factor(false));
      }
    }
    if (argument < 0) return -1;
    const uint64_t inverse[] = {kArcsin, kArccos, kArctan};
    if (exponent >= 0 && node.id <= kTan && tree_[exponent].kind == Kind::negate &&
        literal(tree_.child(exponent, 0)) && value(tree_.child(exponent, 0)).numerator.one()) {
      node.id = inverse[node.id];
      exponent = -1;
    }
    const int result = base < 0 ? tree_.add(std::move(node), {argument})
                                : tree_.add(std::move(node), {argument, base});
    return exponent < 0 ? result : tree_.add(Kind::power, {result, exponent});
  }

  // \sum_{k=1}^{n} k^2, \lim_{x \to 0} f: read, never evaluated.
  int opaque() {
    Node node;
    node.kind = Kind::opaque;
    node.id = here().id;
    ++at_;
    std::vector<int> parts;
    while (peek() == Token::caret || peek() == Token::underscore) {
      node.extra = node.extra * 3 + (peek() == Token::caret ? 1 : 2);
      ++at_;
      int part;
      if (take(Token::group_open)) {
        part = answers(Token::group_close);
        if (!take(Token::group_close)) return -1;
      } else {
        part = script();
      }
      if (part < 0) return -1;
      parts.push_back(part);
    }
    const int body = ++depth_ > kMaxDepth ? -1 : term();
    --depth_;
    if (body < 0) return -1;
    parts.push_back(body);
    return tree_.add(std::move(node), parts);
  }

  int environment() {
    const std::string name = here().text;
    ++at_;
    if (name == "cases" || name == "aligned" || name == "align*" || name == "gathered") {
      const int inner = answers(Token::finish);
      return inner >= 0 && take(Token::finish) ? inner : -1;
    }
    if (name != "pmatrix" && name != "bmatrix" && name != "matrix" && name != "array" &&
        name != "Bmatrix" && name != "smallmatrix") {
      return -1;
    }
    std::vector<int> cells;
    int columns = 0, row = 0;
    while (peek() != Token::finish) {
      const int cell = sum();
      if (cell < 0) return -1;
      cells.push_back(cell);
      ++row;
      if (take(Token::ampersand)) continue;
      if (columns == 0) columns = row;
      if (row != columns) return -1;
      row = 0;
      if (!take(Token::line_end) && peek() != Token::finish) return -1;
    }
    ++at_;
    if (cells.empty() || row != 0) return -1;
    Node node;
    node.kind = Kind::matrix;
    node.extra = columns;
    return tree_.add(std::move(node), cells);
  }

  std::vector<Lexeme> in_;
  Tree tree_;
  size_t at_ = 0;
  size_t last_number_end_ = SIZE_MAX;
  int depth_ = 0;
  int bars_ = 0;    // plain | that are open
  int in_set_ = 0;  // in a set, : and | mean "such that"
  bool clock_digits_ = false;
};

}  // namespace

std::optional<Tree> parse(std::string_view text) {
  std::vector<Lexeme> lexemes;
  if (!tokenize(text, lexemes)) return std::nullopt;
  return Parser(std::move(lexemes)).whole();
}

}  // namespace hone::math
