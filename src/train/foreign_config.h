// Other toolkits' configurations in hone's terms: their names, their defaults.
//
// TRL: GRPOConfig of 1.16. verl: the algorithm.* and actor_rollout_ref.* keys of 0.9, by their last
// names or in full (actor_rollout_ref.actor.clip_ratio_low or clip_ratio_low).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "train/objective_options.h"

namespace hone {

// One of another toolkit's configuration: read by name; what was not read can be asked for.
class ForeignConfig {
 public:
  // What to do with an option that has no counterpart: `hone loss` stops, a translation notes it.
  using Unsupported = std::function<void(const std::string& message)>;
  ForeignConfig(std::string toolkit, Json values, Unsupported unsupported);

  bool has(const char* key) const;
  Json get(const char* key);  // null if absent
  double number(const char* key, double fallback);
  int64_t whole(const char* key, int64_t fallback);
  std::optional<double> optional(const char* key, std::optional<double> fallback = {});
  std::string text(const char* key, const std::string& fallback);
  bool flag(const char* key, bool fallback);
  void unsupported(const std::string& key, const std::string& why);
  // The option is known and changes nothing here.
  void ignore(const std::vector<std::string>& keys);
  [[noreturn]] void wrong(const std::string& key, const Json& v, const char* expected) const;
  // Reports every key that was not asked for, with the nearest one that was.
  void finish();

 private:
  std::string toolkit_;
  Json values_;
  Unsupported unsupported_;
  std::vector<std::string> read_;
};

struct ForeignObjective {
  ObjectiveOptions options;
  std::vector<double> reward_weights;  // empty: all 1
};
// `sampled_elsewhere`: the sampler's log-probabilities are given, so a key of the correction is
// meant even without use_vllm.
ForeignObjective trl_objective(ForeignConfig& c, bool sampled_elsewhere);
// `padded_length`: longest completion of the batch, verl's default denominator of
// seq-mean-token-sum-norm.
ForeignObjective verl_objective(ForeignConfig& c, double padded_length);

// The keys of a verl configuration by their own last names, whether they are nested, dotted or flat
// already; of names that several sections have the actor's or the sampler's. Without what a file
// interpolates (${...}).
Json flat_verl(const Json& config);

// A recipe's YAML from a GRPOConfig (or a script's arguments) or a verl configuration, as JSON or
// YAML text; the comment at its head names what has no counterpart and what has to be filled in.
// `file` begins every error. Throws UserError.
std::string recipe_from_trl(const std::string& text, const std::string& file);
std::string recipe_from_verl(const std::string& text, const std::string& file);

}  // namespace hone
