// Whole configurations of TRL and verl as recipes.
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>

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
  const double ratio = c.number("warmup_ratio", 0);
  int64_t warmup = static_cast<int64_t>(c.number("warmup_steps", 0));
  if (warmup == 0 && ratio > 0 && steps > 0) {
    warmup = static_cast<int64_t>(std::ceil(ratio * static_cast<double>(steps)));
  } else if (warmup == 0 && ratio > 0) {
    t.note(cat("warmup_ratio ", ratio, ": set optimizer.schedule.warmup to that share of steps"));
  }
  if (warmup > 0) schedule["warmup"] = warmup;
  o["schedule"] = schedule;
  t.stage["optimizer"] = o;
  if (steps > 0) {
    t.stage["steps"] = steps;
  } else {
    t.note(
        "steps: TRL counts epochs (num_train_epochs); set `steps` to epochs x problems / "
        "prompts_per_step");
  }
  c.ignore({"num_train_epochs", "optim"});
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
  const int64_t updates = std::max<int64_t>(1, batch / per_update);
  if (updates > 1) t.stage["minibatches"] = updates;
  set_if(t.stage, "epochs", c.whole("num_iterations", 1), 1);
  if (!c.has("generation_batch_size")) {
    t.note(cat("prompts_per_step is that of one process (", device, " x ", slices,
               " completions); multiply it by the number of yours"));
  }
  if (updates > 1) {
    t.note("a step here is one rollout with all its updates, so steps and every_* count rollouts");
  }
}

void add_objective(Translation& t, const ForeignObjective& objective) {
  Json keys = objective_keys(objective.options);
  keys.erase("length");  // the stage's max_tokens
  t.stage["objective"] = keys;
  const auto& weights = objective.reward_weights;
  Json& rewards = t.stage["rewards"];
  for (size_t i = 0; i < rewards.size() && i < weights.size(); ++i) {
    rewards[i]["weight"] = weights[i];
  }
}

}  // namespace

Json flat_verl(const Json& nested) {
  if (!nested.is_object()) return nested;
  Json flat = Json::object();
  const std::function<void(const Json&, const std::string&)> walk = [&](const Json& node,
                                                                        const std::string& path) {
    for (const auto& [key, value] : node.items()) {
      // Keys may come dotted, as overrides on a command line.
      const std::string full = path.empty() ? key : path + "." + key;
      if (value.is_object() && !value.empty()) {
        walk(value, full);
        continue;
      }
      const bool interpolated = value.is_string() && value.get<std::string>().rfind("${", 0) == 0;
      if (interpolated) continue;
      std::string name = full.substr(full.rfind('.') + 1);
      if (full.find("kl_ctrl.type") != std::string::npos) name = "kl_ctrl_type";
      flat[name] = value;
    }
  };
  walk(nested, "");
  return flat;
}

std::string recipe_from_trl(const std::string& text, const std::string& file) {
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
  ForeignObjective objective = trl_objective(c);
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
  if (save > 0) t.stage["checkpoint"] = {{"every_steps", save}};
  const int64_t eval = static_cast<int64_t>(c.number("eval_steps", 0));
  if (eval > 0) t.stage["eval"] = {{"every", eval}};
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
  const std::vector<std::string> before = t.notes;
  c.finish();
  return recipe_text_of(t, "TRL", file);
}

std::string recipe_from_verl(const std::string& text, const std::string& file) {
  Translation t;
  Json nested = read_config(text, file);
  // actor and critic share names; only the actor's and the sampler's say something here.
  for (const char* other : {"critic", "reward_model", "ray_kwargs", "ray_init", "global_profiler",
                            "hydra", "defaults", "transfer_queue", "custom_reward_function"}) {
    if (nested.contains(other) && std::string(other) == "custom_reward_function") {
      t.note(cat("custom_reward_function ", to_line(nested[other]),
                 ": give it TRL's signature and name it as python:FILE.py:FUNCTION in rewards"));
    }
    nested.erase(other);
  }
  Json validation = Json::object();
  if (nested.contains("actor_rollout_ref") && nested["actor_rollout_ref"].is_object()) {
    Json& part = nested["actor_rollout_ref"];
    if (part.contains("rollout") && part["rollout"].is_object()) {
      part["rollout"].erase("val_kwargs");
      part["rollout"].erase("multi_turn");
    }
    part.erase("ref");
  }
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
  if (c.has("filter_groups") || c.flag("enable", false)) t.stage["dynamic_sampling"] = 10;
  t.stage["optimizer"] = {{"lr", c.number("lr", 1e-6)},
                          {"betas", {0.9, 0.999}},
                          {"weight_decay", c.number("weight_decay", 0.01)},
                          {"clip_norm", c.number("grad_clip", 1)}};
  const int64_t warmup = c.whole("lr_warmup_steps", -1);
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
            "optimizer_offload",
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
            "enable_chunked_prefill"});
  // `name` and `type` occur in many sections, all of them about engines.
  c.ignore({"name", "type", "dtype"});
  c.finish();
  return recipe_text_of(t, "verl", file);
}

}  // namespace hone
