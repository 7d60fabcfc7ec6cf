// What the figures of a run mean and what to try, in words, each finding once. A function of
// the rows of metrics.jsonl alone, so a report finds what the run said, and a resumed run does not
// say it again.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/json.h"

namespace hone {

struct DiagnosisNames {
  std::string accuracy;  // the reward that says whether an answer is right
  std::string format;    // "" if there is none
  // Of a step; with dynamic sampling the row says how many groups were asked.
  int64_t groups = 0, group_size = 0;
};

// The numbers of a row of metrics.jsonl.
std::map<std::string, double> numbers_of(const Json& row);

struct Finding {
  int64_t step = 0;
  std::string key;      // e.g. "entropy_collapse"
  std::string meaning;  // what the figures say
  std::string advice;   // what to try
};

class Diagnosis {
 public:
  explicit Diagnosis(DiagnosisNames names) : names_(std::move(names)) {}

  // Takes the next row; returns what it lets one say for the first time.
  std::vector<Finding> add(int64_t step, const std::map<std::string, double>& row);

 private:
  using Row = std::map<std::string, double>;
  struct Window {
    double first = 0, last = 0;  // means over the first and the last rows
  };
  // Of a metric; false where too few rows have it.
  bool window(const std::string& name, Window& w) const;
  // Whether the last rows have the metric, between these.
  bool lasting(const std::string& name, double above, double below = INFINITY) const;
  void find(int64_t step, const char* key, const std::string& meaning, const std::string& advice);
  void look_at_rewards(int64_t step, const Row& row);
  void look_at_policy(int64_t step, const Row& row);
  void look_at_trends(int64_t step);

  DiagnosisNames names_;
  std::vector<Row> rows_;
  std::set<std::string> said_;
  std::vector<Finding> new_;
};

}  // namespace hone
