// Rewards in worker processes: what they are given, what they may answer, and what becomes of a
// run whose workers crash, hang, lie or are killed.
#include <dirent.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/timer.h"
#include "rewards/reward.h"

using namespace hone;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
namespace fs = std::filesystem;

namespace {

class Directory {
 public:
  Directory() {
    std::string form = (fs::temp_directory_path() / "hone-external-XXXXXX").string();
    path_ = mkdtemp(form.data());
  }
  ~Directory() { fs::remove_all(path_); }
  // The path of a new file of this text.
  std::string file(const std::string& name, const std::string& text) const {
    std::ofstream(path_ + "/" + name) << text;
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

std::string plugin(const std::string& name) {
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

std::vector<Score> scores_of(const std::string& spec, const Asked& asked) {
  return make_rewarder(parse_reward_spec(spec))->score(asked.items);
}

std::vector<Score> scores_of(const std::string& spec, const std::vector<std::string>& texts,
                             const Json& fields = Json::object()) {
  return scores_of(spec, Asked().group(texts, fields));
}

// "1 0.5 null:timeout"
std::string shown(const std::vector<Score>& scores) {
  std::string text;
  for (const Score& score : scores) {
    text += text.empty() ? "" : " ";
    text += score.value ? Json(*score.value).dump() : "null";
    if (score.status != Status::ok) text += cat(":", to_string(score.status));
  }
  return text;
}

std::string error_of(const Score& score) { return score.details.value("error", ""); }

// The processes whose parent is this one.
std::set<pid_t> children() {
  std::set<pid_t> found;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string pid, name, state;
    pid_t parent = 0;
    if (stat >> pid >> name >> state >> parent && parent == getpid()) found.insert(std::stoi(pid));
  }
  return found;
}

int descriptors() {
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

void refused(const std::string& spec, const std::string& part) {
  INFO(spec);
  CHECK_THROWS_MATCHES(scores_of(spec, {"1"}), UserError, MessageMatches(ContainsSubstring(part)));
}

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

TEST_CASE("an external spec is a kind, a target and options after a question mark") {
  const RewardSpec python = parse_reward_spec("python:math:sqrt?weight=2,as=root,timeout=5");
  CHECK(python.name == "python:math:sqrt");
  CHECK(python.weight == 2);
  CHECK(python.as == "root");
  CHECK(python.options.at("timeout") == "5");
  CHECK(parse_reward_spec("command:grep -c 'a?b' x?").name == "command:grep -c 'a?b' x");
  CHECK(parse_reward_spec("command:test a?b").name == "command:test a?b");
  CHECK(parse_reward_spec("command:a=1,b=2 judge?weight=3").name == "command:a=1,b=2 judge");
  const RewardSet set(
      {python, parse_reward_spec("python:math:sqrt"), parse_reward_spec("command:cat")});
  CHECK(set.specs()[0].as == "root");
  CHECK(set.specs()[1].as == "sqrt");
  CHECK(set.specs()[2].as == "command");
}

TEST_CASE("what is wrong with an external spec is told before anything is started") {
  const auto told = [](const std::string& spec, const std::string& part) {
    INFO(spec);
    CHECK_THROWS_MATCHES(parse_reward_spec(spec), UserError,
                         MessageMatches(ContainsSubstring(part)));
  };
  told("python", "expected python:FILE.py:FUNCTION");
  told("python:judge.py", "expected python:FILE.py:FUNCTION");
  told("python:none.py:f", "no file 'none.py'");
  told("plugin:none.so:f", "no file 'none.so'");
  told("plugin:none.so", "expected plugin:PATH.so:NAME");
  told("command:", "expected command:CMD");
  told("command", "expected command:CMD");
  told("command:cat?timout=3", "did you mean 'timeout'?");
  told("command:cat?timeout=0", "timeout: expected seconds above 0");
  told("command:cat?workers=1.5", "workers: expected a whole number");
  told("python:math:sqrt?chat=maybe", "chat='maybe' is not one of");
  told("python:math:sqrt?python=/none", "no Python at '/none'");
}

TEST_CASE("a Python function is called as TRL calls it") {
  const NothingLeaks nothing;
  const Directory directory;
  const std::string file = directory.file("judge.py", R"(
import asyncio
def all_of_it(prompts, completions, completion_ids, level, trainer_state, log_extra, log_metric, **columns):
    log_extra("seen", [[p, c, i, l] for p, c, i, l in zip(prompts, completions, completion_ids, level)])
    log_metric("columns", len(columns))
    log_metric("step", trainer_state.global_step / trainer_state.max_steps)
    return [float(c) if c else None for c in completions]
async def later(completions):
    await asyncio.sleep(0)
    return [float(c) for c in completions]
def rank(completions, **_):
    return [sorted(completions).index(c) for c in completions]
def chat(prompts, completions, **_):
    return [float(p[0]["role"] == "user" and c[0] == {"role": "assistant", "content": "x"}) for p, c in zip(prompts, completions)]
def annotated(completions: list[list[dict[str, str]]], **_):
    return [float(c[0]["content"]) for c in completions]
def scaled(factor, name="x"):
    return lambda completions, **_: [factor * float(c) for c in completions]
)");
  const auto all = scores_of("python:" + file + ":all_of_it", {"2", ""}, {{"level", 3}, {"a", 1}});
  CHECK(shown(all) == "2.0 null");
  CHECK(all[0].details["seen"].dump() == R"(["Q:","2",[1,2,3],3])");
  CHECK(all[1].metrics.at("columns") == 1);
  CHECK(all[1].metrics.at("step") == Approx(0.4));
  CHECK(shown(scores_of("python:" + file + ":later", {"1", "2"})) == "1.0 2.0");
  CHECK(shown(scores_of("python:" + file + ":rank", Asked().group({"b", "a"}).group({"c"}))) ==
        "1.0 0.0 0.0");
  CHECK(shown(scores_of("python:" + file + ":rank?batch=3",
                        Asked().group({"b", "a"}).group({"c"}))) == "1.0 0.0 2.0");
  const Json messages = {{"messages", {{{"role", "user"}, {"content", "?"}}}}};
  CHECK(shown(scores_of("python:" + file + ":chat", {"x", "y"}, messages)) == "1.0 0.0");
  CHECK(shown(scores_of("python:" + file + ":chat?chat=yes", {"x", "y"})) == "1.0 0.0");
  CHECK(shown(scores_of("python:" + file + ":annotated", {"3"})) == "3.0");
  CHECK(shown(scores_of("python:" + file + ":scaled?factor=2.5", {"2"})) == "5.0");
  CHECK(shown(scores_of("python:operator:itemgetter?items=completions", {"1"})) ==
        "null:verifier_error");
  const auto missing = scores_of("python:" + file + ":all_of_it", {"2"});
  CHECK(shown(missing) == "null:bad_reference");
  CHECK_THAT(error_of(missing[0]), ContainsSubstring("'level'"));
}

TEST_CASE("TRL's own functions work unmodified", "[slow]") {
  const NothingLeaks nothing;
  const char* python = std::getenv("HONE_TRL_PYTHON");
  if (!python) SKIP("HONE_TRL_PYTHON does not name a Python that has trl and math-verify");
  const std::string with = cat("python=", python);
  const std::string right = "<think>\nr\n</think>\n\\boxed{\\frac{1}{3}}", wrong = "\\boxed{2}";
  const Json row = {{"solution", "$\\frac{1}{3}$"}}, odd = {{"solution", ""}};
  const auto accuracy = scores_of("python:trl.rewards:accuracy_reward?" + with,
                                  Asked().group({right, wrong}, row).group({right}, odd));
  CHECK(shown(accuracy) == "1.0 0.0 null");
  CHECK(accuracy[0].details["gold_parsed"].get<std::string>().find("1/3") != std::string::npos);
  const auto judged = [&](const std::string& function) {
    return shown(scores_of("python:trl.rewards:" + function + with, {right, wrong}, row));
  };
  CHECK(judged("reasoning_accuracy_reward?") == "1.0 0.0");
  CHECK(judged("think_format_reward?") == "1.0 0.0");
  CHECK(judged("get_cosine_scaled_reward?max_len=6,") == "0.75 -0.75");
  CHECK(judged("get_repetition_penalty_reward?ngram_size=2,") == "0.0 0.0");
  CHECK(judged("get_soft_overlong_punishment?max_completion_len=4,soft_punish_cache=2,") ==
        "-0.5 -0.5");
}

TEST_CASE("a reward that cannot start is the user's error and says why") {
  const NothingLeaks nothing;
  const Directory directory;
  const std::string file = directory.file("judge.py", "def f(**_): return []\nx = 3\n");
  const std::string broken = directory.file("broken.py", "import nonexistent_module\n");
  const std::string leaving = directory.file("leaving.py", "import os\nos._exit(4)\n");
  refused("python:" + file + ":g", "has no attribute 'g'");
  refused("python:" + file + ":x", "expected a function, found int");
  refused("python:" + file + ":f?timout=3", "options that are not hone's (timout)");
  refused("python:" + broken + ":f", "No module named 'nonexistent_module'");
  refused("python:no_such_module:f", "No module named 'no_such_module'");
  refused("python:" + leaving + ":f", "it exited with code 4");
  refused("command:/none/judge", "it exited with code 127; it wrote:");
  refused(plugin("later_version.so:any"),
          "the version of the plug-in interface is 2, expected 1; build it again");
  refused(plugin("other_sizes.so:any"), "the size of hone::Score (it was built with hone 0.0.9");
  refused(plugin("other_library.so:any"), "its standard library is libstdc++ with");
  refused(plugin("no_plugin.so:any"), "has no reward 'any'");
  refused(plugin("sound.so:numbr"), "has no reward 'numbr'");
  refused(plugin("sound.so:number?tims=3"), "unknown option 'tims'; did you mean 'times'?");
  refused(plugin("faulty.so:nothing"), "returned no rewarder");
  refused(plugin("faulty.so:refusal"), "no licence");
  refused(plugin("faulty.so:crash"), "does not start: it ");
  refused("plugin:" + file + ":f", "cannot load it");
}

TEST_CASE("a plug-in gets the items and answers with all that a score holds") {
  const NothingLeaks nothing;
  Asked asked;
  asked.group({"1.5", ""}, {{"level", 7}}).group({"2"});
  const auto scores = scores_of(plugin("sound.so:number?times=2"), asked);
  CHECK(shown(scores) == "3.0 0.0:no_answer 4.0");
  CHECK(scores[0].details.dump() ==
        R"({"prompt":"Q:","level":7,"tokens":3,"finish":"stop","step":4,"group":2})");
  CHECK(scores[0].metrics.at("length") == 3);
  REQUIRE(scores[0].spans.size() == 1);
  CHECK(scores[0].spans[0].end == 3);
  CHECK(scores[0].spans[0].value == 3);
  CHECK(scores_of(plugin("sound.so:number?batch=3"), asked)[2].details["group"] == 3);
}

TEST_CASE("a command answers a line with a line") {
  const NothingLeaks nothing;
  const Directory directory;
  const std::string file = directory.file("judge.sh", R"(
while read -r line; do
  case $line in
    *'"completion":"half"'*) echo 0.5 ;;
    *'"completion":"null"'*) echo null ;;
    *'"completion":"true"'*) echo true ;;
    *'"completion":"object"'*'"answer":"7"'*) echo '{"score": 2, "details": {"why": "because"}}' ;;
    *'"completion":"empty"'*) echo '{"score": 0, "status": "no_answer"}' ;;
    *'"completion":"reference"'*) echo '{"score": null, "status": "bad_reference"}' ;;
    *'"completion":"nan"'*) echo NaN ;;
    *'"completion":"huge"'*) echo 1e999 ;;
    *'"completion":"word"'*) echo good ;;
    *'"completion":"text"'*) echo '"1"' ;;
    *'"completion":"blank"'*) echo ;;
    *'"completion":"twice"'*) printf '1\n0.25\n' ;;
    *'"completion":"status"'*) echo '{"score": 1, "status": "fine"}' ;;
    *'"completion":"list"'*) echo '[1]' ;;
    *) echo 1 ;;
  esac
