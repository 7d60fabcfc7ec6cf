#include "train/run.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "data/dataset.h"
#include "engine/free_memory.h"
#include "kernels/cpu_kernels.h"
#include "model/load.h"
#include "text/tokenizer.h"
#include "train/plan.h"
#include "train/report/report.h"
#include "train/stage.h"
#include "train/summary.h"
#include "train/trial.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

std::string stage_directory(const std::string& run, size_t index, const StageOptions& stage) {
  char number[8];
  std::snprintf(number, sizeof number, "%02zu-", index + 1);
  return run + "/stages/" + number + stage.name;
}

constexpr const char* kFinished = "/finished.json";
bool is_finished(const std::string& run, size_t index, const StageOptions& stage) {
  return fs::exists(stage_directory(run, index, stage) + kFinished);
}

// The first key at which two resolved recipes differ, "" if they are the same.
std::string difference(const YAML::Node& a, const YAML::Node& b, const std::string& path) {
  if (a.Type() != b.Type()) return path;
  if (a.IsScalar()) return a.Scalar() == b.Scalar() ? "" : path;
  if (a.IsSequence()) {
    if (a.size() != b.size()) return path;
    for (size_t i = 0; i < a.size(); ++i) {
      const std::string d = difference(a[i], b[i], cat(path, "[", i, "]"));
      if (!d.empty()) return d;
    }
    return "";
  }
  if (!a.IsMap()) return "";
  for (const auto& entry : a) {
    const std::string key = entry.first.Scalar();
    const std::string full = path.empty() ? key : path + "." + key;
    if (full == "max_time") continue;  // says when to stop, not what to compute
    if (!b[key]) return full;
    const std::string d = difference(entry.second, b[key], full);
    if (!d.empty()) return d;
  }
  for (const auto& entry : b) {
    const std::string key = entry.first.Scalar();
    if (!a[key]) return path.empty() ? key : path + "." + key;
  }
  return "";
}

// Makes the run's directory, or checks that the one there is of this recipe.
void open_directory(const Recipe& recipe, const RunOptions& options) {
  const std::string& dir = options.directory;
  const std::string recipe_path = dir + "/recipe.yaml";
  const std::string text = recipe_text(recipe);
  if (fs::exists(recipe_path)) {
    if (!options.resume) {
      throw UserError(cat(dir,
                          ": a run is already there; go on with it by --resume, or choose "
                          "another place by --out DIR"));
    }
    YAML::Node found;
    try {
      found = YAML::Load(read_file(recipe_path));
    } catch (const YAML::Exception& e) {
      throw UserError(cat(recipe_path, ": not valid YAML: ", e.what()));
    }
    const std::string key = difference(found, YAML::Load(text), "");
    if (!key.empty()) {
      throw UserError(cat("--resume: the recipe differs from the run's own at `", key, "` (",
                          recipe_path, "); undo the change, or choose another place by --out DIR"));
    }
    return;
  }
  std::error_code ec;
  if (fs::exists(dir, ec) && !(fs::is_directory(dir, ec) && fs::is_empty(dir, ec))) {
    throw UserError(cat(dir, ": something else is there; choose another place by --out DIR"));
  }
  fs::create_directories(dir, ec);
  if (ec) throw UserError(cat(dir, ": cannot be made: ", ec.message()));
  write_file_atomic(recipe_path, text);
}

// Held while a process writes a run, so that no second one resumes it meanwhile. The kernel gives
// it back when the process ends, however it ends.
class RunLock {
 public:
  explicit RunLock(const std::string& run)
      : fd_(::open((run + "/recipe.yaml").c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(fd_);
      throw UserError(cat(run, ": another hone train is writing this run; wait for its end"));
    }
  }
  ~RunLock() {
    if (fd_ >= 0) ::close(fd_);
  }
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_;
};

