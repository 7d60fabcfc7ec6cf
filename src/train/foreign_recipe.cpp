// Whole configurations of TRL and verl as recipes.
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "train/foreign_config.h"
#include "train/recipe.h"

namespace hone {
namespace {

Json json_of(const YAML::Node& node) {
  if (node.IsMap()) {
    Json map = Json::object();
    for (const auto& entry : node) map[entry.first.Scalar()] = json_of(entry.second);
    return map;
  }
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const YAML::Node& item : node) list.push_back(json_of(item));
    return list;
  }
  if (node.IsNull()) return nullptr;
  const std::string text = node.Scalar();
  if (node.Tag() == "!") return text;  // quoted
  int64_t whole = 0;
  double number = 0;
  bool flag = false;
  if (YAML::convert<int64_t>::decode(node, whole)) return whole;
  if (YAML::convert<double>::decode(node, number)) return number;
  if (text == "None") return nullptr;
  if (YAML::convert<bool>::decode(node, flag)) return flag;
  return text;
}

Json read_config(const std::string& text, const std::string& file) {
  YAML::Node root;
  try {
    root = YAML::Load(text);  // JSON is YAML
  } catch (const YAML::Exception& e) {
    throw UserError(cat(file, ": not valid YAML or JSON: ", e.what()));
  }
  if (!root.IsMap()) throw UserError(cat(file, ": expected a map of options"));
  return json_of(root);
}

// What a translation gathers: the recipe's keys, and what a person has to know.
struct Translation {
  int64_t updates = 1;  // of a rollout
  Json stage = Json::object();
  std::vector<std::string> notes;

  void note(const std::string& text) { notes.push_back(text); }
};

std::string recipe_text_of(const Translation& t, const std::string& toolkit,
                           const std::string& file) {
  std::string text = "# From " + toolkit + "'s " + file + ".\n";
  for (const std::string& note : t.notes) text += "# - " + note + "\n";
  return text + yaml_text(t.stage) + "\n";
}

// The keys of the objective that differ from the defaults.
Json changed_keys(const Json& value, const Json& fallback) {
  Json changed = Json::object();
  for (const auto& [key, item] : value.items()) {
    if (item.is_object() && fallback[key].is_object()) {
      const Json inner = changed_keys(item, fallback[key]);
      if (!inner.empty()) changed[key] = inner;
    } else if (item != fallback[key]) {
      changed[key] = item;
    }
  }
  return changed;
}

Json objective_keys(const ObjectiveOptions& o) {
  Json keys = changed_keys(OptionWriter::write(o), OptionWriter::write(ObjectiveOptions()));
  keys.erase("preset");
  if (!needs_entropy_gradient(o)) keys.erase("entropy");
  return keys;
}

void set_if(Json& stage, const char* key, const Json& value, const Json& fallback) {
  if (value != fallback) stage[key] = value;
}

// A reward function of TRL's, by its name, as hone's.
Json trl_reward(const std::string& name, Translation& t) {
  if (name == "accuracy_reward") return {{"name", "math"}, {"as", name}};
  if (name == "think_format_reward") {
    return {{"name", "format"}, {"pattern", "trl_think"}, {"as", name}};
  }
  if (name == "get_soft_overlong_punishment") {
    return {{"name", "length"}, {"kind", "overlong"}, {"as", name}};
  }
  if (name == "get_cosine_scaled_reward") {
    return {{"name", "length"}, {"kind", "cosine"}, {"as", name}};
  }
  if (name == "get_repetition_penalty_reward") return {{"name", "repetition"}, {"as", name}};
  const std::string function = name.substr(name.find_last_of(".:") + 1);
  t.note(cat("reward ", name, ": a Python function of your own; put its file in place of FILE.py"));
  return {{"name", cat("python:FILE.py:", function)}, {"as", function}};
}

// TRL counts optimizer steps, a recipe rollouts, of which each has `t.updates`.
int64_t rollouts(const Translation& t, double updates) {
  return static_cast<int64_t>(std::ceil(updates / static_cast<double>(t.updates)));
}

