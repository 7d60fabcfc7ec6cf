// Everything an RL stage holds and does around the loop of grpo.cpp: opening, evaluating, logging,
// saving, finishing.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "engine/engine.h"
#include "rewards/reward.h"
#include "rollouts/groups.h"
#include "text/tokenizer.h"
#include "train/controllers.h"
#include "train/diagnosis.h"
#include "train/evaluate.h"
#include "train/rollout.h"
#include "train/selection.h"
#include "train/stage.h"
#include "train/trainer.h"

namespace hone {

struct UpdateResult {
  ObjectiveStats stats;
  double loss = 0, gradient_norm = 0;  // means over the updates
  // Largest |trainer's - sampler's| log-probability under the weights that sampled; nullopt:
  // nothing was compared.
  std::optional<double> sampler_difference;
  double kl_coef = 0, entropy_coef = 0;  // of this step
  ExpertLoad load;                       // of the whole step
};

// The names by which the diagnosis finds the stage's figures.
DiagnosisNames diagnosis_names(const StageOptions& stage);

struct RlStage {
  StageContext& context;
  const StageOptions& options;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Transformer> model;
  std::unique_ptr<Transformer> reference;  // where the objective has a KL term, without lora
  std::unique_ptr<ProblemSource> problems;
  ProblemSelector selector;
  std::vector<Problem> heldout;
  RewardSet rewards;
  Trainer trainer;
  Engine engine;
  PromptTemplate prompt;
  SamplingOptions sampling;
  CheckpointWriter checkpoints;

  // What a checkpoint keeps beside weights and moments.
  int64_t step = 0;        // rollouts done
  int64_t tokens = 0;      // completion tokens sampled
  double best_score = -1;  // of evaluation, and when
  int64_t best_step = -1;
  ControllerState controllers;

  explicit RlStage(StageContext& context);

  void resume_or_begin();
  void start_step();
  // The seconds since the last call go to timing.jsonl, added up by name.
  void end_phase(const char* name);
  double learning_rate() const;
  int64_t max_tokens() const;  // of this step's completions
  bool evaluation_due() const;
  void evaluate_now();
  void log_step(const Sampled& sampled, const Rollout& rollout, const UpdateResult& result);
  void save();
  void finish();

  uint64_t seed() const { return static_cast<uint64_t>(context.recipe.seed); }
  GroupOptions group_options() const;
  SampleProgress progress(const std::string& what);
  Trainer::Progress update_progress();

 private:
  NamedTensors more_state() const;
  MetricsRow metrics_row(const std::vector<Group>& groups, const Sampled& sampled,
                         const Rollout& rollout, const UpdateResult& result);
  void write_timing(int64_t step_tokens);
  void show_step(const MetricsRow& row, const std::vector<Group>& groups, int64_t step_tokens);
  std::string evaluation_path(int64_t at_step) const;
  void keep_best(double score);
  void write_examples();
  Diagnosis diagnosis_;
  MetricsRow evaluation_;  // of this step, until it is logged
  std::vector<std::pair<std::string, double>> seconds_;
  EngineStats engine_before_;  // at the step's start
  Timer step_timer_, phase_timer_, loop_timer_;
  int64_t first_step_ = -1;  // of this process
};

}  // namespace hone
