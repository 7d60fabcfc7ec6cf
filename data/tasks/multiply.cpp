// multiply: two factors, by default of two digits each, worked by partial products.
//
//   Q: 76*27
//   A: <think>
//   70*20=1400
//   70*7=490
//   6*20=120
//   6*7=42
//   1400+490=1890
//   1890+120=2010
//   2010+42=2052
//   </think>
//   <answer>2052</answer>
//
// No factor is a multiple of ten: 70*20 and 76*20 are steps of other questions and must never be
// questions themselves, or the work on one problem would give away another that is held out.
#include <algorithm>

#include "base/error.h"
#include "data/tasks/corpus.h"
#include "data/tasks/tasks.h"

namespace hone {
namespace {

constexpr int64_t kPowers[] = {1, 10, 100, 1000, 10000};

std::string key_of(int64_t a, int64_t b) {
  return cat("mul:", std::min(a, b), "*", std::max(a, b));
}

// 307 -> 300, 7
std::vector<int64_t> digits_of(int64_t n) {
  std::vector<int64_t> out;
  for (int64_t power = 1; power <= n; power *= 10) {
    if (n / power % 10 != 0) out.insert(out.begin(), n / power % 10 * power);
  }
  return out;
}

class MultiplyQuestion : public Question {
 public:
  MultiplyQuestion(int64_t a, int64_t b) : a_(a), b_(b) {}
  std::string prompt() const override { return cat("Q: ", a_, "*", b_, "\nA:"); }
  std::string answer() const override { return std::to_string(a_ * b_); }
  std::string wrong(Rng& rng) const override { return std::to_string(slip_of(a_ * b_, rng)); }

  Worked work(Work kind, const CorpusMix& mix, Rng& rng) const override {
    Worked w;
    std::vector<int64_t> parts;
    const std::vector<int64_t> whole = {a_};
    for (int64_t x : kind == Work::brief ? whole : digits_of(a_)) {
      for (int64_t y : digits_of(b_)) {
        parts.push_back(claim(cat(x, "*", y), x * y, kind, mix, rng, w.lines));
      }
    }
    int64_t total = parts[0];
    for (size_t i = 1; i < parts.size(); ++i) {
      total = claim(cat(total, "+", parts[i]), total + parts[i], kind, mix, rng, w.lines);
    }
    w.answer = std::to_string(total);
    return w;
  }

 private:
  int64_t a_, b_;
};

class MultiplyTask : public Task {
 public:
  explicit MultiplyTask(TaskOptions& options) {
    // A one-digit factor would make the lines of the drills questions.
    a_digits_ = options.integer("a_digits", 2, 2, 4, "digits of the first factor");
    b_digits_ = options.integer("b_digits", 2, 2, 4, "digits of the second factor");
    heldout_ = options.integer("heldout", 512, 1, 1000000,
                               "problems of the held-out split, at most; all 2 x 2 are fewer");
    // Errors often enough, and checks often enough, that checked work pays: with fewer, training
    // settles on the short form.
    CorpusMix mix;
    mix.tagged[0] = 0.25, mix.tagged[1] = 0.15, mix.tagged[2] = 0.20, mix.tagged[3] = 0.40;
    mix.untagged[0] = 0.25, mix.untagged[1] = 0.30, mix.untagged[2] = 0.45;
    mix.slip[1] = 0.12, mix.slip[2] = 0.12;
    mix_ = read_mix(options, mix);
  }

  Problem problem(Split split, Rng& rng) const override {
    const auto [a, b] = draw(split, rng);
    const MultiplyQuestion question(a, b);
    Problem p;
    p.id = key_of(a, b);
    p.source = "multiply";
    p.prompt = question.prompt();
    p.fields = {{"prompt", p.prompt},
                {"answer", question.answer()},
                {"data_source", p.source},
                {"question", cat(a, "*", b)}};
    return p;
  }

  Document document(Rng& rng) const override {
    switch (draw_kind(mix_, rng)) {
      case DocumentKind::drill:
        return {drill(rng), 0};
      case DocumentKind::story:
        return {write_story(rng), 0};
      default: {
        const auto [a, b] = draw(Split::train, rng);
        return {write_question(MultiplyQuestion(a, b), mix_, rng), 0};
      }
    }
  }

  int64_t heldout_size() const override { return heldout_; }

 private:
  static int64_t factor(int64_t digits, Rng& rng) {
    while (true) {
      const int64_t n = rng.between(kPowers[digits - 1], kPowers[digits] - 1);
      if (n % 10 != 0) return n;
    }
  }

  std::pair<int64_t, int64_t> draw(Split split, Rng& rng) const {
    while (true) {
      const int64_t a = factor(a_digits_, rng), b = factor(b_digits_, rng);
      if (held_out(key_of(a, b)) == (split == Split::heldout)) return {a, b};
    }
  }

  // Eight lines of one sub-skill: one digit by one digit with their zeros, the first factor by one
  // digit, or adding.
  std::string drill(Rng& rng) const {
    const uint64_t kind = rng.below(3);
    std::string out;
    for (int i = 0; i < 8; ++i) {
      if (i > 0) out += "\n";
      if (kind == 0) {
        const int64_t a = rng.between(1, 9) * kPowers[rng.below(a_digits_)];
        const int64_t b = rng.between(1, 9) * kPowers[rng.below(b_digits_)];
        out += cat(a, "*", b, "=", a * b);
      } else if (kind == 1) {
        const int64_t a = factor(a_digits_, rng), c = rng.between(1, 9);
        out += cat(a, "*", c, "=", a * c);
      } else {
        out += add_drill(rng);
      }
    }
    return out;
  }

  int64_t a_digits_, b_digits_, heldout_;
  CorpusMix mix_;
};

}  // namespace

std::unique_ptr<Task> make_multiply(TaskOptions& options) {
  return std::make_unique<MultiplyTask>(options);
}

}  // namespace hone
