#include "train/foreign_config.h"

#include <algorithm>

#include "base/error.h"
#include "base/options.h"

namespace hone {

ForeignConfig::ForeignConfig(std::string toolkit, Json values, Unsupported unsupported)
    : toolkit_(std::move(toolkit)),
      values_(std::move(values)),
      unsupported_(std::move(unsupported)) {
  if (!values_.is_object()) throw UserError(cat("config.", toolkit_, ": expected an object"));
}

bool ForeignConfig::has(const char* key) const {
  return values_.contains(key) && !values_[key].is_null();
}

Json ForeignConfig::get(const char* key) {
  read_.push_back(key);
  return values_.contains(key) ? values_[key] : Json(nullptr);
}

double ForeignConfig::number(const char* key, double fallback) {
  return optional(key, fallback).value_or(fallback);
}

int64_t ForeignConfig::whole(const char* key, int64_t fallback) {
  const Json v = get(key);
  if (v.is_null()) return fallback;
  if (!v.is_number_integer()) wrong(key, v, "a whole number");
  return v.get<int64_t>();
}

std::optional<double> ForeignConfig::optional(const char* key, std::optional<double> fallback) {
  const Json v = get(key);
  if (v.is_null()) return fallback;
  if (!v.is_number()) wrong(key, v, "a number");
  return v.get<double>();
}

std::string ForeignConfig::text(const char* key, const std::string& fallback) {
  const Json v = get(key);
  if (v.is_null()) return fallback;
  if (!v.is_string()) wrong(key, v, "a text");
  return v.get<std::string>();
}

bool ForeignConfig::flag(const char* key, bool fallback) {
  const Json v = get(key);
  if (v.is_null()) return fallback;
  if (!v.is_boolean()) wrong(key, v, "true or false");
  return v.get<bool>();
}

void ForeignConfig::unsupported(const std::string& key, const std::string& why) {
  unsupported_(cat("config.", toolkit_, ".", key, ": ", why));
}

void ForeignConfig::ignore(const std::vector<std::string>& keys) {
  read_.insert(read_.end(), keys.begin(), keys.end());
}

void ForeignConfig::wrong(const std::string& key, const Json& v, const char* expected) const {
  throw UserError(
      cat("config.", toolkit_, ".", key, ": expected ", expected, ", found ", to_line(v)));
}

void ForeignConfig::finish() {
  for (const auto& [key, value] : values_.items()) {
    if (std::find(read_.begin(), read_.end(), key) != read_.end()) continue;
    const std::string near = nearest_word(key, read_);
    unsupported(key, cat("not supported", near.empty() ? "" : "; did you mean '" + near + "'?"));
  }
}

namespace {

void set_trl_loss(ForeignConfig& c, ObjectiveOptions& o) {
  const std::string type = c.text("loss_type", "dapo");
  const bool gmpo = c.text("trainer", "grpo") == "gmpo";  // a class of its own in TRL
  o.epsilon = c.number("epsilon", gmpo ? 0.4 : 0.2);
  o.epsilon_high = c.optional("epsilon_high");
  o.delta = c.optional("delta");
  if (gmpo) {
    o.ratio = RatioLevel::geometric;
    o.aggregation = Aggregation::sequence_mean;
    return;
  }
  if (type == "grpo" || type == "sapo") {
    o.aggregation = Aggregation::sequence_mean;
  } else if (type == "dr_grpo") {
    o.aggregation = Aggregation::constant_length;
  } else if (type == "dapo" || type == "bnpo" || type == "cispo" || type == "vespo") {
    o.aggregation = Aggregation::token_mean;  // bnpo: of a micro-batch in TRL
  } else if (type == "luspo") {
    o.aggregation = Aggregation::sequence_sum;
  } else {
    throw UserError(
        cat("config.trl.loss_type: expected grpo, dr_grpo, dapo, bnpo, cispo, sapo, "
            "luspo or vespo, found '",
            type, "'"));
  }
  if (type == "sapo") o.surrogate = Surrogate::sapo;
  if (type == "vespo") o.surrogate = Surrogate::vespo;
  if (type == "cispo") {  // its epsilon_high is the cap itself, and there is no lower bound
    o.surrogate = Surrogate::cispo;
    o.epsilon_high = o.epsilon_high.value_or(o.epsilon) - 1;
    o.epsilon = 1;
  }
  o.tau_negative = c.number("sapo_temperature_neg", 1.05);
  o.tau_positive = c.number("sapo_temperature_pos", 1.0);
  o.k_positive = c.number("vespo_k_pos", 2);
  o.lambda_positive = c.number("vespo_lambda_pos", 3);
  o.k_negative = c.number("vespo_k_neg", 3);
  o.lambda_negative = c.number("vespo_lambda_neg", 2);
  const std::string level = c.text("importance_sampling_level", "token");
  if (level == "sequence" && type != "vespo") {  // vespo's weight is of the sequence anyway
    o.ratio = RatioLevel::sequence;
  } else if (level != "token" && level != "sequence") {
    throw UserError(cat("config.trl.importance_sampling_level: expected token or sequence, found '",
                        level, "'"));
  }
}

void set_trl_advantage(ForeignConfig& c, ObjectiveOptions& o) {
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
  const std::string order = c.text("multi_objective_aggregation", "sum_then_normalize");
  if (order == "normalize_then_sum") {  // which does not look at scale_rewards
    o.advantage.per_reward = true;
    o.advantage.scale = AdvantageScale::batch;
  } else if (order != "sum_then_normalize") {
    c.wrong("multi_objective_aggregation", order, "sum_then_normalize or normalize_then_sum");
  }
}

void set_trl_correction(ForeignConfig& c, bool sampled_elsewhere, ObjectiveOptions& o) {
  const bool named =
      c.has("vllm_importance_sampling_mode") || c.has("vllm_importance_sampling_clip_max") ||
      c.has("vllm_importance_sampling_clip_min") || c.has("vllm_importance_sampling_correction");
  const bool vllm = c.flag("use_vllm", named && sampled_elsewhere);
  const bool corrected = c.flag("vllm_importance_sampling_correction", true);
  const std::string mode = c.text("vllm_importance_sampling_mode", "sequence_mask");
  o.correction.high = c.optional("vllm_importance_sampling_clip_max", 3.0);
  o.correction.low = c.optional("vllm_importance_sampling_clip_min");
  if (!vllm || !corrected) return;
  if (mode == "token_truncate") {
    o.correction.mode = Correction::token_truncate;
  } else if (mode == "token_mask") {
    o.correction.mode = Correction::token_mask;
  } else if (mode == "sequence_truncate") {
    o.correction.mode = Correction::sequence_truncate;
  } else if (mode == "sequence_mask") {
    o.correction.mode = Correction::sequence_mask;
  } else {
    c.wrong("vllm_importance_sampling_mode", mode,
            "token_truncate, token_mask, sequence_truncate or sequence_mask");
  }
}

}  // namespace

ForeignObjective trl_objective(ForeignConfig& c, bool sampled_elsewhere) {
  ForeignObjective result;
  ObjectiveOptions& o = result.options;
  set_trl_loss(c, o);
  set_trl_advantage(c, o);
  set_trl_correction(c, sampled_elsewhere, o);
  o.length = c.number("max_completion_length", 512);
  o.kl.coef = c.number("beta", 0);
  // GMPO's trainer does not look at it.
  o.kl.importance_weighted =
      c.flag("use_bias_correction_kl", true) && o.kl.coef != 0 && o.ratio != RatioLevel::geometric;
  if (c.flag("mask_truncated_completions", false)) o.filters.push_back("truncated");
  o.top_entropy = c.number("top_entropy_quantile", 1);
  o.off_policy = c.optional("off_policy_mask_threshold");
  o.entropy_coef = c.number("entropy_coef", 0);
  o.entropy.over = MeanOver::tokens;
  const double target = c.number("entropy_target", 0.2);
  o.entropy.min = c.number("entropy_coef_min", 0);
  o.entropy.max = c.number("entropy_coef_max", 1);
  o.entropy.delta = c.number("entropy_coef_delta", 0.005);
  if (c.flag("use_adaptive_entropy", false)) o.entropy.target = target;
  const Json weights = c.get("reward_weights");
  if (weights.is_array()) {
    for (const Json& w : weights) {
      if (!w.is_number()) c.wrong("reward_weights", weights, "a list of numbers");
      result.reward_weights.push_back(w.get<double>());
    }
  }
  return result;
}

namespace {

void set_verl_advantage(ForeignConfig& c, ForeignObjective& result) {
  AdvantageOptions& a = result.options.advantage;
  a.epsilon = 1e-6;
  const std::string estimator = c.text("adv_estimator", "gae");
  const bool by_std = c.flag("norm_adv_by_std_in_grpo", true);
  const auto scaled = [&] { return by_std ? AdvantageScale::group : AdvantageScale::none; };
  const double gamma = c.number("gamma", 1);
  const Json weights = c.get("gdpo_reward_weights");
  c.ignore({"gdpo_reward_keys"});
  a.scale = AdvantageScale::none;
  if (estimator == "grpo" || estimator == "grpo_vectorized") {
    a.scale = scaled();
  } else if (estimator == "grpo_passk") {
    a.kind = Baseline::best_of_group;
    a.scale = scaled();
  } else if (estimator == "gdpo") {
    a.per_reward = true;
    a.scale = AdvantageScale::tokens;
    if (weights.is_array()) result.reward_weights = weights.get<std::vector<double>>();
  } else if (estimator == "rloo" || estimator == "rloo_vectorized") {
    a.kind = Baseline::leave_one_out;
  } else if (estimator == "opo") {
    a.kind = Baseline::length_weighted;
  } else if (estimator == "remax") {
    a.kind = Baseline::greedy;
  } else if (estimator == "gpg") {
    a.gain = AdvantageGain::nonzero;
  } else if (estimator == "reinforce_plus_plus") {
    a.kind = Baseline::none;
    a.scale = AdvantageScale::tokens;
    a.discount = gamma;
  } else if (estimator == "reinforce_plus_plus_baseline") {
    a.scale = AdvantageScale::tokens;
  } else {
    c.unsupported("adv_estimator",
                  cat("'", estimator, "' has no counterpart (gae needs a value model)"));
  }
}

// Whether the mode averages its loss by completion whatever loss_agg_mode says.
bool set_verl_loss(ForeignConfig& c, ObjectiveOptions& o) {
  const std::string mode = c.text("loss_mode", "vanilla");
  const double clip_c = c.number("clip_ratio_c", 3);
  o.tau_positive = c.number("tau_pos", 1.0);
  o.tau_negative = c.number("tau_neg", 1.05);
  const double clip_share = c.number("clip_cov_ratio", 2e-4);
  const double clip_low = c.number("clip_cov_lb", 1), clip_high = c.number("clip_cov_ub", 5);
  const double kl_share = c.number("kl_cov_ratio", 2e-4), kl_coef = c.number("ppo_kl_coef", 0.1);
  const double dro_beta = c.number("dro_beta", 0);
  o.ratio_cap = clip_c;
  if (mode == "vanilla") {
    o.dual_clip = clip_c;
  } else if (mode == "gspo") {
    o.ratio = RatioLevel::sequence_token;
    return true;
  } else if (mode == "sapo") {
    o.surrogate = Surrogate::sapo;
    return true;
  } else if (mode == "geo_mean") {
    o.ratio = RatioLevel::geometric;
    return true;
  } else if (mode == "cispo") {
    o.surrogate = Surrogate::cispo;
  } else if (mode == "dppo_tv") {
    o.surrogate = Surrogate::dppo_tv;
  } else if (mode == "dppo_kl") {
    o.surrogate = Surrogate::dppo_kl;
  } else if (mode == "gpg" || mode == "reinforce") {
    o.surrogate = Surrogate::reinforce;
  } else if (mode == "dro") {
    o.surrogate = Surrogate::reinforce;
    o.drift_coef = dro_beta;
  } else if (mode == "clip_cov") {
    o.clip_cov = {clip_share, clip_low, clip_high};
  } else if (mode == "kl_cov") {
    o.surrogate = Surrogate::unclipped;
    o.kl_cov = {kl_share, kl_coef};
  } else {
    c.unsupported("loss_mode", cat("'", mode, "' has no counterpart"));
  }
  return false;
}

void set_verl_clip(ForeignConfig& c, ObjectiveOptions& o) {
  // As in verl: the two halves have defaults of their own, so clip_ratio alone does nothing.
  const double clip = c.number("clip_ratio", 0.2);
  const bool halves = c.has("clip_ratio_low") && c.has("clip_ratio_high");
  o.epsilon = c.number("clip_ratio_low", 0.2);
  o.epsilon_high = c.number("clip_ratio_high", 0.2);
  if (clip != 0.2 && !halves) {
    c.unsupported("clip_ratio",
                  "has no effect in verl, whose clip_ratio_low and clip_ratio_high default to 0.2; "
                  "give both of them");
  }
}

KlOptions verl_estimator(ForeignConfig& c, const char* key, std::string name) {
  KlOptions kl;
  kl.straight_through = !name.empty() && name.back() == '+';
  if (kl.straight_through) name.pop_back();
  if (name == "kl" || name == "k1") {
    kl.estimator = KlEstimator::k1;
  } else if (name == "abs") {
    kl.estimator = KlEstimator::abs;
  } else if (name == "mse" || name == "k2") {
    kl.estimator = KlEstimator::k2;
    kl.straight_through = false;
  } else if (name == "low_var_kl" || name == "k3") {
    kl.estimator = KlEstimator::k3;
    kl.cap = 10;
  } else {
    c.unsupported(key, cat("'", name, "' has no counterpart"));
  }
  return kl;
}

void set_verl_kl(ForeignConfig& c, ObjectiveOptions& o) {
  const double loss_coef = c.number("kl_loss_coef", 0.001);
  const std::string loss_type = c.text("kl_loss_type", "low_var_kl");
  const double reward_coef = c.number("kl_coef", 0.001);
  const std::string reward_type = c.text("kl_penalty", "kl");
  const std::string control = c.text("kl_ctrl_type", "fixed");
  const double target = c.number("target_kl", 0.1), horizon = c.number("horizon", 10000);
  if (c.flag("use_kl_loss", false)) {
    o.kl = verl_estimator(c, "kl_loss_type", loss_type);
    o.kl.coef = loss_coef;
  }
  if (!c.flag("use_kl_in_reward", false)) return;
  if (o.kl.coef != 0) return c.unsupported("use_kl_in_reward", "true beside use_kl_loss");
  o.kl = verl_estimator(c, "kl_penalty", reward_type);
  o.kl.straight_through = false;  // there is no gradient in a reward
  o.kl.place = KlPlace::reward;
  o.kl.coef = reward_coef;
  if (control == "adaptive") {
    o.kl.target = target;
    o.kl.horizon = horizon;
  }
}

// "2.0", 2.0 or "0.5_5.0": the latter leaves out what is outside.
void set_verl_correction(ForeignConfig& c, ObjectiveOptions& o) {
  const std::string level = c.text("rollout_is", "");
  const Json threshold = c.get("rollout_is_threshold");
  for (const char* key : {"rollout_rs", "rollout_is_batch_normalize", "bypass_mode"}) {
    const Json v = c.get(key);
    if (!v.is_null() && v != false) c.unsupported(key, "has no counterpart");
  }
  c.ignore({"rollout_rs_threshold"});
  if (level.empty()) return;
  if (level != "token" && level != "sequence") {
    return c.unsupported("rollout_is", cat("'", level, "' has no counterpart"));
  }
  const std::string bounds = threshold.is_string() ? threshold.get<std::string>() : "";
  const size_t split = bounds.find('_');
  const bool mask = split != std::string::npos;
  try {
    o.correction.low.reset();
    o.correction.high = 2.0;
    if (threshold.is_number()) o.correction.high = threshold.get<double>();
    if (!bounds.empty()) o.correction.high = std::stod(bounds.substr(mask ? split + 1 : 0));
    if (mask) o.correction.low = std::stod(bounds.substr(0, split));
  } catch (const std::logic_error&) {
    c.wrong("rollout_is_threshold", threshold, "a number, or two as 0.5_5.0");
  }
  if (level == "token") {
    o.correction.mode = mask ? Correction::token_mask : Correction::token_truncate;
  } else {
    o.correction.mode = mask ? Correction::sequence_mask : Correction::sequence_truncate;
  }
}

}  // namespace

ForeignObjective verl_objective(ForeignConfig& c, double padded_length) {
  ForeignObjective result;
  ObjectiveOptions& o = result.options;
  set_verl_advantage(c, result);
  set_verl_clip(c, o);
  const bool by_sequence = set_verl_loss(c, o);
  set_verl_kl(c, o);
  set_verl_correction(c, o);
  o.entropy_coef = c.number("entropy_coeff", 0);
  const std::string aggregation = c.text("loss_agg_mode", "token-mean");
  o.length = c.number("loss_scale_factor", padded_length);
  if (aggregation == "token-mean") {
    o.aggregation = Aggregation::token_mean;
  } else if (aggregation == "seq-mean-token-mean") {
    o.aggregation = Aggregation::sequence_mean;
  } else if (aggregation == "seq-mean-token-sum") {
    o.aggregation = Aggregation::sequence_sum;
  } else if (aggregation == "token-sum") {
    o.aggregation = Aggregation::token_sum;
  } else if (aggregation == "seq-mean-token-sum-norm") {
    o.aggregation = Aggregation::constant_length;
  } else {
    c.unsupported("loss_agg_mode", cat("'", aggregation, "' has no counterpart"));
  }
  if (by_sequence && o.aggregation != Aggregation::sequence_mean) {
    // The mode averages by completion, KL and entropy as loss_agg_mode says.
    const bool more = o.entropy_coef != 0 || (o.kl.coef != 0 && o.kl.place == KlPlace::loss);
    if (more && o.aggregation != Aggregation::token_mean) {
      c.unsupported("loss_agg_mode",
                    "of KL and entropy beside this loss_mode: only token-mean and "
                    "seq-mean-token-mean have a counterpart");
    }
    o.kl.over = o.entropy.over = MeanOver::tokens;
    o.aggregation = Aggregation::sequence_mean;
  }
  return result;
}

}  // namespace hone
