#include "train/loss_json.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "train/foreign_config.h"
#include "train/objective.h"

namespace hone {
namespace {

using Matrix = std::vector<std::vector<double>>;

// The recipe's keys go through the recipe's reader: JSON is YAML.
ForeignObjective from_own(const Json& values) {
  ForeignObjective config;
  OptionReader(YAML::Load(to_line(values)), "config").read(config.options);
  return config;
}

ForeignObjective read_config(const Json& input, double padded_length) {
  const Json values = input.contains("config") ? input["config"] : Json::object();
  if (!values.is_object()) throw UserError("config: expected an object");
  for (const std::string toolkit : {"trl", "verl"}) {
    if (!values.contains(toolkit)) continue;
    if (values.size() != 1) {
      throw UserError(cat("config: expected nothing beside '", toolkit, "'"));
    }
    const bool trl = toolkit == "trl";
    ForeignConfig config(toolkit, trl ? values["trl"] : flat_verl(values["verl"]),
                         [](const std::string& message) { throw UserError(message); });
    ForeignObjective read = trl ? trl_objective(config, input.contains("sampler_logp"))
                                : verl_objective(config, padded_length);
    // What says nothing about the loss of given arrays.
    config.ignore({"num_generations", "num_iterations", "temperature", "learning_rate",
                   "max_prompt_length", "steps_per_generation", "use_liger_kernel",
                   "ppo_mini_batch_size", "ppo_epochs", "lam", "optimizer_offload",
                   "router_replay"});
    config.finish();
    check_objective(read.options);
    return read;
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

using Rewards = std::vector<std::optional<double>>;

struct NamedRewards {
  Rewards total;              // [N] sum of weight x reward over those that are not null
  std::vector<Rewards> each;  // [K][N]
  std::vector<double> weights;
};

double weight_of(const Json& weights, const std::string& name, size_t index) {
  if (weights.is_array() && !weights.empty()) return number_of(weights[index], "reward_weights");
  if (weights.is_object() && weights.contains(name)) {
    return number_of(weights[name], "reward_weights." + name);
  }
  return 1;
}

NamedRewards read_rewards(const Json& input, const ForeignObjective& config, size_t size,
                          Json& metrics) {
  NamedRewards r;
  Json rewards = input["rewards"];
  const bool named = rewards.is_object();
  if (rewards.is_array()) {
    if (input.contains("reward_weights") || config.reward_weights.size() > 1) {
      throw UserError("reward_weights: expected rewards as {name: [...]} beside it");
    }
    rewards = {{"reward", rewards}};
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
  r.total.resize(size);
  for (const auto& [name, list] : rewards.items()) {
    r.weights.push_back(weight_of(weights, name, r.each.size()));
    r.each.push_back(reward_list(list, named ? "rewards." + name : "rewards", size));
    double sum = 0;
    int64_t count = 0;
    for (size_t i = 0; i < size; ++i) {
      const std::optional<double>& value = r.each.back()[i];
      if (!value) continue;
      r.total[i] = r.total[i].value_or(0) + r.weights.back() * *value;
      sum += *value;
      ++count;
    }
    if (!named) continue;
    metrics["rewards/" + name + "/mean"] = count ? sum / static_cast<double>(count) : 0.0;
  }
  return r;
}

void check_keys(const Json& input) {
  static const std::vector<std::string> known{
      "logp",           "old_logp", "ref_logp", "sampler_logp",   "mask",
      "entropy",        "rewards",  "group",    "advantages",     "truncated",
      "reward_weights", "seed",     "config",   "greedy_rewards", "spans"};
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
  std::vector<TokenSelection> selection;
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
  if (input.contains("group")) {
    const Json& given = array_of(input, "group", rows.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!given[i].is_number_integer()) throw UserError("group: expected whole numbers");
      rows[i].group = given[i].get<int64_t>();
    }
  }
  return rows;
}

// The counted tokens of a row, in order: advantages are made over these.
std::vector<size_t> counted_tokens(const ObjectiveRow& row) {
  std::vector<size_t> tokens;
  for (size_t t = 0; t < row.logp.size(); ++t) {
    if (row.mask.empty() || row.mask[t]) tokens.push_back(t);
  }
  return tokens;
}

// `greedy_rewards`: {group: reward}, or a list with one for each group 0, 1, ...; [N].
Rewards read_greedy(const Json& input, const std::vector<ObjectiveRow>& rows) {
  if (!input.contains("greedy_rewards")) {
    throw UserError("greedy_rewards: needed by advantage.kind greedy (ReMax), {group: reward}");
  }
  const Json& given = input["greedy_rewards"];
  Rewards greedy;
  for (const ObjectiveRow& row : rows) {
    const std::string name = cat(row.group);
    const auto index = static_cast<size_t>(row.group);
    const bool known = given.is_array() ? row.group >= 0 && index < given.size()
                                        : given.is_object() && given.contains(name);
    if (!known) throw UserError(cat("greedy_rewards: no reward of group ", row.group));
    const Json& v = given.is_array() ? given[index] : given[name];
    greedy.emplace_back();
    if (!v.is_null()) greedy.back() = number_of(v, "greedy_rewards");
  }
  return greedy;
}

// `spans`: [N] lists of [end, score], end = the tokens of the row up to and with the span's last.
std::vector<std::vector<TokenSpanScore>> read_spans(const Json& input,
                                                    const std::vector<ObjectiveRow>& rows) {
  if (!input.contains("spans")) {
    throw UserError("spans: needed by advantage.process, [N] lists of [end, score]");
  }
  const Json& given = array_of(input, "spans", rows.size());
  std::vector<std::vector<TokenSpanScore>> spans(rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::string where = cat("spans[", i, "]");
    if (!given[i].is_array()) throw UserError(cat(where, ": expected a list of [end, score]"));
    for (const Json& span : given[i]) {
      const bool pair = span.is_array() && span.size() == 2 && span[0].is_number_unsigned();
      if (!pair || span[0].get<size_t>() > rows[i].logp.size()) {
        throw UserError(cat(where, ": expected [end, score] with end up to ", rows[i].logp.size(),
                            ", found ", to_line(span)));
      }
      size_t end = 0;
      for (size_t t : counted_tokens(rows[i])) end += t < span[0].get<size_t>();
      spans[i].push_back({end, number_of(span[1], where)});
    }
  }
  return spans;
}

Json given_advantages(const Json& input, Arrays& arrays, std::vector<ObjectiveRow>& rows) {
  const Json& given = array_of(input, "advantages", rows.size());
  if (!given.empty() && given[0].is_array()) {
    arrays.token_advantages = matrix_of(input, "advantages", &arrays.logp);
    for (size_t i = 0; i < rows.size(); ++i) rows[i].token_advantages = arrays.token_advantages[i];
    return arrays.token_advantages;
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].advantage = number_of(given[i], cat("advantages[", i, "]"));
  }
  return given;
}

// Fills the rows' advantages; returns them as the output shows them.
Json set_advantages(const Json& input, const ForeignObjective& config, Arrays& arrays,
                    std::vector<ObjectiveRow>& rows, Json& metrics) {
  if (input.contains("advantages")) return given_advantages(input, arrays, rows);
  const AdvantageOptions& o = config.options.advantage;
  const NamedRewards rewards = read_rewards(input, config, rows.size(), metrics);
  std::vector<int64_t> groups, lengths;
  std::vector<std::vector<double>> kl;
  for (const ObjectiveRow& row : rows) {
    const std::vector<size_t> tokens = counted_tokens(row);
    groups.push_back(row.group);
    lengths.push_back(static_cast<int64_t>(tokens.size()));
    const std::vector<double> all = token_kl(config.options, row);
    if (all.empty()) continue;
    kl.emplace_back();
    for (size_t t : tokens) kl.back().push_back(all[t]);
  }
  Rewards greedy;
  if (o.kind == Baseline::greedy) greedy = read_greedy(input, rows);
  std::vector<std::vector<TokenSpanScore>> spans;
  if (o.process) spans = read_spans(input, rows);

  AdvantageInput in;
  in.rewards = rewards.total;
  in.group_ids = groups;
  in.lengths = lengths;
  in.greedy = greedy;
  in.each = rewards.each;
  in.weights = rewards.weights;
  if (kl.size() == rows.size()) in.token_kl = kl;
  in.spans = spans;
  const AdvantageResult a = advantages(in, o);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].advantage = a.values[i];
    rows[i].zero_variance = a.zero_variance[i];
  }
  metrics["reward"] = a.reward_mean;
  metrics["reward_std"] = a.reward_std;
  metrics["frac_reward_zero_std"] =
      a.groups ? static_cast<double>(a.zero_variance_groups) / static_cast<double>(a.groups) : 0.0;
  if (a.token_values.empty()) return a.values;
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<double>& by_token = arrays.token_advantages.emplace_back(rows[i].logp.size(), 0.0);
    const std::vector<size_t> tokens = counted_tokens(rows[i]);
    for (size_t n = 0; n < tokens.size(); ++n) by_token[tokens[n]] = a.token_values[i][n];
  }
  for (size_t i = 0; i < rows.size(); ++i) rows[i].token_advantages = arrays.token_advantages[i];
  return arrays.token_advantages;
}

