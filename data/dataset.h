// Where problems and documents come from: files and synthetic tasks behind one interface.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/rng.h"
#include "base/types.h"

namespace hone {

// Which rows of a file serve.
struct SplitOptions {
  double heldout = 0;
};
struct RowOptions {
  SplitOptions split;
  int64_t max_chars = 0;
  bool dedupe = false;
  std::vector<std::string> against;
  int64_t ngram = 13;
  std::string bad_rows = "stop";
};

inline void describe(OptionVisitor& v, SplitOptions& o) {
  v.value("heldout", o.heldout,
          "share of a file's rows, chosen by a hash of the prompt, that only evaluation sees; 0: "
          "training and evaluation see all");
}
inline void describe(OptionVisitor& v, RowOptions& o) {
  v.section("split", o.split, "which rows of a file are held out");
  v.value("max_chars", o.max_chars, "rows of a file with a longer text are left out; 0: none");
  v.value("dedupe", o.dedupe, "rows of a file whose text came before are left out");
  v.value("against", o.against,
          "files of test problems: rows that share text with one are left out");
  v.value("ngram", o.ngram, "so many words in a row are shared text");
  v.value("bad_rows", o.bad_rows, "stop at a row of a file that cannot be read, or skip it");
}

// One entry of a recipe's `data`: a task by name or a file.
struct DataSpec {
  std::string task;  // a synthetic task, e.g. "sum"
  std::string path;  // or a file of JSON rows
  std::string format = "auto";
  double weight = 1.0;                         // share of the mixture
  RowOptions rows;                             // of a file
  std::map<std::string, std::string> options;  // the task's own, e.g. operands: 5
};

inline void describe(OptionVisitor& v, DataSpec& o) {
  v.value("task", o.task, "name of a synthetic task (hone data list)");
  v.value("path", o.path, "a JSONL file of problems or documents");
  v.value("format", o.format, "auto, or the format of the file's rows (hone data list)");
  v.value("weight", o.weight, "share of the mixture");
  describe(v, o.rows);
  v.rest(o.options, "options of the task");
}

// A training document: a text, of which the loss counts from `loss_from` on (SFT: the answer), or a
// conversation, which the model's chat template makes a text of.
struct Document {
  std::string text;
  int64_t loss_from = 0;    // byte offset
  Json messages = nullptr;  // or [M] {role, content, ...}; text is then empty
  std::vector<bool> learn =
      {};  // [M] whether the loss counts in a message: only the assistant's do

  bool learns_nothing() const { return std::find(learn.begin(), learn.end(), true) == learn.end(); }
};

enum class Split { train, heldout };

// An endless or finite source of problems. Item i is a pure function of (source, seed, i).
// Thread-safe: all members are const.
class ProblemSource {
 public:
  virtual ~ProblemSource() = default;
  // Number of distinct items, or -1 for an endless generator.
  virtual int64_t size() const = 0;
  // Any index >= 0; a finite source starts over after its last item.
  virtual Problem at(int64_t index) const = 0;
  // What was left out of the files, in words; "" if nothing was.
  virtual std::string report() const = 0;
};

class DocumentSource {
 public:
  virtual ~DocumentSource() = default;
  virtual int64_t size() const = 0;
  virtual Document at(int64_t index) const = 0;
  virtual std::string report() const = 0;
};

// A synthetic task: makes problems (train or held-out) and, if it can, documents of a pretraining
// corpus. Problems are never held-out ones in the train split or in the corpus.
class Task {
 public:
  virtual ~Task() = default;
  virtual Problem problem(Split split, Rng& rng) const = 0;
  virtual Document document(Rng& rng) const = 0;
  // How many distinct problems the held-out split of a data set has, if there are so many.
  virtual int64_t heldout_size() const = 0;
};

struct TaskInfo {
  std::string name, meaning;
  std::map<std::string, std::string> options;  // name -> default and meaning
};
std::vector<TaskInfo> list_tasks();
// Throws UserError for an unknown task (nearest name offered) or option.
std::unique_ptr<Task> make_task(const std::string& name,
                                const std::map<std::string, std::string>& options);

// Train: one file comes whole, in a new order each epoch; tasks and mixtures are endless, each item
// drawn by weight. Held-out: the distinct held-out problems of the tasks and the rows of the files,
// evenly interleaved; weights do not matter. Of a file with split.heldout each side has its rows,
// of another both have all.
// Throws UserError: missing file, empty data set, bad row.
std::unique_ptr<ProblemSource> open_problems(const std::vector<DataSpec>& specs, Split split,
                                             uint64_t seed);
std::unique_ptr<DocumentSource> open_documents(const std::vector<DataSpec>& specs, uint64_t seed);

}  // namespace hone