// The directory of the model a stage begins with: a path, or an earlier stage's result.
std::string model_of(const Recipe& recipe, size_t index, const std::string& run) {
  const StageOptions& stage = recipe.stages[index];
  if (stage.kind == "pretrain") return "";
  for (size_t i = 0; i < index; ++i) {
    if (recipe.stages[i].name == stage.model) {
      return stage_directory(run, i, recipe.stages[i]) + "/model";
    }
  }
  if (stands_in(recipe, stage)) return find_path(kStandInTokenizer);
  const std::string path = find_path(stage.model);
  if (!fs::exists(path)) {
    throw UserError(cat("stage '", stage.name, "': model '", stage.model,
                        "' is neither a directory nor an earlier stage"));
  }
  return path;
}

// Opens what the stages will read, so that a missing file or a damaged config shows at once and not
// hours later, when an earlier stage is done.
void check_inputs(const Recipe& recipe, const std::string& run) {
  const auto seed = static_cast<uint64_t>(recipe.seed);
  std::map<std::string, int64_t> contexts;  // of the stages' models
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const StageOptions& stage = recipe.stages[i];
    const std::string model = model_of(recipe, i, run);
    const auto earlier = contexts.find(stage.model);
    int64_t context = stage.shape.max_positions;
    if (stage.kind == "pretrain") {
      load_tokenizer(find_path(stage.tokenizer));
    } else if (earlier != contexts.end()) {
      context = earlier->second;
    } else {
      if (!stands_in(recipe, stage)) context = load_model_config(model).max_positions;
      load_tokenizer(model);
    }
    contexts[stage.name] = context;
    if (is_finished(run, i, stage)) continue;
    if (!stage.lora.from.empty()) read_adapter_shape(find_path(stage.lora.from));
    if (!stage.eval.data.empty()) open_problems(stage.eval.data, Split::train, seed);
    if (stage.kind != "rl") {
      open_documents(stage.data, seed);
      continue;
    }
    open_problems(stage.data, Split::train, seed);
    if (stage.router_replay != RouterReplay::none &&
        planned_shape(recipe, stage).sparse_layers() == 0) {
      throw UserError(cat("stage '", stage.name,
                          "': router_replay: the model has no experts whose choice could be taken "
                          "again; leave router_replay at none"));
    }
    int64_t longest = stage.max_tokens;
    for (const LengthStep& l : stage.max_tokens_schedule) longest = std::max(longest, l.max_tokens);
    if (longest >= context) {
      throw UserError(cat("stage '", stage.name, "': max_tokens ", longest,
                          " leaves no room for a prompt: the model's context is ", context));
    }
  }
}

Precision precision_of(const ModelPlace& place) {
  return {static_cast<int64_t>(c10::elementSize(place.dtype)), place.fp8};
}

// The recipe with `recompute: auto` decided for the device. Throws UserError if a stage that is
// still to be run does not fit into the GPU's memory. What a plan says of the CPU is too coarse for
// either.
Recipe fitted(Recipe recipe, const std::string& run, const ModelPlace& place) {
  if (place.device.is_cpu()) return recipe;
  const int64_t available = free_memory(place.device);
  const Precision precision = precision_of(place);
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    StageOptions& stage = recipe.stages[i];
    if (is_finished(run, i, stage)) continue;
    const ModelConfig shape = planned_shape(recipe, stage);
    stage.recompute = decide_recompute(stage, shape, precision, available);
    require_fit(stage, shape, precision, available);
  }
  return recipe;
}

// What the run was made from: hashes of the recipe, the program, the models it begins with and the
// files of its data.
void write_provenance(const Recipe& recipe, const std::string& run, const ModelPlace& place) {
  Json j = {{"recipe_sha256", sha256_file(run + "/recipe.yaml")},
            {"program_sha256", sha256_file("/proc/self/exe")},
            {"device", place.device.str()},
            {"dtype", at::toString(place.dtype)},
            {"threads", kernels::num_threads()},
            {"models", Json::object()},
            {"data", Json::object()}};
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const StageOptions& stage = recipe.stages[i];
    const std::string model = find_path(stage.model);
    const bool read = !stage.model.empty() && !makes_weights(recipe, stage);
    if (read && fs::exists(model + "/config.json")) {
      j["models"][stage.model] = weight_hashes(model);
    }
    const std::string& adapter = stage.lora.from;
    if (!adapter.empty()) j["models"][adapter] = weight_hashes(find_path(adapter));
    for (const auto* specs : {&stage.data, &stage.eval.data}) {
      for (const DataSpec& spec : *specs) {
        const std::string path = find_path(spec.path);
        if (fs::is_regular_file(path)) j["data"][spec.path] = sha256_file(path);
      }
    }
  }
  write_file_atomic(run + "/provenance.json", j.dump(2) + "\n");
}

