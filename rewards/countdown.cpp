// `countdown`: 1 for an expression that uses each of the problem's `numbers` exactly once and
// whose value is `target`.
//
// The expression has + - * /, parentheses, plain decimal integers and spaces, nothing else; "= 24"
// may follow if it is the target. Values are exact rationals. The numbers are compared before
// anything is computed, so only the problem's own numbers are ever computed with, and the parser
// keeps its own stack, so neither depth nor size of an answer can hurt.
//
// partial=0.1 pays that much for an expression that is wrong (TinyZero's format score).

#include <algorithm>

#include "rewards/builtin.h"
#include "rewards/extraction.h"
#include "rewards/rational.h"

namespace hone {
namespace {

constexpr size_t kMaxExpression = 4000;  // bytes
constexpr size_t kMaxNumbers = 64;

// A token is an operand ('n') or one of "+-*/()"; 'm' is a minus sign with one operand.
struct Token {
  char kind;
  int64_t value = 0;
};

bool read_integer(std::string_view text, size_t& i, int64_t& value) {
  const size_t start = i;
  value = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    if (i - start == 15) return false;
    value = value * 10 + (text[i] - '0');
  }
  return i > start && (text[start] != '0' || i - start == 1);  // 007 is not a number here
}

// Checks the grammar as it goes: after each token either an operand or an operator may come.
bool tokenize(std::string_view text, std::vector<Token>& tokens) {
  bool operand_next = true;
  size_t open = 0;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      ++i;
      continue;
    }
    Token token{c};
    if (operand_next && c >= '0' && c <= '9') {
      token.kind = 'n';
      if (!read_integer(text, i, token.value)) return false;
      operand_next = false;
    } else if (operand_next && (c == '(' || c == '-')) {
      open += c == '(';
      token.kind = c == '-' ? 'm' : '(';
      ++i;
    } else if (!operand_next && (c == '+' || c == '-' || c == '*' || c == '/')) {
      operand_next = true;
      ++i;
    } else if (!operand_next && c == ')' && open > 0) {
      --open;
      ++i;
    } else {
      return false;
    }
    tokens.push_back(token);
  }
  return !operand_next && open == 0;
}

int rank(char op) { return op == 'm' ? 3 : op == '*' || op == '/' ? 2 : op == '(' ? 0 : 1; }

bool apply(char op, std::vector<Rational>& values) {
  Rational right = std::move(values.back());
  values.pop_back();
  if (op == 'm') {
    values.push_back(Rational(0) - right);
    return true;
  }
  Rational& left = values.back();
  if (op == '/') {
    std::optional<Rational> quotient = divide(left, right);
    if (!quotient) return false;
    left = std::move(*quotient);
  } else {
    left = op == '+' ? left + right : op == '-' ? left - right : left * right;
  }
  return true;
}

// Shunting-yard. None: a division by zero. REQUIRES: tokens from tokenize().
std::optional<Rational> evaluate(const std::vector<Token>& tokens) {
  std::vector<Rational> values;
  std::vector<char> ops;
  for (const Token& token : tokens) {
    if (token.kind == 'n') {
      values.emplace_back(token.value);
    } else if (token.kind == '(' || token.kind == 'm') {
      ops.push_back(token.kind);
    } else {
      const int level = token.kind == ')' ? 1 : rank(token.kind);
      while (!ops.empty() && rank(ops.back()) >= level) {
        if (!apply(ops.back(), values)) return std::nullopt;
        ops.pop_back();
      }
      if (token.kind == ')') {
        ops.pop_back();
      } else {
        ops.push_back(token.kind);
      }
    }
  }
  for (; !ops.empty(); ops.pop_back()) {
    if (!apply(ops.back(), values)) return std::nullopt;
  }
  return values.back();
}

struct Game {
  std::vector<int64_t> numbers;  // sorted
  int64_t target = 0;
};

constexpr int64_t kMaxValue = 1'000'000'000'000;  // of the problem's numbers

