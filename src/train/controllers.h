// Coefficients that a run adapts as it goes: functions of what the last step measured.
#pragma once

#include <cstdint>
#include <optional>

#include "base/json.h"
#include "train/objective.h"

namespace hone {

// What the controllers remember between two steps; a checkpoint keeps it.
struct ControllerState {
  double kl_coef = 0;
  double entropy_coef = 0;
  std::optional<double> entropy;  // of the last step
};

ControllerState initial_controllers(const ObjectiveOptions& options);
Json to_json(const ControllerState& state);
ControllerState controllers_from_json(const Json& json);

// The objective with the coefficients of this step. An adaptive entropy bonus acts only after a
// step whose entropy was at most its target (Skywork-OR1, 2505.22312 sec. 4.2).
ObjectiveOptions adapted(const ObjectiveOptions& options, const ControllerState& state);

// After a step over so many completions:
//   kl.coef *= 1 + clip(KL / target - 1, -0.2, 0.2) min(completions / horizon, 1)
//                                                                              (1909.08593 eq. 2)
//   entropy_coef += delta where the entropy is at most the target, else -= delta; in [min, max]
void adapt(const ObjectiveOptions& options, const ObjectiveStats& stats, int64_t completions,
           ControllerState& state);

}  // namespace hone
