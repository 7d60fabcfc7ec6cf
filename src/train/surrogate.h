// The per-token terms of the objective, each with its derivative.
//
// Notation: p = log-probability under the weights being trained, o = old log-probability (the
// weights that sampled), r = reference's, d = p - o, x = ratio (exp(d), or the completion's),
// A = advantage, sg = without gradient.
//
// surrogate ppo_clip   -min(min(x, delta) A, clip(x, 1 - epsilon, 1 + epsilon_high) A)
//                      epsilon_high apart ("clip-higher"): DAPO 2503.14476
//                      delta: INTELLECT-2, 2505.07291 sec. 3.4
//                      dual_clip c: for A < 0 also at most -c A, which bounds the loss of a bad
//                      answer that became likely (1912.09729 eq. 5)
//           unclipped  -x A
//           sapo       -4 / tau sigmoid(tau (x - 1)) A; tau by the sign of A      (2511.20347)
//           cispo      -sg(clip(x, 1 - epsilon, 1 + epsilon_high)) A p            (2506.13585)
//           dppo_tv    -sg(min(x, ratio_cap)) A p where A > 0: e^p - e^o <= epsilon_high,
//                      else e^p - e^o >= -epsilon; other tokens 0                 (2602.04879)
//           dppo_kl    the same where the binary KL of e^o and e^p is within the bound, or p went
//                      the other way
//           vespo      -sg(phi(w)) A p, phi = e^lambda w^k e^(-lambda w), w = exp(sum_t d_t) of the
//                      completion, times the correction's weights; k, lambda by the sign of A
//                      (2602.10693)
//           reinforce  -A p                                                       (Williams 1992)
// kl        Schulman's estimators of KL(trained || reference) from a sample, u = p - r:
//           k1 = u               unbiased, its gradient is not that of a KL (expectation 0)
//           k2 = u^2 / 2         biased, gradient u grad p is right
//           k3 = exp(-u) + u - 1 unbiased, never negative; GRPO eq. 4
//           abs = |u|
//           straight_through: the value of the estimator, the gradient of k2 (verl's "k3+").
//           cap: values beyond it are cut and have no gradient.
//
// Gradients are analytic and exact where the function has a kink: at the edge of the clip range
// the unclipped branch counts, as in PyTorch.
#pragma once

#include "train/objective_options.h"

namespace hone {

// A value and its derivative.
struct Term {
  double value = 0;
  double slope = 0;
};

// KL at u = p - r and its derivative by p.
Term kl_term(const KlOptions& o, double u);

// Whether the surrogate is a function of the ratio (ppo_clip, unclipped, sapo), or a constant times
// the log-probability.
bool is_of_ratio(Surrogate s);

// A surrogate of the ratio at x and its derivative by log x.
Term ratio_term(const ObjectiveOptions& o, double x, double advantage);

// c of the others, whose loss is -c A p. vespo's is vespo_weight().
double likelihood_weight(const ObjectiveOptions& o, double x, double advantage, double p,
                         double old);

// phi(w) of a completion; log_w = sum_t d_t (each within +-20) plus the log of the correction.
double vespo_weight(const ObjectiveOptions& o, double log_w, double advantage);

// Whether the surrogate cut the token's update, for the metrics: -1 below, 1 above, 0 not.
int clip_side(const ObjectiveOptions& o, double x, double advantage, double p, double old);

}  // namespace hone
