#include "train/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "train/choice.h"

namespace hone {

void describe(OptionVisitor& v, ScheduleOptions& o) {
  choice(v, "kind", o.kind, {"constant", "linear", "cosine", "wsd"},
         "constant, linear, cosine, wsd (warm-up, hold, linear decay)");
  v.value("warmup", o.warmup, "steps of linear warm-up");
  v.value("hold", o.hold, "wsd: share of all steps after which the decay begins");
  v.value("end", o.end, "factor at the last step of linear, cosine and wsd");
  if (o.warmup < 0) throw UserError(cat("schedule.warmup: expected >= 0, found ", o.warmup));
  if (o.hold < 0 || o.hold > 1) {
    throw UserError(cat("schedule.hold: expected 0 to 1, found ", o.hold));
  }
  if (o.end < 0 || o.end > 1) throw UserError(cat("schedule.end: expected 0 to 1, found ", o.end));
}

double learning_rate_factor(const ScheduleOptions& o, int64_t step, int64_t total_steps) {
  HONE_CHECK(step >= 0 && step < total_steps);
  if (step < o.warmup) return static_cast<double>(step + 1) / static_cast<double>(o.warmup);
  int64_t start = o.warmup;
  if (o.kind == ScheduleKind::wsd) {
    start = std::max<int64_t>(start, std::llround(o.hold * static_cast<double>(total_steps)));
  }
  if (step < start) return 1;
  const double x = static_cast<double>(step - start + 1) / static_cast<double>(total_steps - start);
  switch (o.kind) {
    case ScheduleKind::constant:
      return 1;
    case ScheduleKind::linear:
    case ScheduleKind::wsd:
      return 1 - (1 - o.end) * x;
    case ScheduleKind::cosine:
      return o.end + (1 - o.end) * (1 + std::cos(std::numbers::pi * x)) / 2;
  }
  return 1;
}

}  // namespace hone
