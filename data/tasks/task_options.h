// Options of a task, as a recipe writes them: text by name. Each is read once, with its default
// and meaning, from which both the strict reading and `hone data list` come.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace hone {

class TaskOptions {
 public:
  TaskOptions(std::string task, std::map<std::string, std::string> given)
      : task_(std::move(task)), given_(std::move(given)) {}

  // Throw UserError if the value is no number or outside [low, high].
  int64_t integer(const std::string& name, int64_t fallback, int64_t low, int64_t high,
                  const std::string& meaning);
  double share(const std::string& name, double fallback, const std::string& meaning);  // [0, 1]

  // Throws UserError, with the nearest known name, if an option was given that nobody read.
  void finish() const;

  // Name -> "default: meaning".
  const std::map<std::string, std::string>& meanings() const { return meanings_; }
  const std::string& task() const { return task_; }

 private:
  const std::string* find(const std::string& name, const std::string& fallback,
                          const std::string& meaning);
  std::string task_;
  std::map<std::string, std::string> given_, meanings_;
};

}  // namespace hone
