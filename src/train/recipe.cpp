#include "train/recipe.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "train/choice.h"

namespace hone {
namespace {

const std::set<std::string> kGlobalKeys = {"name",  "seed", "device",   "dtype",          "threads",
                                           "exact", "fp8",  "max_time", "random_weights", "stages"};
const std::vector<std::string> kKinds = {"pretrain", "sft", "rl"};

// yaml-cpp keeps both of two equal keys and reads the first; which was meant is not ours to guess.
void refuse_repeated_keys(const YAML::Node& node, const std::string& file) {
  if (node.IsSequence()) {
    for (const YAML::Node& item : node) refuse_repeated_keys(item, file);
  }
  if (!node.IsMap()) return;
  std::set<std::string> seen;
  for (const auto& entry : node) {
    const std::string key = YAML::Dump(entry.first);
    if (!seen.insert(key).second) {
      throw UserError(cat(file, ":", entry.first.Mark().line + 1, ": '", key, "' is given twice"));
    }
    refuse_repeated_keys(entry.second, file);
  }
}

void set_at(YAML::Node node, const std::string& path, const YAML::Node& value,
            const std::string& text) {
  const size_t dot = path.find('.');
  const std::string key = path.substr(0, dot);
  const bool index = node.IsSequence();
  if (index && (key.empty() || key.find_first_not_of("0123456789") != std::string::npos ||
                static_cast<size_t>(std::stoul(key)) >= node.size())) {
    throw UserError(cat("override '", text, "': expected an index below ", node.size(),
                        " into the list, found '", key, "'"));
  }
  if (dot == std::string::npos) {
    if (index) {
      node[std::stoul(key)] = value;
    } else {
      node[key] = value;
    }
    return;
  }
  YAML::Node child = index ? node[std::stoul(key)] : node[key];
  if (child.IsDefined() && !child.IsNull() && !child.IsMap() && !child.IsSequence()) {
    throw UserError(cat("override '", text, "': '", key, "' holds a value, not a map"));
  }
  set_at(child, path.substr(dot + 1), value, text);
}

void apply_override(YAML::Node& root, const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    throw UserError(cat("override '", text, "': expected key=value"));
  }
  std::string key = text.substr(0, equals);
  YAML::Node value;
  try {
    value = YAML::Load(text.substr(equals + 1));
  } catch (const YAML::Exception& e) {
    throw UserError(cat("override '", text, "': ", e.what()));
  }
  const std::string first = key.substr(0, key.find('.'));
  if (kGlobalKeys.count(first) || !root["stages"]) return set_at(root, key, value, text);
  YAML::Node stages = root["stages"];
  std::vector<std::string> names;
  for (YAML::Node stage : stages) {
    const std::string name = stage["name"] ? stage["name"].Scalar() : "";
    if (name == first && key.size() > first.size()) {
      return set_at(stage, key.substr(first.size() + 1), value, text);
    }
    names.push_back(name);
  }
  if (stages.size() == 1) return set_at(stages[0], key, value, text);
  std::string known;
  for (const std::string& n : names) known += (known.empty() ? "" : ", ") + n;
  throw UserError(cat("override '", text,
                      "': the recipe has several stages; begin with the name of "
                      "one of them (",
                      known, ")"));
}

void check_positive(const StageOptions& s, const char* key, int64_t value) {
  if (value < 1) {
    throw UserError(cat("stage '", s.name, "': ", key, ": expected at least 1, found ", value));
  }
}

void check_lora(const StageOptions& s) {
  const LoraOptions& o = s.lora;
  const auto refuse = [&](const std::string& what) {
    throw UserError(cat("stage '", s.name, "': ", what));
  };
  if (o.rank < 0) refuse(cat("lora.rank: expected at least 0, found ", o.rank));
  if (!o.on() && (o.alpha || !o.targets.empty())) refuse("lora.rank is missing");
  if (!o.on()) return;
  if (!o.from.empty() && (o.rank > 0 || o.alpha || !o.targets.empty())) {
    refuse("lora.from brings rank, alpha and targets with it; leave them out");
  }
  if (o.alpha && *o.alpha <= 0)
    refuse(cat("lora.alpha: expected a number above 0, found ", *o.alpha));
  if (s.kind == "pretrain") {
    refuse("lora trains adapters of a model that is there, pretrain makes one; leave lora out");
  }
  if (s.experts.bias_speed > 0) {
    refuse("experts.bias_speed changes weights that lora leaves as they are; set it to 0");
  }
  if (s.kind == "rl" && s.objective.kl.reference_refresh > 0) {
    refuse(
        "with lora the reference is the model without adapters, which does not change; set "
        "objective.kl.reference_refresh to 0");
  }
}

void check_stage(StageOptions& s) {
  if (std::find(kKinds.begin(), kKinds.end(), s.kind) == kKinds.end()) {
    throw UserError(
        cat("stage '", s.name, "': kind '", s.kind, "' is not known; known: pretrain, sft, rl"));
  }
  check_positive(s, "steps", s.steps);
  check_positive(s, "micro_batch_tokens", s.micro_batch_tokens);
  check_positive(s, "checkpoint.keep", s.checkpoint.keep);
  check_positive(s, "eval.n", s.eval.n);
  for (const int64_t k : s.eval.k) {
    if (k < 1 || k > s.eval.n) {
      throw UserError(cat("stage '", s.name,
                          "': eval.k: expected numbers from 1 to eval.n, which is ", s.eval.n,
                          ", found ", k));
    }
  }
  if (s.data.empty()) throw UserError(cat("stage '", s.name, "': `data` is missing"));
  if (s.kind == "pretrain") {
    if (s.tokenizer.empty()) throw UserError(cat("stage '", s.name, "': `tokenizer` is missing"));
    const ModelConfig& m = s.shape;
    for (const auto& [key, value] : std::initializer_list<std::pair<const char*, int64_t>>{
             {"shape.hidden", m.hidden},
             {"shape.layers", m.layers},
             {"shape.heads", m.heads},
             {"shape.kv_heads", m.kv_heads},
             {"shape.head_dim", m.head_dim},
             {"shape.intermediate", m.intermediate},
             {"shape.max_positions", m.max_positions}}) {
      check_positive(s, key, value);
    }
  } else if (s.model.empty()) {
    throw UserError(cat("stage '", s.name, "': `model` is missing"));
  }
  for (const auto* specs : {&s.data, &s.eval.data}) {
    for (const DataSpec& d : *specs) {
      if (!d.task.empty()) make_task(d.task, d.options);
    }
  }
  check_lora(s);
  const RewardSet rewards(s.rewards);  // names and options exist
  for (size_t i = 0; i < s.rewards.size(); ++i) s.rewards[i].as = rewards.specs()[i].as;
  if (s.kind != "rl") {
    if (s.router_replay != RouterReplay::none) {
      throw UserError(cat("stage '", s.name, "': router_replay is of kind rl, found kind ", s.kind,
                          ", whose updates have no sampler's choices to take; leave it at none"));
    }
    check_positive(s, "batch_tokens", s.batch_tokens);
    return;
  }
  check_positive(s, "prompts_per_step", s.prompts_per_step);
  check_positive(s, "group_size", s.group_size);
  check_positive(s, "minibatches", s.minibatches);
  check_positive(s, "epochs", s.epochs);
  check_positive(s, "max_tokens", s.max_tokens);
  if (s.prompts_per_step % s.minibatches != 0) {
    throw UserError(cat("stage '", s.name, "': prompts_per_step ", s.prompts_per_step,
                        " is not a multiple of minibatches ", s.minibatches));
  }
  if (s.rewards.empty()) throw UserError(cat("stage '", s.name, "': `rewards` is missing"));
  if (s.sampling.temperature <= 0) {
    throw UserError(cat("stage '", s.name, "': sampling.temperature must be above 0 in training"));
  }
  const SamplingOptions& draw = s.sampling;
  if (s.objective.correction.mode != Correction::none && restricts(draw) && draw.temperature != 1) {
    throw UserError(cat("stage '", s.name,
                        "': objective.correction needs the sampler's log-probabilities, which with "
                        "a temperature and top_p, top_k, min_p or min_tokens together are not "
                        "those of the policy; leave one of them out"));
  }
  if (s.dynamic_sampling < 0) {
    throw UserError(cat("stage '", s.name, "': dynamic_sampling: expected at least 0, found ",
                        s.dynamic_sampling));
  }
  int64_t before = 0;
  for (const LengthStep& l : s.max_tokens_schedule) {
    check_positive(s, "max_tokens_schedule.max_tokens", l.max_tokens);
    if (l.after_updates <= before) {
      throw UserError(cat("stage '", s.name,
                          "': max_tokens_schedule: expected after_updates above ", before,
                          ", found ", l.after_updates));
    }
    before = l.after_updates;
  }
  if (s.objective.length == 0) s.objective.length = static_cast<double>(s.max_tokens);
}

}  // namespace

