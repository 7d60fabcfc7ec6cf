#include "data/tasks/task_options.h"

#include <charconv>

#include "base/error.h"
#include "base/options.h"

namespace hone {

const std::string* TaskOptions::find(const std::string& name, const std::string& fallback,
                                     const std::string& meaning) {
  meanings_[name] = fallback + ": " + meaning;
  const auto it = given_.find(name);
  return it == given_.end() ? nullptr : &it->second;
}

int64_t TaskOptions::integer(const std::string& name, int64_t fallback, int64_t low, int64_t high,
                             const std::string& meaning) {
  const std::string* text = find(name, std::to_string(fallback), meaning);
  if (text == nullptr) return fallback;
  int64_t value = 0;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || stop != end || value < low || value > high) {
    throw UserError(cat("task ", task_, ": option ", name, ": expected a whole number from ", low,
                        " to ", high, ", found ", *text));
  }
  return value;
}

double TaskOptions::share(const std::string& name, double fallback, const std::string& meaning) {
  const std::string* text = find(name, cat(fallback), meaning);
  if (text == nullptr) return fallback;
  double value = 0;
  const char* end = text->data() + text->size();
  const auto [stop, error] = std::from_chars(text->data(), end, value);
  if (error != std::errc() || stop != end || !(value >= 0 && value <= 1)) {
    throw UserError(
        cat("task ", task_, ": option ", name, ": expected a number from 0 to 1, found ", *text));
  }
  return value;
}

void TaskOptions::finish() const {
  std::vector<std::string> known;
  for (const auto& [name, meaning] : meanings_) known.push_back(name);
  for (const auto& [name, value] : given_) {
    if (meanings_.count(name)) continue;
    const std::string near = nearest_word(name, known);
    throw UserError(cat("task ", task_, ": unknown option ", name,
                        near.empty() ? "" : "; did you mean " + near + "?"));
  }
}

}  // namespace hone
