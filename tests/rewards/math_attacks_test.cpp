// Answers written to cost time, memory or a crash: all are judged within the budgets.

#include <catch2/catch_test_macros.hpp>
#include <ctime>
#include <thread>

#include "rewards/math/compare.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

std::string times(const std::string& part, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += part;
  return text;
}

#ifdef HONE_SANITIZE
constexpr double kSlack = 30;
#else
constexpr double kSlack = 1;
#endif

std::vector<std::string> attacks() {
  return {"9^{9^{9^{9^9}}}",
          "2^{2^{2^{2^{2^{2}}}}}",
          "((11^{1111111})^{1111111111})^{1111111111}",
          "((\\sqrt{2}^{1111111111})^{1111111111})^{1111111111}",
          times("9^{", 50) + "9" + times("}", 50),
          "10^{9}!",
          "(10^9)!",
          "3000!" + times("\\cdot 3000!", 100),
          "((3000)!)!",
          times("(", 55) + "9" + times("!)", 55),
          "\\binom{1000000000}{500000000}",
          "\\binom{100000}{3000}" + times("+\\binom{99999}{3000}", 50),
          "\\sum_{k=1}^{10^{12}} \\frac{1}{k}",
          "(a+b+c+d+e+f+g+h)^{60}",
          "(x+1)^{1000000000000}",
          "(1+\\sqrt2)^{1000000000000}",
          times("(1+\\sqrt{", 40) + "2" + times("})", 40),
          times("\\sqrt{2+", 50) + "2" + times("}", 50),
          times("\\sin(", 50) + "1" + times(")", 50),
          times("\\ln(2+", 50) + "1" + times(")", 50),
          "\\ln 2" + times("+\\ln 3", 400),
          "\\ln x" + times("+\\ln x", 400),
          "\\sqrt{x}" + times("\\cdot\\sqrt{x+1}", 200),
          times("e^", 100) + "1",
          "e^{e^{e^{e^{e}}}}",
          "e^{-e^{e^{e^{e}}}}",
          "\\sin(10^{300})",
          "1e400" + times("+1e400", 500),
          "1e-400" + times("\\cdot 1e-400", 500),
          "1/3" + times("+1/7919", 300),
          "\\frac{1}{2}" + times("+\\frac{1}{3}", 250),
          times("\\frac{1}{", 400) + "42" + times("}", 400),
          times("(", 3000) + "42" + times(")", 3000),
          times("{", 3000) + "42" + times("}", 3000),
          times("|", 1999),
          times("-", 3000) + "42",
          "x" + times("^-", 1500) + "1",
          std::string(200000, '9'),
          std::string(3900, '9'),
          std::string(999, '9') + "^{999}",
          "0." + std::string(900, '3'),
          "0.\\overline{" + std::string(900, '7') + "}",
          times("1,", 1900) + "1",
          times("\\sqrt{2},", 60) + "1",
          times("\\ln 2,", 60) + "1",
          times("1/x,", 63) + "1",
          times("1\\pm ", 60) + "1",
          "\\{" + times("1\\pm\\sqrt2,", 60) + "3\\}",
          times("(0,1)\\cup", 39) + "(0,1)",
          "\\begin{pmatrix}" + times("1&", 500) + "1\\end{pmatrix}",
          times("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", 60),
          times("\\begin{pmatrix}x&2\\\\3&y\\end{pmatrix}", 20),
          times("\\boxed{", 500) + "42",
          times("\\text{", 500) + "42",
          times("a_{", 500) + "1",
          times("\\left(", 1000),
          times("$", 4000),
          times("\\\\", 1900),
          std::string(3000, '\0'),
          "\xff\xfe\xfd",
          "__import__('os').system('id')",
          "\\input{/etc/passwd}",
          "\\write18{rm -rf /}",
          "eval(compile('42','','eval'))"};
}

}  // namespace

// Of this thread alone: other tests' workers may still be ending.
double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

TEST_CASE("attacks in boxes are judged in milliseconds and not paid") {
  for (const std::string& attack : attacks()) {
    INFO(attack.substr(0, 80));
    for (const char* reference : {"42", "\\frac{\\sqrt{3}}{2}", "x^2+1", "1,2,3", "(0,1)"}) {
      const Problem problem = problem_of({{"answer", reference}});
      double best = 1e9;
      for (int i = 0; i < 3; ++i) {
        const double start = thread_seconds();
        CHECK(unpaid(judge("math", problem, "\\boxed{" + attack + "}")));
        best = std::min(best, thread_seconds() - start);
        if (best < 0.02 * kSlack) break;
      }
      CHECK(best < 0.02 * kSlack);
    }
  }
}

TEST_CASE("attacks as references neither crash nor take long") {
  for (const std::string& attack : attacks()) {
    INFO(attack.substr(0, 80));
    const Problem problem = problem_of({{"answer", attack}});
    double best = 1e9;
    for (int i = 0; i < 3 && best >= 0.02 * kSlack; ++i) {
      const double start = thread_seconds();
      judge("math", problem, "\\boxed{" + attack + "}");
      best = std::min(best, thread_seconds() - start);
    }
    CHECK(best < 0.02 * kSlack);
  }
}

TEST_CASE("the verdict is the same from any thread and at any load") {
  const auto rewarder = make_rewarder(parse_reward_spec("math"));
  CHECK(rewarder->thread_safe());
  std::vector<Problem> problems;
  std::vector<Completion> completions;
  for (const char* answer : {"\\sqrt{2+\\sqrt3}", "\\ln 2", "\\tan^2 y + 1", "x^2-1", "1,2", "7"}) {
    problems.push_back(problem_of({{"answer", answer}}));
  }
  for (const std::string& answer : attacks()) {
    completions.emplace_back();
    completions.back().text = "\\boxed{" + answer + "}";
  }
  for (const char* answer : {"\\frac{\\sqrt6+\\sqrt2}{2}", "\\frac{\\ln 4}{2}", "\\sec^2 y",
                             "(x-1)(x+1)", "2,1", "7.0"}) {
    completions.emplace_back();
    completions.back().text = std::string("\\boxed{") + answer + "}";
  }
  std::vector<RewardItem> items;
  for (const Problem& problem : problems) {
    for (const Completion& completion : completions) {
      items.push_back({&problem, &completion, "", {}});
    }
  }
  const auto verdicts = [&] {
    std::string text;
    for (const Score& score : rewarder->score(items)) {
      text += score.value == 1.0 ? '1' : '0';
      text += to_string(score.status)[0];
    }
    return text;
  };
  const std::string alone = verdicts();
  std::vector<std::string> together(4);
  std::vector<std::thread> threads;
  for (std::string& out : together) threads.emplace_back([&] { out = verdicts(); });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& verdict : together) CHECK(verdict == alone);
}
