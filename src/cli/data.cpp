// hone data: synthetic tasks, their problems and corpora as files; the other verbs stand in files
// of their own.
#include <filesystem>

#include "base/error.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "data/dataset.h"
#include "data/readers/formats.h"
#include "data/tiny_tokenizer.h"

namespace hone {
namespace {

struct Options {
  std::string task, out, split = "train";
  std::vector<std::string> options;
  int64_t n = 1000, seed = 0;
  bool documents = false;
  OutputOptions output;
};

int list(const Options& o) {
  begin_output(o.output);
  Json tasks = Json::array();
  for (const TaskInfo& task : list_tasks()) {
    print_line(task.name + ": " + task.meaning);
    for (const auto& [name, meaning] : task.options) print_line("  " + name + "=" + meaning);
    tasks.push_back({{"name", task.name}, {"meaning", task.meaning}, {"options", task.options}});
  }
  Json formats = Json::array();
  print_line("formats of rows in files (format: in a recipe, --as of hone data import):");
  print_line("  auto: known by the columns");
  for (const RowFormat& format : row_formats()) {
    print_line(cat("  ", format.name, ": ", format.columns, " -> ", format.result));
    formats.push_back(
        {{"name", format.name}, {"columns", format.columns}, {"result", format.result}});
  }
  print_result(o.output, {{"tasks", tasks}, {"formats", formats}});
  return 0;
}

DataSpec task_spec(const Options& o) {
  DataSpec spec;
  spec.task = o.task;
  for (const std::string& text : o.options) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      throw UserError(cat("option '", text, "': expected option=value"));
    }
    spec.options[text.substr(0, equals)] = text.substr(equals + 1);
  }
  make_task(spec.task, spec.options);  // a wrong name or option is told before anything is written
  return spec;
}

Json problem_row(const Problem& problem) {
  Json row = {{"id", problem.id}};
  for (const auto& [key, value] : problem.fields.items()) {
    if (key != "id") row[key] = value;
  }
  return row;
}

int make(const Options& o) {
  Display display(begin_output(o.output));
  if (o.n < 1) throw UserError(cat("--n: expected at least 1, found ", o.n));
  if (o.split != "train" && o.split != "heldout") {
    throw UserError(cat("--split: expected train or heldout, found '", o.split, "'"));
  }
  if (o.documents && o.split == "heldout") {
    throw UserError("--documents: held-out problems are in no document; leave out --split");
  }
  const std::vector<DataSpec> specs = {task_spec(o)};
  const uint64_t seed = static_cast<uint64_t>(o.seed);
  const Split split = o.split == "train" ? Split::train : Split::heldout;
  const auto problems = o.documents ? nullptr : open_problems(specs, split, seed);
  const auto documents = o.documents ? open_documents(specs, seed) : nullptr;
  if (problems && problems->size() >= 0 && o.n > problems->size()) {
    throw UserError(cat("--n: the ", o.split, " split has ", problems->size(),
                        " problems (the task's option heldout sets it), found ", o.n));
  }
  RowWriter writer(o.out);
  for (int64_t i = 0; i < o.n; ++i) {
    writer.write(to_line(o.documents ? Json{{"text", documents->at(i).text}}
                                     : problem_row(problems->at(i))));
    if (i % 4096 == 0) display.progress("writing", i, o.n);
  }
  display.progress("writing", o.n, o.n);
  writer.finish();
  print_result(o.output, {{"rows", o.n}, {"out", o.out}});
  return 0;
}

int tokenizer(const Options& o) {
  Display display(begin_output(o.output));
  std::error_code ec;
  if (std::filesystem::exists(o.out + "/tokenizer.model", ec)) {
    throw UserError(cat(o.out, ": has a tokenizer.model already; choose another --out"));
  }
  std::filesystem::create_directories(o.out, ec);
  if (ec) throw UserError(cat(o.out, ": cannot be made: ", ec.message()));
  display.note("training a tokenizer of 512 pieces on documents of all tasks");
  make_tiny_tokenizer(o.out, static_cast<uint64_t>(o.seed));
  print_result(o.output, {{"out", o.out}});
  return 0;
}

void add_make(Command& data, Options& o) {
  Command& c = data.verb("make", "problems or documents of a synthetic task, as JSONL");
  c.argument("TASK", o.task, "name of the task (hone data list)");
  c.arguments("options", o.options, "options of the task", false);
  c.option("--n", o.n, "how many rows");
  c.option("--seed", o.seed, "same seed, same rows");
  c.option("--split", o.split, "train or heldout");
  c.flag("--documents", o.documents, "documents of the pretraining corpus, not problems");
  c.option("--out", o.out, "JSONL file, - for standard output", true);
  add_output_options(c, o.output);
  c.action([&o] { return make(o); });
}

}  // namespace

void add_data(Command& hone) {
  static Options o;
  Command& data = hone.verb("data", "tasks and data sets");
  Command& l = data.verb("list", "the synthetic tasks and their options, the formats of rows");
  add_output_options(l, o.output);
  l.action([] { return list(o); });
  add_make(data, o);
  add_data_import(data);
  add_data_check(data);
  add_data_filter(data);
  Command& t = data.verb("tokenizer", "train the tokenizer of the tiny base");
  t.option("--out", o.out, "directory", true);
  t.option("--seed", o.seed, "same seed, same bytes");
  add_output_options(t, o.output);
  t.action([] { return tokenizer(o); });
}

}  // namespace hone
