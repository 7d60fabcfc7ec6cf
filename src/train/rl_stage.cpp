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
#include "train/plan.h"
#include "train/trial.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

std::unique_ptr<Transformer> open_weights(const StageContext& c, bool trainable) {
  ModelPlace place = c.place;
  place.trainable = trainable;
  if (!makes_weights(c.recipe, c.stage)) return load_model(c.model_directory, place);
  auto model = std::make_unique<Transformer>(config_of_stage(c), place);
  model->initialize(static_cast<uint64_t>(c.recipe.seed));
  return model;
}

std::unique_ptr<Transformer> open_model(const StageContext& c) {
  auto model = open_weights(c, !c.stage.lora.on());
  begin_adapters(c, *model);
  return model;
}

// The model as it begins, where the objective needs it. Of one with adapters the weights are that.
std::unique_ptr<Transformer> open_reference(const StageContext& c, const Transformer& model) {
  if (!needs_reference(c.stage.objective) || model.adapters()) return nullptr;
  if (!makes_weights(c.recipe, c.stage)) return open_weights(c, false);
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

}  // namespace

RlStage::RlStage(StageContext& c)
    : context(c),
      options(c.stage),
      tokenizer(load_tokenizer(c.model_directory)),
      model(open_model(c)),
      reference(open_reference(c, *model)),
      problems(open_problems(options.data, Split::train, static_cast<uint64_t>(c.recipe.seed))),
      selector(*problems, options.selection),
      heldout(open_heldout(options, static_cast<uint64_t>(c.recipe.seed))),
      rewards(options.rewards, kernels::num_threads()),
      trainer(*model, options.optimizer,
              {.micro_batch_tokens = options.micro_batch_tokens,
               .temperature = options.sampling.temperature,
               .balance = options.experts,
               .recompute = options.recompute,
               .less_memory = less_memory(options)}),
      engine(*model, tokenizer.get(), {.speculate = options.speculate}),
      prompt(make_prompt_template(options.prompt, c.model_directory)),
      sampling(options.sampling),
      checkpoints(c.directory + "/checkpoints", options.checkpoint.keep),
      diagnosis_(diagnosis_names(options)) {
  sampling.record_routing = options.router_replay == RouterReplay::r3;
  controllers = initial_controllers(options.objective);
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
  trainer.take_decided(state.value("decided", trainer.decided()));
  controllers = controllers_from_json(state.at("controllers"));
  selector.set_state(state.at("selection"));
  replay_diagnosis(context, diagnosis_);
  context.display.note(cat("going on after step ", step, " of ", options.steps));
}

void RlStage::start_step() {
  if (first_step_ < 0) {
    first_step_ = step;
    loop_timer_.restart();
  }
  seconds_.clear();
  evaluation_ = {};
  sampling.max_tokens = max_tokens();
  engine_before_ = engine.stats();
  step_timer_.restart();
  phase_timer_.restart();
}

void RlStage::end_phase(const char* name) {
  const double seconds = phase_timer_.seconds();
  phase_timer_.restart();
  const auto same = std::find_if(seconds_.begin(), seconds_.end(),
                                 [&](const auto& phase) { return phase.first == name; });
  if (same == seconds_.end()) {
    seconds_.emplace_back(name, seconds);
  } else {
    same->second += seconds;
  }
  kill_point(name);
}

double RlStage::learning_rate() const {
  return options.optimizer.lr *
         learning_rate_factor(options.optimizer.schedule, step, options.steps);
}

int64_t RlStage::max_tokens() const {
  int64_t tokens = options.max_tokens;
  for (const LengthStep& l : options.max_tokens_schedule) {
    if (trainer.optimizer().updates() >= l.after_updates) tokens = l.max_tokens;
  }
  return tokens;
}

GroupOptions RlStage::group_options() const {
  int64_t longest =
      options.max_tokens;  // of the whole run, so that the same prompts fit throughout
  for (const LengthStep& l : options.max_tokens_schedule) longest = std::max(longest, l.max_tokens);
  const int64_t room = model->config().max_positions - longest;
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
                                          max_tokens(), group_options().max_prompt_tokens);
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
  save_stage_model(*model, path + ".tmp", context.model_directory);
  publish_directory(path + ".tmp", path);
}

void RlStage::save() {
  if (!keeps_weights(context.recipe, options)) return;
  checkpoints.settle();  // so that what it needs of the best models can be told
  remove_old_bests(context.directory, best_step);
  Json state = {{"tokens", tokens},
                {"best_score", best_score},
                {"best_step", best_step},
                {"decided", trainer.decided()},
                {"controllers", to_json(controllers)},
                {"selection", selector.state()}};
  context.metrics.sync();
  state["sizes"] = sizes_json(context.metrics.sizes());
  checkpoints.save(step, *model, trainer.optimizer(), more_state(), state, context.model_directory);
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
  if (!fs::exists(evaluation_path(step))) evaluate_now();  // the stage ended before its last step
  save();
  checkpoints.wait();
  remove_old_bests(context.directory, best_step);
  kill_point("finish");
  write_examples();
  if (!keeps_weights(context.recipe, options)) return;
  const std::string copy = context.directory + "/model.tmp";
  fs::remove_all(copy);
  fs::copy(best_path(context.directory, best_step), copy, fs::copy_options::recursive);
  publish_stage_model(copy, context.directory);
}

}  // namespace hone
