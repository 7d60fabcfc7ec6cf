// plugin:build/brief.so:brief?limit=80 - 1 up to `limit` bytes, less in proportion beyond.
#include <hone/base/error.h>
#include <hone/rewards/plugin.h>

class Brief : public hone::Rewarder {
 public:
  explicit Brief(double limit) : limit_(limit) {}

  std::vector<hone::Score> score(const std::vector<hone::RewardItem>& items) override {
    std::vector<hone::Score> scores;
    for (const hone::RewardItem& item : items) {
      const double bytes = static_cast<double>(item.completion->text.size());
      scores.emplace_back();
      scores.back().value = bytes <= limit_ ? 1.0 : limit_ / bytes;
      scores.back().details["bytes"] = bytes;
    }
    return scores;
  }

 private:
  double limit_;
};

std::unique_ptr<hone::Rewarder> make_brief(const hone::RewardSpec& spec) {
  const auto limit = spec.options.find("limit");
  return std::make_unique<Brief>(limit == spec.options.end() ? 80 : std::stod(limit->second));
}

HONE_REWARD(brief, make_brief, "limit")
