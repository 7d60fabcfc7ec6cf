#include "cli/gpu_profile.h"

#include <kineto/ActivityType.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/error.h"

namespace hone {
namespace {

constexpr size_t kNamedKernels = 40;  // of a profile's JSON

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;

// The first group one of whose words is in the full name: kernels of src/kernels, of LibTorch and
// of NVIDIA's libraries. Attention stands before gemm because its kernels may be templates of
// cutlass too.
const std::pair<const char*, std::vector<const char*>> kGroups[] = {
    {"copy", {"memcpy", "memset"}},
    {"sampling", {"sample", "draw_kernel", "filter_kernel", "advance_kernel"}},
    {"sort", {"topk", "sort", "radix", "cumsum", "scan"}},
    {"attention",
     {"decode_kernel", "prefill_kernel", "plan_kernel", "attention", "attn", "flash", "fmha"}},
    {"norm", {"norm"}},
    {"rope", {"prepare_kernel", "rotate_heads", "head_gradients"}},
    {"optimizer", {"adamw"}},
    {"fp8 casts", {"fp8_"}},
    {"activation", {"swiglu", "silu", "gelu"}},
    {"embedding", {"vectorized_gather"}},
    {"head", {"log_prob", "logsumexp", "softmax"}},
    {"gemm",
     {"gemm", "gemv", "nvjet", "cutlass", "cublas", "xmma", "matmul", "splitk", "add_pieces"}},
};

// A kernel's name without its return type, namespaces, template and call arguments.
std::string short_name(const std::string& name) {
  std::string result;
  int depth = 0;  // of template arguments
  for (size_t i = 0; i < name.size(); ++i) {
    const char c = name[i];
    if (c == '<') {
      ++depth;
    } else if (c == '>') {
      --depth;
    } else if (depth == 0) {
      if (c == '(' && name.compare(i, 11, "(anonymous ") != 0) break;
      if (c == ' ' || c == ':') {
        result.clear();
      } else {
        result += c;
      }
    }
  }
  return result.empty() ? name : result;
}

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
  std::map<std::pair<std::string, std::string>, KernelTime> by_name;  // group, short name
  for (const profiler::KinetoEvent& event : result->events()) {
    const auto type = static_cast<libkineto::ActivityType>(event.activityType());
    if (type != libkineto::ActivityType::CONCURRENT_KERNEL &&
        type != libkineto::ActivityType::GPU_MEMCPY &&
        type != libkineto::ActivityType::GPU_MEMSET) {
      continue;
    }
    const std::string full = event.name();
    const bool copy = type != libkineto::ActivityType::CONCURRENT_KERNEL;
    KernelTime& kernel = by_name[{kernel_group(full), copy ? full : short_name(full)}];
    ++kernel.count;
    kernel.seconds += static_cast<double>(event.durationNs()) * 1e-9;
  }
  if (by_name.empty()) {
    throw RunError("the profile recorded no kernel: may this process trace the GPU (CUPTI)?");
  }
  std::vector<KernelTime> kernels;
  for (auto& [key, kernel] : by_name) {
    std::tie(kernel.group, kernel.name) = key;
    kernels.push_back(std::move(kernel));
  }
  std::sort(kernels.begin(), kernels.end(),
            [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  return kernels;
}

Json profile_json(const std::vector<KernelTime>& kernels, double seconds, int64_t steps) {
  const auto per_step = [&](double s) { return 1000 * s / static_cast<double>(steps); };
  std::map<std::string, double> groups;
  double busy = 0;
  Json named = Json::array();
  for (const KernelTime& k : kernels) {
    groups[k.group] += k.seconds;
    busy += k.seconds;
    if (named.size() == kNamedKernels) continue;
    named.push_back({{"name", k.name},
                     {"group", k.group},
                     {"count", k.count},
                     {"ms_per_step", per_step(k.seconds)}});
  }
  Json by_group = Json::object();
  for (const auto& [group, s] : groups) by_group[group] = per_step(s);
  return {{"steps", steps},
          {"ms_per_step", per_step(seconds)},
          {"kernels_ms_per_step", per_step(busy)},
          {"groups_ms_per_step", by_group},
          {"kernels", named}};
}

std::string profile_table(const Json& profile) {
  const auto line = [](double ms, const std::string& rest) {
    char text[64];
    std::snprintf(text, sizeof text, "%10.4f  ", ms);
    return text + rest + "\n";
  };
  const auto steps = profile["steps"].get<int64_t>();
  std::string table = cat("ms a step, of ", steps, " steps\n");
  table += line(profile["ms_per_step"], "by the clock");
  table += line(profile["kernels_ms_per_step"], "in kernels");
  for (const auto& [group, ms] : profile["groups_ms_per_step"].items()) {
    table += line(ms, "  " + group);
  }
  for (const Json& k : profile["kernels"]) {
    table += line(k["ms_per_step"], cat("  ", k["count"].get<int64_t>() / steps, " a step  ",
                                        k["group"].get<std::string>(), "  ",
                                        k["name"].get<std::string>().substr(0, 90)));
  }
  return table;
}

}  // namespace hone
