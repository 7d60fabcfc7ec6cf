// Runs a parsed template.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/jinja/syntax.h"

namespace hone::jinja {

struct Rendering {
  std::string text;
  // The bytes of `text` that lie in {% generation %} blocks, in order.
  std::vector<std::pair<size_t, size_t>> generated;
};

// A template that went wrong at `line`, in words.
struct RenderError {
  int line;
  std::string message;
};

// `variables` is an object; `now` is the time that strftime_now tells, in seconds since the epoch.
// Throws RenderError. Steps, memory and recursion are bounded.
Rendering render(const Syntax& syntax, const Json& variables, int64_t now);

}  // namespace hone::jinja
