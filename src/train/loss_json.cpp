#include "train/loss_json.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/objective.h"

namespace hone {
namespace {

using Matrix = std::vector<std::vector<double>>;

// One of another toolkit's configuration: read by name, then what was not read is an error.
class ForeignConfig {
 public:
  ForeignConfig(const char* toolkit, const Json& values) : toolkit_(toolkit), values_(values) {
    if (!values.is_object()) throw UserError(cat("config.", toolkit, ": expected an object"));
  }

  // Null if absent.
  Json get(const char* key) {
    read_.push_back(key);
    return values_.contains(key) ? values_[key] : Json(nullptr);
  }
  double number(const char* key, double fallback) {
    const Json v = get(key);
    if (v.is_null()) return fallback;
    if (!v.is_number()) wrong(key, v, "a number");
    return v.get<double>();
  }
  std::string text(const char* key, const std::string& fallback) {
    const Json v = get(key);
    if (v.is_null()) return fallback;
    if (!v.is_string()) wrong(key, v, "a text");
    return v.get<std::string>();
  }
  bool flag(const char* key, bool fallback) {
    const Json v = get(key);
    if (v.is_null()) return fallback;
    if (!v.is_boolean()) wrong(key, v, "true or false");
    return v.get<bool>();
  }
  // An option hone has no counterpart for yet: allowed where it changes nothing.
  void only(const char* key, const std::vector<Json>& neutral) {
    const Json v = get(key);
    if (v.is_null() || std::find(neutral.begin(), neutral.end(), v) != neutral.end()) return;
    unsupported(key, v);
  }
  [[noreturn]] void unsupported(const char* key, const Json& v) {
    throw UserError(cat("config.", toolkit_, ".", key, ": ", to_line(v), " is not supported"));
  }
  [[noreturn]] void wrong(const char* key, const Json& v, const char* expected) {
    throw UserError(
        cat("config.", toolkit_, ".", key, ": expected ", expected, ", found ", to_line(v)));
  }
  void finish() {
    for (const auto& [key, value] : values_.items()) {
      if (std::find(read_.begin(), read_.end(), key) != read_.end()) continue;
      const std::string near = nearest_word(key, read_);
      throw UserError(cat("config.", toolkit_, ".", key, ": not supported",
                          near.empty() ? "" : "; did you mean '" + near + "'?"));
    }
  }

