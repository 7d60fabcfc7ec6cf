// What other projects' own tests assert of their rewards, and where ours differ on purpose.

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;
using Catch::Approx;

namespace {

// Rows of a file of published cases, or a skip.
void each_row(const std::string& name, const std::function<void(const Json&)>& row) {
  const std::string path = std::string(HONE_TEST_DIR) + "/../../shared/graders/" + name;
  if (!std::filesystem::exists(path)) SKIP("no file " << path);
  for_each_line(path, [&](int64_t, const std::string& line) {
    const Json value = Json::parse(line);
    INFO(line);
    row(value);
  });
}

std::string option(const Json& given, const char* theirs, const char* ours) {
  return given.contains(theirs) ? "," + std::string(ours) + "=" + given[theirs].dump() : "";
}

// Our spelling of a reward that a published test makes; "" if we have none.
std::string spec_of(const std::string& fn, const Json& given, bool trl) {
  const std::string lengths = trl ? "tokens" : "chars", words = trl ? "tokens" : "words";
  if (fn == "get_cosine_scaled_reward") {
    return "length:kind=cosine,unit=" + lengths + option(given, "max_len", "max") +
           option(given, "min_value_wrong", "min_wrong") +
           option(given, "max_value_wrong", "max_wrong") +
           option(given, "min_value_correct", "min_correct") +
           option(given, "max_value_correct", "max_correct");
  }
  if (fn == "len_reward") return "length:kind=kimi,unit=chars";
  if (fn == "get_repetition_penalty_reward") {
    return "repetition:unit=" + words + option(given, "ngram_size", "n") +
           option(given, "max_penalty", "max_penalty");
  }
  if (fn == "get_soft_overlong_punishment") {
    return "length:kind=overlong" + option(given, "max_completion_len", "max") +
           option(given, "soft_punish_cache", "cache");
  }
  return "";
}

// The scores of one call: texts or lists of token ids, references, and token ids beside texts.
std::vector<Score> scores_of(const std::string& spec, const Json& row) {
  Json args = row["args"];
  if (args.empty()) args.push_back(row["kwargs"]["completion_ids"]);
  Problem problem;
  if (args.size() > 1) problem = problem_of({{"answer", args[1][0]}});
  std::vector<Completion> completions;
  for (size_t i = 0; i < args[0].size(); ++i) {
    Completion c;
    if (args[0][i].is_string()) {
      c.text = args[0][i];
    } else {
      c.tokens = args[0][i].get<std::vector<int32_t>>();
    }
    if (args.size() > 2) c.tokens = args[2][i].get<std::vector<int32_t>>();
    completions.push_back(c);
  }
  std::vector<RewardItem> items;
  for (const Completion& c : completions) items.push_back({&problem, &c, "", {}});
  return make_rewarder(parse_reward_spec(spec))->score(items);
}

double number_in(const Json& expected) {
  return expected.is_object() ? expected["approx"].get<double>() : expected.get<double>();
}

void check_row(const Json& row, const std::vector<double>& values) {
  const std::string op = row["op"];
  const Json& rhs = row["rhs"];
  if (row["path"].empty()) {
    REQUIRE(rhs.size() == values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      CHECK(values[i] == Approx(number_in(rhs[i])).margin(1e-4));
    }
    return;
  }
  const double left = values.at(row["path"][0].get<size_t>());
  const double right = rhs.is_array() ? values.at(rhs[0].get<size_t>()) : rhs.get<double>();
  if (op == "gt") CHECK(left > right);
  if (op == "ge") CHECK(left >= right);
  if (op == "le") CHECK(left <= right);
  if (op == "approx" || op == "eq") {
    CHECK(left == Approx(right).margin(std::pow(10.0, -row.value("places", 7))));
  }
}

}  // namespace