// The fields stand in the row, or in its `ground_truth` or `metadata`; `nums` is read as `numbers`.
std::optional<Game> read_game(const Problem& problem) {
  const Json* fields = &problem.fields;
  for (const char* nested : {"ground_truth", "metadata"}) {
    const auto inner = problem.fields.find(nested);
    if (!fields->contains("target") && inner != problem.fields.end() && inner->is_object()) {
      fields = &*inner;
    }
  }
  const auto numbers = fields->find(fields->contains("numbers") ? "numbers" : "nums");
  const auto target = fields->find("target");
  const auto readable = [](const Json& value, int64_t low) {
    return value.is_number_integer() && value.get<double>() <= kMaxValue &&
           value.get<double>() >= static_cast<double>(low);
  };
  Game game;
  if (numbers == fields->end() || target == fields->end() || !numbers->is_array() ||
      numbers->empty() || numbers->size() > kMaxNumbers || !readable(*target, -kMaxValue)) {
    return std::nullopt;
  }
  for (const Json& number : *numbers) {
    if (!readable(number, 0)) return std::nullopt;
    game.numbers.push_back(number.get<int64_t>());
  }
  std::sort(game.numbers.begin(), game.numbers.end());
  game.target = target->get<int64_t>();
  return game;
}

Score verdict(bool right, const char* reason) {
  Score score;
  score.value = right ? 1.0 : 0.0;
  if (!right) score.details["reason"] = reason;
  return score;
}

Score judge_expression(std::string_view answer, const Game& game) {
  if (answer.size() > kMaxExpression) return no_answer("too_long");
  const size_t equals = answer.find('=');
  std::vector<Token> tokens;
  if (!tokenize(answer.substr(0, equals), tokens)) return no_answer("not_an_expression");
  std::vector<int64_t> used;
  for (const Token& token : tokens) {
    if (token.kind == 'n') used.push_back(token.value);
  }
  std::sort(used.begin(), used.end());
  if (used != game.numbers) return verdict(false, "wrong_numbers");
  if (equals != std::string_view::npos) {
    std::string_view stated = trimmed(answer.substr(equals + 1));
    const bool minus = stated.starts_with('-');
    if (minus) stated.remove_prefix(1);
    size_t end = 0;
    int64_t value = 0;
    if (!read_integer(stated, end, value) || end != stated.size()) {
      return no_answer("not_an_expression");
    }
    if ((minus ? -value : value) != game.target) return verdict(false, "wrong_value");
  }
  const std::optional<Rational> value = evaluate(tokens);
  if (!value) return verdict(false, "division_by_zero");
  return verdict(*value == Rational(game.target), "wrong_value");
}

class CountdownRewarder : public Rewarder {
 public:
  CountdownRewarder(Extract mode, double partial) : mode_(mode), partial_(partial) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    for (const RewardItem& item : items) scores.push_back(judge(item));
    return scores;
  }
  bool thread_safe() const override { return true; }

 private:
  Score judge(const RewardItem& item) const {
    const std::optional<Game> game = read_game(*item.problem);
    if (!game) return null_score(Status::bad_reference, "needs numbers and target, integers");
    const Extraction found = extract_answer(item, mode_);
    if (found.candidates.empty()) return no_answer(found.reason);
    Score score = found.candidates.size() > 1 ? no_answer("hedged")
                                              : judge_expression(found.candidates.front(), *game);
    if (score.status == Status::ok && score.value == 0.0) score.value = partial_;
    score.details["answer"] = clipped(found.candidates.back());
    return score;
  }

  Extract mode_;
  double partial_;
};

}  // namespace

std::unique_ptr<Rewarder> make_countdown(const RewardSpec& spec) {
  return std::make_unique<CountdownRewarder>(
      static_cast<Extract>(choice_option(spec, "extract", extract_names(), "auto")),
      number_option(spec, "partial", 0.0));
}

}  // namespace hone
