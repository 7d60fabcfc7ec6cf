#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>

#include "base/error.h"

namespace hone {
namespace {

spdlog::logger& logger() {
  static std::shared_ptr<spdlog::logger> instance = [] {
    auto l = spdlog::stderr_color_mt("hone");
    l->set_pattern("%^%v%$");
    return l;
  }();
  return *instance;
}

}  // namespace

void set_log_level(LogLevel level) {
  logger().set_level(level == LogLevel::info      ? spdlog::level::info
                     : level == LogLevel::warning ? spdlog::level::warn
                                                  : spdlog::level::err);
}
void log_info(const std::string& line) { logger().info("{}", line); }
void log_warning(const std::string& line) { logger().warn("warning: {}", line); }
void log_error(const std::string& line) { logger().error("error: {}", line); }

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "hone: internal error: %s at %s:%d; please report this\n", condition, file,
               line);
  std::abort();
}

}  // namespace hone