void describe(OptionVisitor& v, RewardSpec& o) {
  v.value("name", o.name, "which reward (hone score --help lists them)");
  v.value("weight", o.weight, "weight in the sum");
  v.value("as", o.as, "name in metrics; default: name");
  v.value("when", o.when, "only problems whose fields match, e.g. {data_source: gsm8k}");
  v.rest(o.options, "options of the reward");
}

void describe(OptionVisitor& v, EvalOptions& o) {
  v.value("every", o.every, "evaluate every so many steps; 0: before and after only");
  v.list("data", o.data, "problems; default: the held-out part of the stage's data");
  v.value("problems", o.problems, "how many problems; 0: all");
  v.value("n", o.n, "samples a problem");
  v.value("k", o.k, "pass@k beside pass@1");
}

void describe(OptionVisitor& v, LengthStep& o) {
  v.value("after_updates", o.after_updates, "from so many optimizer steps on");
  v.value("max_tokens", o.max_tokens, "longest completion, in tokens");
}

void describe(OptionVisitor& v, LoraOptions& o) {
  v.value("rank", o.rank,
          "rl, sft: train adapters of this rank, the weights stay; 0: train weights");
  v.value("alpha", o.alpha, "adapters count alpha / rank; default: twice the rank");
  v.value("targets", o.targets,
          "which linear layers, as PEFT's target_modules; default: all but experts and head");
  v.value("from", o.from, "begin with the PEFT adapter of this directory");
}

