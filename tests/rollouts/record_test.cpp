#include "rollouts/record.h"

#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

using namespace hone;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

struct TemporaryDirectory {
  std::string path =
      (std::filesystem::temp_directory_path() / ("hone_record_" + std::to_string(::getpid())))
          .string();
  TemporaryDirectory() { std::filesystem::create_directories(path); }
  ~TemporaryDirectory() { std::filesystem::remove_all(path); }
};

Group example() {
  Group group;
  group.problem = {"p1", "gsm8k", "6*7?", {{"answer", "42"}}};
  group.prompt = "User: 6*7?";
  group.completions.resize(2);
  group.completions[0].text = "line\n\"42\" \xC3\xA9";
  group.completions[0].tokens = {1, 2, 3};
  group.completions[0].finish_reason = FinishReason::stop;
  group.completions[1].text = "broken \xC3";
  Score right, none;
  right.value = 1.0;
  right.details["answer"] = "42";
  none.status = Status::verifier_error;
  group.scores = {{"math", {right, none}}};
  group.rewards = {1.0, std::nullopt};
  group.advantages = {0.5, -0.5};
  return group;
}

}  // namespace

TEST_CASE("a file of rollouts has a row for each group with all that was found out") {
  const Json row = rollout_row(example());
  CHECK(row["id"] == "p1");
  CHECK(row["answer"] == "42");
  CHECK(row["prompt"] == "User: 6*7?");
  const Json& first = row["completions"][0];
  CHECK(first["tokens"] == 3);
  CHECK(first["finish_reason"] == "stop");
  CHECK(first["reward"] == 1.0);
  CHECK(first["advantage"] == 0.5);
  CHECK(first["scores"]["math"] == 1.0);
  CHECK(first["status"]["math"] == "ok");
  CHECK(first["details"]["math"]["answer"] == "42");
  const Json& second = row["completions"][1];
  CHECK(second["reward"].is_null());
  CHECK(second["scores"]["math"].is_null());
  CHECK(second["status"]["math"] == "verifier_error");
}

TEST_CASE("rollouts are read back as they were written") {
  TemporaryDirectory directory;
  const std::string path = rollout_path(directory.path, 12);
  CHECK(path == directory.path + "/rollouts/step-000012.jsonl");
  Group bare = example();
  bare.scores.clear();
  bare.rewards.clear();
  bare.advantages.clear();
  bare.problem.fields = Json::object();
  write_rollouts(path, {example(), bare});
  const auto groups = read_rollouts(path);
  REQUIRE(groups.size() == 2);
  CHECK(groups[0].source == "gsm8k");
  CHECK(groups[0].answer == "42");
  const RecordedCompletion& first = groups[0].completions[0];
  CHECK(first.text == "line\n\"42\" \xC3\xA9");
  CHECK(first.tokens == 3);
  CHECK(first.finish_reason == FinishReason::stop);
  CHECK(first.reward == 1.0);
  CHECK(first.advantage == 0.5);
  CHECK(first.scores[0].first == "math");
  CHECK(first.scores[0].second.details["answer"] == "42");
  const RecordedCompletion& second = groups[0].completions[1];
  CHECK(second.text == "broken \xEF\xBF\xBD");
  CHECK_FALSE(second.reward.has_value());
  CHECK(second.scores[0].second.status == Status::verifier_error);
  CHECK_FALSE(second.scores[0].second.value.has_value());
  CHECK(groups[1].answer.is_null());
  CHECK_FALSE(groups[1].completions[0].advantage.has_value());
}

TEST_CASE("a broken row is told with its line") {
  TemporaryDirectory directory;
  const std::string path = directory.path + "/x.jsonl";
  write_file_atomic(path, to_line(rollout_row(example())) + "\n{\"id\": 3}\n");
  CHECK_THROWS_MATCHES(read_rollouts(path), UserError,
                       MessageMatches(ContainsSubstring("x.jsonl:2")));
}
