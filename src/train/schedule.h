// The learning rate through a stage, as a factor of `optimizer.lr`.
//
// With s = step (0-based) and n = total steps, w = warmup:
//   warm-up   s < w:  (s + 1) / w               the first step already moves, the w-th is full
// and then, with x in (0, 1] the share of the remaining steps that is done, (s - w + 1) / (n - w):
//   constant  1
//   linear    1 - (1 - end) x
//   cosine    end + (1 - end) (1 + cos(pi x)) / 2          (Loshchilov & Hutter, 1608.03983 eq. 5)
//   wsd       warm-up, hold, decay: 1 until `hold` of all n steps are done, then linear to `end`
//             at the last step                             (MiniCPM, 2404.06395 sec. 4)
// The last step has factor `end` exactly.
#pragma once

#include <cstdint>

#include "base/options.h"

namespace hone {

enum class ScheduleKind { constant, linear, cosine, wsd };

struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::constant;
  int64_t warmup = 0;
  double hold = 0.6;
  double end = 0.0;
};

void describe(OptionVisitor& v, ScheduleOptions& o);

// REQUIRES: 0 <= step < total_steps.
double learning_rate_factor(const ScheduleOptions& options, int64_t step, int64_t total_steps);

}  // namespace hone
