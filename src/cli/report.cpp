// hone report: a run, or several, as one page; or the end of a run as a few lines.
#include "train/report/report.h"

#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "train/summary.h"

namespace hone {
namespace {

struct Options {
  std::vector<std::string> runs;
  std::string out;
  bool summary = false;
  OutputOptions output;
};

int run(const Options& o) {
  const DisplayOptions display = begin_output(o.output);
  for (const std::string& run : o.runs) {
    std::error_code ec;
    if (!std::filesystem::is_directory(run, ec)) {
      throw UserError(cat(run, ": expected a run directory, found none there"));
    }
    if (!std::filesystem::exists(run + "/metrics.jsonl", ec) &&
        !std::filesystem::exists(run + "/recipe.yaml", ec)) {
      throw UserError(cat(run, ": is no run: it has neither recipe.yaml nor metrics.jsonl"));
    }
  }
  if (o.summary) {
    for (const std::string& run : o.runs) {
      std::string text = run_summary(run, display.terminal && isatty(STDOUT_FILENO));
      while (!text.empty() && text.back() == '\n') text.pop_back();
      print_line(o.runs.size() > 1 ? run + "\n" + text : text);
    }
    print_result(o.output, {{"runs", o.runs}});
    return 0;
  }
  const std::string out = o.out.empty() ? o.runs.front() + "/report.html" : o.out;
  write_report(o.runs, out);
  if (!o.output.json) print_line(out);
  print_result(o.output, {{"report", out}, {"runs", o.runs}});
  return 0;
}

}  // namespace

void add_report(Command& hone) {
  static Options o;
  Command& c = hone.verb("report", "curves and samples of runs as one HTML page");
  c.arguments("RUN", o.runs, "run directories; several are compared", true);
  c.option("--out", o.out, "HTML file; default: report.html in the first run");
  c.flag("--summary", o.summary, "instead print how the run ended, in a few lines");
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