 private:
  std::string toolkit_;
  Json values_;
  std::vector<std::string> read_;
};

struct Config {
  ObjectiveOptions options;
  std::vector<double> reward_weights;  // empty: the input's, or all 1
};

// TRL GRPOConfig's names and defaults.
Config from_trl(const Json& values) {
  ForeignConfig c("trl", values);
  Config config;
  ObjectiveOptions& o = config.options;
  const std::string type = c.text("loss_type", "dapo");
  if (type == "grpo") {
    o.aggregation = Aggregation::sequence_mean;
  } else if (type == "dr_grpo") {
    o.aggregation = Aggregation::constant_length;
  } else if (type == "dapo" || type == "bnpo") {  // the same where the step is one batch
    o.aggregation = Aggregation::token_mean;
  } else {
    c.unsupported("loss_type", type);
  }
  o.length = c.number("max_completion_length", 512);
  o.epsilon = c.number("epsilon", 0.2);
  if (const Json v = c.get("epsilon_high"); !v.is_null()) o.epsilon_high = v.get<double>();
  if (const Json v = c.get("delta"); !v.is_null()) o.delta = v.get<double>();
  o.kl.coef = c.number("beta", 0);
  const Json scale = c.get("scale_rewards");
  if (scale.is_null() || scale == true || scale == "group") {
    o.advantage.scale = AdvantageScale::group;
  } else if (scale == "batch") {
    o.advantage.scale = AdvantageScale::batch;
  } else if (scale == false || scale == "none") {
    o.advantage.scale = AdvantageScale::none;
  } else {
    c.wrong("scale_rewards", scale, "group, batch, none, true or false");
  }
  const std::string level = c.text("importance_sampling_level", "token");
  if (level == "sequence") {
    o.ratio = RatioLevel::sequence;
  } else if (level != "token") {
    c.unsupported("importance_sampling_level", level);
  }
  if (c.flag("mask_truncated_completions", false)) o.filters.push_back("truncated");
  o.entropy_coef = c.number("entropy_coef", 0);
  if (const Json v = c.get("reward_weights"); !v.is_null()) {
    config.reward_weights = v.get<std::vector<double>>();
  }
  c.only("top_entropy_quantile", {1.0, 1});
  c.only("multi_objective_aggregation", {"sum_then_normalize"});
  c.only("off_policy_mask_threshold", {});
  c.only("use_bias_correction_kl", {false});
  c.only("use_adaptive_entropy", {false});
  c.only("vllm_importance_sampling_correction", {false});
  c.only("use_liger_kernel", {false, true});  // the same function, computed elsewhere
  for (const char* elsewhere : {"num_generations", "num_iterations", "temperature", "learning_rate",
                                "max_prompt_length", "steps_per_generation"}) {
    c.get(elsewhere);  // says nothing about the loss of given arrays
  }
  c.finish();
  return config;
}

// verl's algorithm.* and actor.* names and defaults.
Config from_verl(const Json& values, double padded_length) {
  ForeignConfig c("verl", values);
  Config config;
  ObjectiveOptions& o = config.options;
  const std::string estimator = c.text("adv_estimator", "gae");
  o.advantage.epsilon = 1e-6;
  if (estimator == "grpo" || estimator == "grpo_vectorized") {
    const bool scaled = c.flag("norm_adv_by_std_in_grpo", true);
    o.advantage.scale = scaled ? AdvantageScale::group : AdvantageScale::none;
  } else if (estimator == "rloo" || estimator == "rloo_vectorized") {
    o.advantage.kind = Baseline::leave_one_out;
    o.advantage.scale = AdvantageScale::none;
  } else {
    c.unsupported("adv_estimator", estimator);  // gae, verl's default, needs a value model
  }
  const std::string mode = c.text("loss_mode", "vanilla");
  const std::string aggregation = c.text("loss_agg_mode", "token-mean");
  if (aggregation == "token-mean") {
    o.aggregation = Aggregation::token_mean;
  } else if (aggregation == "seq-mean-token-mean") {
    o.aggregation = Aggregation::sequence_mean;
  } else if (aggregation == "seq-mean-token-sum") {
    o.aggregation = Aggregation::sequence_sum;
  } else if (aggregation == "seq-mean-token-sum-norm") {
    o.aggregation = Aggregation::constant_length;
  } else {
    c.unsupported("loss_agg_mode", aggregation);
  }
  o.length = c.number("loss_scale_factor", padded_length);
  const double clip = c.number("clip_ratio", 0.2);
  // As in verl: the two halves have defaults of their own, so clip_ratio alone does nothing.
  o.epsilon = c.number("clip_ratio_low", 0.2);
  o.epsilon_high = c.number("clip_ratio_high", 0.2);
  const bool halves = !c.get("clip_ratio_low").is_null() && !c.get("clip_ratio_high").is_null();
  if (clip != 0.2 && !halves) {
    throw UserError(
        "config.verl.clip_ratio: has no effect in verl, whose clip_ratio_low and clip_ratio_high "
        "default to 0.2; give both of them");
  }
  o.dual_clip = c.number("clip_ratio_c", 3);
  if (mode == "gspo") {  // which verl always averages by completion, without the dual clip
    o.ratio = RatioLevel::sequence;
    o.aggregation = Aggregation::sequence_mean;
    o.dual_clip.reset();
  } else if (mode != "vanilla") {
    c.unsupported("loss_mode", mode);
  }
  o.entropy_coef = c.number("entropy_coeff", 0);
  const double kl_coef = c.number("kl_loss_coef", 0.001);
  const std::string kl = c.text("kl_loss_type", "low_var_kl");
  if (c.flag("use_kl_loss", false)) {
    o.kl.coef = kl_coef;
    if (kl == "kl" || kl == "k1") {
      o.kl.estimator = KlEstimator::k1;
    } else if (kl == "mse" || kl == "k2") {
      o.kl.estimator = KlEstimator::k2;
    } else if (kl == "low_var_kl" || kl == "k3") {
      o.kl.estimator = KlEstimator::k3;
    } else {
      c.unsupported("kl_loss_type", kl);
    }
  }
  const double kl_ctrl = c.number("kl_coef", 0.001);
  if (c.flag("use_kl_in_reward", false)) {
    if (o.kl.coef != 0) c.unsupported("use_kl_in_reward", "true beside use_kl_loss");
    o.kl = {kl_ctrl, KlEstimator::k1, KlPlace::reward, 0};
  }
  c.only("kl_penalty", {"kl", "k1"});
  c.only("rollout_is", {});
  c.only("rollout_rs", {});
  for (const char* elsewhere : {"ppo_mini_batch_size", "ppo_epochs", "gamma", "lam"}) {
    c.get(elsewhere);
  }
  c.finish();
  return config;
}

// The recipe's keys go through the recipe's reader: JSON is YAML.
Config from_own(const Json& values) {
  Config config;
  OptionReader(YAML::Load(to_line(values)), "config").read(config.options);
  return config;
}

Config read_config(const Json& input, double padded_length) {
  const Json values = input.contains("config") ? input["config"] : Json::object();
  if (!values.is_object()) throw UserError("config: expected an object");
  for (const char* toolkit : {"trl", "verl"}) {
    if (!values.contains(toolkit)) continue;
    if (values.size() != 1) {
      throw UserError(cat("config: expected nothing beside '", toolkit, "'"));
    }
    return std::string(toolkit) == "trl" ? from_trl(values["trl"])
                                         : from_verl(values["verl"], padded_length);
  }
  return from_own(values);
}

const Json& array_of(const Json& input, const char* key, size_t size) {
  const Json& v = input[key];
  if (!v.is_array() || v.size() != size) {
    throw UserError(cat(key, ": expected a list of ", size, " (one for each row of logp), found ",
                        v.is_array() ? cat("a list of ", v.size()) : to_line(v)));
  }
  return v;
}

double number_of(const Json& v, const std::string& where) {
  if (!v.is_number()) throw UserError(cat(where, ": expected a number, found ", to_line(v)));
  return v.get<double>();
}

// A matrix whose rows are as long as `shape`'s; without shape, any. Empty if absent.
Matrix matrix_of(const Json& input, const char* key, const Matrix* shape) {
  if (!input.contains(key) || input[key].is_null()) return {};
  const Json& rows = input[key];
  if (shape) {
    array_of(input, key, shape->size());
  } else if (!rows.is_array()) {
    throw UserError(cat(key, ": expected a list of lists of numbers"));
  }
  Matrix matrix;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string where = cat(key, "[", i, "]");
    if (!rows[i].is_array() || (shape && rows[i].size() != (*shape)[i].size())) {
      throw UserError(cat(where, ": expected a list of ",
                          shape ? cat((*shape)[i].size(), " numbers, as in logp") : "numbers"));
    }
    std::vector<double>& row = matrix.emplace_back();
    for (size_t t = 0; t < rows[i].size(); ++t) {
      const Json& v = rows[i][t];
      row.push_back(v.is_boolean() ? v.get<bool>() : number_of(v, cat(where, "[", t, "]")));
    }
  }
  return matrix;
}

std::vector<std::optional<double>> reward_list(const Json& list, const std::string& name,
                                               size_t size) {
  if (!list.is_array() || list.size() != size) {
    throw UserError(cat(name, ": expected a list of ", size, " numbers or nulls"));
  }
  std::vector<std::optional<double>> values;
  for (const Json& v : list) {
    if (v.is_null()) {
      values.emplace_back();
    } else {
      values.push_back(number_of(v, name));
    }
  }
  return values;
}

// R_i = sum of weight x reward over the rewards that are not null; null if all are.
std::vector<std::optional<double>> read_rewards(const Json& input, const Config& config,
                                                size_t size, Json& metrics) {
  const Json& rewards = input["rewards"];
  if (rewards.is_array()) {
    if (input.contains("reward_weights") || config.reward_weights.size() > 1) {
      throw UserError("reward_weights: expected rewards as {name: [...]} beside it");
    }
    std::vector<std::optional<double>> values = reward_list(rewards, "rewards", size);
    if (!config.reward_weights.empty()) {
      for (auto& v : values) {
        if (v) *v *= config.reward_weights[0];
      }
    }
    return values;
  }
  if (!rewards.is_object()) throw UserError("rewards: expected a list, or {name: list}");
  const Json weights =
      input.contains("reward_weights") ? input["reward_weights"] : Json(config.reward_weights);
  if (weights.is_array() && !weights.empty() && weights.size() != rewards.size()) {
    throw UserError(
        cat("reward_weights: expected ", rewards.size(), " numbers, found ", weights.size()));
  }
  if (weights.is_object()) {
    for (const auto& [name, weight] : weights.items()) {
      if (!rewards.contains(name)) throw UserError(cat("reward_weights: no reward '", name, "'"));
    }
  }
  std::vector<std::optional<double>> total(size);
  size_t index = 0;
  for (const auto& [name, list] : rewards.items()) {
    double weight = 1;
    if (weights.is_array() && !weights.empty())
      weight = number_of(weights[index], "reward_weights");
    if (weights.is_object() && weights.contains(name)) {
      weight = number_of(weights[name], "reward_weights." + name);
    }
    ++index;
    double sum = 0;
    int64_t count = 0;
    const auto values = reward_list(list, "rewards." + name, size);
    for (size_t i = 0; i < size; ++i) {
      if (!values[i]) continue;
      total[i] = total[i].value_or(0) + weight * *values[i];
      sum += *values[i];
      ++count;
    }
    metrics["rewards/" + name + "/mean"] = count ? sum / static_cast<double>(count) : 0.0;
  }
  return total;
}

void check_keys(const Json& input) {
  static const std::vector<std::string> known{
      "logp",  "old_logp",   "ref_logp",  "sampler_logp",   "mask", "entropy", "rewards",
      "group", "advantages", "truncated", "reward_weights", "seed", "config"};
  for (const auto& [key, value] : input.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const std::string near = nearest_word(key, known);
    throw UserError(
        cat(key, ": not supported", near.empty() ? "" : "; did you mean '" + near + "'?"));
  }
  if (!input.contains("logp")) throw UserError("logp: expected a list of lists of numbers");
  if (input.contains("rewards") == input.contains("advantages")) {
    throw UserError("rewards: expected either rewards or advantages");
  }
}

// Everything of the input that rows point into.
struct Arrays {
  Matrix logp, old_logp, ref_logp, sampler_logp, entropy, token_advantages;
  std::vector<std::vector<uint8_t>> mask;
};

std::vector<ObjectiveRow> read_rows(const Json& input, Arrays& a) {
  a.old_logp = matrix_of(input, "old_logp", &a.logp);
  a.ref_logp = matrix_of(input, "ref_logp", &a.logp);
  a.sampler_logp = matrix_of(input, "sampler_logp", &a.logp);
  a.entropy = matrix_of(input, "entropy", &a.logp);
  for (const std::vector<double>& row : matrix_of(input, "mask", &a.logp)) {
    std::vector<uint8_t>& mask = a.mask.emplace_back();
    for (double m : row) {
      if (m != 0 && m != 1) throw UserError(cat("mask: expected 0 or 1, found ", m));
      mask.push_back(m == 1);
    }
  }
  std::vector<ObjectiveRow> rows(a.logp.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].logp = a.logp[i];
    if (!a.old_logp.empty()) rows[i].old_logp = a.old_logp[i];
    if (!a.ref_logp.empty()) rows[i].ref_logp = a.ref_logp[i];
    if (!a.sampler_logp.empty()) rows[i].sampler_logp = a.sampler_logp[i];
    if (!a.entropy.empty()) rows[i].entropy = a.entropy[i];
    if (!a.mask.empty()) rows[i].mask = a.mask[i];
  }
  if (input.contains("truncated")) {
    const Json& truncated = array_of(input, "truncated", rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!truncated[i].is_boolean()) throw UserError("truncated: expected booleans");
      rows[i].truncated = truncated[i].get<bool>();
    }
  }
  return rows;
}