void check_arrays(const ObjectiveOptions& o, const Arrays& arrays) {
  if (o.aggregation == Aggregation::constant_length && o.length <= 0) {
    throw UserError("config.length: constant_length needs it (the stage's max_tokens)");
  }
  if (arrays.logp.empty()) return;
  if (needs_reference(o) && arrays.ref_logp.empty()) {
    throw UserError(cat("ref_logp: needed, since kl.coef is ", o.kl.coef));
  }
  if ((needs_entropy_gradient(o) || o.top_entropy < 1) && arrays.entropy.empty()) {
    throw UserError("entropy: needed by the entropy bonus and by top_entropy");
  }
  if (o.correction.mode != Correction::none && arrays.sampler_logp.empty()) {
    throw UserError("sampler_logp: needed by the correction for the sampler's distribution");
  }
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

  ForeignObjective config;
  try {
    config = read_config(input, padded_length);
  } catch (const Json::exception& e) {
    throw UserError(cat("config: ", e.what()));
  }
  const ObjectiveOptions& o = config.options;
  check_arrays(o, arrays);

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
  StepNormaliser normaliser = step_normaliser(o, counts);
  if (needs_selection(o)) {
    const Json given = input.value("seed", Json(0));
    if (!given.is_number_integer() || given < 0) {
      throw UserError(cat("seed: expected a whole number >= 0, found ", to_line(given)));
    }
    const auto seed = given.get<uint64_t>();
    arrays.selection = select_tokens(o, rows, seed, normaliser);
    for (size_t i = 0; i < rows.size(); ++i) {
      rows[i].keep = arrays.selection[i].keep;
      rows[i].hold = arrays.selection[i].hold;
    }
  }
  const ObjectiveResult result = objective(o, normaliser, rows);
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
