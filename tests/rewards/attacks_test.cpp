// Size and published attacks.

#include <catch2/catch_test_macros.hpp>
#include <ctime>
#include <filesystem>
#include <functional>

#include "base/file.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

std::string repeated(const std::string& part, size_t bytes) {
  std::string text;
  while (text.size() < bytes) text += part;
  return text;
}

#ifdef HONE_SANITIZE
constexpr double kSlack = 20;
#else
constexpr double kSlack = 1;
#endif

// Processor time, the best of three, since other work may be running.
double seconds_of(const std::string& spec, const std::string& text) {
  const Problem problem = problem_of({{"answer", "42"}, {"numbers", {4, 6}}, {"target", 24}});
  double best = 1e9;
  for (int i = 0; i < 3; ++i) {
    const std::clock_t start = std::clock();
    judge(spec, problem, text);
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return best;
}

// Rows of a file of published attacks, or a skip.
void each_row(const std::string& name, const std::function<void(const Json&)>& row) {
  const std::string path = std::string(HONE_TEST_DIR) + "/../../shared/graders/" + name;
  if (!std::filesystem::exists(path)) SKIP("no file " << path);
  for_each_line(path, [&](int64_t, const std::string& line) {
    const Json value = Json::parse(line);
    INFO(line);
    row(value);
  });
}

}  // namespace

TEST_CASE("megabytes of anything are judged in linear time") {
  const size_t size = 10'000'000, part_size = 2'000'000;
  const std::vector<std::string> parts = {"a ",
                                          "<",
                                          "\\",
                                          "{",
                                          "}",
                                          "#",
                                          "####",
                                          "\\boxed{",
                                          "\\boxed{1}",
                                          "\\boxed{42} ",
                                          "<think>",
                                          "</think>",
                                          "<think></think>",
                                          "<answer>",
                                          "<answer>1</answer>",
                                          "9",
                                          "1,",
                                          "answer: ",
                                          "(",
                                          "-",
                                          "$",
                                          "\\frac{",
                                          ".",
                                          "\n",
                                          "1 "};
  for (const char* spec :
       {"math", "math:extract=last_number", "math:extract=hash", "exact", "countdown", "choice",
        "logic", "format:pattern=r1_zero", "format:pattern=tags", "format:pattern=open_r1",
        "format:pattern=tag_count"}) {
    INFO(spec);
    CHECK(seconds_of(spec, repeated("plain words and 12 numbers. ", size)) < 0.1 * kSlack);
    for (const std::string& part : parts) {
      INFO(part);
      CHECK(seconds_of(spec, repeated(part, part_size)) < 0.1 * kSlack);
    }
  }
}

TEST_CASE("megabytes of words are counted in linear time") {
  for (const char* spec : {"language:language=en", "language:language=zh", "repetition"}) {
    INFO(spec);
    for (const char* part : {"plain words and 12 numbers. ", "a ", "$", "$ ", "`", "```", "\\(",
                             "\\[ a", "<", "<a>", "\xE6\x95\xB0", "\xFF", "\n", "$ab cd ef gh"}) {
      INFO(part);
      CHECK(seconds_of(spec, repeated(part, 2'000'000)) < 1.0 * kSlack);
    }
  }
}

TEST_CASE("nesting of any depth is refused, not followed") {
  const size_t depth = 100'000;
  for (const char* spec : {"math", "countdown", "exact"}) {
    const Problem problem = problem_of({{"answer", "42"}, {"numbers", {42}}, {"target", 42}});
    const std::string parens = std::string(depth, '(') + "42" + std::string(depth, ')');
    CHECK(unpaid(judge(spec, problem, "\\boxed{" + parens + "}")));
    CHECK(unpaid(
        judge(spec, problem, repeated("\\boxed{", 7 * depth) + "42" + std::string(depth, '}'))));
    CHECK(unpaid(
        judge(spec, problem, repeated("\\frac{1}{", 9 * depth) + "42" + std::string(depth, '}'))));
    CHECK(unpaid(judge(spec, problem,
                       repeated("<answer>", 8 * depth) + "42" + repeated("</answer>", 9 * depth))));
  }
}

TEST_CASE("published attacks on math are not paid") {
  int rows = 0;
  each_row("math_hacks.jsonl", [&](const Json& row) {
    if (!row["completion"].is_string()) return;
    const std::string gold = row["gold"];
    const Score score = judge_answer("math", gold, row["completion"]);
    if (row["recommended"] == false) {
      CHECK_FALSE(score.value.value_or(0) > 0);
      ++rows;
    }
    // Honest answers in this form's reach: those whose reference is a number.
    if (row["recommended"] == true && score.status != Status::bad_reference) CHECK(paid(score));
  });
  CHECK(rows > 20);
}

TEST_CASE("published attacks on formats are not paid") {
  each_row("format_hacks.jsonl", [](const Json& row) {
    if (!row["completion"].is_string()) return;
    const Score score = judge("format", Problem{}, row["completion"]);
    if (row["recommended"] == false) CHECK(*score.value == 0);
    if (row["recommended"] == true) CHECK(*score.value == 1);
  });
}