// Fills the rows' advantages; returns them as the output shows them.
Json set_advantages(const Json& input, const Config& config, Arrays& arrays,
                    std::vector<ObjectiveRow>& rows, Json& metrics) {
  if (input.contains("advantages")) {
    const Json& given = array_of(input, "advantages", rows.size());
    if (!given.empty() && given[0].is_array()) {
      arrays.token_advantages = matrix_of(input, "advantages", &arrays.logp);
      for (size_t i = 0; i < rows.size(); ++i)
        rows[i].token_advantages = arrays.token_advantages[i];
      return arrays.token_advantages;
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].advantage = number_of(given[i], cat("advantages[", i, "]"));
    }
    return given;
  }
  auto rewards = read_rewards(input, config, rows.size(), metrics);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rewards[i]) *rewards[i] -= kl_in_reward(config.options, rows[i]);
  }
  std::vector<int64_t> groups(rows.size(), 0);
  if (input.contains("group")) {
    const Json& given = array_of(input, "group", rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!given[i].is_number_integer()) throw UserError("group: expected whole numbers");
      groups[i] = given[i].get<int64_t>();
    }
  }
  const AdvantageResult a = advantages(rewards, groups, config.options.advantage);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].advantage = a.values[i];
    rows[i].zero_variance = a.zero_variance[i];
  }
  metrics["reward"] = a.reward_mean;
  metrics["reward_std"] = a.reward_std;
  metrics["frac_reward_zero_std"] =
      a.groups ? static_cast<double>(a.zero_variance_groups) / static_cast<double>(a.groups) : 0.0;
  return a.values;
}

}  // namespace

