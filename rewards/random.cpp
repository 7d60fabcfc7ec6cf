// `random`: 1 with probability p, whatever the completion says; a function of the problem and the
// completion alone, so that a run repeats. A control (a model must not learn from it), and what
// trials with random weights are paid with.
#include "base/error.h"
#include "base/rng.h"
#include "rewards/builtin.h"

namespace hone {
namespace {

class RandomRewarder : public Rewarder {
 public:
  explicit RandomRewarder(const RewardSpec& spec) : p_(number_option(spec, "p", 0.5)) {
    if (!(p_ >= 0 && p_ <= 1)) throw UserError("reward 'random': p= is not between 0 and 1");
  }
  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    for (const RewardItem& item : items) {
      const std::vector<int32_t>& tokens = item.completion->tokens;
      const std::string_view bytes =
          tokens.empty() ? std::string_view(item.completion->text)
                         : std::string_view(reinterpret_cast<const char*>(tokens.data()),
                                            tokens.size() * sizeof(tokens[0]));
      Rng rng(make_key(hash64(item.problem->id), hash64("random"), hash64(bytes)));
      Score score;
      score.value = rng.uniform() < p_ ? 1.0 : 0.0;
      scores.push_back(std::move(score));
    }
    return scores;
  }

 private:
  double p_;
};

}  // namespace

std::unique_ptr<Rewarder> make_random(const RewardSpec& spec) {
  return std::make_unique<RandomRewarder>(spec);
}

}  // namespace hone
