#include "rollouts/record.h"

#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace hone {
namespace {

Json number_or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<double> optional_number(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::nullopt;
  return found->get<double>();
}

template <class Enum>
Enum from_name(const std::string& name, std::initializer_list<Enum> values) {
  for (Enum value : values) {
    if (name == to_string(value)) return value;
  }
  throw UserError(cat("unknown word '", name, "'"));
}

RecordedCompletion read_completion(const Json& row) {
  RecordedCompletion completion;
  completion.text = row.at("text").get<std::string>();
  completion.tokens = row.at("tokens").get<int64_t>();
  completion.finish_reason =
      from_name(row.at("finish_reason").get<std::string>(),
                {FinishReason::stop, FinishReason::length, FinishReason::abort});
  completion.reward = optional_number(row, "reward");
  completion.advantage = optional_number(row, "advantage");
  for (const auto& [name, status] : row.at("status").items()) {
    Score score;
    score.value = optional_number(row.at("scores"), name.c_str());
    score.status =
        from_name(status.get<std::string>(), {Status::ok, Status::no_answer, Status::bad_reference,
                                              Status::verifier_error, Status::timeout});
    if (row.contains("details") && row["details"].contains(name)) {
      score.details = row["details"][name];
    }
    completion.scores.emplace_back(name, std::move(score));
  }
  return completion;
}

RecordedGroup read_group(const Json& row) {
  RecordedGroup group;
  group.id = row.at("id").get<std::string>();
  group.source = row.at("source").get<std::string>();
  group.prompt = row.at("prompt").get<std::string>();
  if (row.contains("answer")) group.answer = row["answer"];
  for (const Json& completion : row.at("completions")) {
    group.completions.push_back(read_completion(completion));
  }
  return group;
}

}  // namespace

std::string rollout_path(const std::string& stage_directory, int64_t step) {
  char name[48];
  std::snprintf(name, sizeof name, "step-%06lld.jsonl", static_cast<long long>(step));
  return stage_directory + "/rollouts/" + name;
}

Json rollout_row(const Group& group) {
  Json row;
  row["id"] = group.problem.id;
  row["source"] = group.problem.source;
  row["prompt"] = group.prompt;
  if (group.problem.fields.contains("answer")) row["answer"] = group.problem.fields["answer"];
  row["completions"] = Json::array();
  for (size_t i = 0; i < group.completions.size(); ++i) {
    const Completion& completion = group.completions[i];
    Json item;
    item["text"] = completion.text;
    item["tokens"] = completion.tokens.size();
    item["finish_reason"] = to_string(completion.finish_reason);
    item["reward"] = number_or_null(i < group.rewards.size() ? group.rewards[i] : std::nullopt);
    if (i < group.advantages.size()) item["advantage"] = group.advantages[i];
    item["scores"] = Json::object();
    item["status"] = Json::object();
    Json details = Json::object();
    for (const auto& [name, scores] : group.scores) {
      item["scores"][name] = number_or_null(scores[i].value);
      item["status"][name] = to_string(scores[i].status);
      if (!scores[i].details.empty()) details[name] = scores[i].details;
    }
    if (!details.empty()) item["details"] = std::move(details);
    row["completions"].push_back(std::move(item));
  }
  return row;
}

void write_rollouts(const std::string& path, const std::vector<Group>& groups) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) throw RunError(cat(path, ": cannot make its directory: ", error.message()));
  std::string bytes;
  for (const Group& group : groups) bytes += to_line(rollout_row(group)) + "\n";
  write_file_atomic(path, bytes);
}

std::vector<RecordedGroup> read_rollouts(const std::string& path) {
  std::vector<RecordedGroup> groups;
  for_each_line(path, [&](int64_t number, const std::string& line) {
    if (line.empty()) return;
    try {
      groups.push_back(read_group(Json::parse(line)));
    } catch (const std::exception& error) {
      throw UserError(cat(path, ":", number, ": not a row of rollouts: ", error.what()));
    }
  });
  return groups;
}

}  // namespace hone
