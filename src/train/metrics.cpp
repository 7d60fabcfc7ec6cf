#include "train/metrics.h"

#include <chrono>
#include <filesystem>

#include "base/json.h"

namespace hone {

void MetricsRow::put(const std::string& name, MetricValue value) {
  for (auto& [known, old] : values) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  values.emplace_back(name, std::move(value));
}

const double* MetricsRow::find_double(const std::string& name) const {
  for (const auto& [known, value] : values) {
    if (known == name) return std::get_if<double>(&value);
  }
  return nullptr;
}

std::string metrics_line(const MetricsRow& row) {
  Json line = Json::object();
  for (const auto& [name, value] : row.values) {
    std::visit([&](const auto& v) { line[name] = v; }, value);
  }
  return to_line(line);
}

MetricsWriter::MetricsWriter(const std::string& run_dir, const MetricsSizes& keep)
    : metrics_(run_dir + "/metrics.jsonl", keep.metrics),
      timing_(run_dir + "/timing.jsonl", keep.timing),
      events_(run_dir + "/events.out.tfevents.hone", keep.events),
      experts_path_(run_dir + "/experts.jsonl") {
  if (std::filesystem::exists(experts_path_)) experts_.emplace(experts_path_, keep.experts);
}

void MetricsWriter::write(LineWriter& lines, const std::string& stage, int64_t step,
                          const MetricsRow& row) {
  MetricsRow full;
  full.values.reserve(row.values.size() + 2);
  full.set("stage", stage);
  full.set("step", step);
  std::vector<std::pair<std::string, double>> scalars;
  for (const auto& [name, value] : row.values) {
    full.values.emplace_back(name, value);
    const std::string tag = stage.empty() ? name : stage + "/" + name;
    if (const double* d = std::get_if<double>(&value)) scalars.emplace_back(tag, *d);
    if (const int64_t* i = std::get_if<int64_t>(&value)) {
      scalars.emplace_back(tag, static_cast<double>(*i));
    }
  }
  lines.append(metrics_line(full));
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  events_.append(step, now, scalars);
}

void MetricsWriter::write_metrics(const std::string& stage, int64_t step, const MetricsRow& row) {
  write(metrics_, stage, step, row);
}

void MetricsWriter::write_timing(const std::string& stage, int64_t step, const MetricsRow& row) {
  write(timing_, stage, step, row);
}

void MetricsWriter::write_experts(const std::string& stage, int64_t step,
                                  const std::map<int64_t, std::vector<int64_t>>& choices) {
  if (choices.empty()) return;
  if (!experts_) experts_.emplace(experts_path_);
  Json row = {{"stage", stage}, {"step", step}, {"choices", Json::object()}};
  for (const auto& [layer, counts] : choices) row["choices"][std::to_string(layer)] = counts;
  experts_->append(to_line(row));
}

MetricsSizes MetricsWriter::sizes() const {
  return {metrics_.size(), timing_.size(), events_.size(), experts_ ? experts_->size() : 0};
}

void MetricsWriter::sync() {
  metrics_.sync();
  timing_.sync();
  events_.sync();
  if (experts_) experts_->sync();
}

}  // namespace hone
