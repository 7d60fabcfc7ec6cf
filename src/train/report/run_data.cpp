#include "train/report/run_data.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "train/report/html.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

// Rollout files are large; this many, evenly through the run, tell the story.
constexpr size_t kRolloutFiles = 9;
constexpr size_t kGroupsPerFile = 64;

// A text field, or the JSON of anything else.
std::string text_of(const Json& row, const char* key) {
  if (!row.is_object() || !row.contains(key) || row[key].is_null()) return "";
  return row[key].is_string() ? row[key].get<std::string>() : to_line(row[key]);
}

std::optional<double> number_of(const Json& row, const char* key) {
  if (!row.is_object() || !row.contains(key) || !row[key].is_number()) return std::nullopt;
  return row[key].get<double>();
}

// Calls `use` with each row that is a JSON object; reports the file if it is absent, and how many
// rows it had to leave out (a run killed while writing leaves half a line).
template <class Use>
void for_each_row(RunData& run, const std::string& path, const char* meaning, const Use& use) {
  if (!fs::is_regular_file(path)) {
    run.missing.push_back(cat(fs::path(path).filename().string(), " (", meaning, ")"));
    return;
  }
  int64_t bad = 0;
  for_each_line(path, [&](int64_t, const std::string& line) {
    if (line.empty()) return;
    const Json row = Json::parse(line, nullptr, false);
    if (row.is_object()) {
      use(row);
    } else {
      ++bad;
    }
  });
  if (bad > 0) {
    run.missing.push_back(cat(bad, " unreadable row(s) of ", fs::path(path).filename().string()));
  }
}

MetricPoint point_of(const Json& row) {
  MetricPoint p;
  p.stage = text_of(row, "stage");
  p.step = static_cast<int64_t>(number_of(row, "step").value_or(0));
  for (const auto& [name, value] : row.items()) {
    if (name != "step" && value.is_number()) p.values.emplace_back(name, value.get<double>());
  }
  return p;
}

SampledText completion_of(const Json& row) {
  SampledText c;
  c.text = text_of(row, "text");
  c.finish_reason = text_of(row, "finish_reason");
  c.reward = number_of(row, "reward");
  if (row.is_object() && row.contains("tokens")) {  // ids, or how many
    c.tokens = row["tokens"].is_array()
                   ? static_cast<int64_t>(row["tokens"].size())
                   : static_cast<int64_t>(number_of(row, "tokens").value_or(0));
  }
  if (row.is_object() && row.contains("scores") && row["scores"].is_object()) {
    for (const auto& [name, value] : row["scores"].items()) {
      std::string status;
      if (row.contains("status")) status = text_of(row["status"], name.c_str());
      const bool plain = value.is_number() && (status.empty() || status == "ok");
      c.scores.emplace_back(name, plain            ? format_number(value.get<double>())
                                  : status.empty() ? to_line(value)
                                                   : status);
    }
  }
  return c;
}

struct RolloutFile {
  std::string stage;
  int64_t step;
  std::string path;
};

// stages/NN-NAME/rollouts/step-NNNNNN.jsonl in order.
std::vector<RolloutFile> rollout_files(const std::string& dir) {
  std::vector<RolloutFile> files;
  std::error_code ec;
  std::vector<std::string> stage_dirs;
  for (const auto& entry : fs::directory_iterator(dir + "/stages", ec)) {
    if (entry.is_directory()) stage_dirs.push_back(entry.path().string());
  }
  std::sort(stage_dirs.begin(), stage_dirs.end());
  for (const std::string& stage_dir : stage_dirs) {
    std::string stage = fs::path(stage_dir).filename().string();
    if (const size_t dash = stage.find('-'); dash != std::string::npos) stage.erase(0, dash + 1);
    std::vector<RolloutFile> of_stage;
    for (const auto& entry : fs::directory_iterator(stage_dir + "/rollouts", ec)) {
      const std::string name = entry.path().filename().string();
      if (!name.starts_with("step-") || !name.ends_with(".jsonl")) continue;
      of_stage.push_back({stage, std::atoll(name.c_str() + 5), entry.path().string()});
    }
    std::sort(of_stage.begin(), of_stage.end(),
              [](const RolloutFile& a, const RolloutFile& b) { return a.step < b.step; });
    files.insert(files.end(), of_stage.begin(), of_stage.end());
  }
  return files;
}