void set_trl_optimizer(ForeignConfig& c, Translation& t) {
  Json o = {{"lr", c.number("learning_rate", 1e-6)},
            {"betas", {c.number("adam_beta1", 0.9), c.number("adam_beta2", 0.999)}},
            {"eps", c.number("adam_epsilon", 1e-8)},
            {"weight_decay", c.number("weight_decay", 0)},
            {"clip_norm", c.number("max_grad_norm", 1)}};
  const std::string kind = c.text("lr_scheduler_type", "linear");
  Json schedule = {{"kind", kind}};
  if (kind == "constant_with_warmup") {
    schedule["kind"] = "constant";
  } else if (kind == "cosine_with_min_lr") {
    schedule["kind"] = "cosine";
    t.note("lr_scheduler_type cosine_with_min_lr: set optimizer.schedule.end to min lr / lr");
  } else if (kind != "linear" && kind != "cosine" && kind != "constant") {
    schedule["kind"] = "constant";
    c.unsupported("lr_scheduler_type", cat("'", kind, "' has no counterpart; constant is put"));
  }
  const int64_t steps = c.whole("max_steps", -1);
  double ratio = c.number("warmup_ratio", 0), warmup = c.number("warmup_steps", 0);
  if (warmup > 0 && warmup < 1) std::swap(ratio, warmup);  // a share, as transformers 5 has it
  if (warmup == 0 && ratio > 0 && steps > 0) {
    warmup = ratio * static_cast<double>(steps);
  } else if (warmup == 0 && ratio > 0) {
    t.note(cat("warm-up over a share of ", ratio,
               ": set optimizer.schedule.warmup to that share of "
               "steps"));
  }
  if (warmup > 0) schedule["warmup"] = rollouts(t, warmup);
  o["schedule"] = schedule;
  t.stage["optimizer"] = o;
  const std::string optimizer = c.text("optim", "adamw_torch");
  if (optimizer.rfind("adamw", 0) != 0) {
    c.unsupported("optim", cat("'", optimizer, "' has no counterpart; AdamW is put"));
  }
  if (steps > 0) {
    t.stage["steps"] = rollouts(t, static_cast<double>(steps));
  } else {
    t.note(
        "steps: TRL counts epochs (num_train_epochs); set `steps` to epochs x problems / "
        "prompts_per_step");
  }
  c.ignore({"num_train_epochs"});
}

// generation batch = per device x processes x steps_per_generation; its slices are the updates.
void set_trl_batches(ForeignConfig& c, Translation& t) {
  const int64_t group = c.whole("num_generations", 8);
  const int64_t device = c.whole("per_device_train_batch_size", 8);
  const int64_t accumulation = c.whole("gradient_accumulation_steps", 1);
  const int64_t slices = c.whole("steps_per_generation", accumulation);
  const int64_t batch = c.whole("generation_batch_size", device * slices);
  const int64_t per_update = std::max<int64_t>(1, std::min(batch, device * accumulation));
  t.stage["group_size"] = group;
  t.stage["prompts_per_step"] = std::max<int64_t>(1, batch / std::max<int64_t>(group, 1));
  const int64_t minibatches = std::max<int64_t>(1, batch / per_update);
  const int64_t epochs = std::max<int64_t>(1, c.whole("num_iterations", 1));
  set_if(t.stage, "minibatches", minibatches, 1);
  set_if(t.stage, "epochs", epochs, 1);
  t.updates = minibatches * epochs;
  if (t.stage["prompts_per_step"].get<int64_t>() % minibatches != 0) {
    t.note(cat("prompts_per_step has to be a multiple of minibatches, ", minibatches,
               ": multiply it by your processes, or change one of them"));
  }
  if (!c.has("generation_batch_size")) {
    t.note(cat("prompts_per_step is that of one process (", device, " x ", slices,
               " completions); multiply it by the number of yours"));
  }
  if (t.updates > 1) {
    t.note(cat("a step here is one rollout with all its updates (", t.updates,
               "): steps, warm-up and every_* are TRL's divided by that"));
  }
}

void add_objective(Translation& t, const ForeignObjective& objective) {
  Json keys = objective_keys(objective.options);
  if (objective.options.length == t.stage["max_tokens"]) keys.erase("length");  // its default
  t.stage["objective"] = keys;
  const auto& weights = objective.reward_weights;
  Json& rewards = t.stage["rewards"];
  for (size_t i = 0; i < rewards.size() && i < weights.size(); ++i) {
    rewards[i]["weight"] = weights[i];
  }
}

}  // namespace

