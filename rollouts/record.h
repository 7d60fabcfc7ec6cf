// The record of what was sampled: one JSONL file a step, one row a group, for people, for
// `hone show` and `hone report`. It holds texts, not token ids.
//
//   {"id", "source", "prompt", "answer"?, "completions": [{"text", "tokens": 12, "finish_reason",
//     "reward": 1.2 or null, "advantage"?, "scores": {name: number or null},
//     "status": {name: "ok"}, "details": {name: {...}}}]}
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/types.h"

namespace hone {

struct RecordedCompletion {
  std::string text;
  int64_t tokens = 0;
  FinishReason finish_reason = FinishReason::length;
  std::optional<double> reward;
  std::optional<double> advantage;
  std::vector<std::pair<std::string, Score>> scores;
};

struct RecordedGroup {
  std::string id;
  std::string source;
  std::string prompt;
  Json answer;  // null if the problem has none
  std::vector<RecordedCompletion> completions;
};

// `stage_directory`/rollouts/step-000012.jsonl
std::string rollout_path(const std::string& stage_directory, int64_t step);

Json rollout_row(const Group& group);

// Writes the file whole or not at all; makes its directory. Throws RunError.
void write_rollouts(const std::string& path, const std::vector<Group>& groups);

// Throws UserError naming path and line.
std::vector<RecordedGroup> read_rollouts(const std::string& path);

}  // namespace hone
