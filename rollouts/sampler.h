// Sampler: prompts in, completions out. The engine implements it on this process's own weights;
// remote servers can be another implementation.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/types.h"

namespace hone {

struct SamplingOptions {
  double temperature = 1.0;
  double top_p = 1.0;
  int64_t top_k = 0;
  double min_p = 0.0;
  int64_t max_tokens = 512;
  int64_t min_tokens = 0;
  std::vector<std::string> stop;
  std::vector<int64_t> stop_ids;
  bool longest_first = false;   // the order in which sequences start: by limit, then by prompt
  bool record_routing = false;  // Completion::routes; on with router_replay: r3
};

inline void describe(OptionVisitor& v, SamplingOptions& o) {
  v.value("temperature", o.temperature, "softmax temperature; 0 is greedy");
  v.value("top_p", o.top_p, "keep the smallest set of tokens with this probability; 1: all");
  v.value("top_k", o.top_k, "keep the k likeliest tokens; 0: all");
  v.value("min_p", o.min_p, "drop tokens below this share of the likeliest one's probability");
  v.value("min_tokens", o.min_tokens,
          "tokens before which no end token is drawn and no stop text ends a completion");
  v.value("stop", o.stop, "texts that end a completion");
  v.value("stop_ids", o.stop_ids, "token ids that end a completion, beside the model's own");
  v.value("longest_first", o.longest_first,
          "completions start in the order of their token limits (max_tokens, or what the model's "
          "positions leave), then of their prompts, the longest first; changes no completion");
}

// Whether the distribution drawn from is more than the model's softmax at the temperature.
inline bool restricts(const SamplingOptions& o) {
  return o.top_p < 1 || o.top_k > 0 || o.min_p > 0 || o.min_tokens > 0;
}

struct SampleRequest {
  std::vector<int32_t> prompt;  // [P], P >= 1
  int64_t n = 1;                // completions of this prompt
  uint64_t key = 0;  // randomness: completion i at position t draws from (key, i, t) alone
  std::vector<int64_t> limits{};  // [n] most tokens of each completion; empty: options.max_tokens
};

// Called now and then with (tokens sampled so far, completions finished, completions in all).
using SampleProgress = std::function<void(int64_t, int64_t, int64_t)>;

class Sampler {
 public:
  virtual ~Sampler() = default;
  // Result [request][i]. A completion is the same alone or in any batch.
  virtual std::vector<std::vector<Completion>> sample(const std::vector<SampleRequest>& requests,
                                                      const SamplingOptions& options,
                                                      const SampleProgress& progress = {}) = 0;
};

// The randomness key of a prompt: depends on the prompt's ids and which occurrence of that prompt
// in the step this is, not on its place in the batch.
uint64_t request_key(uint64_t seed, uint64_t stage, uint64_t step,
                     const std::vector<int32_t>& prompt, uint64_t occurrence);

}  // namespace hone
