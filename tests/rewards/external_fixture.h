// Groups to be judged by external rewards, and what must be left of them afterwards: nothing.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <deque>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "rewards/reward.h"
#include "tests/temporary.h"

namespace hone {
namespace fs = std::filesystem;
using testing::TemporaryDirectory;

inline std::string plugin(const std::string& name) {
  return "plugin:" + fs::path(HONE_BINARY).parent_path().string() + "/test_plugin_" + name;
}

// Groups of one problem each.
struct Asked {
  std::deque<Problem> problems;
  std::deque<Completion> completions;
  std::vector<RewardItem> items;

  Asked& group(const std::vector<std::string>& texts, Json fields = Json::object()) {
    problems.push_back({std::to_string(problems.size()), "test", "", std::move(fields)});
    for (const std::string& text : texts) {
      completions.push_back({{1, 2, 3}, {}, {}, text, FinishReason::stop});
      items.push_back({&problems.back(), &completions.back(), "Q:", {4, 10}});
    }
    return *this;
  }
};

inline std::vector<Score> scores_of(const std::string& spec, const Asked& asked) {
  return make_rewarder(parse_reward_spec(spec))->score(asked.items);
}

inline std::vector<Score> scores_of(const std::string& spec, const std::vector<std::string>& texts,
                                    const Json& fields = Json::object()) {
  return scores_of(spec, Asked().group(texts, fields));
}

// "1 0.5 null:timeout"
inline std::string shown(const std::vector<Score>& scores) {
  std::string text;
  for (const Score& score : scores) {
    text += text.empty() ? "" : " ";
    text += score.value ? Json(*score.value).dump() : "null";
    if (score.status != Status::ok) text += cat(":", to_string(score.status));
  }
  return text;
}

inline std::string error_of(const Score& score) { return score.details.value("error", ""); }

// The processes whose parent is this one.
inline std::set<pid_t> children() {
  std::set<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string pid, name, state;
    pid_t parent = 0;
    if (stat >> pid >> name >> state >> parent && parent == getpid()) found.insert(std::stoi(pid));
  }
  return found;
}

inline int descriptors() {
  return static_cast<int>(std::distance(fs::directory_iterator("/proc/self/fd"), {}));
}

// At its end there are no more processes and open files than at its beginning.
class NothingLeaks {
 public:
  NothingLeaks() { set_log_level(LogLevel::error); }
  ~NothingLeaks() {
    CHECK(children() == children_);
    CHECK(descriptors() == descriptors_);
    set_log_level(LogLevel::info);
  }

 private:
  std::set<pid_t> children_ = children();
  int descriptors_ = descriptors();
};

}  // namespace hone
