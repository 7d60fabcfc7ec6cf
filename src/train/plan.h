// What a recipe will need before anything is allocated: parameters, and device memory by kind.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "train/activation_bytes.h"
#include "train/recipe.h"

namespace hone {

struct StagePlan {
  std::string name, kind;
  int64_t parameters = 0, active_parameters = 0;  // exact
  int64_t trained_parameters = 0;                 // of adapters with lora, else all
  int64_t completions = 0;                        // of a step, rl only
  int64_t micro_batch_tokens = 0;                 // of the largest forward pass with a gradient
  Recompute recompute = Recompute::none;
  double eight_bit_share = 0;  // with fp8: ModelConfig::eight_bit_share
  // Bytes by kind, in the order of the table; their sum is the predicted peak, but with
  // release_cache only the larger of cache and passes (activations and temporaries) counts.
  std::vector<std::pair<std::string, int64_t>> bytes;
  int64_t peak = 0;
  // The least device memory that will do: the engine lets completions wait where its share of what
  // is free (EngineOptions::kv_memory) is less than the cache that it could use.
  int64_t least = 0;
};

// The worst case of a stage on one device; bfloat16 has float32 masters beside.
//
// Weights, adapters, masters, float32 gradients, moments, the reference and the cache follow from
// the recipe; activations from what the operations keep of a token, temporaries from what the
// backward pass of the head or a layer, or the optimizer, holds beside (activation_bytes.h);
// workspaces are those of the matrix products and of sampling. Memory that LibTorch's allocator and
// the engine do not hold (the driver's own, half a GiB) is not in it.
// `recompute: auto` counts as none; see decide_recompute.
StagePlan plan_stage(const StageOptions& stage, const ModelConfig& shape,
                     const Precision& precision);

// The shape of the model of a stage: its own, its directory's, or that of the stage before it.
// Throws UserError where there is none.
ModelConfig planned_shape(const Recipe& recipe, const StageOptions& stage);

// What `recompute: auto` becomes on a device with `available` bytes free: none, selective or
// layers, the first with which the stage fits.
Recompute decide_recompute(const StageOptions& stage, const ModelConfig& shape,
                           const Precision& precision, int64_t available);

// Throws UserError if the stage does not fit into `available` bytes: what it needs, and the three
// changes of the recipe that would save most, each planned by itself and all together.
void require_fit(const StageOptions& stage, const ModelConfig& shape, const Precision& precision,
                 int64_t available);

// For an error where memory runs out in mid-run: the changes of the recipe that are not made yet
// and would need less, in words.
std::string less_memory(const StageOptions& stage);

Json plan_json(const StagePlan& plan);
// The same for people, a line for each kind.
std::string plan_text(const StagePlan& plan);

}  // namespace hone
