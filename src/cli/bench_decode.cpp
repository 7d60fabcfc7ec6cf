#include "cli/bench_decode.h"

#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <map>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/timer.h"
#include "cli/bench_common.h"
#include "cli/gpu_profile.h"
#include "engine/decode_limit.h"
#include "engine/engine.h"
#include "engine/free_memory.h"
#include "kernels/cpu_kernels.h"
#include "model/named_shapes.h"
#include "train/run.h"

namespace hone {
namespace {

// --profile: so many decode steps, from half the mean completion on.
constexpr int64_t kProfiledSteps = 32;

struct Options {
  std::string shape = "bench-5m";
  int64_t batch = 256, prompts = 0, group = 1, prompt_tokens = 0, new_tokens = 0;
  int64_t runs = 5, warmup = 2;
  int64_t speculate = 0;
  double temperature = 1;
  bool tail = false, longest_first = false, profile = false;
  ModelOptions place;
  OutputOptions output;
};

// 0 means: as the shape has it.
Options complete(Options o) {
  const bool small = o.shape == "bench-5m";
  if (o.prompt_tokens == 0) o.prompt_tokens = small ? 32 : 128;
  if (o.new_tokens == 0) o.new_tokens = small ? 64 : 512;
  if (std::min({o.batch, o.group, o.runs, o.prompt_tokens, o.new_tokens}) < 1 || o.prompts < 0 ||
      o.warmup < 0) {
    throw UserError(cat("bench decode: expected --batch, --groups, --runs, --prompt and --new of ",
                        "at least 1, --prompts and --warmup of at least 0; found ", o.batch, ", ",
                        o.group, ", ", o.runs, ", ", o.prompt_tokens, ", ", o.new_tokens, ", ",
                        o.prompts, " and ", o.warmup));
  }
  if (o.prompts == 0) o.prompts = ((small ? 256 : o.batch) + o.group - 1) / o.group;
  return o;
}

// Tokens of each completion.
std::vector<int64_t> completion_lengths(const Options& o) {
  if (!o.tail) {
    return std::vector<int64_t>(static_cast<size_t>(o.prompts * o.group), o.new_tokens);
  }
  return tail_lengths(o.prompts * o.group, kTailLongest,
                      make_key(static_cast<uint64_t>(o.place.seed), hash64("completion lengths")));
}

std::vector<SampleRequest> make_requests(const Options& o, const std::vector<int64_t>& lengths,
                                         int64_t vocab, int64_t run) {
  std::vector<SampleRequest> requests(static_cast<size_t>(o.prompts));
  Rng rng(make_key(static_cast<uint64_t>(o.place.seed), run));
  auto next = lengths.begin();
  for (SampleRequest& r : requests) {
    r.prompt = random_ids(o.prompt_tokens, vocab, rng);
    r.n = o.group;
    r.key = rng.next();
    r.limits.assign(next, next + o.group);
    next += o.group;
  }
  return requests;
}

void wait_for(const at::Device& device) {
  if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.index());
}

// Bytes read and written a second by large copies, the best of three rounds of them.
double copy_speed(const at::Device& device) {
  constexpr int kCopies = 8;
  const int64_t bytes = device.is_cuda() ? int64_t{512} << 20 : int64_t{128} << 20;
  const at::Tensor from = at::zeros({bytes}, at::TensorOptions(at::kByte).device(device));
  at::Tensor to = at::zeros_like(from);
  double best = 0;
  for (int round = 0; round < 3; ++round) {
    wait_for(device);
    const Timer timer;
    for (int i = 0; i < kCopies; ++i) to.copy_(from);
    wait_for(device);
    best = std::max(best, 2.0 * kCopies * static_cast<double>(bytes) / timer.seconds());
  }
  return best;
}

// ---- the profile --------------------------------------------------------------------------------

// Some decode steps in the middle of a call of Engine::sample, which reports now and then.
class ProfiledSteps {
 public:
  // They begin `after` steps from now.
  ProfiledSteps(const Engine& engine, const at::Device& device, int64_t after)
      : engine_(engine), device_(device), begin_(engine.stats().decode_steps + after) {}

  void look() {
    const int64_t now = engine_.stats().decode_steps;
    if (!started_ && now >= begin_) {
      wait_for(device_);
      started_ = true;
      before_ = engine_.stats();
      start_gpu_profile();
      timer_.restart();
    } else if (started_ && !after_ && now >= before_.decode_steps + kProfiledSteps) {
      stop();
    }
  }

