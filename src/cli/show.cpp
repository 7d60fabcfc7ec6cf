// hone show: one problem's completions through training.
#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "rollouts/record.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

struct Options {
  std::string run, problem;
  OutputOptions output;
};

std::vector<std::string> sorted_entries(const std::string& directory) {
  std::vector<std::string> paths;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(directory, ec)) {
    paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

// Rollouts of training and of evaluations, in the order of the stages and steps.
std::vector<std::string> rollout_files(const std::string& run) {
  std::vector<std::string> files;
  for (const std::string& stage : sorted_entries(run + "/stages")) {
    for (const char* kind : {"/rollouts", "/evals"}) {
      for (const std::string& file : sorted_entries(stage + kind)) {
        if (file.ends_with(".jsonl")) files.push_back(file);
      }
    }
  }
  return files;
}

void print_completion(const RecordedCompletion& c) {
  std::string line = "reward " + (c.reward ? to_line(*c.reward) : std::string("none"));
  for (const auto& [name, score] : c.scores) {
    line += cat("  ", name, " ", score.value ? to_line(*score.value) : std::string("none"));
    if (score.status != Status::ok) line += cat(" (", to_string(score.status), ")");
  }
  print_line(cat("  -- ", line, "  ", c.tokens, " tokens, ", to_string(c.finish_reason)));
  print_line(visible_text(c.text));
}

int run(const Options& o) {
  begin_output(o.output);
  std::error_code ec;
  if (!fs::is_directory(o.run + "/stages", ec)) {
    throw UserError(cat(o.run, ": expected a run directory with stages/, found none there"));
  }
  int64_t found = 0, completions = 0;
  for (const std::string& file : rollout_files(o.run)) {
    for (const RecordedGroup& group : read_rollouts(file)) {
      if (group.id != o.problem) continue;
      if (found++ == 0) {
        print_line(cat("problem ", visible_text(group.id), "\n", visible_text(group.prompt)));
        if (!group.answer.is_null()) print_line("answer: " + visible_text(to_line(group.answer)));
      }
      print_line("\n" + fs::path(file).lexically_relative(o.run).string());
      for (const RecordedCompletion& c : group.completions) print_completion(c);
      completions += static_cast<int64_t>(group.completions.size());
    }
  }
  if (found == 0) {
    throw UserError(cat(o.run, ": no rollout has a problem with the id '", o.problem, "'"));
  }
  print_result(o.output, {{"problem", o.problem}, {"groups", found}, {"completions", completions}});
  return 0;
}

}  // namespace

void add_show(Command& hone) {
  static Options o;
  Command& c = hone.verb("show", "a problem's completions through training, with their rewards");
  c.argument("RUN", o.run, "run directory");
  c.option("--problem", o.problem, "id of the problem, as rollouts/*.jsonl have it", true);
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