Json loss_from_json(const Json& input) {
  if (!input.is_object()) throw UserError("hone loss: expected one JSON object");
  check_keys(input);
  Arrays arrays;
  arrays.logp = matrix_of(input, "logp", nullptr);
  std::vector<ObjectiveRow> rows = read_rows(input, arrays);
  double padded_length = 0;
  for (const auto& row : arrays.logp) {
    padded_length = std::max(padded_length, static_cast<double>(row.size()));
  }

  Config config;
  try {
    config = read_config(input, padded_length);
  } catch (const Json::exception& e) {
    throw UserError(cat("config: ", e.what()));
  }
  const ObjectiveOptions& o = config.options;
  if (o.aggregation == Aggregation::constant_length && o.length <= 0) {
    throw UserError("config.length: constant_length needs it (the stage's max_tokens)");
  }
  if (needs_reference(o) && arrays.ref_logp.empty() && !rows.empty()) {
    throw UserError(cat("ref_logp: needed, since kl.coef is ", o.kl.coef));
  }
  if (needs_entropy_gradient(o) && arrays.entropy.empty() && !rows.empty()) {
    throw UserError(cat("entropy: needed, since entropy_coef is ", o.entropy_coef));
  }

  Json metrics = Json::object();
  const Json advantage_values = set_advantages(input, config, arrays, rows, metrics);
  std::vector<RowCounts> counts;
  double tokens = 0, truncated = 0;
  for (const ObjectiveRow& row : rows) {
    counts.push_back(row_counts(row));
    tokens += static_cast<double>(counts.back().tokens);
    truncated += row.truncated;
  }
  if (!rows.empty()) {
    metrics["completions/mean_length"] = tokens / static_cast<double>(rows.size());
    metrics["completions/clipped_ratio"] = truncated / static_cast<double>(rows.size());
  }
  const ObjectiveResult result = objective(o, step_normaliser(o, counts), rows);
  for (const auto& [name, value] : objective_metrics(result.stats)) metrics[name] = value;

  Json out;
  out["loss"] = result.loss;
  out["grad_logp"] = result.grad_logp;
  if (needs_entropy_gradient(o)) out["grad_entropy"] = result.grad_entropy;
  out["advantages"] = advantage_values;
  out["metrics"] = std::move(metrics);
  out["resolved"] = OptionWriter::write(o);
  if (input.contains("config") &&
      (input["config"].contains("trl") || input["config"].contains("verl"))) {
    out["resolved"].erase("preset");  // no preset was asked for
  }
  return out;
}

}  // namespace hone
