// What pretraining, SFT and RL share: a model, its optimizer, forward and backward over packed
// micro-batches.
//
// Where the device has no memory for a micro-batch, the pass begins again with micro-batches of
// half its tokens, and these stay so small: a step's gradient does not depend on the cuts but for
// rounding. A warning says so. Down to one sequence; one alone that has no room is a RunError.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "model/transformer.h"
#include "train/objective.h"
#include "train/optimizer.h"
#include "train/packing.h"

namespace hone {

// Which choice of experts the updates of an RL step take: the routers' own; R2 (vanilla routing
// replay, arXiv 2507.18071): that of the trainer's pass under the weights that sampled; R3 (rollout
// routing replay, arXiv 2510.11370): the sampler's, which the old log-probabilities take too.
// Weights of experts are the current router's in any case. A reference model chooses for itself.
enum class RouterReplay { none, r2, r3 };

// For models with experts or prediction modules.
struct BalanceOptions {
  double coef = 0;          // of the sequence-wise balance loss
  double bias_speed = 0;    // how far a router's selection bias moves a step (sigmoid routers)
  double predict_coef = 0;  // pretraining: of the loss of the multi-token-prediction module
};
void describe(OptionVisitor& v, BalanceOptions& o);

struct TrainerOptions {
  int64_t micro_batch_tokens = 16384;
  double temperature = 1.0;  // the policy is softmax(logits / temperature)
  BalanceOptions balance;
  Recompute recompute = Recompute::none;
  // A group's prompt is computed once a micro-batch, where the model can (shares_prefixes).
  bool share_prompts = true;
  // Said where one sequence has no room by itself: what would need less (less_memory, plan.h).
  std::string less_memory = {};
};

// How the tokens of a step were spread over the experts.
struct ExpertLoad {
  // By layer of the model: how often each expert was chosen, [E]. Empty without experts.
  std::map<int64_t, std::vector<int64_t>> choices;
  double most = 0, least = 0;  // of any expert of any layer; 1 is an even share
  int64_t layer = 0;           // which has the busiest expert,
  double share = 0;            // and how many of its tokens go there
  double entropy = 0;  // of the choices in the least even layer, as a part of what an even one has
  double balance = 0;  // mean over the layers of the balance loss before its factor
};

class Trainer {
 public:
  Trainer(Transformer& model, const OptimizerOptions& optimizer, const TrainerOptions& options);

  // Of every completion token under `model`, without gradients: [N][n].
  struct TokenStats {
    std::vector<std::vector<double>> logp, entropy;
    std::vector<std::vector<int16_t>> routes;  // [N], as TrainingSequence has them; if asked for
  };
  TokenStats token_stats(const Transformer& model, std::span<const TrainingSequence> sequences,
                         bool with_routes = false);

  // What one completion needs beside its tokens; see ObjectiveRow.
  struct PolicyRow {
    std::vector<double> old_logp, ref_logp, sampler_logp, token_advantages;  // empty: none
    double advantage = 0;
    int64_t group = 0;
    bool truncated = false, zero_variance = false;
  };
  // Called after each micro-batch with (completions done, all).
  using Progress = std::function<void(int64_t, int64_t)>;
  struct PolicyStep {
    ObjectiveStats stats;
    double gradient_norm = 0;
    // Largest |trainer's - sampler's| log-probability before the step; nullopt: no row had one.
    std::optional<double> sampler_difference;
  };
  // One optimizer step on the objective. `seed` keys what the objective draws.
  PolicyStep policy_step(std::span<const TrainingSequence> sequences,
                         std::span<const PolicyRow> rows, const ObjectiveOptions& objective,
                         double lr, uint64_t seed = 0, const Progress& progress = {});

  // Ends an RL step of one or several updates: moves the routers' selection biases, by the choices
  // of all tokens since the last call, and says how these were spread. In between the biases stand
  // still, so that all updates of a step choose by those that the sampler had.
  ExpertLoad end_step();

  struct LikelihoodStep {
    double loss = 0;  // mean -log p a counted token
    int64_t tokens = 0;
    double gradient_norm = 0;
    double predict_loss = 0;  // of the prediction module, where it is trained
    ExpertLoad load;
  };
  // A step of one update on the mean negative log-likelihood; masks [N][n] (or empty) say which
  // tokens count.
  LikelihoodStep likelihood_step(std::span<const TrainingSequence> sequences,
                                 std::span<const std::vector<uint8_t>> masks, double lr);

  // Tokens of a micro-batch at most: the option, or less once memory was short. Another cut rounds
  // differently, so a checkpoint keeps it.
  int64_t micro_batch_tokens() const { return options_.micro_batch_tokens; }

  // What a step's bits depend on beside the recipe, and what a resumed run takes from its
  // checkpoint in place of what it would decide today: the budget after memory ran out, and
  // `recompute: auto`.
  Json decided() const;
  void take_decided(const Json& state);

  Transformer& model() { return model_; }
  Optimizer& optimizer() { return optimizer_; }
  const Optimizer& optimizer() const { return optimizer_; }

 private:
  // Calls run(first, part) for the parts that the sequences are cut into. Where memory runs out,
  // `forget` shall drop what all parts so far left, and they are cut and run again.
  using Run = std::function<void(size_t first, std::span<const TrainingSequence> part)>;
  void each_micro_batch(std::span<const TrainingSequence> sequences, bool share_prompts,
                        const Run& run, const std::function<void()>& forget);
  // Calls `gradient` with each micro-batch's log-probabilities and entropies (host, [M]); it fills
  // in their gradients (dentropy may stay empty); then runs the backward pass. `forget` drops what
  // `gradient` has added up, which is called from the first completion on again.
  using Gradient = std::function<void(size_t first, const std::vector<int64_t>& offsets,
                                      std::span<const float> logp, std::span<const float> entropy,
                                      std::vector<float>& dlogp, std::vector<float>& dentropy)>;
  // Where the gradient of the log-probabilities does not depend on them, `known` fills it in first,
  // and `gradient` is told what came of it; the head is then gone through once.
  using KnownGradient = std::function<void(size_t first, const std::vector<int64_t>& offsets,
                                           std::vector<float>& dlogp)>;
  void forward_backward(std::span<const TrainingSequence> sequences, const Gradient& gradient,
                        const std::function<void()>& forget, const KnownGradient& known = {},
                        bool predict_ahead = false);

  Transformer& model_;
  Optimizer optimizer_;
  TrainerOptions options_;
  bool share_prompts_;
  // Of the step so far: choices of each expert [sparse layers][E] and sums of losses, over so many
  // updates.
  std::vector<at::Tensor> expert_counts_;
  double balance_ = 0, predict_loss_ = 0;
  int64_t updates_ = 0;
};

}  // namespace hone