void load_rollouts(RunData& run) {
  std::vector<RolloutFile> files = rollout_files(run.dir);
  run.rollout_steps = static_cast<int64_t>(files.size());
  if (files.empty()) {
    run.missing.push_back("stages/*/rollouts (the sampled completions)");
    return;
  }
  std::vector<RolloutFile> chosen;
  const size_t count = std::min(kRolloutFiles, files.size());
  for (size_t i = 0; i < count; ++i) {
    chosen.push_back(files[count == 1 ? 0 : i * (files.size() - 1) / (count - 1)]);
  }
  run.rollout_steps_read = static_cast<int64_t>(chosen.size());
  for (const RolloutFile& file : chosen) {
    size_t groups = 0;
    for_each_row(run, file.path, "completions", [&](const Json& row) {
      if (++groups > kGroupsPerFile) return;
      SampledGroup g;
      g.stage = file.stage;
      g.step = file.step;
      g.id = text_of(row, "id");
      g.source = text_of(row, "source");
      g.prompt = text_of(row, "prompt");
      g.answer = text_of(row, "answer");
      if (row.contains("completions") && row["completions"].is_array()) {
        for (const Json& c : row["completions"]) g.completions.push_back(completion_of(c));
      }
      if (!g.completions.empty()) run.groups.push_back(std::move(g));
    });
  }
}

std::string scalar(const YAML::Node& node, const char* key) {
  if (!node.IsMap() || !node[key] || !node[key].IsScalar()) return "";
  return node[key].Scalar();
}

// "task multiply, x.jsonl" of a list of maps, by the first of `keys` that an item has.
std::string items(const YAML::Node& list, std::initializer_list<const char*> keys) {
  std::string out;
  if (!list.IsSequence()) return out;
  for (const YAML::Node& item : list) {
    for (const char* key : keys) {
      const std::string value = scalar(item, key);
      if (value.empty()) continue;
      out += (out.empty() ? "" : ", ") + value;
      break;
    }
  }
  return out;
}

std::string summary_of_stage(const YAML::Node& stage) {
  std::string out;
  const auto add = [&](const std::string& label, const std::string& value) {
    if (value.empty() || value == "null" || value == "0") return;
    out += (out.empty() ? "" : " \xC2\xB7 ") + label + value;
  };
  add("", scalar(stage, "kind"));
  add("from ", scalar(stage, "model"));
  if (stage["data"]) add("on ", items(stage["data"], {"task", "path"}));
  if (stage["rewards"]) add("rewarded by ", items(stage["rewards"], {"as", "name"}));
  if (stage["objective"]) add("", scalar(stage["objective"], "preset"));
  const std::string prompts = scalar(stage, "prompts_per_step"), g = scalar(stage, "group_size");
  if (!prompts.empty() && !g.empty() && stage["rewards"]) {
    add("", prompts + " prompts \xC3\x97 " + g + " answers a step");
  }
  if (stage["optimizer"]) {
    add("", scalar(stage["optimizer"], "name"));
    add("lr ", scalar(stage["optimizer"], "lr"));
  }
  const std::string steps = scalar(stage, "steps");
  if (!steps.empty()) add("", steps + " steps");
  return out;
}

// "reinforcement learning on multiply".
std::string brief_of_stage(const YAML::Node& stage) {
  static const std::map<std::string, std::string> words{{"pretrain", "pretraining"},
                                                        {"sft", "supervised fine-tuning"},
                                                        {"rl", "reinforcement learning"},
                                                        {"distill", "distillation"},
                                                        {"sample", "sampling"},
                                                        {"filter", "filtering"},
                                                        {"eval", "evaluation"}};
  const std::string kind = scalar(stage, "kind");
  const auto known = words.find(kind);
  std::string out = known == words.end() ? kind : known->second;
  const std::string data = stage["data"] ? items(stage["data"], {"task", "path"}) : "";
  if (!out.empty() && !data.empty()) out += " on " + data;
  return out;
}

void add_stage(RunData& run, const std::string& name, const YAML::Node& stage) {
  run.summary.emplace_back(name, summary_of_stage(stage));
  std::string brief = brief_of_stage(stage);
  if (brief.empty()) return;
  if (run.brief.empty()) {
    brief[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(brief[0])));
  } else {
    run.brief += ", then ";
  }
  run.brief += brief;
}

