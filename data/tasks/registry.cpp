// The list of tasks. A new task is one more line here (data/README.md shows how).
#include "base/error.h"
#include "data/tasks/tasks.h"

namespace hone {
namespace {

struct Entry {
  const char* name;
  const char* meaning;
  std::unique_ptr<Task> (*make)(TaskOptions&);
};

const Entry kTasks[] = {
    {"sum", "add several numbers, by default five of two digits", make_sum},
    {"multiply", "two factors, by default of two digits, by partial products", make_multiply},
    {"countdown", "reach a target with all of the given numbers", make_countdown},
};

}  // namespace

std::vector<TaskInfo> list_tasks() {
  std::vector<TaskInfo> out;
  for (const Entry& entry : kTasks) {
    TaskOptions options(entry.name, {});
    entry.make(options);
    out.push_back({entry.name, entry.meaning, options.meanings()});
  }
  return out;
}

std::unique_ptr<Task> make_task(const std::string& name,
                                const std::map<std::string, std::string>& given) {
  std::vector<std::string> known;
  std::string all;
  for (const Entry& entry : kTasks) {
    if (name == entry.name) {
      TaskOptions options(name, given);
      std::unique_ptr<Task> task = entry.make(options);
      options.finish();
      return task;
    }
    known.push_back(entry.name);
    all += (all.empty() ? "" : ", ") + std::string(entry.name);
  }
  const std::string near = nearest_word(name, known);
  throw UserError(cat("unknown task ", name, near.empty() ? "" : "; did you mean " + near + "?",
                      " Tasks: ", all));
}

}  // namespace hone
