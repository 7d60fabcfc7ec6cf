// What a recipe will need before anything is allocated: parameters, and device memory by kind.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "train/recipe.h"

namespace hone {

struct StagePlan {
  std::string name, kind;
  int64_t parameters = 0, active_parameters = 0;  // exact
  int64_t trained_parameters = 0;                 // of adapters with lora, else all
  int64_t completions = 0;                        // of a step, rl only
  int64_t micro_batch_tokens = 0;                 // of the largest forward pass with a gradient
  // Bytes by kind, in the order of the table; their sum is the predicted peak, but with
  // release_cache only the larger of activations and cache counts.
  std::vector<std::pair<std::string, int64_t>> bytes;
  int64_t peak = 0;
  // With a key-value cache for one completion: the engine takes what is free of the cache that it
  // could use, and lets completions wait where that is less.
  int64_t least = 0;
};

// The worst case of a stage on one device. `value_bytes`: of a weight and an activation, 2 in
// bfloat16 (with float32 masters beside), 4 in float32.
//
// Weights, adapters, masters, float32 gradients, two float32 moments, the reference and the cache
// follow from the recipe. Activations are an estimate: bytes = value_bytes T (L (13.4 C + 3.1 F) +
// 0.75 V), with T the tokens of the largest micro-batch, C the hidden width, F the inner width of a
// token (of the experts it takes) and L the layers. The factors were fitted to the measured peaks
// of four dense recipes on one H200 (BENCHMARKS.md has them beside the prediction).
StagePlan plan_stage(const StageOptions& stage, const ModelConfig& shape, int64_t value_bytes);

Json plan_json(const StagePlan& plan);
// The same for people, a line for each kind.
std::string plan_text(const StagePlan& plan);

}  // namespace hone
