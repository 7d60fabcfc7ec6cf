// The experts that tokens were sent to in a call of the engine, for Completion::routes.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "engine/scheduling/scheduler.h"

namespace hone {

// A prompt's choices are kept once for its group. A token that is computed again (its blocks were
// given back) keeps its first choices, those with which the tokens behind it were drawn.
class RouteLog {
 public:
  // width: numbers of a token, sparse layers times experts a token; 0: nothing is kept.
  explicit RouteLog(int64_t width) : width_(static_cast<size_t>(width)) {}

  // All tokens of a pass in the order of its items, [T, ...] int16 on the CPU.
  void add(const Step& step, const Scheduler& scheduler, const at::Tensor& routes);
  // `count` tokens from the item's first one on, [count][width].
  void add(const Step::Item& item, const Scheduler& scheduler, const int16_t* routes,
           int64_t count);

  // [tokens of the prompt and of the sequence that were inputs][width]; the sequence's are gone
  // then. REQUIRES: all of them were added.
  std::vector<int16_t> take(int64_t sequence, const Scheduler& scheduler);

 private:
  using Routes = std::vector<int16_t>;
  size_t width_;
  std::vector<Routes> prompts_, sequences_;  // by group, by sequence: [tokens][width]
};

}  // namespace hone
