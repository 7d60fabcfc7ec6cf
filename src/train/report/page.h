// The sections of the report, each a function from runs to HTML.
#pragma once

#include <string>
#include <vector>

#include "train/report/run_data.h"

namespace hone {

std::string headline_html(const std::vector<RunData>& runs);
std::string summary_html(const std::vector<RunData>& runs);
std::string findings_html(const std::vector<RunData>& runs);
std::string charts_html(const std::vector<RunData>& runs);
std::string samples_html(const RunData& run, bool several);
std::string time_html(const std::vector<RunData>& runs);
std::string figures_html(const std::vector<RunData>& runs);
std::string provenance_html(const RunData& run, bool several);

// The page's style sheet and its one script (the pointer on charts).
const char* report_style();
const char* report_script();

}  // namespace hone
