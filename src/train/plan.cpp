#include "train/plan.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "engine/engine.h"
#include "model/transformer.h"
#include "text/tokenizer.h"
#include "train/format.h"
#include "train/stage.h"

namespace hone {
namespace {

std::string amount(int64_t bytes) {
  const double gib = static_cast<double>(bytes) / (1 << 30);
  return gib >= 0.1 ? formatted("%.1f GiB", gib)
                    : formatted("%.1f MiB", static_cast<double>(bytes) / (1 << 20));
}

int64_t longest_completion(const StageOptions& s) {
  int64_t longest = s.max_tokens;
  for (const LengthStep& l : s.max_tokens_schedule) longest = std::max(longest, l.max_tokens);
  return longest;
}

// Longest prompt that is let in.
int64_t longest_prompt(const StageOptions& s, const ModelConfig& c) {
  const int64_t room = std::max<int64_t>(c.max_positions - longest_completion(s), 1);
  // Without a limit of its own a prompt may be as long as what the model has room for; a quarter of
  // the completion is what tasks have.
  const int64_t usual = std::max<int64_t>(longest_completion(s) / 4, 64);
  return std::min(room, s.max_prompt_tokens > 0 ? s.max_prompt_tokens : usual);
}

// Of one token: activations that a micro-batch keeps, in elements. See plan_stage.
double kept_elements(const ModelConfig& c, bool recompute_layers) {
  const double hidden = static_cast<double>(c.hidden);
  double all = 0, widest = 0;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const int64_t inner = c.is_sparse(layer) ? c.experts.per_token * c.experts.intermediate +
                                                   c.experts.shared_intermediate
                                             : c.intermediate;
    const double elements = 13.4 * hidden + 3.1 * static_cast<double>(inner);
    all += elements;
    widest = std::max(widest, elements);
  }
  if (recompute_layers) all = static_cast<double>(c.layers) * hidden + widest;
  return all + 0.75 * static_cast<double>(c.vocab_size);
}

// Of a model of which nothing is allocated.
int64_t adapter_parameters(const LoraOptions& lora, const ModelConfig& config) {
  Transformer model(config, {at::Device(at::kMeta)});
  model.add_adapters(lora_shape(lora));
  int64_t parameters = 0;
  for (const NamedTensor& t : model.adapters()->weights.tensors()) parameters += t.numel();
  return parameters;
}

}  // namespace

StagePlan plan_stage(const StageOptions& s, const ModelConfig& c, int64_t value_bytes) {
  StagePlan plan;
  plan.name = s.name;
  plan.kind = s.kind;
  plan.parameters = c.parameter_count();
  plan.active_parameters = c.active_parameter_count();
  const bool lora = s.lora.on();
  plan.trained_parameters = lora ? adapter_parameters(s.lora, c) : plan.parameters;
  const int64_t n = plan.parameters, trained = plan.trained_parameters;
  const bool rl = s.kind == "rl";
  int64_t step_tokens = s.batch_tokens, row = s.batch_tokens;
  if (rl) {
    plan.completions = s.prompts_per_step * s.group_size;
    row = longest_prompt(s, c) + longest_completion(s);
    step_tokens = plan.completions / s.minibatches * row;
  }
  plan.micro_batch_tokens =
      std::max(std::min(s.micro_batch_tokens, step_tokens), std::min(row, c.max_positions));
  const auto add = [&](const std::string& kind, int64_t bytes) {
    plan.bytes.emplace_back(kind, bytes);
    plan.peak += bytes;
  };
  add("weights", n * value_bytes);
  if (lora) add("adapters", trained * value_bytes);
  if (value_bytes < 4) add("float32 masters", trained * 4);
  add("gradients", trained * 4);
  add("moments", moment_bytes(s.optimizer.moments, trained));  // Muon leaves one of them unused
  if (rl && needs_reference(s.objective) && !lora) add("reference", n * value_bytes);
  const int64_t kept = plan.peak;
  plan.recompute_layers = s.recompute == Recompute::layers;
  const auto activations =
      static_cast<int64_t>(static_cast<double>(value_bytes * plan.micro_batch_tokens) *
                           kept_elements(c, plan.recompute_layers));
  add("activations", activations);
  plan.least = plan.peak;
  if (rl) {
    // At most so many run at once (engine.h), each with its completion; a group shares its prompt.
    constexpr int64_t kSeats = 1024;
    const int64_t seats = std::min(kSeats, plan.completions);
    const int64_t copies = c.latent.kv_rank > 0 ? 1 : 2;
    const int64_t token = copies * c.layers * c.cache_heads() * c.cache_width() * value_bytes;
    const int64_t prompts = (seats + s.group_size - 1) / s.group_size;
    const int64_t cache = token * (seats * longest_completion(s) + prompts * longest_prompt(s, c));
    add("key-value cache", cache);
    // With release_cache it is not there at the same time as the activations.
    if (s.release_cache) plan.peak -= std::min(activations, cache);
    const double share = EngineOptions{}.kv_memory;
    const double beside = static_cast<double>(activations) / (s.release_cache ? 1 : 1 - share);
    const double one = static_cast<double>(token * row) / share;  // the longest completion runs
    plan.least = std::min(plan.peak, kept + static_cast<int64_t>(std::max(beside, one)));
  }
  return plan;
}

