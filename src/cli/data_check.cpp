// hone data check and hone data filter: what is wrong with which row, and files without the rows
// that should not serve.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "data/filter.h"
#include "data/readers/formats.h"
#include "data/readers/row.h"
#include "data/readers/row_reader.h"
#include "rewards/code/tests.h"
#include "rewards/extraction.h"
#include "rewards/reward.h"

namespace hone {
namespace {

constexpr size_t kRowsAtOnce = 256;

struct Options {
  std::string file, out, format = "auto", split = "train";
  std::vector<std::string> rewards;
  RowOptions rows;
  OutputOptions output;
};

// ---- check -------------------------------------------------------------------------------------

// What the rewards can judge the problem by, if anything: told without running one.
std::string missing_reference(const Problem& problem) {
  const Json& f = problem.fields;
  for (const char* tests : {"tests", "test_cases", "input_output", "test_list"}) {
    if (!f.contains(tests)) continue;
    try {
      read_code_tests(problem);
      return "";
    } catch (const BadTests& bad) {
      return cat("tests that cannot be read: ", bad.what());
    }
  }
  for (const char* key : {"numbers", "nums", "ground_truth", "solution_text_format"}) {
    if (f.contains(key)) return "";
  }
  return reference_answer(problem).empty() ? "no answer, tests, or numbers and target" : "";
}

class Checker {
 public:
  explicit Checker(const Options& o) : o_(o), format_(format_name(o.format)) {
    std::vector<RewardSpec> specs;
    for (const std::string& text : o.rewards) specs.push_back(parse_reward_spec(text));
    if (!specs.empty()) rewards_.emplace(specs);
  }

  void take(const RowText& text) {
    ++rows_;
    try {
      const Row row = read_row(text.text, format_, o_.file, text.number);
      if (kind_of(row) == RowKind::document) {
        document_of(row);
        ++documents_;
      } else {
        take_problem(row, problem_of(row));
        ++problems_;
      }
      ++formats_[row.format];
      Json content = row.fields;
      content.erase("id");
      const auto [first, fresh] = seen_.emplace(mix64(hash64(to_line(content))), text.number);
      if (fresh) return;
      ++repeated_;
      print_line(cat(row.where, ": the same as row ", first->second));
    } catch (const UserError& error) {
      ++wrong_;
      print_line(error.what());
    }
  }

  int finish() {
    judge();
    if (rows_ == 0) throw UserError(cat(o_.file, ": expected rows of JSON, found none"));
    std::string by_format;
    for (const auto& [name, n] : formats_) by_format += cat(", ", n, " as ", name);
    print_line(
        cat(rows_, " rows: ", problems_, " problems, ", documents_, " documents", by_format));
    print_line(cat(wrong_, " wrong, ", repeated_, " repeated, ", no_reference_,
                   " problems without what a reward needs"));
    print_result(o_.output, {{"rows", rows_},
                             {"wrong", wrong_},
                             {"repeated", repeated_},
                             {"no_reference", no_reference_},
                             {"problems", problems_},
                             {"documents", documents_},
                             {"formats", formats_}});
    return wrong_ > 0 || (rewards_ && no_reference_ > 0) ? 1 : 0;
  }

 private:
  void take_problem(const Row& row, Problem problem) {
    if (!rewards_) {
      tell_missing(row.where, missing_reference(problem));
      return;
    }
    Group group;
    group.prompt = problem.prompt;
    group.problem = std::move(problem);
    group.completions.resize(1);  // an empty one: the reference is read before it is looked at
    group.completions[0].finish_reason = FinishReason::stop;
    groups_.push_back(std::move(group));
    places_.push_back(row.where);
    if (groups_.size() >= kRowsAtOnce) judge();
  }

  void tell_missing(const std::string& where, const std::string& what) {
    if (what.empty()) return;
    ++no_reference_;
    print_line(cat(where, ": ", what));
  }

