// hone train as it is called: signals, an existing run, resume.
#include <catch2/catch_test_macros.hpp>

#include "run_hone.h"

using namespace hone;

namespace {

std::string write_recipe(const TemporaryDirectory& dir, int steps) {
  const std::string path = dir / "r.yaml";
  spill(path, "kind: rl\nname: z\nmodel: " + random_model() +
                  "\ndata: [{task: sum}]\nrewards: [{name: format, pattern: tag_count}]\n"
                  "prompts_per_step: 2\ngroup_size: 2\nmax_tokens: 8\nsteps: " +
                  std::to_string(steps) + "\neval: {problems: 4}\ndevice: cpu\nthreads: 1\n");
  return path;
}

// Sends the signal once metrics.jsonl has rows.
int code_after_signal(const std::string& recipe, const std::string& run, const std::string& name) {
  const std::string script = std::string(HONE_BINARY) + " train " + recipe + " --quiet --out " +
                             run + " & pid=$!; for i in $(seq 200); do sleep 0.05; [ -s " + run +
                             "/metrics.jsonl ] && break; done; kill -" + name + " $pid; wait $pid";
  // A shell starts background jobs with SIGINT ignored unless it controls jobs.
  return WEXITSTATUS(std::system(("bash -c 'set -m; " + script + "'").c_str()));
}

}  // namespace

TEST_CASE("Ctrl-C and SIGTERM save, and the run can go on") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir, 100000);
  CHECK(code_after_signal(recipe, dir / "int", "INT") == 130);
  CHECK(code_after_signal(recipe, dir / "term", "TERM") == 143);
  const std::string before = slurp(dir / "term/metrics.jsonl");
  const Outcome on = run_hone("train " + recipe + " --resume --max-time 0.3 --json --quiet --out " +
                              (dir / "term"));
  CHECK(on.code == 0);
  REQUIRE(on.rows().size() == 1);
  CHECK(on.rows()[0]["end"] == "out_of_time");
  const std::string after = slurp(dir / "term/metrics.jsonl");
  CHECK(after.size() > before.size());
  CHECK(after.starts_with(before));
}

TEST_CASE("a run that another process is writing cannot be resumed meanwhile") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir, 100000), run = dir / "run";
  const std::string call = std::string(HONE_BINARY) + " train " + recipe + " --quiet --out " + run;
  const int status =
      std::system(("bash -c '" + call + " & pid=$!; for i in $(seq 200); do sleep 0.05; [ -s " +
                   run + "/metrics.jsonl ] && break; done; " + call + " --resume 2>" +
                   (dir / "err") + "; code=$?; kill -KILL $pid; wait $pid; exit $code' 2>/dev/null")
                      .c_str());
  INFO(slurp(dir / "err"));
  CHECK(WEXITSTATUS(status) == 2);
  CHECK(one_line(slurp(dir / "err")));
  CHECK(slurp(dir / "err").find("another hone train is writing this run") != std::string::npos);
  CHECK(run_hone("train " + recipe + " --quiet --resume --max-time 0.1 --out " + run).code == 0);
}

TEST_CASE("a run that is there is not overwritten, nor resumed by another recipe") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir, 2);
  const std::string call = "train " + recipe + " --quiet --out " + (dir / "run");
  const Outcome first = run_hone(call + " --json");
  REQUIRE(first.code == 0);
  CHECK(first.rows().back()["end"] == "finished");
  const std::string metrics = slurp(dir / "run/metrics.jsonl");
  const Outcome second = run_hone(call);
  CHECK(second.code == 2);
  CHECK(one_line(second.err));
  CHECK(second.err.find("--resume") != std::string::npos);
  CHECK(second.err.find("--out") != std::string::npos);
  const Outcome changed = run_hone(call + " --resume optimizer.lr=0.5");
  CHECK(changed.code == 2);
  CHECK(changed.err.find("lr") != std::string::npos);
  CHECK(run_hone(call + " --resume").code == 0);  // nothing left to do
  CHECK(slurp(dir / "run/metrics.jsonl") == metrics);
  const std::string rollouts = slurp(dir / "run/stages/01-z/rollouts/step-000001.jsonl");
  const std::string id = Json::parse(rollouts.substr(0, rollouts.find('\n')))["id"];
  const Outcome shown = run_hone("show " + (dir / "run") + " --problem '" + id + "'");
  CHECK(shown.code == 0);
  CHECK(shown.out.find("step-000001.jsonl") != std::string::npos);
  CHECK(run_hone("report " + (dir / "run") + " --summary").out.find("before -> after") !=
        std::string::npos);
}

TEST_CASE("runs that were killed and resumed end as the one that nobody killed", "[slow]") {
  if (std::system("python3 --version >/dev/null 2>&1") != 0) SKIP("no python3 here");
  const TemporaryDirectory dir;
  const std::string log = dir / "log";
  const int status = std::system((std::string("scripts/kill_test 6 --hone ") + HONE_BINARY +
                                  " --out " + (dir / "runs") + " >" + log + " 2>&1")
                                     .c_str());
  INFO(slurp(log));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(slurp(log).find("6 of 6 identical") != std::string::npos);
}
