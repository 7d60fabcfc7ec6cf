// A plug-in that does what the completion says: "segfault", "exit", "hang", ... else 1.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <limits>
#include <stdexcept>

#include "rewards/plugin.h"

namespace {

class Obedient : public hone::Rewarder {
 public:
  std::vector<hone::Score> score(const std::vector<hone::RewardItem>& items) override {
    std::vector<hone::Score> scores;
    for (const hone::RewardItem& item : items) {
      const std::string& text = item.completion->text;
      hone::Score score;
      score.value = 1;
      if (text == "segfault") raise(SIGSEGV);
      if (text == "exit") _exit(3);
      if (text == "hang") pause();
      if (text == "throw") throw std::runtime_error("this item is not to my taste");
      if (text == "throw int") throw 7;
      if (text == "nan") score.value = std::numeric_limits<double>::quiet_NaN();
      if (text == "infinity") score.value = std::numeric_limits<double>::infinity();
      if (text == "print") std::puts("{\"call\": 1, \"scores\": [9]}"), std::fflush(stdout);
      if (text == "bytes") score.details["bytes"] = "\xff\xfe";
      if (text == "read" && getchar() != EOF) score.value = -1;
      scores.push_back(std::move(score));
      if (text == "count") scores.push_back({});
    }
    return scores;
  }
};

std::unique_ptr<hone::Rewarder> make_obedient(const hone::RewardSpec&) {
  return std::make_unique<Obedient>();
}
std::unique_ptr<hone::Rewarder> make_nothing(const hone::RewardSpec&) { return nullptr; }
std::unique_ptr<hone::Rewarder> make_refusal(const hone::RewardSpec&) {
  throw std::runtime_error("no licence");
}
std::unique_ptr<hone::Rewarder> make_crash(const hone::RewardSpec&) {
  raise(SIGSEGV);
  return nullptr;
}

}  // namespace

HONE_REWARD(obedient, make_obedient)
HONE_REWARD(nothing, make_nothing)
HONE_REWARD(refusal, make_refusal)
HONE_REWARD(crash, make_crash)
