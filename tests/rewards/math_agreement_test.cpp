// How far `math` agrees with the published cases of other graders, with its default options. The
// rows that it leaves wrong on purpose are listed below with the reason.

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <functional>
#include <map>

#include "base/file.h"
#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

const std::string kShared = std::string(HONE_TEST_DIR) + "/../../shared/";

void each_row(const std::string& name, const std::function<void(const Json&)>& row) {
  if (!std::filesystem::exists(kShared + name)) SKIP("no file " << kShared + name);
  for_each_line(kShared + name, [&](int64_t, const std::string& line) { row(Json::parse(line)); });
}

Score judge_row(const Json& row, const std::string& spec = "math") {
  const Json& pred = row["pred"];
  return judge(spec, problem_of({{"answer", row["gold"]}}),
               pred.is_string() ? pred.get<std::string>() : pred.dump());
}

// By the row's id. A policy names the option that serves its source.
const std::map<std::string, const char*> kKnown = {
    {"00124", "an answer that contradicts itself (11 = 1/3)"},
    {"00140", "1.33300000000000 claims 15 digits of 4/3"},
    {"00149", "0.33 is too rough for 1/3: digits=2"},
    {"00176", "{1,3} is no pair"},
    {"00333", "the reference contradicts itself (1 = 0)"},
    {"00338", "an answer that contradicts itself (6 = 2)"},
    {"00349", "0.333000000000000 claims 15 digits of 1/3"},
    {"00351", "1.33300000000000 claims 15 digits of 4/3"},
    {"00419", "boxes joined by plus signs are no list"},
    {"00480", "f(x) is not f(y); other sources say so too"},
    {"00495", "policy: order=given"},
    {"00512", "1.414 is too rough for a root within an expression"},
    {"00525", "unequal, if only by 2^-1000"},
    {"00532", "1.732 is too rough for a root within an equation"},
    {"00542", "policy: digits=4"},
    {"00600", "policy: tolerance=1e-6"},
    {"00628", "policy: fractions=reduced"},
    {"00642", "policy of a grader that reads the last 300 characters only"}};

}  // namespace

TEST_CASE("at least 95% of the published verdicts on pairs of answers are met") {
  int rows = 0, right = 0, paid_wrongly = 0;
  each_row("graders/math_triples.jsonl", [&](const Json& row) {
    if (!row["expected"].is_boolean()) return;
    if (row.contains("note") && row["note"].is_string() &&
        row["note"].get<std::string>().find("SUSPECT") != std::string::npos) {
      return;
    }
    const bool expected = row["expected"], got = paid(judge_row(row));
    ++rows;
    right += got == expected;
    paid_wrongly += got && !expected;
    INFO(row["id"] << ' ' << row["source"]);
    if (got != expected) CHECK(kKnown.count(row["id"]) == 1);
  });
  INFO(right << " of " << rows << ", " << paid_wrongly << " paid wrongly");
  CHECK(right * 100 >= rows * 95);
  CHECK(paid_wrongly <= 3);
}

TEST_CASE("sources with another policy are served by an option") {
  const std::map<std::string, std::string> options = {{"00149", "digits=2"},
                                                      {"00495", "order=given"},
                                                      {"00542", "digits=4"},
                                                      {"00600", "tolerance=1e-6"},
                                                      {"00628", "fractions=reduced"}};
  each_row("graders/math_triples.jsonl", [&](const Json& row) {
    const auto option = options.find(row["id"]);
    if (option == options.end()) return;
    INFO(row["id"] << ' ' << option->second);
    CHECK(paid(judge_row(row, "math:" + option->second)) == row["expected"].get<bool>());
  });
}

TEST_CASE("the labels of real completions are met") {
  int rows = 0, right = 0;
  each_row("graders/model_output_triples.jsonl", [&](const Json& row) {
    ++rows;
    right += paid(judge_row(row)) == row["expected"].get<bool>();
  });
  INFO(right << " of " << rows);
  CHECK(right * 1000 >= rows * 998);
}

TEST_CASE("published references equal themselves") {
  for (const char* file : {"math500", "aime24", "aime25", "amc23", "gsm8k"}) {
    each_row(std::string("data/") + file + "/test.jsonl", [&](const Json& row) {
      const Json& answer = row["answer"];
      std::string text = answer.is_string() ? answer.get<std::string>() : answer.dump();
      INFO(file << ": " << text);
      const size_t hash = text.rfind("#### ");
      if (hash != std::string::npos) text = text.substr(hash + 5);
      CHECK(paid(judge("math", problem_of({{"answer", answer}}), "\\boxed{" + text + "}")));
    });
  }
}
