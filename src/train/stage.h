// What the stages of a run share: where they write, when they stop, how they resume.
#pragma once

#include <optional>
#include <string>

#include "base/timer.h"
#include "model/transformer.h"
#include "train/checkpoint.h"
#include "train/display.h"
#include "train/metrics.h"
#include "train/recipe.h"
#include "train/run.h"

namespace hone {

struct StageContext {
  const Recipe& recipe;
  const StageOptions& stage;
  int64_t index = 0;          // of the stage in the recipe; part of every randomness key
  std::string run_directory;  // runs/NAME
  std::string directory;      // runs/NAME/stages/01-NAME
  // Of the model to begin with, and of its tokenizer; empty for pretrain.
  std::string model_directory;
  ModelPlace place;
  MetricsWriter& metrics;
  Display& display;
  Timer run_timer;  // since this process began the run
};

// Each runs a stage to its end and leaves the chosen model in directory/model, or saves a
// checkpoint and says why it stopped before.
RunEnd run_rl_stage(StageContext& context);          // grpo.cpp
RunEnd run_likelihood_stage(StageContext& context);  // likelihood.cpp: pretrain, sft

// Whether a stage should save and leave now: a signal, or the recipe's max_time.
std::optional<RunEnd> stop_asked(const StageContext& context);

// The shape of the model that a stage begins with: what its directory says, or, with random weights
// and no such directory, the recipe's `shape`.
ModelConfig config_of_stage(const StageContext& context);

// Load of the experts, for models that have them.
void set_expert_load(MetricsRow& row, const ExpertLoad& load);

// When to save: every so many steps or minutes.
class CheckpointClock {
 public:
  explicit CheckpointClock(const CheckpointOptions& options) : options_(options) {}
  bool due(int64_t step);

 private:
  CheckpointOptions options_;
  Timer since_;
};

// The sizes of the logs, as a checkpoint's state keeps them.
Json sizes_json(const MetricsSizes& sizes);
MetricsSizes sizes_from_json(const Json& json);

// Restores a stage: from its newest checkpoint, or to its beginning. Cuts the logs to match and
// returns the checkpoint's state, null at the beginning.
Json resume_stage(StageContext& context, Transformer& model, Optimizer& optimizer,
                  const NamedTensors& more);

}  // namespace hone
