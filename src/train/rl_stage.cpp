#include "train/rl_stage.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "engine/free_memory.h"
#include "kernels/cpu_kernels.h"
#include "rollouts/record.h"
#include "train/format.h"
#include "train/heldout.h"
#include "train/trial.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

std::unique_ptr<Transformer> open_model(const StageContext& c, bool trainable) {
  ModelPlace place = c.place;
  place.trainable = trainable;
  if (!makes_weights(c.recipe, c.stage)) return load_model(c.model_directory, place);
  auto model = std::make_unique<Transformer>(config_of_stage(c), place);
  model->initialize(static_cast<uint64_t>(c.recipe.seed));
  return model;
}

// The model as it begins, where the objective needs it.
std::unique_ptr<Transformer> open_reference(const StageContext& c, const Transformer& model) {
  if (!needs_reference(c.stage.objective)) return nullptr;
  if (!makes_weights(c.recipe, c.stage)) return open_model(c, false);
  ModelPlace place = c.place;
  place.trainable = false;
  auto reference = std::make_unique<Transformer>(model.config(), place);
  reference->weights().copy_values(model.weights());
  return reference;
}

std::string best_path(const std::string& directory, int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "/best-%06lld", static_cast<long long>(step));
  return directory + name;
}

// Keeps the best models that a resume could need: the current one and those that the kept
// checkpoints name.
void remove_old_bests(const std::string& directory, int64_t best_step) {
  std::vector<std::string> needed{best_path(directory, best_step)};
  for (const std::string& checkpoint : list_checkpoints(directory + "/checkpoints")) {
    const Json state = Json::parse(read_file(checkpoint + "/state.json"), nullptr, false);
    if (state.is_object()) needed.push_back(best_path(directory, state.value("best_step", -1)));
  }
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string path = entry.path().string();
    if (entry.path().filename().string().rfind("best-", 0) == 0 &&
        std::find(needed.begin(), needed.end(), path) == needed.end()) {
      fs::remove_all(path);
    }
  }
}

double scores_mean(const std::vector<Group>& groups, const std::string& name, int64_t& count) {
  double sum = 0;
  count = 0;
  for (const Group& group : groups) {
    for (const auto& [reward, scores] : group.scores) {
      if (reward != name) continue;
      for (const Score& score : scores) {
        if (!score.value) continue;
        sum += *score.value;
        ++count;
      }
    }
  }
  return count ? sum / static_cast<double>(count) : 0;
}

// What a reward measured beside its score (Score::metrics), over the completions that it did it
// for.
std::map<std::string, double> metric_means(const std::vector<Group>& groups,
                                           const std::string& name) {
  std::map<std::string, double> sums;
  std::map<std::string, int64_t> counts;
  for (const Group& group : groups) {
    for (const auto& [reward, scores] : group.scores) {
      if (reward != name) continue;
      for (const Score& score : scores) {
        for (const auto& [key, value] : score.metrics) {
          sums[key] += value;
          ++counts[key];
        }
      }
    }
  }
  for (auto& [key, sum] : sums) sum /= static_cast<double>(counts[key]);
  return sums;
}

}  // namespace

RlStage::RlStage(StageContext& c)
    : context(c),
      options(c.stage),
      tokenizer(load_tokenizer(c.model_directory)),
      model(open_model(c, /*trainable=*/true)),
      reference(open_reference(c, *model)),
      problems(open_problems(options.data, Split::train, static_cast<uint64_t>(c.recipe.seed))),
      heldout(open_heldout(options, static_cast<uint64_t>(c.recipe.seed))),
      rewards(options.rewards, kernels::num_threads()),
      trainer(*model, options.optimizer,
              {options.micro_batch_tokens, options.sampling.temperature, options.experts}),
      engine(*model, tokenizer.get()),
      prompt(make_prompt_template(options.prompt, c.model_directory)),
      sampling(options.sampling) {
  sampling.max_tokens = options.max_tokens;
  if (!problems->report().empty()) context.display.note(problems->report());
}

NamedTensors RlStage::more_state() const {
  if (!reference || options.objective.kl.reference_refresh == 0) return {};
  NamedTensors state = {{"reference", reference->weights().value()}};
  const at::Tensor fixed = reference->weights().fixed();
  if (fixed.numel() > 0) state.emplace_back("reference.fixed", fixed);
  return state;
}

void RlStage::resume_or_begin() {
  const Json state = resume_stage(context, *model, trainer.optimizer(), more_state());
  if (reference) reference->weights().weights_changed();
  if (state.is_null()) {
    evaluate_now();
    context.metrics.write_metrics(options.name, 0, evaluation_);
    evaluation_ = {};
    return;
  }
  step = state.at("step").get<int64_t>();
  tokens = state.at("tokens").get<int64_t>();
  best_score = state.at("best_score").get<double>();
  best_step = state.at("best_step").get<int64_t>();
  context.display.note(cat("going on after step ", step, " of ", options.steps));
}

