// report.html: what a run did, as one page that needs nothing but itself.
#pragma once

#include <string>
#include <vector>

namespace hone {

// Reads the run directories and writes the page, complete or not at all. Several runs share the
// charts; samples and provenance come one run after the other. Missing files are named on the
// page. Throws UserError if a directory does not exist.
void write_report(const std::vector<std::string>& run_dirs, const std::string& out_html);

}  // namespace hone
