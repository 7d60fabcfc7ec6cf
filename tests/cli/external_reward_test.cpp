// The examples of rewards/examples as a stranger would use them, and a run with all three kinds of
// external rewards whose workers are killed meanwhile.
#include <signal.h>

#include <catch2/catch_test_macros.hpp>
#include <future>

#include "run_hone.h"

using namespace hone;
namespace fs = std::filesystem;

namespace {

const std::string kExamples = std::string(HONE_TEST_DIR) + "/../rewards/examples/";

// A project of its own that finds an installed hone; no more than its headers are installed here.
const std::string& built_plugin() {
  static const TemporaryDirectory directory;
  static const std::string library = [] {
    const std::string build = fs::path(HONE_BINARY).parent_path().string();
    const std::string log = directory / "log";
    const std::string script =
        "{ cmake --install " + build + " --component plugin-sdk --prefix " + (directory / "hone") +
        " && cp -r " + kExamples + "plugin " + (directory / "plugin") + " && cmake -S " +
        (directory / "plugin") + " -B " + (directory / "build") +
        " -DCMAKE_PREFIX_PATH=" + (directory / "hone") + " && cmake --build " +
        (directory / "build") + "; } >" + log + " 2>&1";
    if (std::system(script.c_str()) != 0) throw std::runtime_error("no plug-in: " + slurp(log));
    return directory / "build/brief.so";
  }();
  return library;
}

std::string lines_of(const std::string& path) {
  const std::string text = slurp(path);
  return std::to_string(std::count(text.begin(), text.end(), '\n'));
}

// How many processes have `mark` on their command line.
int processes_with(const std::string& mark) {
  int count = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    count += slurp(entry.path() / "cmdline").find(mark) != std::string::npos;
  }
  return count;
}

// Kills every process whose parent has `mark` on its command line; how many.
int kill_children_of(const std::string& mark) {
  int kills = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    std::string pid, name, state, parent;
    if (!(stat >> pid >> name >> state >> parent)) continue;
    const std::string command = slurp("/proc/" + parent + "/cmdline");
    if (command.find(mark) == std::string::npos || command.starts_with("sh")) continue;
    kills += kill(std::stoi(pid), SIGKILL) == 0;
  }
  return kills;
}

}  // namespace

TEST_CASE("an example of a reward has at most thirty lines") {
  for (const char* name : {"judge.py", "command.py", "plugin/brief.cpp", "plugin/CMakeLists.txt"}) {
    INFO(name);
    CHECK(std::stoi(lines_of(kExamples + name)) > 5);
    CHECK(std::stoi(lines_of(kExamples + name)) <= 30);
  }
}

TEST_CASE("the examples of external rewards judge a file together", "[slow]") {
  const TemporaryDirectory dir;
  spill(dir / "in.jsonl",
        "{\"answer\": \"7\", \"completion\": \"1+2=3\\n3+4=7\\n<answer>7</answer>\"}\n"
        "{\"answer\": \"7\", \"completions\": [\"7\", \"" +
            std::string(160, 'x') +
            "\", \"a\\nb\\na\"]}\n{\"answer\": null, \"completion\": \"\"}\n");
  const Outcome done = run_hone("score --quiet --in " + (dir / "in.jsonl") + " --out " +
                                (dir / "out.jsonl") + " --reward plugin:" + built_plugin() +
                                ":brief?limit=40,weight=0.5 --reward python:" + kExamples +
                                "judge.py:shows_work --reward 'command:python3 " + kExamples +
                                "command.py?as=no_repeats'");
  INFO(done.err);
  REQUIRE(done.code == 0);
  std::istringstream lines(slurp(dir / "out.jsonl"));
  std::vector<Json> rows;
  for (std::string line; std::getline(lines, line);) rows.push_back(Json::parse(line));
  REQUIRE(rows.size() == 3);
  CHECK(rows[0]["scores"].dump() == R"({"brief":1.0,"shows_work":1.0,"no_repeats":1.0})");
  CHECK(rows[0]["reward"] == 2.5);
  CHECK(rows[0]["details"]["shows_work"]["equations"] == 2);
  const Json& group = rows[1]["completions"];
  CHECK(group[0]["scores"]["shows_work"] == 0.0);
  CHECK(group[1]["scores"]["brief"] == 0.25);
  CHECK(group[2]["scores"]["no_repeats"] == 0.0);
  CHECK(rows[2]["scores"]["shows_work"] == nullptr);
}