std::string lora_words(const StageOptions& s) {
  if (!s.lora.on()) return "";
  return s.lora.from.empty() ? cat(", LoRA of rank ", s.lora.rank)
                             : cat(", LoRA from ", s.lora.from);
}

std::string describe_stage(const StageOptions& s) {
  if (s.kind != "rl") {
    return cat("stage ", s.name, ": ", s.kind, ", ", s.steps, " steps of ", s.batch_tokens,
               " tokens", lora_words(s));
  }
  return cat("stage ", s.name, ": RL (", s.objective.preset, "), ", s.steps, " steps of ",
             s.prompts_per_step, " prompts x ", s.group_size, " completions of at most ",
             s.max_tokens, " tokens", lora_words(s));
}

RunEnd run_stages(const Recipe& recipe, const RunOptions& options, const ModelPlace& place);

}  // namespace

void set_threads(int64_t threads) {
  if (threads <= 0) {
    threads = std::max<int64_t>(1, static_cast<int64_t>(std::thread::hardware_concurrency()));
    if (const char* omp = std::getenv("OMP_NUM_THREADS")) {
      threads = std::max<int64_t>(1, std::atoll(omp));
    }
  }
  kernels::set_num_threads(static_cast<int>(threads));
  // LibTorch's own pool spins while it waits and would take the cores from the kernels' threads;
  // what is left to LibTorch on the CPU is small.
  at::set_num_threads(1);
}

namespace {

// LibTorch alone has no attention over the engine's cache.
#ifdef HONE_WITH_CUDA
constexpr bool kHasCudaKernels = true;
#else
constexpr bool kHasCudaKernels = false;
#endif

}  // namespace

ModelPlace choose_place(const std::string& device, const std::string& dtype, bool trainable,
                        bool exact) {
  ModelPlace place;
  place.trainable = trainable;
  place.exact = exact;
  const bool cuda = at::hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0;
  if (device == "auto") {
    place.device = cuda && kHasCudaKernels ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  } else if (device == "cpu") {
    place.device = at::Device(at::kCPU);
  } else if (device == "cuda" || device.rfind("cuda:", 0) == 0) {
    const std::string number = device.size() > 5 ? device.substr(5) : "0";
    if (number.empty() || number.size() > 3 ||
        number.find_first_not_of("0123456789") != std::string::npos) {
      throw UserError(cat("device: expected auto, cpu or cuda[:N], found '", device, "'"));
    }
    const int count = cuda ? at::detail::getCUDAHooks().deviceCount() : 0;
    if (std::stoi(number) >= count) {
      throw UserError(cat("device ", device, ": this machine has ", count,
                          " CUDA devices that LibTorch can use (hone doctor says more)"));
    }
    if (!kHasCudaKernels) {
      throw UserError(cat("device ", device, ": this hone was built without the CUDA toolkit and ",
                          "computes on the CPU alone; install the toolkit and build it anew"));
    }
    place.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(std::stoi(number)));
  } else {
    throw UserError(cat("device: expected auto, cpu or cuda[:N], found '", device, "'"));
  }
  if (dtype == "bfloat16" && place.device.is_cpu()) {
    throw UserError("dtype bfloat16: the CPU computes in float32; leave dtype at auto");
  }
  // cuDNN's attention builds a plan for every new length, tens of milliseconds each; sampling has a
  // new length every step.
  if (place.device.is_cuda()) at::globalContext().setSDPUseCuDNN(false);
  place.dtype = place.device.is_cuda() && dtype != "float32" ? at::kBFloat16 : at::kFloat;
  return place;
}

