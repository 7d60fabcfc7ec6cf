// Where problems and documents come from: files and synthetic tasks behind one interface.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/rng.h"
#include "base/types.h"

namespace hone {

// One entry of a recipe's `data`: a task by name or a file.
struct DataSpec {
  std::string task;  // a synthetic task, e.g. "sum"
  std::string path;  // or a JSONL file
  std::string format = "auto";
  double weight = 1.0;                         // share of the mixture
  std::map<std::string, std::string> options;  // the task's own, e.g. operands: 5
};

inline void describe(OptionVisitor& v, DataSpec& o) {
  v.value("task", o.task, "name of a synthetic task (hone data list)");
  v.value("path", o.path, "a JSONL file of problems or documents");
  v.value("format", o.format, "auto, or the format of the rows");
  v.value("weight", o.weight, "share of the mixture");
  v.rest(o.options, "options of the task");
}

// A training document: loss on every token, or only from `loss_from` on (SFT: the answer).
struct Document {
  std::string text;
  int64_t loss_from = 0;  // byte offset
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
};

class DocumentSource {
 public:
  virtual ~DocumentSource() = default;
  virtual int64_t size() const = 0;
  virtual Document at(int64_t index) const = 0;
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
// drawn by weight. Held-out: the distinct held-out problems of the tasks and all rows of the files,
// evenly interleaved; weights do not matter.
// Throws UserError: missing file, empty data set, bad row.
std::unique_ptr<ProblemSource> open_problems(const std::vector<DataSpec>& specs, Split split,
                                             uint64_t seed);
std::unique_ptr<DocumentSource> open_documents(const std::vector<DataSpec>& specs, uint64_t seed);

}  // namespace hone