done
)");
  const auto scores =
      scores_of("command:sh " + file,
                {"half", "null", "true", "object", "empty", "reference", "honest", "nan", "huge",
                 "word", "text", "blank", "twice", "honest", "status", "list", "honest"},
                {{"answer", "7"}, {"completion", "not this one"}});
  CHECK(shown(scores) ==
        "0.5 null 1.0 2.0 0.0:no_answer null:bad_reference 1.0 null:verifier_error "
        "null:verifier_error null:verifier_error null:verifier_error null:verifier_error "
        "null:verifier_error 1.0 null:verifier_error null:verifier_error 1.0");
  CHECK(scores[3].details["why"] == "because");
  CHECK(error_of(scores[9]) == "expected a line of JSON, found 'good'");
}

TEST_CASE("a fault of a Python function costs its own item alone") {
  const NothingLeaks nothing;
  const Directory directory;
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
  const Directory directory;
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
  CHECK(shown(scores_of("command:sleep 1000 & exit 3?timeout=0.2", {"a"})) == "null:timeout");
}

TEST_CASE("a command that answers one item and leaves is started again for the next") {
  const NothingLeaks nothing;
  CHECK(shown(scores_of("command:read line; echo 1", {"a", "b", "c"})) == "1.0 1.0 1.0");
}

