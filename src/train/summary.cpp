#include "train/summary.h"

#include <cstdio>
#include <filesystem>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "train/display.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

std::vector<Json> rows_of(const std::string& path) {
  std::vector<Json> rows;
  if (!fs::exists(path)) return rows;
  for_each_line(path, [&](int64_t, const std::string& line) {
    Json row = Json::parse(line, nullptr, false);
    if (row.is_object()) rows.push_back(std::move(row));
  });
  return rows;
}

std::string figure(const Json& value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", value.get<double>());
  return text;
}

std::string indented(const std::string& text) {
  std::string out = "    ";
  for (char c : text) out += c == '\n' ? std::string("\n    ") : std::string(1, c);
  return out;
}

std::string answer(const Json& side, bool colour) {
  std::string text = visible_text(side.value("text", ""));
  if (colour) {
    const size_t close = text.find("</think>");
    if (close != std::string::npos) {
      text = "\033[2m" + text.substr(0, close + 8) + "\033[0m" + text.substr(close + 8);
    }
  }
  return indented(text);
}

}  // namespace

std::string run_summary(const std::string& directory, bool colour) {
  std::string out;
  // stage -> metric -> first and last value
  std::vector<std::string> stages;
  std::map<std::string, std::vector<std::pair<std::string, std::pair<Json, Json>>>> evals;
  for (const Json& row : rows_of(directory + "/metrics.jsonl")) {
    const std::string stage = row.value("stage", "");
    if (!evals.count(stage)) stages.push_back(stage);
    auto& metrics = evals[stage];
    for (const auto& [name, value] : row.items()) {
      if (name.rfind("eval/", 0) != 0 || !value.is_number()) continue;
      auto it = metrics.begin();
      while (it != metrics.end() && it->first != name) ++it;
      if (it == metrics.end()) {
        metrics.push_back({name, {value, value}});
      } else {
        it->second.second = value;
      }
    }
  }
  for (const std::string& stage : stages) {
    if (evals[stage].empty()) continue;
    out += cat("stage ", stage, ", held-out problems, before -> after:\n");
    for (const auto& [name, ends] : evals[stage]) {
      if (name.find("_se") != std::string::npos) continue;
      out += cat("  ", name.substr(5), "  ", figure(ends.first), " -> ", figure(ends.second), "\n");
    }
  }
  const std::vector<Json> examples = rows_of(directory + "/examples.jsonl");
  if (!examples.empty()) {
    const Json* shown = &examples.front();
    for (const Json& e : examples) {  // prefer one that was wrong and became right
      const Json &before = e["base"]["reward"], &after = e["trained"]["reward"];
      if (before.is_number() && after.is_number() && before < after && before < 0.5) {
        shown = &e;
        break;
      }
    }
    out += cat("the same problem, before:\n", indented(visible_text(shown->value("prompt", ""))),
               "\n", answer((*shown)["base"], colour), "\nand after:\n",
               answer((*shown)["trained"], colour), "\n");
  }
  if (fs::exists(directory + "/report.html")) out += cat("report: ", directory, "/report.html\n");
  if (fs::exists(directory + "/model")) {
    out += cat("try it: build/hone chat ", directory, "/model\n");
  }
  return out;
}

}  // namespace hone
