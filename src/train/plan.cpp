#include "train/plan.h"

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "base/file.h"
#include "engine/engine.h"
#include "model/transformer.h"
#include "rollouts/sampler.h"
#include "text/tokenizer.h"
#include "train/activation_bytes.h"
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

// Of the optimizer beside its state (optimizer.cpp): two pieces of moments on their way, or what
// Muon's AdamW forms of a piece. AdamW by itself is one kernel.
int64_t optimizer_temporaries(const OptimizerOptions& o, int64_t trained) {
  const int64_t piece = std::min(int64_t{1} << 24, trained);
  if (o.offload) return 2 * moment_bytes(o.moments, piece);
  return o.name == "muon" ? 4 * piece : 0;
}

// What sampling keeps beside the cache (decode_graph.cpp, sample.cu): statistics of the logits'
// chunks, partial sums of attention.
int64_t sampling_workspace(const ModelConfig& c, int64_t seats, int64_t longest) {
  constexpr int64_t kSpanKeys = 256, kRows = 16, kChunk = 1024;
  const int64_t spans = seats + seats * longest / kSpanKeys;
  const int64_t width = c.latent.kv_rank > 0 ? c.latent.kv_rank : c.head_dim;
  const int64_t tiles = (c.heads / c.cache_heads() + kRows - 1) / kRows;
  return 4 * (spans * c.cache_heads() * tiles * kRows * (width + 2) +
              seats * 5 * ((c.vocab_size + kChunk - 1) / kChunk));
}

// Blocks of the cache that the engine asks for (Engine::choose_blocks), in tokens.
int64_t cache_tokens(int64_t seats, int64_t group, int64_t prompt, int64_t completion) {
  const auto blocks = [](int64_t tokens) {
    return (tokens + kCacheBlockTokens - 1) / kCacheBlockTokens;
  };
  const int64_t prompts = (seats + group - 1) / group;
  const int64_t own = blocks(prompt + completion) - prompt / kCacheBlockTokens + 1;
  return (seats * own + prompts * blocks(prompt)) * kCacheBlockTokens;
}

// Of a model of which nothing is allocated.
int64_t adapter_parameters(const LoraOptions& lora, const ModelConfig& config) {
  Transformer model(config, {at::Device(at::kMeta)});
  model.add_adapters(lora_shape(lora));
  int64_t parameters = 0;
  for (const NamedTensor& t : model.adapters()->weights.tensors()) parameters += t.numel();
  return parameters;
}

// Whether a micro-batch's shared prompts are copied for each completion (cuda_ops.cpp).
bool copies_shared_keys(const ModelConfig& c, const Precision& p) {
  return p.value_bytes == 2 && c.latent.kv_rank == 0 &&
         ops::has_flash_attention(at::kBFloat16, c.head_dim);
}

// A micro-batch full of groups, whose prompts are there once, all as long as they may be.
void share_prompts(PassShape& pass, int64_t group, int64_t prompt, int64_t completion,
                   bool copied) {
  const int64_t sharing = std::clamp<int64_t>((pass.tokens - prompt) / completion, 1, group);
  const int64_t tokens = prompt + sharing * completion;
  const int64_t groups = std::max<int64_t>(pass.tokens / tokens, 1);
  pass.targets = pass.tokens * sharing * completion / tokens;
  if (sharing == 1 || !copied) return;
  pass.sequences = groups * (1 + sharing);  // a prompt is one by itself
  pass.keys = groups * (prompt + sharing * (prompt + completion));
}

}  // namespace