TEST_CASE("megabytes go to a worker and back") {
  const NothingLeaks nothing;
  const Directory directory;
  const std::string file = directory.file("judge.py", R"(
def length(completions, log_extra, **_):
    log_extra("text", completions)
    return [len(c) for c in completions]
)");
  const std::string text(5'000'000, 'x');
  const auto scores = scores_of("python:" + file + ":length", {text, "\xff" + text});
  CHECK(shown(scores) == "5000000.0 5000001.0");
  CHECK(scores[0].details["text"] == text);
}

TEST_CASE("several workers share the calls and the order stays") {
  const NothingLeaks nothing;
  Asked asked;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    asked.group({std::to_string(i)});
    expected += cat(i ? " " : "", i, ".0");
  }
  CHECK(shown(scores_of(plugin("sound.so:number?workers=4"), asked)) == expected);
  const auto sleepy = [](int workers) {
    const Timer timer;
    scores_of(cat("command:while read x; do sleep 0.2; echo 1; done?workers=", workers),
              {"a", "b", "c", "d", "e", "f"});
    return timer.seconds();
  };
  CHECK(sleepy(6) < 0.8);
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

// Kills the workers of this process, `milliseconds` apart on average, until it goes.
class Killer {
 public:
  explicit Killer(int milliseconds)
      : before_(children()), thread_([this, milliseconds] {
          Rng rng(7);
          while (!stop_) {
            usleep(static_cast<useconds_t>(rng.below(2000 * static_cast<uint64_t>(milliseconds))));
            for (const pid_t pid : children()) {
              if (!before_.count(pid) && kill(pid, SIGKILL) == 0) ++kills;
            }
          }
        }) {}
  ~Killer() {
    stop_ = true;
    thread_.join();
  }
  std::atomic<int> kills{0};

 private:
  std::set<pid_t> before_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

TEST_CASE("a thousand items and random kills: every item gets its own score or none", "[slow]") {
  const NothingLeaks nothing;
  const Directory directory;
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
  // Milliseconds between kills: more for Python, which takes longer to start.
  const std::vector<std::pair<std::string, int>> rewards = {
      {"python:" + slow + ":number?workers=2", 600},
      {plugin("sound.so:number"), 50},
      {"command:sh " + shell, 100}};
  for (const auto& [spec, milliseconds] : rewards) {
    INFO(spec);
    const auto rewarder = make_rewarder(parse_reward_spec(spec));
    Killer killer(milliseconds);
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