void describe(OptionVisitor& v, CheckpointOptions& o) {
  v.value("every_steps", o.every_steps, "checkpoint every so many steps; 0: by time");
  v.value("every_minutes", o.every_minutes, "checkpoint after so many minutes; 0: never by time");
  v.value("keep", o.keep, "how many to keep");
}

// DeepSeek-R1 (2501.12948v2), R1-Zero: 512 prompts x 16 a rollout in 16 mini-batches of 32 prompts,
// each learned from once; 65,536 tokens from update 8,200 on.
void apply_stage_preset(StageOptions& o) {
  if (o.objective.preset != "r1_zero") return;
  o.prompts_per_step = 512;
  o.group_size = 16;
  o.minibatches = 16;
  o.epochs = 1;
  o.max_tokens = 32768;
  o.max_tokens_schedule = {{8200, 65536}};
  o.sampling.temperature = 1;
  o.optimizer.lr = 3e-6;
}

void describe(OptionVisitor& v, StageOptions& o) {
  v.value("name", o.name, "name of the stage");
  v.value("kind", o.kind, "pretrain, sft or rl");
  v.value("model", o.model, "a model directory, or the name of an earlier stage");
  v.value("tokenizer", o.tokenizer, "pretrain: directory with the tokenizer");
  v.section("shape", o.shape, "pretrain: the model to make");
  v.list("data", o.data, "where problems or documents come from");
  v.section("prompt", o.prompt, "how a problem becomes a prompt");
  v.list("rewards", o.rewards, "what judges the answers");
  const std::string preset = o.objective.preset;
  v.section("objective", o.objective, "the loss");
  // Only a reader changes it; the keys that it reads next override what the preset sets.
  if (o.objective.preset != preset) apply_stage_preset(o);
  v.value("prompts_per_step", o.prompts_per_step, "groups a step");
  v.value("group_size", o.group_size, "completions a prompt");
  v.value("max_prompt_tokens", o.max_prompt_tokens, "longer prompts are left out; 0: what fits");
  v.value("max_tokens", o.max_tokens, "longest completion, in tokens");
  v.list("max_tokens_schedule", o.max_tokens_schedule, "how it grows in mid-run");
  v.value(
      "dynamic_sampling", o.dynamic_sampling,
      "most rounds of asking in a step: further problems for groups whose rewards are all equal "
      "(DAPO); 0 or 1: no further ones");
  v.section("selection", o.selection, "problems retired or chosen by their pass rate");
  v.section("sampling", o.sampling, "how completions are drawn");
  v.value("speculate", o.speculate,
          "where few completions are left, most tokens guessed for each from its group's text and "
          "computed at once; what is drawn stays the same; 0: none");
  v.value("minibatches", o.minibatches, "optimizer steps a rollout is split into");
  v.value("epochs", o.epochs, "passes over a rollout");
  v.value("micro_batch_tokens", o.micro_batch_tokens, "tokens in one forward pass");
  choice(v, "recompute", o.recompute, kRecomputeWords,
         "what the backward pass computes again instead of keeping it: selective, norms and gates; "
         "layers, all but each layer's input, for a third more computation; auto: none, or on a "
         "GPU the first of them with which the plan fits");
  v.value(
      "release_cache", o.release_cache,
      "GPU: updates get the key-value cache's memory, which sampling takes back: a smaller peak "
      "for some milliseconds a step");
  v.value("batch_tokens", o.batch_tokens, "pretrain, sft: tokens in an optimizer step");
  v.section("experts", o.experts, "models with experts: how their load is balanced");
  choice(v, "router_replay", o.router_replay, {"none", "r2", "r3"},
         "rl, models with experts: whose choice of experts the updates take; none: the router's of "
         "the moment; r2: that of the weights that sampled, as the trainer computes it; r3: the "
         "sampler's, also for the old log-probabilities. What experts weigh is learned in any "
         "case");
  v.section("optimizer", o.optimizer, "the optimizer");
  v.section("lora", o.lora, "low-rank adapters");
  v.value("steps", o.steps, "steps of the stage");
  v.section("eval", o.eval, "evaluation on held-out problems");
  v.section("checkpoint", o.checkpoint, "when to save");
}

