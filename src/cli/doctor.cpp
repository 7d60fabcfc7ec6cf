// hone doctor: what this machine has, and what will not work, in words.
#include <ATen/Context.h>
#include <dlfcn.h>
#include <sched.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "rewards/code/sandbox.h"
#include "text/regex.h"
#include "text/sentencepiece.h"
#include "text/unicode.h"
#include "torch/version.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

struct Finding {
  std::string name, value;
  std::string trouble;  // what will not work because of it
};

int64_t usable_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return std::thread::hardware_concurrency();
}

std::string gib(double bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", bytes / (1 << 30));
  return text;
}

Finding memory() {
  struct sysinfo info {};
  sysinfo(&info);
  double limit = static_cast<double>(info.totalram) * info.mem_unit;
  std::error_code ec;
  if (fs::exists("/sys/fs/cgroup/memory.max", ec)) {  // a container may have less
    const double group = std::atof(read_file("/sys/fs/cgroup/memory.max").c_str());
    if (group > 0) limit = std::min(limit, group);
  }
  Finding f{"memory", gib(limit), ""};
  if (limit < 3.5e9) f.trouble = "training needs about 4 GiB of memory and this machine has less";
  return f;
}

Finding vector_level() {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    return {"vectors", "AVX-512", ""};
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return {"vectors", "AVX2", ""};
  }
  return {"vectors", "neither AVX2 nor AVX-512",
          "the CPU kernels need AVX2: nothing that runs a model works on this CPU"};
}

bool has_library(const char* name) {
  void* handle = dlopen(name, RTLD_LAZY | RTLD_LOCAL);
  if (handle) dlclose(handle);
  return handle != nullptr;
}

std::string first_line(const std::string& path) {
  std::error_code ec;
  if (!fs::exists(path, ec)) return "";
  const std::string text = read_file(path);
  return text.substr(0, text.find('\n'));
}

Finding gpu() {
  const std::string driver = first_line("/proc/driver/nvidia/version");
  const int64_t count = at::hasCUDA() ? static_cast<int64_t>(at::getNumGPUs()) : 0;
  if (count > 0) {
    return {"GPU",
            cat(count, count == 1 ? " device" : " devices", driver.empty() ? "" : "; ", driver),
            ""};
  }
  if (driver.empty() && !has_library("libcuda.so.1")) {
    return {"GPU", "none, and no driver; device auto is the CPU", ""};
  }
  return {"GPU", driver.empty() ? "a driver, but no usable device" : driver,
          "there is a GPU driver, but LibTorch finds no device: is the driver too old for it, or "
          "CUDA_VISIBLE_DEVICES empty?"};
}

Finding optional_part(const char* name, bool there, const char* feature) {
  return {name, there ? "found" : cat("not found; feature off: ", feature), ""};
}

Finding sentencepiece() {
  const std::string model = find_path("data/models/tiny-base") + "/tokenizer.model";
  std::error_code ec;
  if (!fs::exists(model, ec)) {
    return {"sentencepiece", "not tried: data/models/tiny-base is not there", ""};
  }
  try {
    make_sentencepiece(read_file(model), model);
    return {"sentencepiece", "works", ""};
  } catch (const UserError& error) {
    return {"sentencepiece", "fails", error.what()};
  }
}

Finding code_sandbox() {
  const SandboxReport report = probe_sandbox();
  const std::string level =
      cat("level ", to_string(report.level), report.tree.empty() ? "" : "; ", report.tree);
  if (report.level == SandboxLevel::full) return {"code sandbox", level, ""};
  return {"code sandbox", cat(level, "; for full: ", report.missing),
          cat("the code reward, unless a weaker sandbox= is named: ", report.missing)};
}

std::vector<Finding> findings() {
#ifdef HONE_WITH_CUDA
  const char* kernels = "with CUDA kernels";
#else
  const char* kernels = "without CUDA kernels of its own";
#endif
  const int64_t cores = usable_cores();
  // at::hasCUDA() asks for a device; this asks for the library.
  const bool with_cuda = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD) != nullptr;
  return {
      {"hone", cat(HONE_VERSION, ", ", kernels), ""},
      {"LibTorch", cat(TORCH_VERSION, with_cuda ? ", with CUDA" : ", CPU alone"), ""},
      {"cores", std::to_string(cores), ""},
      vector_level(),
      memory(),
      gpu(),
      sentencepiece(),
      code_sandbox(),
      optional_part("PCRE2", has_regex_library(),
                    "byte-level BPE tokenizers (tokenizer.json with regular expressions)"),
      optional_part("utf8proc", has_unicode_library(),
                    "tokenizer.json with Unicode normal forms (Qwen has them)"),
      {"data", data_root(),
       fs::exists(data_root() + "/recipes")
           ? ""
           : "hone's recipes and models are not where they are looked for; "
             "HONE_DATA_ROOT names their place"},
  };
}

int run(const OutputOptions& output) {
  begin_output(output);
  Json found = Json::object();
  std::vector<std::string> troubles;
  for (const Finding& f : findings()) {
    print_line(f.name + std::string(16 - f.name.size(), ' ') + f.value);
    found[f.name] = f.value;
    if (!f.trouble.empty()) troubles.push_back(f.trouble);
  }
  // True of this version on every machine.
  const std::vector<std::string> absent = {"chat templates", "several GPUs"};
  std::string line = "not in this version: ";
  for (const std::string& a : absent) line += (&a == &absent.front() ? "" : ", ") + a;
  print_line(line);
  for (const std::string& t : troubles) print_line("will not work: " + t);
  if (troubles.empty()) print_line("everything else works here");
  print_result(output, {{"found", found}, {"troubles", troubles}, {"not_in_this_version", absent}});
  return 0;
}

}  // namespace

void add_doctor(Command& hone) {
  static OutputOptions output;
  Command& c = hone.verb("doctor", "what this machine has, and what will not work");
  add_output_options(c, output);
  c.action([] { return run(output); });
}

}  // namespace hone
