#include "train/trial.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"

namespace hone {
namespace {

void replace_missing_data(std::vector<DataSpec>& data, std::vector<std::string>& notes) {
  for (DataSpec& spec : data) {
    if (spec.path.empty() || std::filesystem::exists(find_path(spec.path))) continue;
    notes.push_back(cat(spec.path, " is not there; questions of the task 'sum' instead"));
    DataSpec task;
    task.task = "sum";
    task.weight = spec.weight;
    spec = task;
  }
}

}  // namespace

bool makes_weights(const Recipe& recipe, const StageOptions& stage) {
  if (!recipe.random_weights || stage.kind == "pretrain") return false;
  for (const StageOptions& earlier : recipe.stages) {
    if (earlier.name == stage.model) return false;
  }
  return true;
}

bool stands_in(const Recipe& recipe, const StageOptions& stage) {
  return makes_weights(recipe, stage) &&
         !std::filesystem::exists(find_path(stage.model) + "/config.json");
}

bool keeps_weights(const Recipe& recipe, const StageOptions& stage) {
  return !recipe.random_weights || stage.name != recipe.stages.back().name;
}

Recipe read_trial(const std::string& path, const std::vector<std::string>& overrides,
                  std::vector<std::string>& notes) {
  const Recipe plain = read_recipe(path, overrides);
  std::vector<std::string> all;
  for (const StageOptions& stage : plain.stages) {
    if (stage.kind != "rl") continue;
    const std::string prefix = plain.stages.size() > 1 ? stage.name + "." : "";
    for (const char* setting :
         {"steps=5", "prompts_per_step=8", "group_size=4", "max_tokens=256", "minibatches=1",
          "eval.every=0", "eval.problems=8", "eval.n=1", "eval.k=[]", "objective.length=0",
          "dynamic_sampling=0", "selection.retire_at=null", "max_tokens_schedule=[]"}) {
      all.push_back(prefix + setting);
    }
  }
  all.insert(all.end(), overrides.begin(), overrides.end());
  Recipe recipe = read_recipe(path, all);
  recipe.random_weights = true;
  for (StageOptions& stage : recipe.stages) {
    replace_missing_data(stage.data, notes);
    replace_missing_data(stage.eval.data, notes);
    if (stage.kind == "rl") {
      RewardSpec random;
      random.name = random.as = "random";
      stage.rewards = {random};
    }
    if (stands_in(recipe, stage)) {
      if (!stage.shape.more.contains("vocab_size")) {
        throw UserError(cat("stage '", stage.name, "': model '", stage.model,
                            "' is not there, and the recipe has no `shape` with vocab_size to make "
                            "one from"));
      }
      stage.prompt = {};
      notes.push_back(cat(stage.model,
                          " is not there; its shape from the recipe and the tokenizer of ",
                          kStandInTokenizer));
    }
  }
  return recipe;
}

}  // namespace hone
