// Workers that crash, hang, lie or are killed: each costs its own items alone, and nothing is left.
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <thread>

#include "base/rng.h"
#include "base/timer.h"
#include "tests/rewards/external_fixture.h"

using namespace hone;
using Catch::Matchers::ContainsSubstring;

namespace {

const char* kObedient = R"(
import os, sys, time
def obey(prompts, completions, **columns):
    scores = []
    for text in completions:
        if text == "exit": os._exit(3)
        if text == "sys.exit": sys.exit(3)
        if text == "segfault": os.kill(os.getpid(), 11)
        if text == "hang": time.sleep(1000)
        if text == "raise": raise ValueError("this item is not to my taste")
        if text == "print": print('{"call": 1, "scores": [9]}', flush=True)
        if text == "raw": os.write(1, b'{"call": 1, "scores": [9]}\n')
        if text == "read": input()
        if text == "stderr": sys.stderr.write("x" * 1000000)
        scores.append({"nan": float("nan"), "infinity": -float("inf"), "none": None, "word": "1",
                       "list": [1], "true": True}.get(text, 1.0))
        if text == "count": scores.append(1.0)
    return scores
)";

}  // namespace

TEST_CASE("a fault of a Python function costs its own item alone") {
  const NothingLeaks nothing;
  const TemporaryDirectory directory;
  const std::string reward = "python:" + directory.file("judge.py", kObedient) + ":obey?timeout=1";
  const auto judged = [&](const std::string& fault) {
    return shown(scores_of(reward, Asked().group({"a", fault, "b"}).group({"c", "d"})));
  };
  for (const char* fault :
       {"exit", "sys.exit", "segfault", "raise", "nan", "infinity", "word", "list", "read"}) {
    INFO(fault);
    CHECK(judged(fault) == "1.0 null:verifier_error 1.0 1.0 1.0");
  }
  CHECK(judged("hang") == "1.0 null:timeout 1.0 1.0 1.0");
  CHECK(judged("none") == "1.0 null 1.0 1.0 1.0");
  for (const char* fine : {"true", "print", "raw", "stderr"}) {
    INFO(fine);
    CHECK(judged(fine) == "1.0 1.0 1.0 1.0 1.0");
  }
  // Which score is whose cannot be known.
  CHECK(judged("count") == "null:verifier_error null:verifier_error null:verifier_error 1.0 1.0");
  // A function that compares a group is never given a part of one.
  CHECK(shown(scores_of(reward + ",retry=never", {"a", "exit"})) ==
        "null:verifier_error null:verifier_error");
  const auto scores = scores_of(reward, {"raise"});
  CHECK(error_of(scores[0]) == "ValueError: this item is not to my taste");
}

TEST_CASE("when most of a group hangs the others are given up") {
  const NothingLeaks nothing;
  const TemporaryDirectory directory;
  const std::string reward =
      "python:" + directory.file("judge.py", kObedient) + ":obey?timeout=0.5";
  const Timer timer;
  CHECK(shown(scores_of(reward, std::vector<std::string>(20, "hang"))).find("1.0") ==
        std::string::npos);
  CHECK(timer.seconds() < 5);
}

TEST_CASE("a fault of a plug-in costs its own item alone") {
  const NothingLeaks nothing;
  const auto judged = [&](const std::string& fault) {
    return shown(scores_of(plugin("faulty.so:obedient?timeout=1"),
                           Asked().group({"a", fault, "b"}).group({"c", "d"})));
  };
  for (const char* fault : {"segfault", "exit", "throw", "throw int", "nan", "infinity"}) {
    INFO(fault);
    CHECK(judged(fault) == "1.0 null:verifier_error 1.0 1.0 1.0");
  }
  CHECK(judged("hang") == "1.0 null:timeout 1.0 1.0 1.0");
  for (const char* fine : {"print", "bytes", "read"}) {
    INFO(fine);
    CHECK(judged(fine) == "1.0 1.0 1.0 1.0 1.0");
  }
  CHECK(judged("count") == "null:verifier_error null:verifier_error null:verifier_error 1.0 1.0");
  CHECK_THAT(error_of(scores_of(plugin("faulty.so:obedient"), {"exit"})[0]),
             ContainsSubstring("exited with code 3"));
}

TEST_CASE("a command that floods, leaves, closes its input or says nothing costs its own items") {
  const NothingLeaks nothing;
  const std::vector<std::string> two = {"a", "b"};
  const std::string errors = "null:verifier_error null:verifier_error";
  CHECK(shown(scores_of("command:cat /dev/zero", two)) == errors);
  CHECK(shown(scores_of("command:yes", two)) == errors);
  CHECK(shown(scores_of("command:true", two)) == errors);
  CHECK(shown(scores_of("command:exec <&-; sleep 1000?timeout=1", {std::string(1 << 20, 'a')})) ==
        "null:verifier_error");
  CHECK(shown(scores_of("command:exec >&-; sleep 1000", {"a"})) == "null:verifier_error");
  CHECK(shown(scores_of("command:sleep 1000?timeout=0.2", two)) == "null:timeout null:timeout");
  CHECK(shown(scores_of("command:cat >&2?timeout=0.2", two)) == "null:timeout null:timeout");
  CHECK(shown(scores_of("command:kill -9 $$", two)) == errors);
  // Deep nesting would overflow the stack of whoever writes it out again.
  CHECK(shown(scores_of("command:read x; perl -e 'print \"[\"x1e6, \"]\"x1e6, \"\\n\"'", {"a"})) ==
        "null:verifier_error");
  // Its child outlives it and holds its output; the whole group is killed.
  // (It reads its item first: else whether the item or its end came first would be a race.)
  CHECK(shown(scores_of("command:read x; sleep 1000 & exit 3?timeout=0.2", {"a"})) ==
        "null:timeout");
}