  Json result() {
    if (started_ && !after_) stop();
    if (!after_ || after_->decode_steps == before_.decode_steps) {
      throw UserError("--profile: the completions ended before it began; raise --new");
    }
    const auto steps = after_->decode_steps - before_.decode_steps;
    Json profile = {{"decode_steps", steps},
                    {"prefill_steps", after_->prefill_steps - before_.prefill_steps}};
    profile.update(profile_json(kernels_, seconds_, steps));
    return profile;
  }

 private:
  void stop() {
    wait_for(device_);
    seconds_ = timer_.seconds();
    after_ = engine_.stats();
    kernels_ = stop_gpu_profile();
  }

  const Engine& engine_;
  const at::Device device_;
  const int64_t begin_;  // decode steps of the engine
  bool started_ = false;
  EngineStats before_;
  std::optional<EngineStats> after_;
  Timer timer_;
  double seconds_ = 0;
  std::vector<KernelTime> kernels_;
};

// ---- the workload -------------------------------------------------------------------------------

struct Run {
  double seconds, cpu_seconds, prefill_seconds, ms_per_step;
  int64_t preemptions, decode_steps, drafted, accepted;
};

// A whole call of the engine, as a user has it.
Run sample_once(Engine& engine, const std::vector<SampleRequest>& requests, const Options& o,
                const SampleProgress& progress = {}) {
  SamplingOptions sampling;
  sampling.temperature = o.temperature;
  sampling.longest_first = o.longest_first;
  const EngineStats before = engine.stats();
  const std::clock_t cpu = std::clock();
  const Timer timer;
  engine.sample(requests, sampling, progress);
  const double seconds = timer.seconds();
  const EngineStats& after = engine.stats();
  const auto steps = static_cast<double>(after.decode_steps - before.decode_steps);
  return {seconds,
          static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC,
          after.prefill_seconds - before.prefill_seconds,
          1000 * (after.decode_seconds - before.decode_seconds) / std::max(steps, 1.0),
          after.preemptions - before.preemptions,
          after.decode_steps - before.decode_steps,
          after.drafted - before.drafted,
          after.accepted - before.accepted};
}

Json figures_of(const Options& o, const Transformer& model, const std::vector<int64_t>& lengths,
                const std::vector<Run>& runs, double copy_speed) {
  const auto values = [&](auto field) {
    std::vector<double> all;
    for (const Run& r : runs) all.push_back(static_cast<double>(r.*field));
    return all;
  };
  const std::vector<double> seconds = values(&Run::seconds);
  const auto [least, most] = std::minmax_element(seconds.begin(), seconds.end());
  const auto tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  const auto rate = [&](double time) { return static_cast<double>(tokens) / time; };
  const auto element = static_cast<double>(c10::elementSize(model.dtype()));
  const double bytes =
      decode_bytes(model.config(), {o.prompt_tokens, lengths, o.batch}, element).total();
  const double limit = rate(bytes / copy_speed);
  // The limit is that of decode steps; a long prompt's prefill, bound by arithmetic, stands beside.
  const double decode_mbu = rate(median(seconds) - median(values(&Run::prefill_seconds))) / limit;
  return {{"bench", "decode"},
          {"shape", o.shape},
          {"parameters", model.config().parameter_count()},
          {"device", model.device().str()},
          {"dtype", model.dtype() == at::kFloat ? "float32" : "bfloat16"},
          {"threads", kernels::num_threads()},
          {"batch", o.batch},
          {"sequences", o.prompts * o.group},
          {"group", o.group},
          {"prompt", o.prompt_tokens},
          {"new", o.tail ? Json("tail") : Json(o.new_tokens)},
          {"longest", *std::max_element(lengths.begin(), lengths.end())},
          {"longest_first", o.longest_first},
          {"temperature", o.temperature},
          {"exact", model.exact()},
          {"fp8", model.fp8()},
          {"runs", o.runs},
          {"tokens", tokens},
          {"seconds", median(seconds)},
          {"cpu_seconds", median(values(&Run::cpu_seconds))},
          {"tokens_per_second", rate(median(seconds))},
          {"tokens_per_second_min", rate(*most)},
          {"tokens_per_second_max", rate(*least)},
          {"ms_per_step", median(values(&Run::ms_per_step))},
          {"prefill_seconds", median(values(&Run::prefill_seconds))},
          {"copy_bytes_per_second", copy_speed},
          {"memory_limit_tokens_per_second", limit},
          {"mbu", rate(median(seconds)) / limit},
          {"decode_mbu", decode_mbu},
          {"peak_memory", peak_memory(model.device())},
          {"preemptions", static_cast<int64_t>(median(values(&Run::preemptions)))},
          {"speculate", o.speculate},
          {"decode_steps", static_cast<int64_t>(median(values(&Run::decode_steps)))},
          {"drafted", static_cast<int64_t>(median(values(&Run::drafted)))},
          {"accepted", static_cast<int64_t>(median(values(&Run::accepted)))}};
}

// What would be found out only after minutes.
void check(const Options& o, const at::Device& device, int64_t longest) {
  const ModelConfig c = named_shape(o.shape);
  if (o.prompt_tokens + longest > c.max_positions) {
    throw UserError(cat("a prompt of ", o.prompt_tokens, " tokens and ", longest,
                        " new ones are more than the ", c.max_positions, " positions of ", o.shape,
                        "; lower --prompt or --new, or leave --tail out"));
  }
  if (o.profile && !device.is_cuda()) {
    throw UserError("--profile times the kernels of a GPU, and this call runs on the CPU");
  }
}

int run(const Options& given) {
  const Options o = complete(given);
  const at::Device device = choose_place(o.place.device, o.place.dtype, false).device;
  const std::vector<int64_t> lengths = completion_lengths(o);
  check(o, device, *std::max_element(lengths.begin(), lengths.end()));
  Display display(begin_output(o.output));
  set_threads(o.place.threads);
  const double speed = copy_speed(device);
  const auto model = make_bench_model(o.shape, o.place, false);
  Engine engine(*model, nullptr, {.max_running = o.batch, .speculate = o.speculate});

  std::vector<Run> runs;
  const auto tokens =
      static_cast<double>(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}));
  int64_t call = 0;
  const auto requests = [&] {
    return make_requests(o, lengths, model->config().vocab_size, call++);
  };
  while (call < o.warmup + o.runs) {
    const bool measured = call >= o.warmup;
    const Run r = sample_once(engine, requests(), o);
    display.note(cat(measured ? "measured " : "warm-up  ", r.seconds, " s, ", tokens / r.seconds,
                     " tokens/s"));
    if (measured) runs.push_back(r);
  }
  Json figures = figures_of(o, *model, lengths, runs, speed);
  if (o.profile) {
    const double mean = tokens / static_cast<double>(lengths.size());
    ProfiledSteps steps(engine, device, static_cast<int64_t>(mean / 2));
    sample_once(engine, requests(), o, [&](int64_t, int64_t, int64_t) { steps.look(); });
    figures["profile"] = steps.result();
    std::fputs(profile_table(figures["profile"]).c_str(), stderr);
  }
  print_line(to_line(figures));
  return 0;
}

}  // namespace