void RlStage::start_step() {
  if (first_step_ < 0) {
    first_step_ = step;
    loop_timer_.restart();
  }
  seconds_.clear();
  evaluation_ = {};
  step_timer_.restart();
  phase_timer_.restart();
}

void RlStage::end_phase(const char* name) {
  seconds_.emplace_back(name, phase_timer_.seconds());
  phase_timer_.restart();
  kill_point(name);
}

double RlStage::learning_rate() const {
  return options.optimizer.lr *
         learning_rate_factor(options.optimizer.schedule, step, options.steps);
}

GroupOptions RlStage::group_options() const {
  const int64_t room = model->config().max_positions - options.max_tokens;
  const int64_t limit = options.max_prompt_tokens > 0 ? std::min(options.max_prompt_tokens, room)
                                                      : std::max<int64_t>(room, 1);
  return {options.group_size, limit};
}

SampleProgress RlStage::progress(const std::string& what) {
  const std::string label = step < options.steps ? cat("step ", step + 1, ", ", what) : what;
  return [this, label](int64_t, int64_t done, int64_t all) {
    context.display.progress(label, done, all);
  };
}

Trainer::Progress RlStage::update_progress() {
  const std::string label = cat("step ", step + 1, ", updating");
  return [this, label](int64_t done, int64_t all) { context.display.progress(label, done, all); };
}

bool RlStage::evaluation_due() const {
  return step == options.steps || (options.eval.every > 0 && step % options.eval.every == 0);
}

std::string RlStage::evaluation_path(int64_t at_step) const {
  char name[48];
  std::snprintf(name, sizeof name, "/evals/step-%06lld.jsonl", static_cast<long long>(at_step));
  return context.directory + name;
}

void RlStage::evaluate_now() {
  HeldOutResult result = evaluate_heldout(context, engine, *tokenizer, rewards, heldout, step,
                                          group_options().max_prompt_tokens);
  evaluation_ = std::move(result.row);
  write_rollouts(evaluation_path(step), result.groups);
  keep_best(result.score);
  end_phase("eval");
}

void RlStage::keep_best(double score) {
  if (score <= best_score && best_step >= 0) return;
  best_score = score;
  best_step = step;
  if (!keeps_weights(context.recipe, options)) return;
  const std::string path = best_path(context.directory, step);
  save_model(*model, path + ".tmp", context.model_directory, at::kBFloat16);
  publish_directory(path + ".tmp", path);
}

