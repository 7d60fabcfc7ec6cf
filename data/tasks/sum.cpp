// sum: add several numbers, by default five of two digits.
//
//   Q: 37+58+64+29+71
//   A: <think>
//   37+58=80+15=95
//   95+64=150+9=159
//   159+29=170+18=188
//   188+71=250+9=259
//   </think>
//   <answer>259</answer>
#include <algorithm>

#include "base/error.h"
#include "data/tasks/corpus.h"
#include "data/tasks/tasks.h"

namespace hone {
namespace {

std::string joined(const std::vector<int64_t>& numbers) {
  std::string out;
  for (int64_t n : numbers) out += (out.empty() ? "" : "+") + std::to_string(n);
  return out;
}

std::string key_of(std::vector<int64_t> operands) {
  std::sort(operands.begin(), operands.end());
  return "sum:" + joined(operands);
}

class SumQuestion : public Question {
 public:
  explicit SumQuestion(std::vector<int64_t> operands) : operands_(std::move(operands)) {
    for (int64_t n : operands_) sum_ += n;
  }
  std::string prompt() const override { return "Q: " + joined(operands_) + "\nA:"; }
  std::string answer() const override { return std::to_string(sum_); }
  std::string wrong(Rng& rng) const override { return std::to_string(slip_of(sum_, rng)); }

  Worked work(Work kind, const CorpusMix& mix, Rng& rng) const override {
    Worked w;
    int64_t total = operands_[0];
    if (kind == Work::brief) {  // two more operands a line
      for (size_t i = 1; i < operands_.size(); i += 2) {
        std::string left = cat(total, "+", operands_[i]);
        int64_t value = total + operands_[i];
        if (i + 1 < operands_.size()) {
          left += cat("+", operands_[i + 1]);
          value += operands_[i + 1];
        }
        total = claim(left, value, kind, mix, rng, w.lines);
      }
    } else {
      for (size_t i = 1; i < operands_.size(); ++i) {
        total =
            claim(split_sum(total, operands_[i]), total + operands_[i], kind, mix, rng, w.lines);
      }
    }
    w.answer = std::to_string(total);
    return w;
  }

 private:
  std::vector<int64_t> operands_;
  int64_t sum_ = 0;
};

class SumTask : public Task {
 public:
  explicit SumTask(TaskOptions& options) {
    // From three operands on no line of the work is itself a question of this task.
    count_ = options.integer("operands", 5, 3, 32, "numbers to add");
    min_ = options.integer("min", 11, 0, 1000000, "smallest number");
    max_ = options.integer("max", 99, 0, 1000000, "largest number");
    heldout_ = options.integer("heldout", 512, 1, 1000000, "problems of the held-out split");
    mix_ = read_mix(options, CorpusMix{});
    if (max_ < min_ + 9) {
      throw UserError(
          cat("task sum: expected max to be at least min + 9, found min ", min_, ", max ", max_));
    }
  }

  Problem problem(Split split, Rng& rng) const override {
    const std::vector<int64_t> operands = draw(split, rng);
    const SumQuestion question(operands);
    Problem p;
    p.id = key_of(operands);
    p.source = "sum";
    p.prompt = question.prompt();
    p.fields = {{"prompt", p.prompt},
                {"answer", question.answer()},
                {"data_source", p.source},
                {"question", joined(operands)}};
    return p;
  }

  Document document(Rng& rng) const override {
    switch (draw_kind(mix_, rng)) {
      case DocumentKind::drill:
        return {drill(rng), 0};
      case DocumentKind::story:
        return {write_story(rng), 0};
      default:
        return {write_question(SumQuestion(draw(Split::train, rng)), mix_, rng), 0};
    }
  }

  int64_t heldout_size() const override { return heldout_; }

 private:
  std::vector<int64_t> draw(Split split, Rng& rng) const {
    std::vector<int64_t> operands(count_);
    do {
      for (int64_t& n : operands) n = rng.between(min_, max_);
    } while (held_out(key_of(operands)) != (split == Split::heldout));
    return operands;
  }

  // Eight lines of one sub-skill: adding, subtracting, or adding to a running sum by tens and ones.
  std::string drill(Rng& rng) const {
    static const double weights[] = {0.3, 0.2, 0.5};
    const size_t kind = draw_weighted(weights, 3, rng);
    std::string out;
    for (int i = 0; i < 8; ++i) {
      if (i > 0) out += "\n";
      if (kind == 0) {
        out += add_drill(rng);
      } else if (kind == 1) {
        const int64_t a = rng.between(10, 999), b = rng.between(1, a);
        out += cat(a, "-", b, "=", a - b);
      } else {
        const int64_t sum = rng.between(min_, (count_ - 1) * max_), n = rng.between(min_, max_);
        out += cat(split_sum(sum, n), "=", sum + n);
      }
    }
    return out;
  }

  int64_t count_, min_, max_, heldout_;
  CorpusMix mix_;
};

}  // namespace

std::string add_drill(Rng& rng) {
  static const int64_t powers[] = {1, 10, 100, 1000, 10000};
  const int64_t p = rng.between(0, 3), q = rng.between(0, 3);
  const int64_t a = rng.between(powers[p], powers[p + 1] - 1);
  const int64_t b = rng.between(powers[q], powers[q + 1] - 1);
  return cat(a, "+", b, "=", a + b);
}

std::unique_ptr<Task> make_sum(TaskOptions& options) { return std::make_unique<SumTask>(options); }

}  // namespace hone