TEST_CASE("the quickstart with three external rewards ends, and so it does when all are killed",
          "[slow]") {
  const TemporaryDirectory dir;
  const std::string call =
      "train recipes/quickstart.yaml --quiet device=cpu threads=1 prompts_per_step=4 "
      "group_size=8 max_tokens=64 eval.every=0 eval.problems=8 eval.n=2 'eval.k=[2]' "
      "'rewards=[{name: math, as: accuracy}, {name: \"plugin:" +
      built_plugin() +
      ":brief\", weight: 0.1, limit: 60}, {name: \"python:rewards/examples/judge.py:shows_work\", "
      "weight: 0.1}, {name: \"command:python3 rewards/examples/command.py\", weight: 0.1}]' --out ";
  const Outcome calm = run_hone(call + (dir / "calm") + " steps=2");
  INFO(calm.err);
  REQUIRE(calm.code == 0);
  CHECK(slurp(dir / "calm/metrics.jsonl").find("\"rewards/shows_work/mean\"") != std::string::npos);
  CHECK(slurp(dir / "calm/metrics.jsonl").find("\"verifier_errors\":0") != std::string::npos);

  auto run = std::async(std::launch::async,
                        [&] { return run_hone(call + (dir / "killed") + " steps=8"); });
  int kills = 0;
  while (run.wait_for(std::chrono::milliseconds(700)) != std::future_status::ready) {
    kills += kill_children_of(dir / "killed");
  }
  const Outcome killed = run.get();
  INFO(killed.err);
  CHECK(killed.code == 0);
  CHECK(kills >= 3);
  CHECK(lines_of(dir / "calm/metrics.jsonl") == "3");  // step 0 is the base's evaluation
  CHECK(lines_of(dir / "killed/metrics.jsonl") == "9");
}

TEST_CASE("workers that hang end with hone, even when it is killed") {
  const TemporaryDirectory dir;
  spill(dir / "judge.py", "import time\ndef f(**columns): time.sleep(1000)\n");
  fs::copy(fs::path(HONE_BINARY).parent_path() / "test_plugin_faulty.so", dir / "faulty.so");
  spill(dir / "in.jsonl", "{\"completion\": \"hang\"}\n");
  for (const std::string& reward :
       {"python:" + (dir / "judge.py") + ":f", "plugin:" + (dir / "faulty.so") + ":obedient"}) {
    INFO(reward);
    const std::string script = std::string(HONE_BINARY) + " score --reward " + reward + " --in " +
                               (dir / "in.jsonl") + " --out " + (dir / "out") +
                               " & sleep 1.5; pgrep -P $! >/dev/null; echo $? >" + (dir / "seen") +
                               "; kill -KILL $!; wait $!";
    std::system(("bash -c '" + script + "' 2>/dev/null").c_str());
    CHECK(slurp(dir / "seen") == "0\n");  // there was a worker
    for (int i = 0; i < 50 && processes_with(dir.path()) > 0; ++i) usleep(100'000);
    CHECK(processes_with(dir.path()) == 0);
  }
}

TEST_CASE("a run whose reward cannot start ends with the reason and exit code 2") {
  const TemporaryDirectory dir;
  spill(dir / "judge.py", "import nonexistent_module\n");
  const std::string call =
      "train recipes/quickstart.yaml --quiet device=cpu threads=1 steps=1 "
      "eval.problems=2 eval.n=1 'eval.k=[1]' 'rewards=[{name: \"python:" +
      (dir / "judge.py") + ":f\"}]' --out ";
  CHECK(run_hone(call + (dir / "dry") + " --dry-run").code == 0);  // starts nothing
  const Outcome run = run_hone(call + (dir / "run"));
  CHECK(run.code == 2);
  CHECK(one_line(run.err));
  CHECK(run.err.find("No module named 'nonexistent_module'") != std::string::npos);
  const Outcome none =
      run_hone("train recipes/quickstart.yaml --dry-run 'rewards=[{name: \"python:none.py:f\"}]'");
  CHECK(none.code == 2);
  CHECK(none.err.find("no file 'none.py'") != std::string::npos);
}
