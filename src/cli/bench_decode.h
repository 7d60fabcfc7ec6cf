// hone bench decode: sampling with random weights, beside what the memory's speed allows.
#pragma once

#include "cli/command.h"

namespace hone {

void add_bench_decode(Command& bench);

}  // namespace hone
