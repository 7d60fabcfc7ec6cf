// countdown: reach a target with all of the given numbers, each once, by + - * /.
//
//   Q: 3 7 25 50 -> 32
//   A: <think>
//   50-25=25 25*3=75 75-7=68 no
//   25-7=18 18*3=54 50+54=104 no
//   25*3=75 75-50=25 25+7=32 ok
//   </think>
//   <answer>25*3-50+7</answer>
//
// Long work is a search: tries, one a line, until one reaches the target. A try that uses all
// numbers is also a solution for the value it ends with, so tries that would solve a held-out
// problem are not made.
#include <algorithm>

#include "base/error.h"
#include "data/tasks/corpus.h"
#include "data/tasks/tasks.h"

namespace hone {
namespace {

struct Step {
  int64_t left, right, value;
  char op;
};

// One way to combine all numbers.
struct Try {
  std::vector<Step> steps;
  std::string expression;
  int64_t value = 0;
};

struct Term {
  int64_t value;
  std::string text;
  int strength;  // 1: sum or difference, 2: product or quotient, 3: a number
};

std::string in_brackets_if(bool needed, const Term& t) {
  return needed ? "(" + t.text + ")" : t.text;
}

Term combine(const Term& a, const Term& b, char op, int64_t value) {
  const int strength = op == '+' || op == '-' ? 1 : 2;
  const bool strict = op == '-' || op == '/';
  return {value,
          in_brackets_if(a.strength < strength, a) + op +
              in_brackets_if(b.strength < strength || (strict && b.strength == strength), b),
          strength};
}

constexpr int64_t kLargest = 999;  // of intermediate values: what the base can calculate

// Whole positive results only.
bool apply(int64_t a, int64_t b, char op, int64_t& value) {
  switch (op) {
    case '+':
      value = a + b;
      break;
    case '-':
      value = a - b;
      break;
    case '*':
      value = a * b;
      break;
    default:
      if (b < 2 || a % b != 0) return false;
      value = a / b;
  }
  return value >= 1 && value <= kLargest;
}

Try random_try(const std::vector<int64_t>& numbers, Rng& rng) {
  std::vector<Term> terms;
  for (int64_t n : numbers) terms.push_back({n, std::to_string(n), 3});
  Try t;
  while (terms.size() > 1) {
    const size_t i = rng.below(terms.size());
    size_t j = rng.below(terms.size() - 1);
    if (j >= i) ++j;
    const char op = "+-*/"[rng.below(4)];
    int64_t value;
    if (!apply(terms[i].value, terms[j].value, op, value)) continue;
    t.steps.push_back({terms[i].value, terms[j].value, value, op});
    terms[i] = combine(terms[i], terms[j], op, value);
    terms.erase(terms.begin() + static_cast<ptrdiff_t>(j));
  }
  t.expression = terms[0].text;
  t.value = terms[0].value;
  return t;
}

std::string joined(const std::vector<int64_t>& numbers, const char* between) {
  std::string out;
  for (int64_t n : numbers) out += (out.empty() ? "" : between) + std::to_string(n);
  return out;
}

std::string key_of(std::vector<int64_t> numbers, int64_t target) {
  std::sort(numbers.begin(), numbers.end());
  return cat("cd:", joined(numbers, ","), ":", target);
}

class CountdownQuestion : public Question {
 public:
  CountdownQuestion(std::vector<int64_t> numbers, Try solution)
      : numbers_(std::move(numbers)), solution_(std::move(solution)) {}
  std::string prompt() const override {
    return cat("Q: ", joined(numbers_, " "), " -> ", solution_.value, "\nA:");
  }
  std::string answer() const override { return solution_.expression; }
  std::string wrong(Rng& rng) const override { return failing_try(rng).expression; }

  Worked work(Work kind, const CorpusMix& mix, Rng& rng) const override {
    Worked w;
    const double slip = mix.slip[static_cast<int>(kind) - 1];
    if (kind == Work::brief) {  // one try, whether it reaches the target or not
      const Try t = rng.chance(slip) ? failing_try(rng) : solution_;
      w.lines.push_back(line(t, 0, kind, rng));
      w.answer = t.expression;
      return w;
    }
    for (int64_t tries = rng.between(0, 4); tries > 0; --tries) {
      const Try t = failing_try(rng);
      if (kind == Work::steps && rng.chance(slip)) {
        // The last step is miscalculated and seems to reach the target.
        Try mistaken = t;
        mistaken.steps.back().value = solution_.value;
        w.lines.push_back(line(mistaken, slip, kind, rng) + " ok");
        w.answer = t.expression;
        return w;
      }
      w.lines.push_back(line(t, slip, kind, rng) + " no");
    }
    w.lines.push_back(line(solution_, slip, kind, rng) + " ok");
    w.answer = solution_.expression;
    return w;
  }

