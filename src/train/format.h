// Figures for people.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>

#include "base/error.h"

namespace hone {

// printf of one number, e.g. formatted("%.3f", x).
inline std::string formatted(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// Seconds as people say them.
inline std::string duration_text(double seconds) {
  if (!(seconds < 360000)) return "long";
  const int64_t s = static_cast<int64_t>(std::ceil(seconds));
  if (s < 60) return cat(s, " s");
  if (s < 3600) return cat(s / 60, " min ", s % 60, " s");
  return cat(s / 3600, " h ", s % 3600 / 60, " min");
}

}  // namespace hone