void load_recipe(RunData& run) {
  const std::string path = run.dir + "/recipe.yaml";
  if (!fs::is_regular_file(path)) {
    run.missing.push_back("recipe.yaml (what was run)");
    return;
  }
  run.recipe = read_file(path);
  try {
    const YAML::Node recipe = YAML::Load(run.recipe);
    if (const std::string name = scalar(recipe, "name"); !name.empty()) run.name = name;
    if (recipe["stages"] && recipe["stages"].IsSequence() && recipe["stages"].size() > 0) {
      for (const YAML::Node& stage : recipe["stages"]) {
        if (stage.IsMap()) add_stage(run, scalar(stage, "name"), stage);
      }
    } else if (recipe.IsMap()) {
      add_stage(run, "run", recipe);
    }
    for (const char* key : {"seed", "device", "dtype"}) {
      const std::string value = scalar(recipe, key);
      if (!value.empty()) run.summary.emplace_back(key, value);
    }
  } catch (const YAML::Exception& e) {
    run.missing.push_back(cat("recipe.yaml cannot be read: ", e.what()));
  }
}

// The names by which the diagnosis finds the figures of a stage of the resolved recipe.
DiagnosisNames diagnosis_names_of(const YAML::Node& stage) {
  DiagnosisNames names;
  names.groups = std::atoll(scalar(stage, "prompts_per_step").c_str());
  names.group_size = std::atoll(scalar(stage, "group_size").c_str());
  if (!stage["rewards"] || !stage["rewards"].IsSequence()) return names;
  for (const YAML::Node& reward : stage["rewards"]) {
    const std::string name = scalar(reward, "as");  // a resolved recipe has it
    if (names.accuracy.empty()) names.accuracy = name;
    if (scalar(reward, "name") == "format" && names.format.empty()) names.format = name;
  }
  return names;
}

void load_findings(RunData& run) {
  std::map<std::string, Diagnosis> stages;
  try {
    const YAML::Node recipe = YAML::Load(run.recipe);
    if (!recipe["stages"] || !recipe["stages"].IsSequence()) return;
    for (const YAML::Node& stage : recipe["stages"]) {
      stages.emplace(scalar(stage, "name"), Diagnosis(diagnosis_names_of(stage)));
    }
  } catch (const YAML::Exception&) {
    return;  // load_recipe() reported it
  }
  for (const MetricPoint& point : run.metrics) {
    const auto stage = stages.find(point.stage);
    if (stage == stages.end() || point.step == 0) continue;
    const std::map<std::string, double> row(point.values.begin(), point.values.end());
    for (Finding& f : stage->second.add(point.step, row)) {
      run.findings.push_back({point.stage, std::move(f)});
    }
  }
}

}  // namespace

std::vector<std::string> RunData::stages() const {
  std::vector<std::string> names;
  for (const MetricPoint& p : metrics) {
    if (std::find(names.begin(), names.end(), p.stage) == names.end()) names.push_back(p.stage);
  }
  return names;
}

RunData load_run(const std::string& dir) {
  if (!fs::is_directory(dir)) {
    throw UserError(
        cat(dir, ": expected a run directory, found ", fs::exists(dir) ? "a file" : "nothing"));
  }
  RunData run;
  run.dir = dir;
  fs::path path = fs::absolute(dir).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  run.name = path.filename().string();
  load_recipe(run);
  for_each_row(run, dir + "/metrics.jsonl", "figures of every step",
               [&](const Json& row) { run.metrics.push_back(point_of(row)); });
  load_findings(run);
  for_each_row(run, dir + "/timing.jsonl", "seconds of every step",
               [&](const Json& row) { run.timing.push_back(point_of(row)); });
  load_rollouts(run);
  if (fs::exists(dir + "/examples.jsonl")) {
    for_each_row(run, dir + "/examples.jsonl", "", [&](const Json& row) {
      Example e;
      e.prompt = row.contains("prompt") ? text_of(row, "prompt") : text_of(row, "problem");
      if (row.contains("base")) e.base = completion_of(row["base"]);
      if (row.contains("trained")) e.trained = completion_of(row["trained"]);
      run.examples.push_back(std::move(e));
    });
  }
  if (fs::is_regular_file(dir + "/provenance.json")) {
    run.provenance = Json::parse(read_file(dir + "/provenance.json"), nullptr, false);
    if (run.provenance.is_discarded()) {
      run.provenance = nullptr;
      run.missing.push_back("provenance.json cannot be read");
    }
  } else {
    run.missing.push_back("provenance.json (hashes of base, data, recipe, binary)");
  }
  return run;
}

}  // namespace hone
