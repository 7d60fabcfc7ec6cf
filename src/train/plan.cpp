#include "train/plan.h"

#include <algorithm>

#include "base/error.h"
#include "model/transformer.h"
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

// Inner width of the feed-forward part that one token goes through, a mean over the layers.
int64_t inner_width(const ModelConfig& c) {
  int64_t sum = 0;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    sum += c.is_sparse(layer)
               ? c.experts.per_token * c.experts.intermediate + c.experts.shared_intermediate
               : c.intermediate;
  }
  return sum / c.layers;
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
  add("moments", trained * 8);  // also of Muon, which leaves one of them unused
  if (rl && needs_reference(s.objective) && !lora) add("reference", n * value_bytes);
  const double per_layer =
      13.4 * static_cast<double>(c.hidden) + 3.1 * static_cast<double>(inner_width(c));
  const double activations =
      static_cast<double>(value_bytes * plan.micro_batch_tokens) *
      (static_cast<double>(c.layers) * per_layer + 0.75 * static_cast<double>(c.vocab_size));
  add("activations", static_cast<int64_t>(activations));
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
    if (s.release_cache) {  // not at the same time as the activations
      plan.peak -= std::min(static_cast<int64_t>(activations), cache);
      plan.least -= std::min(static_cast<int64_t>(activations), token * row);
    }
    plan.least += token * row;
  }
  return plan;
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
      note = cat(" (estimate, micro-batches of ", p.micro_batch_tokens, " tokens)");
    } else if (kind == "key-value cache") {
      note = " (all completions at their longest; less makes some wait)";
    }
    text += cat(line, amount(n), note, "\n");
  }
  return text + cat("  predicted peak    ", amount(p.peak), ", at least ", amount(p.least));
}

}  // namespace hone