void add_bench_decode(Command& bench) {
  static Options o;
  Command& c = bench.verb("decode", "sampling, beside what the memory's speed allows");
  std::string shapes;
  for (const std::string& name : shape_names()) shapes += (shapes.empty() ? "" : ", ") + name;
  c.option("--shape", o.shape, "the model: " + shapes);
  c.option("--batch", o.batch, "sequences decoded together");
  c.option("--prompts", o.prompts, "prompts; 0: 256 of bench-5m, else what fills the batch");
  c.option("--groups,--group", o.group, "completions that share a prompt");
  c.option("--prompt,--prompt-tokens", o.prompt_tokens,
           "tokens of a prompt; 0: 32 for bench-5m, else 128");
  c.option("--new,--new-tokens", o.new_tokens,
           "tokens of a completion; 0: 64 for bench-5m, else 512");
  c.flag("--tail", o.tail,
         "completions of log-normal length instead: median 300, 1 in 100 above 4096, at most 8192");
  c.flag("--longest-first", o.longest_first,
         "completions start in the order of their lengths, the longest first (with --tail)");
  c.option("--speculate", o.speculate,
           "most tokens guessed for a sequence where few run, and computed at once; 0: none");
  c.option("--temperature", o.temperature, "0 is greedy");
  c.option("--warmup", o.warmup, "calls before those that are measured");
  c.option("--runs", o.runs, "calls that are measured");
  c.flag("--fp8", o.place.fp8, "GPU: dense linear layers in 8 bits");
  c.flag("--exact", o.place.exact,
         "results that do not depend on the batch (the CPU's always are so)");
  c.flag("--profile", o.profile,
         "GPU: the time of a decode step by kernel, on stderr and in the JSON");
  add_model_options(c, o.place);
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
