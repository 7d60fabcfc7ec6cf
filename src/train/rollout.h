// One step's questions, answers and scores, and what the update makes of them.
#pragma once

#include <optional>
#include <vector>

#include "base/types.h"
#include "train/advantage.h"
#include "train/trainer.h"

namespace hone {

struct RlStage;

// The groups of a step.
struct Sampled {
  std::vector<Group> groups;    // what the update learns from
  std::vector<Group> left_out;  // dynamic sampling: asked too, but their rewards are all equal
  int64_t rounds = 1;
};

// Asks the step's problems and scores the answers; no groups where all problems are retired. With
// dynamic sampling (DAPO 2503.14476 eq. 11) further problems are asked for the groups whose
// rewards are all equal.
Sampled sample_and_score(RlStage& stage);

// The completions of one step, group after group; index i everywhere.
struct Rollout {
  std::vector<TrainingSequence> sequences;   // views into the groups, and into `routes`
  std::vector<std::vector<int16_t>> routes;  // of the trainer's own pass; router_replay r2 only
  std::vector<Trainer::PolicyRow> rows;
  std::vector<std::optional<double>> rewards;  // null where a verifier failed
  std::vector<int64_t> group_ids;
  std::vector<int64_t> lengths;
  std::vector<std::vector<std::optional<double>>> each;  // [reward][i]
  std::vector<double> weights;                           // [reward]
  std::vector<std::optional<double>> greedy;             // of i's group; ReMax only
  std::vector<std::vector<TokenSpanScore>> spans;        // process supervision only
  AdvantageResult advantage;
};

// The rows with what the sampler recorded, their rewards, and for ReMax those of the greedy
// answers, which are sampled here.
Rollout make_rollout(RlStage& stage, const std::vector<Group>& groups);

// Sets the advantages of the rows and, for the record, of the groups; a KL in the reward is taken
// off before.
void add_advantages(const RlStage& stage, std::vector<Group>& groups, Rollout& rollout);

}  // namespace hone
