// Rewards in worker processes: how they are named, what they are given, what they may answer.
#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cstdlib>

#include "base/error.h"
#include "base/timer.h"
#include "tests/rewards/external_fixture.h"

using namespace hone;
using Catch::Approx;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

void refused(const std::string& spec, const std::string& part) {
  INFO(spec);
  CHECK_THROWS_MATCHES(scores_of(spec, {"1"}), UserError, MessageMatches(ContainsSubstring(part)));
}

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
  const TemporaryDirectory directory;
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
  const TemporaryDirectory directory;
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
  const TemporaryDirectory directory;
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

TEST_CASE("megabytes go to a worker and back") {
  const NothingLeaks nothing;
  const TemporaryDirectory directory;
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