namespace {

void describe_globals(OptionVisitor& v, Recipe& o) {
  v.value("name", o.name, "name of the run");
  v.value("seed", o.seed, "seed of everything random");
  v.value("device", o.device, "auto, cpu or cuda[:N]");
  v.value("dtype", o.dtype, "auto, float32 or bfloat16 (the GPU's forward pass)");
  v.value("threads", o.threads, "CPU threads; 0: all cores");
  v.value("exact", o.exact,
          "sampler and trainer agree bit for bit, on the GPU too; what cannot is refused");
  v.value("fp8", o.fp8,
          "on the GPU, dense linear layers are multiplied in 8 bits, as DeepSeek-V3 trains");
  v.value("max_time", o.max_time, "save and leave after so many seconds; 0: no limit");
  v.value("random_weights", o.random_weights, "make the weights from the model's config alone");
}

// A recipe whose single stage stands at the top level.
struct FlatRecipe {
  Recipe* recipe;
};
void describe(OptionVisitor& v, FlatRecipe& o) {
  describe_globals(v, *o.recipe);
  o.recipe->stages.resize(1);
  describe(v, o.recipe->stages[0]);
}

}  // namespace

void describe(OptionVisitor& v, Recipe& o) {
  describe_globals(v, o);
  v.list("stages", o.stages, "run in order; a single stage may stand at the top level");
}

Recipe read_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  const std::string file = find_path(path);
  YAML::Node root;
  try {
    root = YAML::Load(read_file(file));
  } catch (const YAML::Exception& e) {
    throw UserError(cat(path, ": not valid YAML: ", e.what()));
  }
  if (!root.IsMap()) throw UserError(cat(path, ": expected a map of options"));
  refuse_repeated_keys(root, path);
  for (const std::string& text : overrides) apply_override(root, text);
  Recipe recipe;
  recipe.name = std::filesystem::path(path).stem().string();
  OptionReader reader(root, path);
  if (root["stages"]) {
    reader.read(recipe);
    if (recipe.stages.empty()) throw UserError(cat(path, ": `stages` is empty"));
  } else {
    FlatRecipe flat{&recipe};
    reader.read(flat);
    if (!root["name"]) recipe.stages[0].name = recipe.stages[0].kind;
  }
  std::set<std::string> names;
  for (StageOptions& s : recipe.stages) {
    if (s.name.empty()) s.name = s.kind;
    if (!names.insert(s.name).second) {
      throw UserError(cat(path, ": two stages are called '", s.name, "'"));
    }
    check_stage(s);
  }
  if (recipe.threads < 0) {
    throw UserError(cat(path, ": threads: expected at least 0, found ", recipe.threads));
  }
  if (recipe.dtype != "auto" && recipe.dtype != "float32" && recipe.dtype != "bfloat16") {
    throw UserError(
        cat(path, ": dtype: expected auto, float32 or bfloat16, found '", recipe.dtype, "'"));
  }
  return recipe;
}

void check_for_cpu(const Recipe& recipe) {
  if (recipe.fp8) {
    throw UserError("fp8: expected device cuda and dtype bfloat16; 8-bit products are the GPU's");
  }
  for (const StageOptions& s : recipe.stages) check_for_cpu(s.optimizer);
}

namespace {

void write_yaml(YAML::Emitter& out, const Json& value) {
  if (value.is_object()) {
    out << YAML::BeginMap;
    for (const auto& [key, item] : value.items()) {
      out << YAML::Key << key << YAML::Value;
      write_yaml(out, item);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    const bool flat = std::none_of(value.begin(), value.end(),
                                   [](const Json& item) { return item.is_structured(); });
    out << (flat ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
    for (const Json& item : value) write_yaml(out, item);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    const std::string text = value.get<std::string>();
    if (text.empty() || text.find('\n') != std::string::npos) {
      out << YAML::DoubleQuoted << text;
    } else {
      out << text;
    }
  } else if (value.is_null()) {
    out << YAML::Null;
  } else {
    out << value.dump();
  }
}

}  // namespace

std::string yaml_text(const Json& value) {
  YAML::Emitter out;
  write_yaml(out, value);
  return out.c_str();
}

std::string recipe_text(const Recipe& recipe) {
  return yaml_text(OptionWriter::write(recipe)) + "\n";
}

std::vector<OptionKey> recipe_keys() { return OptionLister::keys<Recipe>(); }

}  // namespace hone
