// What the stages of a run share: where they write, when they stop, how they resume.
#pragma once

#include <optional>
#include <string>

#include "base/timer.h"
#include "model/transformer.h"
#include "train/checkpoint.h"
#include "train/diagnosis.h"
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

// The adapter that a recipe's `lora` asks for.
LoraShape lora_shape(const LoraOptions& options);
// Gives the model the adapters that the stage begins with; nothing without `lora`.
void begin_adapters(const StageContext& context, Transformer& model);
// Writes the model to `path` as a stage leaves it: in bfloat16, adapters merged and once more in
// path/adapter.
void save_stage_model(const Transformer& model, const std::string& path,
                      const std::string& tokenizer_directory);
// Puts what save_stage_model wrote to `from` in place: directory/model, and the adapter beside it.
void publish_stage_model(const std::string& from, const std::string& directory);

// Load of the experts, for models that have them; every expert's own is in experts.jsonl.
void set_expert_load(MetricsRow& row, const ExpertLoad& load);

// Gives the stage's diagnosis the rows before a resume, of which all has been said.
void replay_diagnosis(const StageContext& context, Diagnosis& diagnosis);
// Gives it the step's row and says on the screen what is new.
void diagnose(const StageContext& context, Diagnosis& diagnosis, int64_t step,
              const MetricsRow& row);

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
