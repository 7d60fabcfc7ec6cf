// What pretraining, SFT and RL share: a model, its optimizer, forward and backward over packed
// micro-batches.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "model/transformer.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/packing.h"

namespace hone {

struct TrainerOptions {
  int64_t micro_batch_tokens = 16384;
  double temperature = 1.0;  // the policy is softmax(logits / temperature)
};

class Trainer {
 public:
  Trainer(Transformer& model, const OptimizerOptions& optimizer, const TrainerOptions& options);

  // Log-probability of every completion token under `model`, without gradients: [N][n].
  std::vector<std::vector<double>> log_probs(const Transformer& model,
                                             std::span<const TrainingSequence> sequences) const;

  // What one completion needs beside its tokens; see ObjectiveRow.
  struct PolicyRow {
    std::vector<double> old_logp, ref_logp, sampler_logp;  // empty: none
    double advantage = 0;
    bool truncated = false, zero_variance = false;
  };
  // Called after each micro-batch with (completions done, all).
  using Progress = std::function<void(int64_t, int64_t)>;
  struct PolicyStep {
    ObjectiveStats stats;
    double gradient_norm = 0;
    double sampler_difference = 0;  // max |trainer's - sampler's| log-probability, before the step
  };
  // One optimizer step on the objective.
  PolicyStep policy_step(std::span<const TrainingSequence> sequences,
                         std::span<const PolicyRow> rows, const ObjectiveOptions& objective,
                         double lr, const Progress& progress = {});

  struct LikelihoodStep {
    double loss = 0;  // mean -log p a counted token
    int64_t tokens = 0;
    double gradient_norm = 0;
  };
  // One optimizer step on the mean negative log-likelihood; masks [N][n] (or empty) say which
  // tokens count.
  LikelihoodStep likelihood_step(std::span<const TrainingSequence> sequences,
                                 std::span<const std::vector<uint8_t>> masks, double lr);

  Transformer& model() { return model_; }
  Optimizer& optimizer() { return optimizer_; }

 private:
  // Calls `gradient` with each micro-batch's log-probabilities and entropies (host, [M]); it fills
  // in their gradients (dentropy may stay empty); then runs the backward pass.
  using Gradient = std::function<void(size_t first, const std::vector<int64_t>& offsets,
                                      std::span<const float> logp, std::span<const float> entropy,
                                      std::vector<float>& dlogp, std::vector<float>& dentropy)>;
  void forward_backward(std::span<const TrainingSequence> sequences, const Gradient& gradient);

  Transformer& model_;
  Optimizer optimizer_;
  TrainerOptions options_;
  bool share_prompts_;
};

}  // namespace hone
