// `hone loss`: the objective on arrays, for those who port a run or check a formula. The whole
// input is one optimizer step, in double.
//
//   in   logp, old_logp, ref_logp, sampler_logp, mask, entropy: [N][T], rows may be ragged; all
//        but logp may be absent. rewards: [N] with nulls, or {name: [N]} with reward_weights (a
//        list in the same order, or {name: weight}); or advantages: [N] or [N][T]. group: [N]
//        (absent: all one group). truncated: [N]. greedy_rewards: {group: reward} for ReMax.
//        spans: [N] lists of [end token, score] for process supervision. seed: of Clip-Cov's draw.
//        config: the recipe's `objective` keys, or {"trl": {...}}, or {"verl": {...}} with the
//        names and defaults of those toolkits (foreign_config.h).
//   out  loss, grad_logp [N][T] (0 where masked), grad_entropy if used, advantages, metrics,
//        resolved (the switches, as a recipe would write them).
//
// Where hone differs from the toolkit on purpose:
//   TRL   `dapo`, `cispo` and `vespo` divide by the tokens of the optimizer step (TRL before 1.16
//   by
//         those of the generation batch, off where it is cut otherwise than it is accumulated).
//         A delta inside the clip range is refused. GMPO gives a masked completion no loss.
//   verl  a singleton group has advantage 0 (verl: A = R); means divide by the count without
//         verl's 1e-8; no clamp of the log ratio at 20, or of GSPO's at 10; clip_ratio alone, which
//         has no effect there, is refused, as are rollout_rs, bypass_mode and
//         rollout_is_batch_normalize.
#pragma once

#include "base/json.h"

namespace hone {

// Throws UserError for what is malformed, inconsistent or not supported, naming it.
Json loss_from_json(const Json& input);

}  // namespace hone
