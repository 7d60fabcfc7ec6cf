// Figures for people.
#pragma once

#include <cstdio>
#include <string>

namespace hone {

// printf of one number, e.g. formatted("%.3f", x).
inline std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace hone
