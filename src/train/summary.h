// The end of a run in a few lines: before and after on held-out problems, the same problem
// answered by the base and by the trained model, where the report is.
#pragma once

#include <string>

namespace hone {

// Reads the run's files; parts that are missing are left out. Model text is made visible
// (visible_text); with `colour` the thinking is dimmed.
std::string run_summary(const std::string& directory, bool colour);

}  // namespace hone
