// hone eval: how many held-out problems a model solves.
#include <algorithm>

#include "base/error.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "data/dataset.h"
#include "engine/engine.h"
#include "model/transformer.h"
#include "rewards/reward.h"
#include "rollouts/record.h"
#include "text/tokenizer.h"
#include "train/evaluate.h"

namespace hone {
namespace {

struct Options {
  std::string model, task, data, format = "auto", out;
  std::vector<std::string> rewards;
  PromptOptions prompt;
  SamplingOptions sampling;
  int64_t n = 1;
  int64_t problems = 0;
  std::vector<int64_t> k;
  ModelOptions place;
  OutputOptions output;
};

DataSpec data_spec(const Options& o) {
  if (o.task.empty() == o.data.empty()) {
    throw UserError("hone eval: expected --task NAME or --data FILE, one of them");
  }
  DataSpec spec;
  spec.path = o.data;
  spec.format = o.format;
  const size_t colon = o.task.find(':');
  spec.task = o.task.substr(0, colon);
  for (size_t start = colon; start != std::string::npos && start < o.task.size();) {
    const size_t end = std::min(o.task.find(',', start + 1), o.task.size());
    const std::string part = o.task.substr(start + 1, end - start - 1);
    const size_t equals = part.find('=');
    if (equals == std::string::npos) {
      throw UserError(cat("--task ", o.task, ": expected option=value, found '", part, "'"));
    }
    spec.options[part.substr(0, equals)] = part.substr(equals + 1);
    start = end;
  }
  return spec;
}

// The task's own reward where none is given; the format is always told.
std::vector<RewardSpec> reward_specs(const Options& o, const DataSpec& data) {
  std::vector<RewardSpec> specs;
  for (const std::string& text : o.rewards) specs.push_back(parse_reward_spec(text));
  if (specs.empty()) {
    if (data.task.empty()) throw UserError("hone eval: --data needs --reward NAME");
    specs.push_back(parse_reward_spec(data.task == "countdown" ? "countdown" : "math"));
  }
  const bool has_format = std::any_of(specs.begin(), specs.end(), [](const RewardSpec& s) {
    return (s.as.empty() ? s.name : s.as) == "format";
  });
  if (!has_format) specs.push_back(parse_reward_spec("format:weight=0"));
  return specs;
}

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.1f%%", 100 * share);
  return text;
}

void print_figures(const Json& figures) {
  for (const auto& [name, value] : figures.items()) {
    const bool share = name.starts_with("pass") || name.starts_with("maj") || name == "format" ||
                       name == "truncated";
    std::string text = to_line(value);
    if (share && value.is_number()) text = percent(value.get<double>());
    print_line(name + std::string(name.size() < 14 ? 14 - name.size() : 1, ' ') + text);
  }
}

int run(const Options& o) {
  Display display(begin_output(o.output));
  if (o.n < 1) throw UserError(cat("--n: expected at least 1, found ", o.n));
  const DataSpec data = data_spec(o);
  RewardSet rewards(reward_specs(o, data), o.place.threads);
  const auto source = open_problems({data}, Split::heldout, static_cast<uint64_t>(o.place.seed));
  const std::string directory = find_model(o.model);
  const auto tokenizer = load_tokenizer(directory);
  const auto model = open_model(directory, o.place);
  check_vocabulary(*model, *tokenizer, directory);

  EvaluationInput input;
  const int64_t all = source->size() < 0 ? 512 : source->size();
  const int64_t count = o.problems > 0 ? std::min(o.problems, all) : all;
  for (int64_t i = 0; i < count; ++i) input.problems.push_back(source->at(i));
  input.prompt = make_prompt_template(o.prompt, directory);
  input.sampling = o.sampling;
  input.n = o.n;
  input.k = o.k;
  input.seed = static_cast<uint64_t>(o.place.seed);
  input.max_context = model->config().max_positions;

  Engine engine(*model, tokenizer.get());
  if (!source->report().empty()) display.note(source->report());
  display.note(cat(count, " problems, ", o.n, " samples each"));
  const Evaluation e =
      evaluate(engine, *tokenizer, rewards, input, [&](int64_t, int64_t finished, int64_t total) {
        display.progress("evaluating", finished, total);
      });
  if (!o.out.empty()) {
    RowWriter writer(o.out);
    for (const Group& group : e.groups) writer.write(to_line(rollout_row(group)));
    writer.finish();
  }
  if (!o.output.json) print_figures(e.json());
  print_result(o.output, e.json());
  return 0;
}

}  // namespace

void add_eval(Command& hone) {
  static Options o;
  Command& c = hone.verb("eval", "the share of held-out problems that a model solves");
  c.argument("MODEL", o.model, "model directory, or a run");
  c.option("--task", o.task, "NAME[:option=value,...], see hone data list");
  c.option("--data", o.data, "JSONL file of problems");
  c.option("--format", o.format, "of the rows of --data: auto, or see hone data list");
  c.option("--reward", o.rewards, "what judges; the first decides what is solved");
  c.option("--template", o.prompt.prompt_template, "none, r1_zero, qwen_boxed, chat or a text");
  c.option("--problems", o.problems, "how many; 0: all held-out ones");
  c.option("--n", o.n, "samples of each problem");
  c.option("--k", o.k, "also pass@k, at most n");
  c.option("--temperature", o.sampling.temperature, "0 is greedy");
  c.option("--top-p", o.sampling.top_p, "the smallest set of tokens with this probability; 1: all");
  c.option("--max-tokens", o.sampling.max_tokens, "longest completion");
  c.option("--out", o.out, "JSONL file for the completions with their scores");
  add_model_options(c, o.place);
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