TEST_CASE("a command that answers one item and leaves is started again for the next") {
  const NothingLeaks nothing;
  CHECK(shown(scores_of("command:read line; echo 1", {"a", "b", "c"})) == "1.0 1.0 1.0");
}

TEST_CASE("a worker lives from call to call and is replaced when it was killed between them") {
  const NothingLeaks nothing;
  const auto rewarder = make_rewarder(parse_reward_spec(plugin("sound.so:number")));
  const std::set<pid_t> before = children();
  const Asked asked = [] {
    Asked a;
    a.group({"1"});
    return a;
  }();
  CHECK(children() == before);  // nothing is started before it is needed
  for (int i = 0; i < 5; ++i) {
    CHECK(shown(rewarder->score(asked.items)) == "1.0");
    std::set<pid_t> now = children();
    for (const pid_t pid : before) now.erase(pid);
    REQUIRE(now.size() == 1);
    if (i % 2 == 0) continue;
    kill(*now.begin(), SIGKILL);
    if (i == 1) usleep(20'000);
  }
}

// Kills the children of this process but the spared, `milliseconds` apart on average.
class Killer {
 public:
  Killer(std::set<pid_t> spared, int milliseconds)
      : spared_(std::move(spared)), thread_([this, milliseconds] {
          Rng rng(7);
          while (!stop_) {
            usleep(static_cast<useconds_t>(rng.below(2000 * static_cast<uint64_t>(milliseconds))));
            for (const pid_t pid : children()) {
              if (!spared_.count(pid) && kill(pid, SIGKILL) == 0) ++kills;
            }
          }
        }) {}
  ~Killer() {
    stop_ = true;
    thread_.join();
  }
  std::atomic<int> kills{0};

 private:
  std::set<pid_t> spared_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_CASE("a thousand items and random kills: every item gets its own score or none", "[slow]") {
  const NothingLeaks nothing;
  const TemporaryDirectory directory;
  const std::string slow = directory.file("slow.py", R"(
import time
def number(completions, **_):
    time.sleep(0.002 * len(completions))
    return [float(c) for c in completions]
)");
  const std::string shell = directory.file("slow.sh", R"(
while read -r line; do x=${line#*'"completion":"'}; sleep 0.001; echo "${x%%\"*}"; done
)");
  Asked asked;
  for (int group = 0; group < 125; ++group) {
    std::vector<std::string> texts;
    for (int i = 0; i < 8; ++i) texts.push_back(std::to_string(group * 8 + i));
    asked.group(texts);
  }
  for (const std::string& spec :
       {"python:" + slow + ":number?workers=2", plugin("sound.so:number"), "command:sh " + shell}) {
    INFO(spec);
    const std::set<pid_t> others = children();
    const auto rewarder = make_rewarder(parse_reward_spec(spec));
    const Timer start;
    rewarder->score({asked.items.begin(), asked.items.begin() + 8});
    // Far enough apart for most workers to come to work, on a loaded machine too.
    Killer killer(others, 50 + static_cast<int>(5000 * start.seconds()));
    std::vector<Score> scores;
    int rounds = 0;
    do {
      scores = rewarder->score(asked.items);
      int wrong = 0, null = 0;
      for (size_t i = 0; i < scores.size(); ++i) {
        null += !scores[i].value;
        wrong += scores[i].value && *scores[i].value != static_cast<double>(i);
        wrong += !scores[i].value && scores[i].status != Status::verifier_error;
      }
      CHECK(scores.size() == 1000);
      CHECK(wrong == 0);
      CHECK(null < 100);
    } while (killer.kills < 3 && ++rounds < 100);
    CHECK(killer.kills >= 3);
  }
}

TEST_CASE("a thousand items of which one in ten crashes the worker", "[slow]") {
  const NothingLeaks nothing;
  Asked asked;
  std::string expected;
  Rng rng(3);
  for (int group = 0; group < 125; ++group) {
    std::vector<std::string> texts;
    for (int i = 0; i < 8; ++i) {
      const bool crash = rng.below(10) == 0;
      texts.push_back(crash ? (rng.chance(0.5) ? "segfault" : "exit") : "fine");
      expected += cat(expected.empty() ? "" : " ", crash ? "null:verifier_error" : "1.0");
    }
    asked.group(texts);
  }
  CHECK(shown(scores_of(plugin("faulty.so:obedient"), asked)) == expected);
}