TEST_CASE("published format rewards give their published values") {
  int rows = 0;
  each_row("format_cases.jsonl", [&](const Json& row) {
    const std::string fn = row.value("fn", "");
    std::string pattern;
    if (fn == "tag_count_reward") pattern = "tag_count";
    if (fn == "think_format_reward") pattern = "trl_think";
    if (fn == "format_reward") pattern = "open_r1";
    if (fn == "reasoning_steps_reward") pattern = "open_r1_steps";
    if (fn == "get_code_format_reward") {
      pattern = "open_r1_code,language=" + row["ctor"]["kwargs"]["language"].get<std::string>();
    }
    // NeMo's and verifiers' formats are not among ours.
    if (pattern.empty() || !row["completion"].is_string()) return;
    const Score score = judge("format:pattern=" + pattern, Problem{}, row["completion"]);
    CHECK(*score.value == Approx(row["expected"].get<double>()));
    ++rows;
  });
  CHECK(rows > 20);
}

TEST_CASE("observed verdicts on attacks are reproduced by the patterns named after their authors") {
  each_row("format_hacks.jsonl", [](const Json& row) {
    if (!row["completion"].is_string()) return;
    for (const auto& [theirs, ours] : {std::pair{"open_r1 format_reward", "open_r1"},
                                       {"open_r1 tag_count", "tag_count"},
                                       {"trl think_format_reward", "trl_think"}}) {
      const Score score =
          judge(std::string("format:pattern=") + ours, Problem{}, row["completion"]);
      CHECK(*score.value == row["observed"][theirs].get<double>());
    }
    if (row["recommended"] != false) return;
    for (const char* pattern : {"r1_zero", "tags"}) {
      INFO(pattern);
      CHECK(*judge(std::string("format:pattern=") + pattern, Problem{}, row["completion"]).value <
            1);
    }
  });
}

TEST_CASE("published shaping rewards give their published values") {
  int rows = 0;
  each_row("shaping_cases.jsonl", [&](const Json& row) {
    const bool trl = row["source"].get<std::string>().find("/trl") != std::string::npos;
    const std::string test = row["test"];
    if (row["op"] == "raises") {
      CHECK_THROWS_AS(parse_reward_spec(spec_of(row["call"]["call"], row["call"]["kwargs"], trl)),
                      UserError);
      ++rows;
      return;
    }
    const Json given = row["ctor"].is_object() ? row["ctor"]["kwargs"] : Json::object();
    const std::string spec = spec_of(row["fn"], given, trl);
    REQUIRE_FALSE(spec.empty());
    const std::vector<Score> scores = scores_of(spec, row);
    if (test.find("test_unparseable_solution") != std::string::npos) {
      // They pay a completion whose reference cannot be read; we give no number.
      for (const Score& score : scores) CHECK_FALSE(score.value.has_value());
      return;
    }
    if (given.value("language", "en") == "zh") {
      // They segment Chinese with jieba into words of two characters; ours are characters.
      CHECK(*scores[0].value == Approx(-7 / 9.0));
      return;
    }
    std::vector<double> values;
    for (const Score& score : scores) values.push_back(score.value.value());
    check_row(row, values);
    ++rows;
  });
  CHECK(rows > 30);
}

TEST_CASE("published countdown answers are paid as the rules of the game say") {
  each_row("countdown_cases.jsonl", [](const Json& row) {
    if (!row.contains("ground_truth")) return;
    const Problem problem = problem_of(row);
    const Score strict = judge("countdown", problem, row["completion"]);
    const Score partial = judge("countdown:partial=0.1", problem, row["completion"]);
    const std::string name = row["name"];
    // These graders evaluate with Python, which knows //, and look at the last line only.
    if (name == "floor_div") {
      CHECK(unpaid(strict));
    } else if (name == "no_assistant_marker" || name == "answer_not_on_last_line" ||
               name == "answer_multiline") {
      CHECK(paid(strict));
    } else if (row["observed_score"] == 1.0) {
      CHECK(paid(strict));
    } else {
      CHECK(unpaid(strict));
      // They pay 0.1 for any answer tag; we for an expression.
      const bool expression = strict.status == Status::ok;
      CHECK(*partial.value == (expression ? 0.1 : 0.0));
    }
  });
}