ModelConfig planned_shape(const Recipe& recipe, const StageOptions& stage) {
  for (const StageOptions& other : recipe.stages) {
    if (&other != &stage && other.name == stage.model) return planned_shape(recipe, other);
  }
  const bool there = std::filesystem::exists(find_path(stage.model) + "/config.json");
  if (stage.kind != "pretrain" && there) return load_model_config(find_path(stage.model));
  if (stage.kind != "pretrain" && !stage.shape.more.contains("vocab_size")) {
    throw UserError(cat("stage '", stage.name, "': model '", stage.model,
                        "' is not there, and the recipe has no `shape` with vocab_size"));
  }
  ModelConfig shape = stage.shape;
  if (stage.kind == "pretrain") {
    shape.vocab_size = load_tokenizer(find_path(stage.tokenizer))->vocab_size();
  }
  return complete_shape(shape, cat("stage '", stage.name, "': shape"));
}

Recompute decide_recompute(const StageOptions& stage, const ModelConfig& shape, int64_t value_bytes,
                           int64_t available) {
  if (stage.recompute != Recompute::automatic) return stage.recompute;
  const bool fits = plan_stage(stage, shape, value_bytes).least <= available;
  return fits ? Recompute::none : Recompute::layers;
}

namespace {

// A change of the recipe that needs less memory.
struct Change {
  std::string text;
  std::function<void(StageOptions&)> apply;
  int64_t saved = 0;  // of StagePlan::least, by itself
};

// Those that there are, what saves most first. A change that saves nothing is left out.
std::vector<Change> changes_of(const StageOptions& stage, const ModelConfig& shape,
                               int64_t value_bytes) {
  const StagePlan now = plan_stage(stage, shape, value_bytes);
  const int64_t half = std::max<int64_t>(now.micro_batch_tokens / 2, 1);
  std::vector<Change> all = {
      {"recompute=layers", [](StageOptions& s) { s.recompute = Recompute::layers; }},
      {cat("micro_batch_tokens=", half), [=](StageOptions& s) { s.micro_batch_tokens = half; }},
      {"release_cache=true", [](StageOptions& s) { s.release_cache = true; }},
      {"objective.kl.coef=0", [](StageOptions& s) { s.objective.kl.coef = 0; }}};
  if (stage.optimizer.name == "adamw") {
    all.push_back({"optimizer.moments=int8",
                   [](StageOptions& s) { s.optimizer.moments = MomentForm::int8; }});
  }
  for (Change& c : all) {
    StageOptions changed = stage;
    c.apply(changed);
    c.saved = now.least - plan_stage(changed, shape, value_bytes).least;
  }
  std::erase_if(all, [](const Change& c) { return c.saved <= 0; });
  std::stable_sort(all.begin(), all.end(),
                   [](const Change& a, const Change& b) { return a.saved > b.saved; });
  return all;
}

}  // namespace

void require_fit(const StageOptions& stage, const ModelConfig& shape, int64_t value_bytes,
                 int64_t available) {
  const int64_t least = plan_stage(stage, shape, value_bytes).least;
  if (least <= available) return;
  std::vector<Change> changes = changes_of(stage, shape, value_bytes);
  if (changes.size() > 3) changes.resize(3);
  std::string advice;
  StageOptions changed = stage;
  for (const Change& c : changes) {
    advice += cat(advice.empty() ? "; " : ", ", c.text, " saves ", amount(c.saved));
    c.apply(changed);
  }
  const int64_t after = plan_stage(changed, shape, value_bytes).least;
  if (!changes.empty()) {
    advice +=
        cat("; together ", amount(after), " are needed", after <= available ? ", which fits" : "");
  }
  if (after > available) advice += "; what else helps: shorter completions, a smaller model";
  throw UserError(cat("stage '", stage.name, "' does not fit: at least ", amount(least),
                      " are needed, ", amount(available), " are there", advice));
}

Json plan_json(const StagePlan& p) {
  Json bytes = Json::object();
  for (const auto& [kind, n] : p.bytes) bytes[kind] = n;
  return {{"stage", p.name},
          {"kind", p.kind},
          {"parameters", p.parameters},
          {"active_parameters", p.active_parameters},
          {"trained_parameters", p.trained_parameters},
          {"completions", p.completions},
          {"micro_batch_tokens", p.micro_batch_tokens},
          {"recompute", p.recompute_layers ? "layers" : "none"},
          {"bytes", bytes},
          {"least_bytes", p.least},
          {"peak_bytes", p.peak}};
}

std::string plan_text(const StagePlan& p) {
  std::string text =
      cat("stage ", p.name, ": ", p.kind, ", ", p.parameters, " parameters",
          p.active_parameters == p.parameters ? "" : cat(", ", p.active_parameters, " active"),
          p.trained_parameters == p.parameters ? "" : cat(", ", p.trained_parameters, " trained"),
          p.completions ? cat(", ", p.completions, " completions a step") : "", "\n");
  for (const auto& [kind, n] : p.bytes) {
    std::string line = "  " + kind;
    line.resize(20, ' ');
    std::string note;
    if (kind == "activations") {
      note = cat(" (estimate, micro-batches of ", p.micro_batch_tokens, " tokens",
                 p.recompute_layers ? ", layers run again)" : ")");
    } else if (kind == "key-value cache") {
      note = " (all completions at their longest; less makes some wait)";
    }
    text += cat(line, amount(n), note, "\n");
  }
  return text + cat("  predicted peak    ", amount(p.peak), ", at least ", amount(p.least));
}

}  // namespace hone
