#include "cli/gpu_profile.h"

#include <kineto/ActivityType.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <utility>

#include "base/error.h"

namespace hone {
namespace {

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

// The first group one of whose words is in the name. Attention stands before gemm because its
// kernels may be templates of cutlass too.
const std::pair<const char*, std::vector<const char*>> kGroups[] = {
    {"copy", {"memcpy", "memset"}},
    {"sampling", {"sample", "gumbel", "philox"}},
    {"sort", {"topk", "sort", "radix", "cumsum", "scan"}},
    {"attention", {"attention", "attn", "flash", "fmha", "paged", "split_kv", "merge_kv"}},
    {"norm", {"norm"}},
    {"rope", {"rope", "rotary"}},
    {"activation", {"silu", "swiglu", "gelu", "activation"}},
    {"head", {"logits", "logsumexp", "log_prob", "log_softmax", "softmax", "lm_head"}},
    {"gemm", {"gemm", "gemv", "nvjet", "cutlass", "cublas", "xmma", "matmul", "splitk"}},
};

}  // namespace

std::string kernel_group(const std::string& name) {
  std::string lower = name;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const auto& [group, words] : kGroups) {
    for (const char* word : words) {
      if (lower.find(word) != std::string::npos) return group;
    }
  }
  return "other";
}

void start_gpu_profile() {
  const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
  const std::set<ActivityType> activities{ActivityType::CUDA};
  profiler::prepareProfiler(config, activities);
  profiler::enableProfiler(config, activities);
}

std::vector<KernelTime> stop_gpu_profile() {
  const auto result = profiler::disableProfiler();
  std::map<std::string, KernelTime> by_name;
  for (const profiler::KinetoEvent& event : result->events()) {
    const auto type = static_cast<libkineto::ActivityType>(event.activityType());
    if (type != libkineto::ActivityType::CONCURRENT_KERNEL &&
        type != libkineto::ActivityType::GPU_MEMCPY &&
        type != libkineto::ActivityType::GPU_MEMSET) {
      continue;
    }
    KernelTime& kernel = by_name[event.name()];
    ++kernel.count;
    kernel.seconds += static_cast<double>(event.durationNs()) * 1e-9;
  }
  if (by_name.empty()) {
    throw RunError("the profile recorded no kernel: may this process trace the GPU (CUPTI)?");
  }
  std::vector<KernelTime> kernels;
  for (auto& [name, kernel] : by_name) {
    kernel.name = name;
    kernel.group = kernel_group(name);
    kernels.push_back(std::move(kernel));
  }
  std::sort(kernels.begin(), kernels.end(),
            [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  return kernels;
}

}  // namespace hone