 private:
  // A try that ends elsewhere, and not at a held-out problem of the same numbers.
  Try failing_try(Rng& rng) const {
    while (true) {
      Try t = random_try(numbers_, rng);
      if (t.value != solution_.value && !held_out(key_of(numbers_, t.value))) return t;
    }
  }

  // "50-25=25 25*3=75"; checked work notices a slip: "25*3=65 wait 75".
  static std::string line(const Try& t, double slip, Work kind, Rng& rng) {
    std::string out;
    for (const Step& s : t.steps) {
      out += cat(out.empty() ? "" : " ", s.left, s.op, s.right, "=");
      if (kind == Work::check && rng.chance(slip)) out += cat(slip_of(s.value, rng), " wait ");
      out += std::to_string(s.value);
    }
    return out;
  }

  std::vector<int64_t> numbers_;
  Try solution_;
};

class CountdownTask : public Task {
 public:
  explicit CountdownTask(TaskOptions& options) {
    count_ = options.integer("numbers", 4, 3, 6, "numbers to combine");
    max_ = options.integer("max", 50, 10, 99, "largest number");
    target_min_ = options.integer("target_min", 10, 1, 99, "smallest target");
    target_max_ = options.integer("target_max", 99, 10, kLargest, "largest target");
    heldout_ = options.integer("heldout", 512, 1, 1000000, "problems of the held-out split");
    mix_ = read_mix(options, CorpusMix{});
    if (target_max_ < target_min_ + 9) {
      throw UserError(
          cat("task countdown: expected target_max to be at least target_min + 9, found ",
              target_min_, " and ", target_max_));
    }
  }

  Problem problem(Split split, Rng& rng) const override {
    const auto [numbers, solution] = draw(split, rng);
    Problem p;
    p.id = key_of(numbers, solution.value);
    p.source = "countdown";
    p.prompt = CountdownQuestion(numbers, solution).prompt();
    p.fields = {{"prompt", p.prompt},
                {"numbers", numbers},
                {"target", solution.value},
                {"data_source", p.source},
                {"question", cat(joined(numbers, " "), " -> ", solution.value)}};
    return p;
  }

  Document document(Rng& rng) const override {
    switch (draw_kind(mix_, rng)) {
      case DocumentKind::drill:
        return {drill(rng), 0};
      case DocumentKind::story:
        return {write_story(rng), 0};
      default: {
        const auto [numbers, solution] = draw(Split::train, rng);
        return {write_question(CountdownQuestion(numbers, solution), mix_, rng), 0};
      }
    }
  }

  int64_t heldout_size() const override { return heldout_; }

 private:
  // Solvable by construction: the target is where a random try ended.
  std::pair<std::vector<int64_t>, Try> draw(Split split, Rng& rng) const {
    while (true) {
      std::vector<int64_t> numbers(count_);
      for (int64_t& n : numbers) n = rng.between(1, max_);
      Try t = random_try(numbers, rng);
      if (t.value < target_min_ || t.value > target_max_) continue;
      if (held_out(key_of(numbers, t.value)) != (split == Split::heldout)) continue;
      return {numbers, t};
    }
  }

  // Eight lines with one operator.
  std::string drill(Rng& rng) const {
    const char op = "+-*/"[rng.below(4)];
    std::string out;
    for (int lines = 0; lines < 8;) {
      int64_t a = rng.between(1, 99), b = rng.between(1, max_), value;
      if (op == '/') a = b * rng.between(1, std::max<int64_t>(1, 99 / b));
      if (!apply(a, b, op, value)) continue;
      out += cat(lines > 0 ? "\n" : "", a, op, b, "=", value);
      ++lines;
    }
    return out;
  }

  int64_t count_, max_, target_min_, target_max_, heldout_;
  CorpusMix mix_;
};

}  // namespace

std::unique_ptr<Task> make_countdown(TaskOptions& options) {
  return std::make_unique<CountdownTask>(options);
}

}  // namespace hone
