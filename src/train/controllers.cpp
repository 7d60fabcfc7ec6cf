#include "train/controllers.h"

#include <algorithm>

namespace hone {

ControllerState initial_controllers(const ObjectiveOptions& o) {
  return {o.kl.coef, o.entropy_coef, std::nullopt};
}

Json to_json(const ControllerState& s) {
  Json j = {{"kl_coef", s.kl_coef}, {"entropy_coef", s.entropy_coef}, {"entropy", nullptr}};
  if (s.entropy) j["entropy"] = *s.entropy;
  return j;
}

ControllerState controllers_from_json(const Json& j) {
  ControllerState s{j.at("kl_coef").get<double>(), j.at("entropy_coef").get<double>(), {}};
  if (!j.at("entropy").is_null()) s.entropy = j.at("entropy").get<double>();
  return s;
}

ObjectiveOptions adapted(const ObjectiveOptions& options, const ControllerState& state) {
  ObjectiveOptions o = options;
  o.kl.coef = state.kl_coef;
  const bool acts = !o.entropy.target || (state.entropy && *state.entropy <= *o.entropy.target);
  o.entropy_coef = acts ? state.entropy_coef : 0.0;
  return o;
}

void adapt(const ObjectiveOptions& o, const ObjectiveStats& stats, int64_t completions,
           ControllerState& state) {
  if (o.kl.target && stats.kl_tokens > 0) {
    const double kl = stats.kl_sum / static_cast<double>(stats.kl_tokens);
    const double error = std::clamp(kl / *o.kl.target - 1, -0.2, 0.2);
    state.kl_coef *= 1 + error * std::min(static_cast<double>(completions) / o.kl.horizon, 1.0);
  }
  if (stats.entropy_tokens == 0) return;
  state.entropy = stats.entropy_sum / static_cast<double>(stats.entropy_tokens);
  if (!o.entropy.target) return;
  const double step = *state.entropy <= *o.entropy.target ? o.entropy.delta : -o.entropy.delta;
  state.entropy_coef = std::clamp(state.entropy_coef + step, o.entropy.min, o.entropy.max);
}

}  // namespace hone