StagePlan plan_stage(const StageOptions& s, const ModelConfig& c, const Precision& precision) {
  const int64_t value_bytes = precision.value_bytes;
  StagePlan plan;
  plan.name = s.name;
  plan.kind = s.kind;
  plan.parameters = c.parameter_count();
  plan.active_parameters = c.active_parameter_count();
  const bool lora = s.lora.on();
  plan.trained_parameters = lora ? adapter_parameters(s.lora, c) : plan.parameters;
  const int64_t n = plan.parameters, trained = plan.trained_parameters;
  const bool rl = s.kind == "rl";
  const int64_t completion = longest_completion(s), prompt = longest_prompt(s, c);
  int64_t step_tokens = s.batch_tokens, row = s.batch_tokens;
  if (rl) {
    plan.completions = s.prompts_per_step * s.group_size;
    row = prompt + completion;
    step_tokens = plan.completions / s.minibatches * row;
  }
  row = std::min(row, c.max_positions);
  plan.micro_batch_tokens = std::max(std::min(s.micro_batch_tokens, step_tokens), row);
  plan.recompute = s.recompute == Recompute::automatic ? Recompute::none : s.recompute;
  const auto add = [&](const std::string& kind, int64_t bytes) {
    plan.bytes.emplace_back(kind, bytes);
    plan.peak += bytes;
  };
  add("weights", n * value_bytes);
  // As they stand and transposed.
  const int64_t eight_bit_forms = precision.fp8 ? 2 * c.eight_bit_parameters() : 0;
  if (precision.fp8) {
    plan.eight_bit_share = c.eight_bit_share();
    add("8-bit weights", eight_bit_forms);
  }
  if (lora) add("adapters", trained * value_bytes);
  if (value_bytes < 4) add("float32 masters", trained * 4);
  add("gradients", trained * 4);
  if (!s.optimizer.offload) {
    add("moments", moment_bytes(s.optimizer.moments, trained));  // Muon leaves one of them unused
  }
  if (rl && needs_reference(s.objective) && !lora) {
    add("reference", n * value_bytes + eight_bit_forms);
  }
  // At most so many completions run at once (engine.h), each to its end; a group shares its prompt.
  constexpr int64_t kSeats = 1024;
  const int64_t seats = std::min(kSeats, plan.completions);
  constexpr int64_t kProducts = (64 + 32) << 20;  // cuBLASLt's, cuda_linear.cpp; cuBLAS's, LibTorch
  add("workspaces", kProducts + (rl ? sampling_workspace(c, seats, row) : 0));
  const int64_t kept = plan.peak;
  PassShape pass{plan.micro_batch_tokens, std::max<int64_t>(plan.micro_batch_tokens / row, 1),
                 plan.micro_batch_tokens};
  if (rl) share_prompts(pass, s.group_size, prompt, completion, copies_shared_keys(c, precision));
  const PassBytes passes = pass_bytes(c, s, precision, pass);
  add("activations", passes.kept);
  add("temporaries",
      std::max(passes.temporary, optimizer_temporaries(s.optimizer, trained) - passes.kept));
  const int64_t updating = plan.peak - kept;
  plan.least = plan.peak;
  if (rl) {
    const int64_t copies = c.latent.kv_rank > 0 ? 1 : 2;
    const int64_t token = copies * c.layers * c.cache_heads() * c.cache_width() * value_bytes;
    const int64_t cache = token * cache_tokens(seats, s.group_size, prompt, completion);
    add("key-value cache", cache);
    // With release_cache it is not there at the same time as the passes.
    if (s.release_cache) plan.peak -= std::min(updating, cache);
    const double share = EngineOptions{}.kv_memory;
    const double beside = static_cast<double>(updating) / (s.release_cache ? 1 : 1 - share);
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

Recompute decide_recompute(const StageOptions& stage, const ModelConfig& shape,
                           const Precision& precision, int64_t available) {
  if (stage.recompute != Recompute::automatic) return stage.recompute;
  StageOptions tried = stage;
  for (const Recompute recompute : {Recompute::none, Recompute::selective}) {
    tried.recompute = recompute;
    if (plan_stage(tried, shape, precision).least <= available) return recompute;
  }
  return Recompute::layers;
}

namespace {

// Without it so far; check_lora (recipe.cpp) says what does not go together.
bool could_take_lora(const StageOptions& s) {
  const bool moves_other_weights = s.experts.bias_speed > 0 || s.objective.kl.reference_refresh > 0;
  return !s.lora.on() && s.kind != "pretrain" && !moves_other_weights;
}

// A change of the recipe that needs less memory.
struct Change {
  std::string text;
  std::function<void(StageOptions&)> apply;
  int64_t saved = 0;  // of StagePlan::least, by itself
};

// Those that there are, what saves most first. A change that saves nothing is left out.
std::vector<Change> changes_of(const StageOptions& stage, const ModelConfig& shape,
                               const Precision& precision) {
  const StagePlan now = plan_stage(stage, shape, precision);
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
  if (stage.optimizer.moments == MomentForm::int8) {  // what is left of them
    all.push_back({"optimizer.offload=true", [](StageOptions& s) { s.optimizer.offload = true; }});
  }
  if (could_take_lora(stage)) {
    all.push_back({"lora.rank=16", [](StageOptions& s) { s.lora.rank = 16; }});
  }
  for (Change& c : all) {
    StageOptions changed = stage;
    c.apply(changed);
    c.saved = now.least - plan_stage(changed, shape, precision).least;
  }
  std::erase_if(all, [](const Change& c) { return c.saved <= 0; });
  std::stable_sort(all.begin(), all.end(),
                   [](const Change& a, const Change& b) { return a.saved > b.saved; });
  return all;
}

}  // namespace

void require_fit(const StageOptions& stage, const ModelConfig& shape, const Precision& precision,
                 int64_t available) {
  const int64_t least = plan_stage(stage, shape, precision).least;
  if (least <= available) return;
  std::vector<Change> changes = changes_of(stage, shape, precision);
  if (changes.size() > 3) changes.resize(3);
  std::string advice;
  StageOptions changed = stage;
  for (const Change& c : changes) {
    advice += cat(advice.empty() ? "; " : ", ", c.text, " saves ", amount(c.saved));
    c.apply(changed);
  }
  const int64_t after = plan_stage(changed, shape, precision).least;
  if (!changes.empty()) {
    advice +=
        cat("; together ", amount(after), " are needed", after <= available ? ", which fits" : "");
  }
  if (after > available) advice += "; what else helps: shorter completions, a smaller model";
  throw UserError(cat("stage '", stage.name, "' does not fit: at least ", amount(least),
                      " are needed, ", amount(available), " are there", advice));
}

std::string less_memory(const StageOptions& s) {
  const bool adamw = s.optimizer.name == "adamw";
  std::string changes;
  const auto add = [&](bool not_made, const char* change) {
    if (not_made) changes += cat(change, ", ");
  };
  add(s.recompute != Recompute::layers, "recompute=layers");
  add(s.kind == "rl" && !s.release_cache, "release_cache=true");
  add(adamw && s.optimizer.moments != MomentForm::int8, "optimizer.moments=int8");
  add(adamw && !s.optimizer.offload, "optimizer.offload=true");
  add(could_take_lora(s), "lora.rank=16");
  return cat("a new run needs less with ", changes,
             s.kind == "rl" ? "a smaller max_tokens" : "shorter documents");
}

namespace {
const std::string& recompute_word(Recompute r) { return kRecomputeWords[static_cast<size_t>(r)]; }
}  // namespace

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
          {"recompute", recompute_word(p.recompute)},
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
      note = cat(" (micro-batches of ", p.micro_batch_tokens,
                 " tokens, recompute: ", recompute_word(p.recompute), ")");
    } else if (kind == "8-bit weights") {
      note = cat(" (", formatted("%.0f%%", 100 * p.eight_bit_share),
                 " of what a token is multiplied with; the rest stays in bfloat16)");
    } else if (kind == "temporaries") {
      note = " (of the head, a layer's backward pass, or the optimizer)";
    } else if (kind == "key-value cache") {
      note = " (all completions at their longest; less makes some wait)";
    }
    text += cat(line, amount(n), note, "\n");
  }
  return text + cat("  predicted peak    ", amount(p.peak), ", at least ", amount(p.least));
}

}  // namespace hone
