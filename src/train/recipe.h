// A recipe: what a run does, as plain options read strictly from YAML.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/options.h"
#include "data/dataset.h"
#include "model/config.h"
#include "rewards/reward.h"
#include "rollouts/groups.h"
#include "rollouts/sampler.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/selection.h"
#include "train/trainer.h"

namespace hone {

struct EvalOptions {
  int64_t every = 0;           // steps; 0: only before and after
  std::vector<DataSpec> data;  // empty: the stage's data, held-out split
  int64_t problems = 0;        // 0: all held-out problems
  int64_t n = 1;               // samples a problem
  std::vector<int64_t> k;      // pass@k beside pass@1
};

// The longest completion from so many optimizer steps on.
struct LengthStep {
  int64_t after_updates = 0;
  int64_t max_tokens = 0;
};

struct CheckpointOptions {
  int64_t every_steps = 0;
  double every_minutes = 5;
  int64_t keep = 2;
};

// Low-rank adapters, trained instead of the weights.
inline const std::vector<std::string> kRecomputeWords = {"auto", "none", "selective", "layers"};

struct LoraOptions {
  int64_t rank = 0;             // 0: none, but of `from`
  std::optional<double> alpha;  // default: twice the rank
  std::vector<std::string> targets;
  std::string from;  // a PEFT directory, which says the other three

  bool on() const { return rank > 0 || !from.empty(); }
};

struct StageOptions {
  std::string name;
  std::string kind = "rl";
  std::string model;
  std::string tokenizer;
  ModelConfig shape;
  std::vector<DataSpec> data;
  PromptOptions prompt;
  std::vector<RewardSpec> rewards;
  int64_t prompts_per_step = 16;
  int64_t group_size = 8;
  int64_t max_prompt_tokens = 0;
  int64_t max_tokens = 512;
  std::vector<LengthStep> max_tokens_schedule;
  int64_t dynamic_sampling = 0;
  SelectionOptions selection;
  SamplingOptions sampling;
  int64_t speculate = 0;
  ObjectiveOptions objective;
  int64_t minibatches = 1;
  int64_t epochs = 1;
  int64_t micro_batch_tokens = 16384;
  Recompute recompute = Recompute::automatic;
  bool release_cache = false;
  int64_t batch_tokens = 8192;
  BalanceOptions experts;
  RouterReplay router_replay = RouterReplay::none;
  OptimizerOptions optimizer;
  LoraOptions lora;
  int64_t steps = 100;
  EvalOptions eval;
  CheckpointOptions checkpoint;
};

struct Recipe {
  std::string name = "run";
  int64_t seed = 0;
  std::string device = "auto";
  std::string dtype = "auto";
  int64_t threads = 0;
  bool exact = false;
  bool fp8 = false;
  double max_time = 0;
  bool random_weights = false;
  std::vector<StageOptions> stages;
};

void describe(OptionVisitor& v, RewardSpec& o);
void describe(OptionVisitor& v, EvalOptions& o);
void describe(OptionVisitor& v, LengthStep& o);
void describe(OptionVisitor& v, CheckpointOptions& o);
void describe(OptionVisitor& v, LoraOptions& o);
void describe(OptionVisitor& v, StageOptions& o);
void describe(OptionVisitor& v, Recipe& o);

// What a preset of the objective sets of the stage around it: its groups, updates and lengths.
void apply_stage_preset(StageOptions& o);

// Reads a recipe file; `overrides` are key=value with dots (optimizer.lr=1e-4; in a recipe of
// several stages STAGE.optimizer.lr=1e-4). A single stage may stand at the top level, without
// `stages`. Checks what can be checked without opening data or models. Throws UserError.
Recipe read_recipe(const std::string& path, const std::vector<std::string>& overrides);
// Throws UserError for what the recipe asks of a GPU alone: fp8, optimizer.offload.
void check_for_cpu(const Recipe& recipe);

// The resolved recipe as YAML, in the form with `stages`.
std::string recipe_text(const Recipe& recipe);

// The same of any options that were written as JSON, without the newline at the end.
std::string yaml_text(const Json& value);

// All keys, for `hone recipe keys`.
std::vector<OptionKey> recipe_keys();

}  // namespace hone
