// hone bench: fixed workloads with random weights. Two warm-up rounds, five measured ones; the
// figures are medians. The last line of standard output is one JSON object.
#include <ATen/Parallel.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/rng.h"
#include "base/timer.h"
#include "cli/bench_common.h"
#include "cli/bench_decode.h"
#include "cli/bench_rewards.h"
#include "cli/common.h"
#include "cli/gpu_profile.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "engine/free_memory.h"
#include "kernels/cpu_kernels.h"
#include "model/named_shapes.h"
#include "train/advantage.h"
#include "train/choice.h"
#include "train/plan.h"
#include "train/run.h"
#include "train/stage.h"
#include "train/trainer.h"

namespace hone {
namespace {

constexpr int kWarmUp = 2, kMeasured = 5;
constexpr int kSettled = 5;  // rounds after which memory must not grow

struct Options {
  std::string shape = "bench-5m";
  int64_t prompts = 16, group = 16, prompt_tokens = 32, new_tokens = 64;
  int64_t documents = 64, document_tokens = 128;
  int64_t micro_batch_tokens = 16384;
  bool profile = false, unshared = false, tail = false, offload = false;
  int64_t rounds = kMeasured;
  std::string moments = "float32";
  std::string recompute = "none";
  int64_t lora_rank = 0;
  ModelOptions place;
  OutputOptions output;
};

std::vector<SampleRequest> random_requests(int64_t count, int64_t n, int64_t tokens,
                                           const ModelConfig& config, uint64_t key) {
  std::vector<SampleRequest> requests(static_cast<size_t>(count));
  Rng rng(key);
  for (SampleRequest& r : requests) {
    r.prompt = random_ids(tokens, config.vocab_size, rng);
    r.n = n;
    r.key = rng.next();
  }
  return requests;
}

// Seconds by phase of one round; "seconds" and "cpu_seconds" are added by `measure`.
using Phases = std::vector<std::pair<std::string, double>>;

// The phase's time since the last call.
void lap(Phases& phases, const char* name, Timer& timer) {
  phases.emplace_back(name, timer.seconds());
  timer.restart();
}

// What was done: `tokens` is what its rate counts, `trained` what the update, the phase of that
// name, was given, `segments` what it has to compute of it.
struct Round {
  Phases phases;
  int64_t tokens = 0, trained = 0;
  std::vector<TrainedSegment> segments;
};

// GPU work is waited for inside a round: each ends with figures read back by the host.
template <class Run>
Json measure(const Options& o, const char* name, const Transformer& model,
             std::optional<int64_t> planned, const Run& run) {
  Display display(begin_output(o.output));
  std::map<std::string, std::vector<double>> times;
  std::vector<std::string> order;
  const int rounds = static_cast<int>(o.rounds);
  Json memory = Json::array();
  int64_t tokens = 0;
  std::vector<double> rates, update_rates, flops;  // of each round
  for (int i = 0; i < kWarmUp + rounds; ++i) {
    const Timer timer;
    const std::clock_t cpu = std::clock();
    Round round = run(i);
    const double seconds = timer.seconds();
    round.phases.emplace_back("seconds", seconds);
    round.phases.emplace_back("cpu_seconds",
                              static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC);
    display.note(cat(i < kWarmUp ? "warm-up  " : "measured ", seconds, " s"));
    if (i + 1 == kSettled || i + 1 == kWarmUp + rounds) {
      const MemoryUse use = memory_use(model.device());
      memory.push_back({{"rounds", i + 1},
                        {"used", use.used},
                        {"reserved", use.reserved},
                        {"peak", peak_memory(model.device())}});
    }
    if (i < kWarmUp) continue;
    for (const auto& [phase, time] : round.phases) {
      if (!times.count(phase)) order.push_back(phase);
      times[phase].push_back(time);
    }
    tokens += round.tokens;
    rates.push_back(static_cast<double>(round.tokens) / seconds);
    const double update = times["update"].back();
    update_rates.push_back(static_cast<double>(round.trained) / update);
    flops.push_back(training_flops(model, round.segments) / update);
  }
  Json profile;
  if (o.profile) {
    start_gpu_profile();
    const Timer timer;
    run(kWarmUp + rounds);
    const double seconds = timer.seconds();
    profile = profile_json(stop_gpu_profile(), seconds, 1);
    display.note(profile_table(profile));
  }
  const double seconds = median(times["seconds"]);
  Json by_phase = Json::object();
  for (const std::string& phase : order) {
    if (phase != "seconds" && phase != "cpu_seconds") by_phase[phase] = median(times[phase]);
  }
  const double peak = product_peak(model.device(), model.dtype());
  Json figures = {
      {"bench", name},
      {"shape", o.shape},
      {"parameters", model.config().parameter_count()},
      {"device", model.device().str()},
      {"dtype", model.dtype() == at::kFloat ? "float32" : "bfloat16"},
      {"threads", kernels::num_threads()},
      {"repetitions", rounds},
      {"seconds", seconds},
      {"seconds_min", *std::min_element(times["seconds"].begin(), times["seconds"].end())},
      {"cpu_seconds", median(times["cpu_seconds"])},
      {"tokens", tokens / rounds},
      {"tokens_per_second", median(rates)},
      {"phases", by_phase},
      {"exact", model.exact()},
      {"fp8", model.fp8()},
      {"micro_batch_tokens", o.micro_batch_tokens},
      {"update_tokens_per_second", median(update_rates)},
      {"update_flops_per_second", median(flops)},
      {"product_flops_per_second", peak},
      {"mfu", peak > 0 ? Json(median(flops) / peak) : Json(nullptr)},
      {"memory", memory},
      {"peak_memory", peak_memory(model.device())}};
  if (planned) figures["planned_peak"] = *planned;
  if (o.profile) figures["profile"] = profile;
  return figures;
}

// The share of even ids: cheap, and different for every completion.
double cheap_reward(const std::vector<int32_t>& tokens) {
  int64_t even = 0;
  for (const int32_t id : tokens) even += id % 2 == 0;
  return static_cast<double>(even) / static_cast<double>(tokens.size());
}

Recompute recompute_of(const Options& o) {
  // Without `auto`: a fixed workload decides nothing.
  const std::vector<std::string> words(kRecomputeWords.begin() + 1, kRecomputeWords.end());
  return static_cast<Recompute>(1 + word_index("--recompute", o.recompute, words));
}

// Before a model is made. Throws UserError.
void check(const Options& o) {
  const auto expect = [](const char* option, int64_t value, int64_t least) {
    if (value >= least) return;
    throw UserError(cat(option, ": expected at least ", least, ", found ", value));
  };
  expect("--prompts", o.prompts, 1);
  expect("--group", o.group, 1);
  expect("--prompt-tokens", o.prompt_tokens, 1);
  expect("--new-tokens", o.new_tokens, 1);
  expect("--documents", o.documents, 1);
  expect("--document-tokens", o.document_tokens, 1);
  expect("--micro-batch-tokens", o.micro_batch_tokens, 1);
  expect("--rounds", o.rounds, 1);
  expect("--lora-rank", o.lora_rank, 0);
  if (o.profile && choose_place(o.place.device, o.place.dtype, true).device.is_cpu()) {
    throw UserError("--profile: expected device cuda; it is the GPU's kernels that are recorded");
  }
}

// For rows of so many tokens.
std::unique_ptr<Transformer> model_of(const Options& o, int64_t tokens) {
  check(o);
  const int64_t room = named_shape(o.shape).max_positions;
  if (tokens > room) {
    throw UserError(cat("bench: ", o.shape, " has ", room, " positions, ", tokens,
                        " tokens in a row were asked for"));
  }
  auto model = make_bench_model(o.shape, o.place, o.lora_rank == 0);
  LoraOptions lora;
  lora.rank = o.lora_rank;
  if (lora.on()) model->add_adapters(lora_shape(lora));
  return model;
}

OptimizerOptions optimizer_of(const Options& o, const Transformer& model) {
  OptimizerOptions optimizer;
  optimizer.lr = 1e-4;
  optimizer.moments = static_cast<MomentForm>(word_index("--moments", o.moments, kMomentWords));
  optimizer.offload = o.offload;
  if (model.device().is_cpu()) check_for_cpu(optimizer);
  return optimizer;
}

// What `hone plan` would say of a stage of this work, nullopt on the CPU.
std::optional<int64_t> planned_peak(const Options& o, const Transformer& model,
                                    StageOptions stage) {
  if (model.device().is_cpu()) return std::nullopt;
  stage.optimizer = optimizer_of(o, model);
  stage.recompute = recompute_of(o);
  stage.lora.rank = o.lora_rank;
  stage.micro_batch_tokens = o.micro_batch_tokens;
  ModelConfig shape = model.config();
  if (stage.kind == "sft") shape.max_positions = o.document_tokens;
  return plan_stage(stage, shape,
                    {static_cast<int64_t>(c10::elementSize(model.dtype())), model.fp8()})
      .peak;
}

int step(const Options& o) {
  const auto model = model_of(o, o.prompt_tokens + o.new_tokens);
  const OptimizerOptions optimizer = optimizer_of(o, *model);
  Trainer trainer(*model, optimizer,
                  {.micro_batch_tokens = o.micro_batch_tokens,
                   .balance = {},
                   .recompute = recompute_of(o),
                   .share_prompts = !o.unshared});
  Engine engine(*model, nullptr);
  SamplingOptions sampling;
  sampling.max_tokens = o.new_tokens;
  ObjectiveOptions objective = preset_options("grpo");
  double difference = 0;
  const bool shared = !o.unshared && model->shares_prefixes();
  const auto round = [&](int i) {
    Round done;
    Phases& phases = done.phases;
    Timer timer;
    const uint64_t key = make_key(static_cast<uint64_t>(o.place.seed), i);
    auto requests = random_requests(o.prompts, o.group, o.prompt_tokens, model->config(), key);
    if (o.tail) {
      const auto lengths = tail_lengths(o.prompts * o.group, o.new_tokens, make_key(key, 1));
      for (size_t r = 0; r < requests.size(); ++r) {
        const auto first = lengths.begin() + static_cast<int64_t>(r) * o.group;
        requests[r].limits.assign(first, first + o.group);
      }
    }
    const auto completions = engine.sample(requests, sampling);
    lap(phases, "sample", timer);

    std::vector<TrainingSequence> sequences;
    std::vector<std::optional<double>> rewards;
    std::vector<int64_t> groups;
    std::vector<Trainer::PolicyRow> rows;
    for (size_t g = 0; g < completions.size(); ++g) {
      if (shared) done.segments.push_back({o.prompt_tokens, 0, 0});
      for (const Completion& c : completions[g]) {
        const auto n = static_cast<int64_t>(c.tokens.size());
        done.tokens += n;
        done.trained += o.prompt_tokens + n;
        if (shared) {
          done.segments.push_back({n, o.prompt_tokens, n});
        } else {
          done.segments.push_back({o.prompt_tokens + n, 0, n});
        }
        sequences.push_back({requests[g].prompt, c.tokens});
        rewards.emplace_back(cheap_reward(c.tokens));
        groups.push_back(static_cast<int64_t>(g));
        rows.emplace_back();
        rows.back().sampler_logp.assign(c.logprobs.begin(), c.logprobs.end());
      }
    }
    AdvantageInput in;
    in.rewards = rewards;
    in.group_ids = groups;
    const AdvantageResult a = advantages(in, objective.advantage);
    for (size_t r = 0; r < rows.size(); ++r) rows[r].advantage = a.values[r];
    lap(phases, "score", timer);

    const auto result = trainer.policy_step(sequences, rows, objective, optimizer.lr);
    difference = std::max(difference, result.sampler_difference.value_or(0));
    lap(phases, "update", timer);
    return done;
  };
  StageOptions stage;
  stage.prompts_per_step = o.prompts;
  stage.group_size = o.group;
  stage.max_tokens = o.new_tokens;
  stage.max_prompt_tokens = o.prompt_tokens;
  stage.objective.kl.coef = 0;
  Json figures = measure(o, "step", *model, planned_peak(o, *model, stage), round);
  figures["logp_diff_max"] = difference;
  print_line(to_line(figures));
  return 0;
}

int train(const Options& o) {
  const auto model = model_of(o, o.document_tokens);
  const OptimizerOptions optimizer = optimizer_of(o, *model);
  Trainer trainer(
      *model, optimizer,
      {.micro_batch_tokens = o.micro_batch_tokens, .balance = {}, .recompute = recompute_of(o)});
  StageOptions stage;
  stage.kind = "sft";
  stage.batch_tokens = o.documents * o.document_tokens;
  const auto planned = planned_peak(o, *model, stage);
  print_line(to_line(measure(o, "train", *model, planned, [&](int i) {
    Rng rng(make_key(static_cast<uint64_t>(o.place.seed), i));
    std::vector<std::vector<int32_t>> documents;
    std::vector<TrainingSequence> sequences;
    for (int64_t d = 0; d < o.documents; ++d) {
      documents.push_back(random_ids(o.document_tokens + 1, model->config().vocab_size, rng));
    }
    for (const auto& ids : documents) {
      const std::span<const int32_t> all = ids;
      sequences.push_back({all.first(1), all.subspan(1)});
    }
    Timer timer;
    Round done;
    trainer.likelihood_step(sequences, {}, optimizer.lr);
    lap(done.phases, "update", timer);
    done.tokens = done.trained = o.documents * o.document_tokens;
    done.segments.assign(sequences.size(), {o.document_tokens, 0, o.document_tokens});
    return done;
  })));
  return 0;
}

void add_workload(Command& bench, Options& o, const char* name, const char* meaning,
                  int (*run)(const Options&)) {
  Command& c = bench.verb(name, meaning);
  c.option("--shape", o.shape, "the model, e.g. bench-5m, qwen2.5-0.5b");
  if (run == train) {
    c.option("--documents", o.documents, "sequences a step");
    c.option("--document-tokens", o.document_tokens, "tokens of each");
  } else {
    c.option("--prompts", o.prompts, "prompts");
    c.option("--group", o.group, "completions of each");
    c.option("--prompt-tokens", o.prompt_tokens, "tokens of a prompt");
    c.option("--new-tokens", o.new_tokens, "tokens of a completion");
    c.flag("--tail", o.tail,
           "completions of very different lengths: log-normal, the longest --new-tokens, half of "
           "them above a 27th of it");
    c.flag("--unshared", o.unshared, "the update runs a group's prompt anew for each completion");
  }
  c.option("--rounds", o.rounds, "measured after two others");
  c.option("--micro-batch-tokens", o.micro_batch_tokens, "tokens in one forward pass");
  c.option("--moments", o.moments, "float32, bfloat16 or int8: how AdamW's moments are kept");
  c.flag("--offload", o.offload, "GPU: the moments lie in the host's memory");
  c.option("--recompute", o.recompute, "none, selective or layers: what runs again");
  c.option("--lora-rank", o.lora_rank, "train adapters of this rank alone; 0: all weights");
  c.flag("--profile", o.profile, "GPU: one more round, with the time of each kernel");
  add_model_options(c, o.place);
  c.flag("--fp8", o.place.fp8, "GPU: dense linear layers in 8 bits");
  c.flag("--exact", o.place.exact,
         "results that do not depend on the batch (the CPU's always are so)");
  add_output_options(c, o.output);
  c.action([&o, run] { return run(o); });
}

}  // namespace

void add_bench(Command& hone) {
  static Options o;
  Command& bench = hone.verb("bench", "fixed workloads: how fast this machine is");
  add_bench_decode(bench);
  add_workload(bench, o, "step", "a whole GRPO step: 16 prompts x 16 completions of 64 tokens",
               step);
  add_workload(bench, o, "train", "forward, backward and AdamW on 64 sequences of 128 tokens",
               train);
  add_bench_rewards(bench);
}

}  // namespace hone
