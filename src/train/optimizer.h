// Optimizers over the weight arena: AdamW, and Muon for matrices with AdamW for the rest.
//
// AdamW (arXiv 1711.05101):  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
//   w -= lr * (mhat / (sqrt(vhat) + eps) + weight_decay * w)
// Muon (Jordan et al. 2024; scale of arXiv 2502.16982): for each matrix of a block
//   buf = mu buf + g,  u = orthogonalise(g + mu buf)   (Nesterov, 5 Newton-Schulz steps)
//   w -= lr * (0.2 sqrt(max(rows, columns)) u + weight_decay w)
// q, k and v, and gate and up, are orthogonalised apart although they lie in one parameter.
// Embedding, head and norms take AdamW with the same learning rate.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "base/options.h"
#include "model/weights.h"
#include "train/moments.h"
#include "train/schedule.h"

namespace hone {

struct OptimizerOptions {
  std::string name = "adamw";  // adamw | muon
  double lr = 1e-6;
  std::vector<double> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0.95;                    // muon
  MomentForm moments = MomentForm::float32;  // adamw
  bool offload = false;                      // adamw on a GPU: moments in the host's memory
  double clip_norm = 1.0;                    // 0: off
  ScheduleOptions schedule;
};

void describe(OptionVisitor& v, OptimizerOptions& o);
// Throws UserError for what a GPU alone has.
void check_for_cpu(const OptimizerOptions& o);

class Optimizer {
 public:
  // The arena must be allocated and outlive the optimizer. REQUIRES: on the CPU, what
  // check_for_cpu lets through.
  Optimizer(const OptimizerOptions& options, WeightArena& weights);

  // One update from the arena's gradients, which it clips and then zeroes. `lr` is this step's.
  // Returns the norm of the gradient before clipping. A norm that is not finite leaves the weights
  // as they are.
  double step(double lr);

  // (name, tensor) of everything that a checkpoint must keep, and the number of updates done.
  std::vector<std::pair<std::string, at::Tensor>> state();
  int64_t updates() const { return updates_; }
  void set_updates(int64_t updates) { updates_ = updates; }

 private:
  void step_muon(double lr);
  void step_adamw(double lr, int64_t begin, int64_t end);
  // On CUDA, where AdamW takes all weights: clipping waits for nothing. `norm`: of the gradient.
  double step_fused(double lr, const at::Tensor& norm);

  OptimizerOptions options_;
  WeightArena& weights_;
  Moments moments_;                                       // Muon keeps its buffer in the first
  std::vector<NamedTensor> matrices_;                     // what Muon updates
  std::vector<std::pair<int64_t, int64_t>> adam_ranges_;  // what AdamW updates, [begin, end)
  int64_t updates_ = 0;
};

}  // namespace hone
