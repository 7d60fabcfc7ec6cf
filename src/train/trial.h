// A trial of a recipe with random weights: its shapes, memory and speed without a download.
#pragma once

#include <string>
#include <vector>

#include "train/recipe.h"

namespace hone {

// Reads a recipe for a trial: 5 steps of 8 prompts x 4 completions x 256 tokens, no evaluation,
// random rewards instead of the recipe's (so that groups have a spread and updates are real), no
// dynamic sampling. `overrides` come after these and win. Files of data that are not there are
// replaced by questions of a built-in task, a model directory that is not there by the stage's
// `shape` and hone's own small tokenizer. `notes` says in words what was replaced.
Recipe read_trial(const std::string& path, const std::vector<std::string>& overrides,
                  std::vector<std::string>& notes);

// Whether a stage begins with random weights instead of those that its model has.
bool makes_weights(const Recipe& recipe, const StageOptions& stage);
// Whether checkpoints and models are written: not of a trial's last stage, whose weights are worth
// nothing.
bool keeps_weights(const Recipe& recipe, const StageOptions& stage);
// Whether a stage's model is made from its `shape` because its directory is not there.
bool stands_in(const Recipe& recipe, const StageOptions& stage);
// What takes the place of the directory for all but the shape: a tokenizer.
inline constexpr const char* kStandInTokenizer = "data/models/tiny-base";

}  // namespace hone