namespace {

// Keys may come dotted, as overrides on a command line: a.b: 1 is a: {b: 1}.
void nest(const Json& map, Json& into) {
  for (const auto& [key, value] : map.items()) {
    Json* place = &into;
    size_t begin = 0;
    for (size_t dot = key.find('.'); dot != std::string::npos; dot = key.find('.', begin)) {
      place = &(*place)[key.substr(begin, dot - begin)];
      begin = dot + 1;
    }
    Json& at = (*place)[key.substr(begin)];
    if (value.is_object()) {
      if (!at.is_object()) at = Json::object();
      nest(value, at);
    } else {
      at = value;
    }
  }
}

// Of names that several sections have, the section whose one is meant.
const std::map<std::string, std::string>& meant_sections() {
  static const std::map<std::string, std::string> sections{{"n", "rollout"},
                                                           {"temperature", "rollout"},
                                                           {"top_p", "rollout"},
                                                           {"top_k", "rollout"},
                                                           {"path", "model"},
                                                           {"lr", "optim"},
                                                           {"type", "kl_ctrl"},
                                                           {"weight_decay", "optim"},
                                                           {"enable", "filter_groups"},
                                                           {"name", "rollout"},
                                                           {"lr_warmup_steps", "optim"},
                                                           {"lr_warmup_steps_ratio", "optim"},
                                                           {"betas", "optim"}};
  return sections;
}

// Sections that say nothing of the policy's training, or repeat its names for something else.
bool is_other_section(const std::string& name) {
  static const std::vector<std::string> others{
      "critic",      "reward_model",   "ray_kwargs",    "ray_init",       "global_profiler",
      "hydra",       "defaults",       "val_kwargs",    "transfer_queue", "multi_turn",
      "ref",         "custom_cls",     "profiler",      "checkpoint",     "engine_kwargs",
      "fsdp_config", "megatron",       "router_replay", "reward_kwargs",  "agent",
      "trace",       "override_config"};
  return std::find(others.begin(), others.end(), name) != others.end();
}

// What is meant of such a section, of the actor's engine or its replay of routers.
void take_of_other(const std::string& name, const Json& section, Json& flat) {
  const bool engine = name == "fsdp_config" || name == "megatron";
  if (engine && section.value("optimizer_offload", Json()) == true) {
    flat["optimizer_offload"] = true;
  }
  if (engine && section.contains("router_replay") && section["router_replay"].is_object()) {
    take_of_other("router_replay", section["router_replay"], flat);
  }
  if (name != "router_replay") return;
  const Json mode = section.value("mode", Json());
  const bool interpolated = mode.is_string() && mode.get<std::string>().rfind("${", 0) == 0;
  // The section is there twice; one of them says something.
  if (!mode.is_null() && mode != "disabled" && !interpolated) flat[name] = mode;
}

void flatten(const Json& node, const std::string& section, Json& flat) {
  for (const auto& [key, value] : node.items()) {
    if (value.is_object()) {
      is_other_section(key) ? take_of_other(key, value, flat) : flatten(value, key, flat);
      continue;
    }
    const bool interpolated = value.is_string() && value.get<std::string>().rfind("${", 0) == 0;
    const auto meant = meant_sections().find(key);
    const bool another =
        !section.empty() && meant != meant_sections().end() && meant->second != section;
    if (interpolated || another) continue;
    if (section == "kl_ctrl" && key == "type") {
      flat["kl_ctrl_type"] = value;
    } else if (section == "filter_groups" && key == "enable") {
      flat["filter_groups_enable"] = value;
    } else {
      flat[key] = value;
    }
  }
}

}  // namespace

Json flat_verl(const Json& config) {
  if (!config.is_object()) return config;
  Json nested = Json::object(), flat = Json::object();
  nest(config, nested);
  flatten(nested, "", flat);
  return flat;
}