  void judge() {
    if (groups_.empty()) return;
    rewards_->score(groups_, {1, 1});
    for (size_t i = 0; i < groups_.size(); ++i) {
      for (const auto& [name, scores] : groups_[i].scores) {
        const Score& score = scores[0];
        if (score.status != Status::bad_reference) continue;
        tell_missing(places_[i], cat(name, ": bad reference: ", to_line(score.details)));
        break;
      }
    }
    groups_.clear();
    places_.clear();
  }

  const Options& o_;
  std::string format_;
  std::optional<RewardSet> rewards_;
  std::vector<Group> groups_;  // not judged yet
  std::vector<std::string> places_;
  int64_t rows_ = 0, wrong_ = 0, repeated_ = 0, no_reference_ = 0, problems_ = 0, documents_ = 0;
  std::map<std::string, int64_t> formats_;
  std::unordered_map<uint64_t, int64_t> seen_;  // hash of the row -> its number
};

int check(const Options& o) {
  begin_output(o.output);
  Checker checker(o);
  for_each_row(find_path(o.file), [&](const RowText& text) { checker.take(text); });
  return checker.finish();
}

// ---- filter ------------------------------------------------------------------------------------

// A row of an array may have line breaks between its values, nowhere else.
std::string as_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\r', ' ');
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}

int filter(const Options& o) {
  Display display(begin_output(o.output));
  if (o.split != "train" && o.split != "heldout") {
    throw UserError(cat("--split: expected train or heldout, found '", o.split, "'"));
  }
  const std::string format = format_name(o.format), path = find_path(o.file);
  RowFilter filter(o.rows, o.split == "train" ? Split::train : Split::heldout);
  FilterReport report;
  RowWriter writer(o.out);
  for_each_row(path, [&](const RowText& text) {
    const auto row = filter_row(filter, text, format, o.file, std::nullopt, report,
                                [&](LeftOut, const std::string& reason) {
                                  if (o.out != "-") print_line(reason);
                                });
    if (row) writer.write(as_line(text.text));
  });
  if (report.rows == 0) throw UserError(cat(o.file, ": expected rows of JSON, found none"));
  if (report.kept == 0) throw UserError(cat(o.file, ": no row is left: ", report.words()));
  writer.finish();
  report.first.clear();  // all were told
  display.note(report.words());
  Json result = {{"rows", report.rows}, {"kept", report.kept}, {"out", o.out}};
  const char* const names[] = {"bad", "too_long", "repeated", "in_test_set", "other_side"};
  for (size_t i = 0; i < report.left_out.size(); ++i) result[names[i]] = report.left_out[i];
  print_result(o.output, result);
  return 0;
}

}  // namespace

void add_data_check(Command& data) {
  static Options o;
  Command& c = data.verb("check", "what is wrong with which row of a file");
  c.argument("FILE", o.file, "JSONL file or JSON array of problems or documents");
  c.option("--format", o.format, "auto, or the format of the rows (hone data list)");
  c.option("--reward", o.rewards, "also tell the rows whose reference this reward cannot read");
  add_output_options(c, o.output);
  c.action([] { return check(o); });
}

void add_data_filter(Command& data) {
  static Options o;
  Command& c = data.verb("filter", "a file without the rows that should not serve");
  c.argument("FILE", o.file, "JSONL file or JSON array of problems or documents");
  c.option("--out", o.out, "JSONL file for the other rows, as they are; - for standard output",
           true);
  c.option("--format", o.format, "auto, or the format of the rows (hone data list)");
  c.option("--max-chars", o.rows.max_chars, "leave out longer texts; 0: none");
  c.flag("--dedupe", o.rows.dedupe, "leave out texts that came before");
  c.option("--against", o.rows.against, "test problems: leave out rows that share text with one");
  c.option("--ngram", o.rows.ngram, "so many words in a row are shared text");
  c.option("--heldout", o.rows.split.heldout,
           "share of the rows that is held out, by their prompts");
  c.option("--split", o.split, "which side to keep: train or heldout");
  c.option("--bad-rows", o.rows.bad_rows, "stop at a row that cannot be read, or skip it");
  add_output_options(c, o.output);
  c.action([] { return filter(o); });
}

}  // namespace hone
