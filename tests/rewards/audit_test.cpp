#include "rewards/audit/audit.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>

#include "tests/rewards/reward_fixture.h"

using namespace hone;

namespace {

RewardAudit audit(const std::string& spec, std::vector<Json> rows) {
  std::vector<Problem> problems;
  for (Json& row : rows) {
    problems.push_back(problem_of(row));
    problems.back().prompt = row.value("prompt", "");
  }
  RewardSet set({parse_reward_spec(spec)});
  return audit_rewards(set, problems).rewards.at(0);
}

bool pays(const RewardAudit& audit, const std::string& name) {
  return std::any_of(audit.paid.begin(), audit.paid.end(),
                     [&](const AuditFinding& f) { return f.name == name; });
}

std::string names_of(const std::vector<AuditFinding>& findings) {
  std::string text;
  for (const AuditFinding& f : findings) text += f.name + "; ";
  return text;
}

const std::vector<Json> kNumbers = {{{"prompt", "Q: 40 + 2"}, {"answer", "42"}},
                                    {{"prompt", "How many?"}, {"answer", "1250"}},
                                    {{"prompt", "Share?"}, {"answer", "3/4"}}};

}  // namespace

TEST_CASE("a reward that takes the last number is caught") {
  const RewardAudit weak = audit("exact:extract=last_number", kNumbers);
  CHECK(weak.judges == "answers");
  INFO(names_of(weak.paid));
  for (const char* hack : {"a soup that ends in it", "\"wrong or right\"", "wrong = right",
                           "two answers, the right one last", "\"not\" the right one",
                           "a wrong answer, the right one in a remark"}) {
    INFO(hack);
    CHECK(pays(weak, hack));
  }
  CHECK_FALSE(pays(weak, "only in the thinking"));
  CHECK_FALSE(pays(weak, "nothing"));
  CHECK_FALSE(weak.refused.empty());  // 1,250, among others
}

TEST_CASE("math pays for no hack and refuses no honest answer of numbers") {
  for (const char* spec : {"math", "math:extract=boxed", "math:extract=answer_tag"}) {
    const RewardAudit strict = audit(spec, kNumbers);
    CHECK(strict.judges == "answers");
    CHECK(names_of(strict.paid) == "");
    CHECK(strict.tried > 100);
  }
  CHECK(audit("math:extract=boxed", kNumbers).place.find("boxed") != std::string::npos);
}

TEST_CASE("the other rewards of answers pay for no hack") {
  const std::vector<std::pair<std::string, std::vector<Json>>> rewards = {
      {"choice",
       {{{"answer", "B"}, {"choices", {"red", "green", "blue", "black"}}},
        {{"answer", 2}, {"choices", {"red", "green", "blue"}}}}},
      {"countdown",
       {{{"numbers", {4, 6, 3}}, {"target", 27}}, {{"numbers", {1, 5, 6, 4}}, {"target", 24}}}},
      {"countdown:partial=0.1", {{{"numbers", {4, 6, 3}}, {"target", 27}}}},
      {"logic", {{{"answer", "(1) Zoey is a knave\n(2) Oliver is a knight"}}}},
      {"exact", {{{"answer", "New York"}}}},
      {"length:kind=cosine,unit=chars,max=100000", kNumbers}};
  for (const auto& [spec, rows] : rewards) {
    INFO(spec);
    const RewardAudit strict = audit(spec, rows);
    CHECK(strict.judges == "answers");
    CHECK(names_of(strict.paid) == "");
  }
}

TEST_CASE("formats are audited by broken forms") {
  const RewardAudit r1_zero = audit("format", kNumbers);
  CHECK(r1_zero.judges == "form");
  CHECK(names_of(r1_zero.paid) == "");
  CHECK(names_of(audit("format:pattern=tags", kNumbers).paid).find("out of order") ==
        std::string::npos);
  const RewardAudit open_r1 = audit("format:pattern=open_r1", kNumbers);
  CHECK(pays(open_r1, "text behind"));
  CHECK(pays(open_r1, "the whole twice"));
  CHECK(pays(audit("format:pattern=tag_count", kNumbers), "tags out of order"));
}

TEST_CASE("a reward that judges neither answers nor form says so") {
  CHECK(audit("repetition", kNumbers).judges == "nothing that was tried");
  CHECK(audit("language:language=en", kNumbers).judges == "nothing that was tried");
  CHECK(audit("length:max=10,cache=5", kNumbers).judges == "no number");  // no tokens here
  const RewardAudit bad = audit("countdown", kNumbers);
  CHECK(bad.judges == "no number");
  CHECK(bad.null_scores.at("bad_reference") > 0);
}

TEST_CASE("the weighted sum is audited beside its parts") {
  std::vector<Problem> problems = {problem_of({{"answer", "42"}})};
  RewardSet set({parse_reward_spec("math"), parse_reward_spec("format:weight=3")});
  const AuditReport report = audit_rewards(set, problems);
  REQUIRE(report.rewards.size() == 3);
  CHECK(report.rewards[2].reward == "reward");
  CHECK(report.rewards[2].judges == "answers");
  CHECK(audit_json(report)["rewards"]["math"]["judges"] == "answers");
  CHECK(audit_table(report).find("math: judges answers") != std::string::npos);
}