namespace {

std::string translate_trl(const std::string& text, const std::string& file) {
  Translation t;
  ForeignConfig c("trl", read_config(text, file),
                  [&](const std::string& message) { t.note(message.substr(11)); });
  t.stage["kind"] = "rl";
  t.stage["seed"] = c.whole("seed", 42);
  t.stage["model"] = c.text("model_name_or_path", "FILL/IN");
  t.stage["data"] = {{{"path", "FILL_IN.jsonl"}}};
  t.note(cat("data: dataset_name ", to_line(c.get("dataset_name")),
             "; `hone data import` makes the file, put its path in data"));
  t.stage["rewards"] = Json::array();
  const Json functions = c.get("reward_funcs");
  for (const Json& f : functions.is_array() ? functions : Json::array({functions})) {
    if (f.is_string()) t.stage["rewards"].push_back(trl_reward(f.get<std::string>(), t));
  }
  if (t.stage["rewards"].empty()) {
    t.stage["rewards"].push_back({{"name", "math"}});
    t.note("rewards: the file names none (reward_funcs); math is put");
  }
  set_trl_batches(c, t);
  t.stage["max_tokens"] = c.whole("max_completion_length", 512);
  set_if(t.stage, "max_prompt_tokens", c.whole("max_prompt_length", 0), 0);
  Json sampling = Json::object();
  set_if(sampling, "temperature", c.number("temperature", 1), 1.0);
  set_if(sampling, "top_p", c.number("top_p", 1), 1.0);
  set_if(sampling, "top_k", c.whole("top_k", 0), 0);
  set_if(sampling, "min_p", c.number("min_p", 0), 0.0);
  if (!sampling.empty()) t.stage["sampling"] = sampling;
  if (c.number("repetition_penalty", 1) != 1) {
    c.unsupported("repetition_penalty",
                  "has no counterpart: it would make the policy that is "
                  "sampled another than the one that is trained");
  }
  ForeignObjective objective = trl_objective(c, /*sampled_elsewhere=*/false);
  if (c.flag("sync_ref_model", false)) {
    objective.options.kl.reference_refresh = c.whole("ref_model_sync_steps", 512);
    objective.options.kl.reference_mix = c.number("ref_model_mixup_alpha", 0.6);
  }
  if (objective.options.correction.mode != Correction::none) {
    t.note(
        "vllm_importance_sampling_*: hone samples with the weights that it trains, exactly on "
        "the CPU; objective.correction only matters on the GPU and with a remote sampler");
  }
  add_objective(t, objective);
  set_trl_optimizer(c, t);
  const int64_t save = static_cast<int64_t>(c.number("save_steps", 0));
  if (save > 0) t.stage["checkpoint"] = {{"every_steps", rollouts(t, static_cast<double>(save))}};
  const int64_t eval = static_cast<int64_t>(c.number("eval_steps", 0));
  if (eval > 0) t.stage["eval"] = {{"every", rollouts(t, static_cast<double>(eval))}};
  c.ignore({"bf16",
            "fp16",
            "output_dir",
            "gradient_checkpointing",
            "gradient_checkpointing_kwargs",
            "logging_steps",
            "logging_strategy",
            "report_to",
            "save_strategy",
            "eval_strategy",
            "do_eval",
            "use_vllm",
            "vllm_mode",
            "vllm_gpu_memory_utilization",
            "vllm_server_host",
            "vllm_server_port",
            "log_completions",
            "num_completions_to_print",
            "push_to_hub",
            "hub_model_id",
            "hub_strategy",
            "overwrite_output_dir",
            "use_liger_kernel",
            "dtype",
            "torch_dtype",
            "attn_implementation",
            "remove_unused_columns",
            "shuffle_dataset",
            "disable_dropout",
            "model_revision",
            "dataset_config",
            "dataset_train_split",
            "dataset_test_split",
            "per_device_eval_batch_size",
            "save_total_limit",
            "log_level",
            "logging_first_step",
            "trust_remote_code",
            "run_name"});
  c.finish();
  return recipe_text_of(t, "TRL", file);
}

void set_router_replay(ForeignConfig& c, Translation& t) {
  const std::string mode = c.text("router_replay", "disabled");
  if (mode == "R2" || mode == "R3") {
    t.stage["router_replay"] = mode == "R2" ? "r2" : "r3";
  } else if (mode != "disabled") {
    c.unsupported("router_replay", cat("mode '", mode, "' has no counterpart; none is put"));
  }
}

std::string translate_verl(const std::string& text, const std::string& file) {
  Translation t;
  Json nested = Json::object();
  nest(read_config(text, file), nested);
  const Json own = nested.value("custom_reward_function", Json::object());
  if (own.is_object() && own.contains("path") && own["path"].is_string()) {
    t.note(cat("custom_reward_function ", to_line(own),
               ": give it TRL's signature and name it as python:FILE.py:FUNCTION in rewards"));
  }
  nested.erase("custom_reward_function");
  ForeignConfig c("verl", flat_verl(nested),
                  [&](const std::string& message) { t.note(message.substr(12)); });
  t.stage["kind"] = "rl";
  const std::string model = c.text("path", "FILL/IN");
  t.stage["model"] = model;
  t.stage["data"] = {{{"path", "FILL_IN.jsonl"}, {"format", "verl"}}};
  t.note(cat("data: train_files ", to_line(c.get("train_files")),
             " is Parquet; `hone data import` makes the file, put its path in data"));
  c.ignore({"val_files"});
  t.stage["rewards"] = {{{"name", "math"}, {"as", "accuracy"}}};
  t.note("rewards: verl chooses its scorer by data_source; math is put, see `when` for several");
  t.stage["prompts_per_step"] = c.whole("train_batch_size", 1024);
  t.stage["group_size"] = c.whole("n", 1);
  const int64_t mini = c.whole("ppo_mini_batch_size", 256);
  const int64_t updates =
      std::max<int64_t>(1, t.stage["prompts_per_step"].get<int64_t>() / std::max<int64_t>(1, mini));
  set_if(t.stage, "minibatches", updates, 1);
  set_if(t.stage, "epochs", c.whole("ppo_epochs", 1), 1);
  t.stage["max_tokens"] = c.whole("max_response_length", 512);
  t.stage["max_prompt_tokens"] = c.whole("max_prompt_length", 512);
  Json sampling = Json::object();
  set_if(sampling, "temperature", c.number("temperature", 1), 1.0);
  set_if(sampling, "top_p", c.number("top_p", 1), 1.0);
  set_if(sampling, "top_k", std::max<int64_t>(0, c.whole("top_k", -1)), 0);
  if (!sampling.empty()) t.stage["sampling"] = sampling;
  ForeignObjective objective = verl_objective(c, 0);
  if (objective.options.advantage.per_reward) t.note("gdpo: name its rewards, with their weights");
  add_objective(t, objective);
  const int64_t rounds = c.whole("max_num_gen_batches", 0);
  if (c.flag("filter_groups_enable", false)) {
    t.stage["dynamic_sampling"] = rounds > 0 ? rounds : 10;
    if (rounds == 0) t.note("filter_groups has no limit of batches; 10 rounds are put");
  }
  c.ignore({"metric"});
  t.stage["optimizer"] = {{"lr", c.number("lr", 1e-6)},
                          {"betas", {0.9, 0.999}},
                          {"weight_decay", c.number("weight_decay", 0.01)},
                          {"clip_norm", c.number("grad_clip", 1)}};
  if (c.flag("optimizer_offload", false)) t.stage["optimizer"]["offload"] = true;
  set_router_replay(c, t);
  const int64_t warmup = c.whole("lr_warmup_steps", -1);
  const double share = c.number("lr_warmup_steps_ratio", 0);
  if (warmup <= 0 && share > 0) {
    t.note(cat("lr_warmup_steps_ratio ", share,
               ": set optimizer.schedule.warmup to that share of steps"));
  }
  if (warmup > 0) t.stage["optimizer"]["schedule"] = {{"warmup", warmup}};
  const int64_t steps = c.whole("total_training_steps", -1);
  if (steps > 0) {
    t.stage["steps"] = steps;
  } else {
    t.note(cat("steps: verl counts epochs (total_epochs ", to_line(c.get("total_epochs")),
               "); set `steps` to epochs x problems / prompts_per_step"));
  }
  c.ignore({"total_epochs"});
  const int64_t save = c.whole("save_freq", -1);
  if (save > 0) t.stage["checkpoint"] = {{"every_steps", save}};
  const int64_t test = c.whole("test_freq", -1);
  if (test > 0) t.stage["eval"] = {{"every", test}};
  c.ignore({"project_name",
            "experiment_name",
            "logger",
            "nnodes",
            "n_gpus_per_node",
            "ppo_micro_batch_size",
            "ppo_micro_batch_size_per_gpu",
            "ppo_max_token_len_per_gpu",
            "use_dynamic_bsz",
            "log_prob_micro_batch_size",
            "log_prob_micro_batch_size_per_gpu",
            "gpu_memory_utilization",
            "tensor_model_parallel_size",
            "strategy",
            "use_remove_padding",
            "enable_gradient_checkpointing",
            "param_offload",
            "load_format",
            "shuffle",
            "filter_overlong_prompts",
            "truncation",
            "val_batch_size",
            "val_before_train",
            "resume_mode",
            "lr_warmup_steps_ratio",
            "critic_warmup",
            "enforce_eager",
            "free_cache_engine",
            "return_raw_chat",
            "trust_remote_code",
            "balance_batch",
            "device",
            "prompt_key",
            "reward_fn_key",
            "use_torch_compile",
            "ulysses_sequence_parallel_size",
            "model_dtype",
            "fsdp_size",
            "calculate_log_probs",
            "mode",
            "enable_rollout_routing_replay",
            "enable_chunked_prefill"});
  c.ignore({"name", "dtype"});
  c.finish();
  return recipe_text_of(t, "verl", file);
}

std::string with_file(std::string (*translate)(const std::string&, const std::string&),
                      const std::string& text, const std::string& file) {
  try {
    return translate(text, file);
  } catch (const UserError& e) {
    const std::string what = e.what();
    throw UserError(what.rfind(file, 0) == 0 ? what : cat(file, ": ", what));
  }
}

}  // namespace

std::string recipe_from_trl(const std::string& text, const std::string& file) {
  return with_file(translate_trl, text, file);
}

std::string recipe_from_verl(const std::string& text, const std::string& file) {
  return with_file(translate_verl, text, file);
}

}  // namespace hone
