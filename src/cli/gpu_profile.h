// What the GPU spent its time on, kernel by kernel, through the tracer inside LibTorch (kineto over
// CUPTI). Kernels of replayed CUDA graphs are seen like others.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace hone {

struct KernelTime {
  std::string name, group;  // the name without namespaces and arguments
  int64_t count = 0;
  double seconds = 0;
};

// From here on every kernel and copy of this process is recorded. Costs a little time for each.
void start_gpu_profile();
// By group and name, the longest in all first. Throws RunError if nothing was recorded.
std::vector<KernelTime> stop_gpu_profile();

// Milliseconds a step, by group and of the longest kernels, where `steps` steps took `seconds`.
Json profile_json(const std::vector<KernelTime>& kernels, double seconds, int64_t steps);
// The same for people.
std::string profile_table(const Json& profile);

// attention | gemm | norm | rope | activation | embedding | sampling | sort | head | optimizer |
// fp8 casts | copy | other,
// by the kernel's full name. The matrix product of the head counts as gemm: its kernel serves other
// products too. Routers share the kernels of sort.
std::string kernel_group(const std::string& name);

}  // namespace hone
