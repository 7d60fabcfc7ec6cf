// What a run directory holds, read for the report. A file that is missing or damaged is a line in
// `missing`, never an error: a report of half a run is worth reading.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "train/diagnosis.h"

namespace hone {

struct MetricPoint {
  std::string stage;
  int64_t step = 0;
  std::vector<std::pair<std::string, double>> values;  // as in the file; null left out
};

struct SampledText {
  std::string text;
  std::string finish_reason;
  int64_t tokens = 0;
  std::optional<double> reward;
  std::vector<std::pair<std::string, std::string>> scores;  // name -> value, or its status
};

struct SampledGroup {
  std::string stage;
  int64_t step = 0;
  std::string id;
  std::string source;
  std::string prompt;
  std::string answer;
  std::vector<SampledText> completions;
};

struct Example {
  std::string prompt;
  SampledText base;
  SampledText trained;
};

// What the diagnosis said of a stage (train/diagnosis.h).
struct StageFinding {
  std::string stage;
  Finding finding;
};

struct RunData {
  std::string dir;
  std::string name;
  std::string recipe;                                        // recipe.yaml as it stands
  std::string brief;                                         // what was run, in one line
  std::vector<std::pair<std::string, std::string>> summary;  // and by stage
  std::vector<MetricPoint> metrics;
  std::vector<MetricPoint> timing;
  std::vector<SampledGroup> groups;  // of a few steps through training, in their order
  int64_t rollout_steps = 0;         // how many steps have a file
  int64_t rollout_steps_read = 0;
  std::vector<Example> examples;
  std::vector<StageFinding> findings;  // in the order in which the run met them
  Json provenance;                     // null if missing
  std::vector<std::string> missing;

  std::vector<std::string> stages() const;  // of metrics, in order of appearance
};

// Throws UserError only if `dir` is no directory.
RunData load_run(const std::string& dir);

}  // namespace hone
