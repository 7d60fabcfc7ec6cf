// The part of `hone bench` that needs no model.
#pragma once

#include "cli/command.h"

namespace hone {

void add_bench_rewards(Command& bench);

}  // namespace hone
