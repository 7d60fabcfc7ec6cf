#include "rewards/code/bench.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "base/timer.h"
#include "rewards/reward.h"

namespace hone {

Json bench_sandbox(size_t threads, size_t verdicts, int rounds) {
  const auto rewarder = make_rewarder(parse_reward_spec(cat("code:threads=", threads)));
  Problem problem;
  problem.fields = {{"tests", {{"inputs", {"40 2\n"}}, {"outputs", {"42\n"}}}}};
  Completion completion;
  completion.text = "print(sum(map(int, input().split())))";
  completion.finish_reason = FinishReason::stop;
  const std::vector<RewardItem> items(verdicts, RewardItem{&problem, &completion, "", {}});
  std::vector<double> rates;
  for (int round = 0; round <= rounds; ++round) {
    const Timer timer;
    for (const Score& score : rewarder->score(items)) {
      if (score.value != 1.0)
        throw RunError(cat("a right program failed: ", to_line(score.details)));
    }
    if (round > 0) rates.push_back(static_cast<double>(verdicts) / timer.seconds());
  }
  std::sort(rates.begin(), rates.end());
  return {{"bench", "sandbox"},
          {"threads", threads},
          {"verdicts_per_second",
           {{"median", rates[rates.size() / 2]}, {"min", rates.front()}, {"max", rates.back()}}}};
}

}  // namespace hone
