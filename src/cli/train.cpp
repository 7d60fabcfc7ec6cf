// hone train: runs a recipe.
#include <signal.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "train/run.h"
#include "train/trial.h"

namespace hone {
namespace {

struct Options {
  std::string recipe, out;
  std::vector<std::string> overrides;
  bool resume = false, dry_run = false, random_weights = false;
  double max_time = 0;
  OutputOptions output;
};

// The first signal asks the run to finish its step and save; the second ends at once.
void on_signal(int signal) {
  if (stop_signal != 0) _exit(128 + signal);
  stop_signal = signal;
}

void install_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a closed `| head` must not kill a run
}

std::string millions(int64_t n) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2fM", static_cast<double>(n) / 1e6);
  return text;
}

// -1: a stage before it makes the model. Of a new one with the vocabulary that its shape has now;
// the tokenizer's comes later.
int64_t parameters_of(const StageOptions& stage, const Recipe& recipe) {
  if (stage.kind == "pretrain") return complete_shape(stage.shape, "shape").parameter_count();
  if (stands_in(recipe, stage)) return complete_shape(stage.shape, "shape").parameter_count();
  for (const StageOptions& other : recipe.stages) {
    if (other.name == stage.model) return -1;
  }
  return load_model_config(find_path(stage.model)).parameter_count();
}

std::string plan_of(const Recipe& recipe, const std::string& out) {
  std::string text = "# plan\n";
  for (const StageOptions& s : recipe.stages) {
    const int64_t parameters = parameters_of(s, recipe);
    text += cat("#   stage ", s.name, ": ", s.kind, ", ", s.steps, " steps, ");
    if (s.kind == "rl") {
      text += cat(s.prompts_per_step * s.group_size, " completions a step (", s.prompts_per_step,
                  " prompts x ", s.group_size, ") of at most ", s.max_tokens, " tokens, ");
    } else {
      text += cat(s.batch_tokens, " tokens a step, ");
    }
    text += parameters < 0 ? cat("the model of stage ", s.model)
                           : cat(millions(parameters), " parameters");
    text += "\n";
  }
  const bool there = std::filesystem::exists(out + "/recipe.yaml");
  return text +
         cat("#   writes to ", out, there ? " (a run is there: --resume or another --out)" : "");
}

int exit_code(RunEnd end) {
  return end == RunEnd::interrupted ? 130 : end == RunEnd::terminated ? 143 : 0;
}

const char* name_of(RunEnd end) {
  switch (end) {
    case RunEnd::finished:
      return "finished";
    case RunEnd::interrupted:
      return "interrupted";
    case RunEnd::terminated:
      return "terminated";
    case RunEnd::out_of_time:
      return "out_of_time";
  }
  return "";
}

// The last row of metrics.jsonl.
Json last_metrics(const std::string& directory) {
  const std::string path = directory + "/metrics.jsonl";
  Json last;
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) return last;
  for_each_line(path, [&](int64_t, const std::string& line) {
    Json row = Json::parse(line, nullptr, false);
    if (row.is_object()) last = std::move(row);
  });
  return last;
}

int run(const Options& o) {
  RunOptions options;
  options.display = begin_output(o.output);
  options.directory =
      o.out.empty() ? "runs/" + std::filesystem::path(o.recipe).stem().string() : o.out;
  options.resume = o.resume;
  std::vector<std::string> notes;
  Recipe recipe = o.random_weights ? read_trial(find_path(o.recipe), o.overrides, notes)
                                   : read_recipe(find_path(o.recipe), o.overrides);
  if (o.max_time < 0) throw UserError(cat("--max-time: expected seconds, found ", o.max_time));
  if (o.max_time > 0) recipe.max_time = o.max_time;
  if (o.dry_run) {
    std::string text = recipe_text(recipe);
    if (text.empty() || text.back() != '\n') text += '\n';
    print_line(text + plan_of(recipe, options.directory));
    print_result(o.output, OptionWriter::write(recipe));
    return 0;
  }
  for (const std::string& note : notes) log_info(note);
  install_handlers();
  const Timer timer;
  const RunEnd end = run_recipe(recipe, options);
  print_result(o.output, {{"run", options.directory},
                          {"end", name_of(end)},
                          {"seconds", timer.seconds()},
                          {"metrics", last_metrics(options.directory)}});
  return exit_code(end);
}

}  // namespace

void add_train(Command& hone) {
  static Options o;
  Command& c = hone.verb("train", "run a recipe's stages in order");
  c.argument("RECIPE", o.recipe, "recipe file");
  c.arguments("overrides", o.overrides,
              "overrides, e.g. optimizer.lr=1e-4; with several stages STAGE.optimizer.lr=1e-4",
              false);
  c.option("--out", o.out, "run directory; default runs/<stem of RECIPE>");
  c.flag("--resume", o.resume, "go on from the newest complete checkpoint");
  c.flag("--dry-run", o.dry_run, "print the resolved recipe and the plan, run nothing");
  c.flag("--random-weights", o.random_weights,
         "a trial of shape, memory and speed: weights from the config alone, random rewards, "
         "5 steps of 8 x 4 x 256 tokens unless told otherwise");
  c.option("--max-time", o.max_time, "seconds after which to save and leave; 0: no limit");
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
