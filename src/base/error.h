// Errors: what was expected, what was found, where, what to do.
//
// UserError: the call or the input is wrong (recipe, file, shape); exit code 2.
// RunError: the work failed under way (disk full, worker died); exit code 1.
// Both are caught in main only. Broken invariants are bugs and abort through HONE_CHECK.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace hone {

struct UserError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct RunError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Concatenates its arguments as operator<< prints them.
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace hone

// An invariant of hone itself; prints the place and aborts.
#define HONE_CHECK(condition)                                               \
  do {                                                                      \
    if (!(condition)) ::hone::check_failed(#condition, __FILE__, __LINE__); \
  } while (0)
