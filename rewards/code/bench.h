// The sandbox's own workload, for `hone bench sandbox`.
#pragma once

#include "base/json.h"

namespace hone {

// Verdicts on a trivial Python program with one test by `threads` workers: `rounds` measured after
// one to warm up. {verdicts_per_second: {median, min, max}, ...}. Throws UserError without a
// sandbox.
Json bench_sandbox(size_t threads, size_t verdicts, int rounds);

}  // namespace hone