RunEnd run_recipe(const Recipe& recipe, const RunOptions& options) {
  set_threads(recipe.threads);
  ModelPlace place = choose_place(recipe.device, recipe.dtype, true, recipe.exact);
  place.fp8 = recipe.fp8;
  if (place.device.is_cpu()) check_for_cpu(recipe);
  check_inputs(recipe, options.directory);
  const Recipe decided = fitted(recipe, options.directory, place);
  const bool there = fs::exists(options.directory);
  const bool begun = fs::exists(options.directory + "/recipe.yaml");
  open_directory(recipe, options);
  const RunLock lock(options.directory);
  try {
    return run_stages(decided, options, place);
  } catch (const UserError&) {
    // Nothing but the directory came of it: the corrected call shall find the place free.
    std::error_code ec;
    if (!begun && fs::file_size(options.directory + "/metrics.jsonl", ec) == 0) {
      for (const auto& entry : fs::directory_iterator(options.directory, ec)) {
        fs::remove_all(entry.path(), ec);
      }
      if (!there) fs::remove(options.directory, ec);
    }
    throw;
  }
}

namespace {

RunEnd run_stages(const Recipe& recipe, const RunOptions& options, const ModelPlace& place) {
  Display display(options.display);
  MetricsWriter metrics(options.directory);
  const Timer timer;
  std::string header = cat("hone train: ", recipe.name, ", seed ", recipe.seed, ", on ",
                           place.device.str(), ", ", kernels::num_threads(), " threads\n");
  for (const StageOptions& stage : recipe.stages) header += "  " + describe_stage(stage) + "\n";
  if (place.device.is_cuda()) {
    const Precision precision = precision_of(place);
    for (size_t i = 0; i < recipe.stages.size(); ++i) {
      const StageOptions& stage = recipe.stages[i];
      if (is_finished(options.directory, i, stage)) continue;  // its model may be gone by now
      header += plan_text(plan_stage(stage, planned_shape(recipe, stage), precision)) + "\n";
    }
  }
  header += cat("  writes to ", options.directory,
                "; Ctrl-C finishes the step, saves and says how to go on");
  display.note(header);
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const StageOptions& stage = recipe.stages[i];
    const std::string directory = stage_directory(options.directory, i, stage);
    if (is_finished(options.directory, i, stage)) continue;
    std::error_code ec;
    fs::create_directories(directory, ec);
    if (ec) throw RunError(cat(directory, ": cannot be made: ", ec.message()));
    StageContext context{recipe,
                         stage,
                         static_cast<int64_t>(i),
                         options.directory,
                         directory,
                         model_of(recipe, i, options.directory),
                         place,
                         metrics,
                         display,
                         timer};
    const RunEnd end = stage.kind == "rl" ? run_rl_stage(context) : run_likelihood_stage(context);
    if (end != RunEnd::finished) {
      display.note(cat("saved; go on with: hone train ... --resume --out ", options.directory));
      return end;
    }
    write_file_atomic(directory + kFinished, "{}\n");
    kill_point("stage_finished");
  }
  const std::string last =
      stage_directory(options.directory, recipe.stages.size() - 1, recipe.stages.back());
  if (keeps_weights(recipe, recipe.stages.back())) {
    for (const char* name : {"/adapter", "/model"}) {
      if (!fs::exists(last + name)) continue;  // no lora
      const std::string published = options.directory + name;
      fs::remove_all(published + ".tmp");
      fs::copy(last + name, published + ".tmp", fs::copy_options::recursive);
      publish_directory(published + ".tmp", published);
    }
  }
  write_provenance(recipe, options.directory, place);
  write_report({options.directory}, options.directory + "/report.html");
  display.note(run_summary(options.directory, options.display.terminal));
  return RunEnd::finished;
}

}  // namespace

}  // namespace hone
