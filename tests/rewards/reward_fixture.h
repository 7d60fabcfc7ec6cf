// One completion judged by one reward, in one line.
#pragma once

#include <string>

#include "rewards/reward.h"

namespace hone {

inline Problem problem_of(Json fields) {
  Problem problem;
  problem.id = std::string("p");
  problem.fields = std::move(fields);
  return problem;
}

inline Score judge(const std::string& spec, const Problem& problem, const std::string& text,
                   const std::string& prompt = "", FinishReason reason = FinishReason::stop) {
  Completion completion;
  completion.text = text;
  completion.finish_reason = reason;
  const auto rewarder = make_rewarder(parse_reward_spec(spec));
  return rewarder->score({{&problem, &completion, prompt, {}}}).at(0);
}

inline Score judge_answer(const std::string& spec, const std::string& answer,
                          const std::string& text, const std::string& prompt = "") {
  return judge(spec, problem_of({{"answer", answer}}), text, prompt);
}

// A right answer: a number, and it is 1.
inline bool paid(const Score& score) { return score.status == Status::ok && score.value == 1.0; }
// Not paid, and not by the verifier's failure.
inline bool unpaid(const Score& score) { return score.value == 0.0; }
inline bool no_answer_for(const Score& score, const std::string& reason) {
  return score.value == 0.0 && score.status == Status::no_answer &&
         score.details.value("reason", "") == reason;
}

}  // namespace hone