void RlStage::log_step(const std::vector<Group>& groups, const Rollout& r,
                       const UpdateResult& result) {
  const double n = static_cast<double>(r.sequences.size());
  int64_t step_tokens = 0, longest = 0, shortest = INT64_MAX, truncated = 0;
  for (size_t i = 0; i < r.sequences.size(); ++i) {
    const int64_t length = static_cast<int64_t>(r.sequences[i].completion.size());
    step_tokens += length;
    longest = std::max(longest, length);
    shortest = std::min(shortest, length);
    truncated += r.rows[i].truncated;
  }
  tokens += step_tokens;
  MetricsRow row;
  row.set("reward", r.advantage.reward_mean);
  row.set("reward_std", r.advantage.reward_std);
  for (const RewardSpec& spec : rewards.specs()) {
    int64_t count = 0;
    const std::string& name = spec.as;
    const double mean = scores_mean(groups, name, count);
    for (const auto& [key, value] : metric_means(groups, name)) {
      row.set(cat("rewards/", name, "/", key), value);
    }
    if (count) row.set(cat("rewards/", name, "/mean"), mean);
  }
  int64_t errors = 0, no_answer = 0;
  for (const Group& group : groups) {
    for (const auto& [name, scores] : group.scores) {
      for (const Score& s : scores) {
        no_answer += s.status == Status::no_answer;
        errors += s.status == Status::verifier_error || s.status == Status::timeout ||
                  s.status == Status::bad_reference;
      }
    }
  }
  row.set("completions/mean_length", static_cast<double>(step_tokens) / n);
  row.set("completions/min_length", shortest);
  row.set("completions/max_length", longest);
  row.set("completions/clipped_ratio", static_cast<double>(truncated) / n);
  row.set("frac_reward_zero_std", static_cast<double>(r.advantage.zero_variance_groups) /
                                      static_cast<double>(r.advantage.groups));
  row.set("loss", result.loss);
  for (const auto& [name, value] : objective_metrics(result.stats)) row.set(name, value);
  row.set("grad_norm", result.gradient_norm);
  set_expert_load(row, result.load);
  row.set("learning_rate", options.optimizer.lr * learning_rate_factor(options.optimizer.schedule,
                                                                       step - 1, options.steps));
  row.set("num_tokens", tokens);
  row.set("logp_diff_max", result.sampler_difference);
  row.set("verifier_errors", errors);
  row.set("no_answer", no_answer);
  for (const auto& [name, value] : evaluation_.values) {
    std::visit([&, key = name](const auto& v) { row.set(key, v); }, value);
  }
  write_rollouts(rollout_path(context.directory, step), groups);
  context.metrics.write_metrics(options.name, step, row);
  kill_point("metrics");

  end_phase("log");
  const double total = step_timer_.seconds();
  MetricsRow timing;
  timing.set("step_time", total);
  timing.set("memory_peak", peak_memory(model->device()));
  double sampling_seconds = 0;
  for (const auto& [name, value] : seconds_) {
    timing.set("time/" + name, value);
    if (name == "sample") sampling_seconds = value;
  }
  timing.set("tokens_per_second", static_cast<double>(step_tokens) / total);
  timing.set("sample_tokens_per_second", static_cast<double>(step_tokens) / sampling_seconds);
  context.metrics.write_timing(options.name, step, timing);

  std::vector<std::pair<std::string, std::string>> fields;
  fields.emplace_back("reward", formatted("%.3f", r.advantage.reward_mean));
  for (const RewardSpec& spec : rewards.specs()) {
    const std::string& name = spec.as;
    if (const double* mean = row.find_double(cat("rewards/", name, "/mean"))) {
      fields.emplace_back(name, formatted("%.3f", *mean));
    }
  }
  fields.emplace_back("tokens", formatted("%.1f", static_cast<double>(step_tokens) / n));
  if (const double* h = row.find_double("entropy")) {
    fields.emplace_back("entropy", formatted("%.3f", *h));
  }
  if (const double* kl = row.find_double("kl")) fields.emplace_back("kl", formatted("%.4f", *kl));
  fields.emplace_back("grad", formatted("%.2f", result.gradient_norm));
  fields.emplace_back("tok/s", formatted("%.0f", static_cast<double>(step_tokens) / total));
  std::string phases;
  for (const auto& [name, value] : seconds_) {
    if (name != "log" && value >= 0.005)
      phases += cat(phases.empty() ? "" : " ", name, " ", formatted("%.2f", value));
  }
  fields.emplace_back("s", cat(formatted("%.2f", total), " (", phases, ")"));
  if (step < options.steps) {
    // From the steps of this process; evaluations between are in the mean.
    const double mean = loop_timer_.seconds() / static_cast<double>(step - first_step_);
    const auto left = static_cast<double>(options.steps - step);
    fields.emplace_back("left", duration_text(mean * left));
  }
  context.display.step(step, options.steps, fields);
  const int64_t every = std::max<int64_t>(options.steps / 5, 1);
  if (step % every == 0 && !groups.empty()) {
    const Group& group = groups.front();
    context.display.sample(cat("a sample of step ", step, ", reward ",
                               group.rewards[0] ? formatted("%.2f", *group.rewards[0]) : "none"),
                           group.prompt, group.completions[0].text);
  }
}

void RlStage::save() {
  if (!keeps_weights(context.recipe, options)) return;
  Json state = {{"tokens", tokens}, {"best_score", best_score}, {"best_step", best_step}};
  context.metrics.sync();
  state["sizes"] = sizes_json(context.metrics.sizes());
  save_checkpoint(context.directory + "/checkpoints", step, *model, trainer.optimizer(),
                  more_state(), state, context.model_directory, options.checkpoint.keep);
  remove_old_bests(context.directory, best_step);
}

// The same held-out problems answered by the base and by the trained model.
void RlStage::write_examples() {
  const auto before = read_rollouts(evaluation_path(0));
  const auto after = read_rollouts(evaluation_path(step));
  std::string lines;
  constexpr size_t kExamples = 8;
  for (size_t i = 0; i < std::min({before.size(), after.size(), kExamples}); ++i) {
    const auto side = [](const RecordedCompletion& c) {
      Json j = {{"text", c.text}, {"tokens", c.tokens}};
      j["reward"] = c.reward ? Json(*c.reward) : Json(nullptr);
      return j;
    };
    lines += to_line({{"stage", options.name},
                      {"problem", before[i].id},
                      {"prompt", before[i].prompt},
                      {"answer", before[i].answer},
                      {"base", side(before[i].completions.front())},
                      {"trained", side(after[i].completions.front())}}) +
             "\n";
  }
  write_file_atomic(context.run_directory + "/examples.jsonl", lines);
}

void RlStage::finish() {
  save();
  kill_point("finish");
  write_examples();
  if (!keeps_weights(context.recipe, options)) return;
  const std::string path = context.directory + "/model";
  fs::remove_all(path + ".tmp");
  fs::copy(best_path(context.directory, best_step), path + ".tmp", fs::copy_options::recursive);
  publish_directory(path + ".tmp", path);
}

}  // namespace hone
