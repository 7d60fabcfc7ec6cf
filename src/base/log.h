// Log lines for people, on stderr. Results never come this way.
#pragma once

#include <string>

namespace hone {

enum class LogLevel { info, warning, error };

// Lines below this level are dropped; --quiet sets error.
void set_log_level(LogLevel level);
void log_info(const std::string& line);
void log_warning(const std::string& line);
void log_error(const std::string& line);

}  // namespace hone
