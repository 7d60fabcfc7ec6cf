// The figures of a run: metrics.jsonl (a function of the recipe alone), timing.jsonl (the clock's)
// TensorBoard's event file with both, and the load of experts (experts.jsonl).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/file.h"
#include "train/tfevents.h"

namespace hone {

using MetricValue = std::variant<double, int64_t, std::string>;

// A row in the order in which it was filled. `set` of a name that exists replaces its value.
struct MetricsRow {
  std::vector<std::pair<std::string, MetricValue>> values;

  void set(const std::string& name, double value) { put(name, value); }
  void set(const std::string& name, int64_t value) { put(name, value); }
  void set(const std::string& name, int value) { put(name, int64_t{value}); }
  void set(const std::string& name, const char* value) { put(name, std::string(value)); }
  void set(const std::string& name, std::string value) { put(name, std::move(value)); }
  // Null if absent or a text.
  const double* find_double(const std::string& name) const;

 private:
  void put(const std::string& name, MetricValue value);
};

// One line of JSON without the newline. Doubles have the fewest digits that read back as the same
// double; NaN and infinity become null.
std::string metrics_line(const MetricsRow& row);

// What a checkpoint keeps so that a resumed run cuts its files to where they were; -1 keeps all.
struct MetricsSizes {
  int64_t metrics = -1;
  int64_t timing = -1;
  int64_t events = -1;
  int64_t experts = -1;
};

class MetricsWriter {
 public:
  MetricsWriter() = default;
  explicit MetricsWriter(const std::string& run_dir, const MetricsSizes& keep = {});

  // Each writes one row: {"stage": ..., "step": ..., then the row}. In TensorBoard the tag is
  // STAGE/NAME, since the steps of each stage begin anew.
  void write_metrics(const std::string& stage, int64_t step, const MetricsRow& row);
  void write_timing(const std::string& stage, int64_t step, const MetricsRow& row);

  // How often each expert of each layer was chosen, as a row of experts.jsonl; the file is there
  // for models with experts only: {"stage", "step", "choices": {"3": [choices of each expert]}}.
  void write_experts(const std::string& stage, int64_t step,
                     const std::map<int64_t, std::vector<int64_t>>& choices);

  MetricsSizes sizes() const;
  void sync();

 private:
  void write(LineWriter& lines, const std::string& stage, int64_t step, const MetricsRow& row);

  LineWriter metrics_;
  LineWriter timing_;
  TfEventWriter events_;
  std::string experts_path_;
  std::optional<LineWriter> experts_;
};

}  // namespace hone
