// The objective through the program: presets, process supervision, dynamic sampling, translation.
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "run_hone.h"

using namespace hone;

namespace {

// A tiny RL run on a random model; `more` are further keys of its stage.
std::string write_recipe(const TemporaryDirectory& dir, const std::string& more) {
  const std::string path = dir / "r.yaml";
  spill(path,
        "kind: rl\nname: z\nmodel: " + random_model() +
            "\ndata: [{task: sum}]\nprompts_per_step: 4\ngroup_size: 4\nmax_tokens: 8\n"
            "steps: 2\noptimizer: {lr: 1e-3}\neval: {problems: 4}\ndevice: cpu\nthreads: 1\n" +
            more);
  return path;
}

const char* const kRandomReward = "rewards: [{name: random}]\n";

std::vector<Json> metrics_of(const std::string& run) {
  std::vector<Json> rows;
  std::istringstream lines(slurp(run + "/metrics.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    rows.push_back(Json::parse(line));
    if (rows.back()["step"] == 0) rows.pop_back();
  }
  return rows;
}

}  // namespace

TEST_CASE("every preset trains, on and off the policy, with the sampler's own log-probabilities",
          "[slow]") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir, std::string(kRandomReward));
  for (const char* preset : {"grpo",    "dr_grpo", "dapo",  "gspo",        "gspo_token",
                             "luspo",   "gmpo",    "cispo", "sapo",        "vespo",
                             "dppo_tv", "dppo_kl", "rloo",  "reinforce++", "reinforce++_baseline",
                             "remax",   "opo",     "gpg",   "pass_at_k",   "gdpo",
                             "max_rl",  "lite_ppo"}) {
    INFO(preset);
    const std::string run = dir / preset;
    const Outcome out = run_hone("train " + recipe + " --quiet --out " + run +
                                 " minibatches=2 epochs=2 objective.preset=" + preset);
    INFO(out.err);
    REQUIRE(out.code == 0);
    for (const Json& row : metrics_of(run)) {
      CHECK(row["logp_diff_max"] == 0);
      REQUIRE(row["grad_norm"].is_number());  // null where it is not finite
      CHECK(row["grad_norm"] > 0);
      CHECK(row["loss"].is_number());
    }
  }
}

TEST_CASE("the preset r1_zero sets the stage around it, and keys beside it override", "[slow]") {
  const Outcome shown = run_hone("recipe show r1_zero --json");
  REQUIRE(shown.code == 0);
  std::string last = shown.out.substr(0, shown.out.find_last_not_of('\n') + 1);
  const Json preset = Json::parse(last.substr(last.rfind('\n') + 1));
  CHECK(preset["prompts_per_step"] == 512);
  CHECK(preset["group_size"] == 16);
  CHECK(preset["minibatches"] == 16);
  CHECK(preset["max_tokens"] == 32768);
  CHECK(preset["optimizer"]["lr"] == 3e-6);
  CHECK(preset["objective"]["kl"]["coef"] == 0.001);
  CHECK(preset["objective"]["kl"]["estimator"] == "k3");
  CHECK(preset["objective"]["kl"]["reference_refresh"] == 400);
  CHECK(preset["objective"]["epsilon"] == 10);
  CHECK(preset["max_tokens_schedule"][0]["max_tokens"] == 65536);

  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir, std::string(kRandomReward) +
                                                   "objective: {preset: r1_zero}\n"
                                                   "minibatches: 2\nmax_tokens_schedule: []\n");
  const Outcome out = run_hone("train " + recipe + " --quiet --out " + (dir / "run"));
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK(metrics_of(dir / "run").size() == 2);
}

TEST_CASE("the scores of spans become advantages by token", "[slow]") {
  const TemporaryDirectory dir;
  // Scores every completion 0, its first byte 1 where it is odd, and the rest 0.
  spill(dir / "spans.py",
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    row = json.loads(line)\n"
        "    text = row['completion']\n"
        "    n = len(text.encode())\n"
        "    first = ord(text[0]) % 2 if text else 0\n"
        "    spans = [{'begin': 0, 'end': 1, 'score': first}] if n else []\n"
        "    spans += [{'begin': 1, 'end': n, 'score': 0}] if n > 1 else []\n"
        "    print(json.dumps({'id': row.get('id'), 'score': 0, 'spans': spans}), flush=True)\n");
  const std::string reward = "rewards: [{name: \"command:python3 " + (dir / "spans.py") + "\"}]\n";
  const std::string recipe = write_recipe(dir, reward);
  const std::string run = dir / "run";
  const Outcome plain = run_hone("train " + recipe + " --quiet --out " + (dir / "plain"));
  INFO(plain.err);
  REQUIRE(plain.code == 0);
  CHECK(metrics_of(dir / "plain").front()["grad_norm"] == 0);  // all rewards are equal
  const Outcome out =
      run_hone("train " + recipe + " --quiet --out " + run + " objective.advantage.process=true");
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK(metrics_of(run).front()["grad_norm"] > 0);
}

TEST_CASE("groups without differences are asked anew, and what was asked is on record", "[slow]") {
  const TemporaryDirectory dir;
  // Half of the problems, by their prompt, give every answer the same reward.
  spill(dir / "half.py",
        "def half(prompts, completions, **kwargs):\n"
        "    return [0.0 if sum(map(ord, p)) % 2 else float(len(c) % 3)\n"
        "            for p, c in zip(prompts, completions)]\n");
  const std::string recipe = write_recipe(
      dir, "rewards: [{name: \"python:" + (dir / "half.py") + ":half\"}]\ndynamic_sampling: 8\n");
  const std::string run = dir / "run";
  const Outcome out = run_hone("train " + recipe + " --quiet --out " + run);
  INFO(out.err);
  REQUIRE(out.code == 0);
  for (const Json& row : metrics_of(run)) {
    CHECK(row["dynamic_sampling/rounds"] > 1);
    CHECK(row["dynamic_sampling/groups"] > 4);
    CHECK(row["frac_reward_zero_std"] > 0.2);
    std::istringstream lines(slurp(run + "/stages/01-z/rollouts/step-00000" +
                                   std::to_string(row["step"].get<int>()) + ".jsonl"));
    int64_t groups = 0, learned = 0;
    for (std::string line; std::getline(lines, line); ++groups) {
      double most = 0;
      const Json group = Json::parse(line);
      for (const Json& c : group["completions"]) {
        if (c.contains("advantage")) most = std::max(most, std::abs(c["advantage"].get<double>()));
      }
      learned += most > 0;
    }
    CHECK(groups == row["dynamic_sampling/groups"]);
    CHECK(learned == 4);
  }
}

TEST_CASE("hone recipe translates others' configurations") {
  const TemporaryDirectory dir;
  spill(dir / "grpo.yaml", "loss_type: cispo\nepsilon_high: 5.0\nmax_steps: 10\n");
  const Outcome trl = run_hone("recipe from-trl " + (dir / "grpo.yaml"));
  CHECK(trl.code == 0);
  CHECK(trl.out.find("surrogate: cispo") != std::string::npos);
  spill(dir / "ppo.yaml", "algorithm: {adv_estimator: rloo}\n");
  const Outcome verl =
      run_hone("recipe from-verl " + (dir / "ppo.yaml") + " --out " + (dir / "r.yaml"));
  CHECK(verl.code == 0);
  CHECK(slurp(dir / "r.yaml").find("kind: leave_one_out") != std::string::npos);
  const Outcome bad = run_hone("recipe from-trl " + (dir / "none.yaml"));
  CHECK(bad.code == 2);
  CHECK(one_line(bad.err));
}

TEST_CASE("a stage whose problems are all retired ends with a model", "[slow]") {
  const TemporaryDirectory dir;
  spill(dir / "p.jsonl", "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n");
  spill(dir / "one.py", "def one(prompts, completions, **k):\n    return [1.0] * len(prompts)\n");
  const std::string recipe = write_recipe(dir, "rewards: [{name: \"python:" + (dir / "one.py") +
                                                   ":one\"}]\nselection: {retire_at: 1}\n");
  const std::string run = dir / "run";
  const Outcome out =
      run_hone("train " + recipe + " --json --quiet --out " + run +
               " \"data=[{path: " + (dir / "p.jsonl") + "}]\" prompts_per_step=2 steps=50");
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK(out.rows().back()["end"] == "finished");
  CHECK(metrics_of(run).size() == 1);  // both were solved in the first step
  CHECK(slurp(run + "/model/config.json").size() > 0);
}

TEST_CASE("prompts that are too long are passed over, also where few are asked", "[slow]") {
  const TemporaryDirectory dir;
  std::string rows;
  for (int i = 0; i < 20; ++i) {
    const std::string text = i % 2 ? "short" : std::string(200, 'x');
    rows += "{\"prompt\": \"" + text + std::to_string(i) + "\"}\n";
  }
  spill(dir / "p.jsonl", rows);
  const std::string recipe =
      write_recipe(dir, std::string(kRandomReward) + "dynamic_sampling: 4\n");
  const std::string call =
      "train " + recipe + " --quiet \"data=[{path: " + (dir / "p.jsonl") +
      "}]\" max_prompt_tokens=40 prompts_per_step=1 steps=6 eval.problems=2 --out ";
  const Outcome out = run_hone(call + (dir / "run"));
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK(metrics_of(dir / "run").size() == 6);
  const Outcome none = run_hone(call + (dir / "none") + " max_prompt_tokens=1");
  CHECK(none.code == 2);
  CHECK(none.err.find("max_prompt_tokens is 1") != std::string::npos);
}

TEST_CASE("the longest completions of a schedule leave room for the prompts from the start",
          "[slow]") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir, kRandomReward);
  const std::string call = "train " + recipe + " --quiet --out " + (dir / "run") +
                           " \"max_tokens_schedule=[{after_updates: 1, max_tokens: ";
  const Outcome late = run_hone(call + "100000}]\"");
  CHECK(late.code == 2);
  CHECK(one_line(late.err));
  const Outcome out = run_hone(call + "12}]\"");
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK(metrics_of(dir / "run")[0]["completions/max_length"] <= 8);
}

TEST_CASE("a sampler whose log-probabilities are not the policy's is not said to agree", "[slow]") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir, kRandomReward);
  const Outcome out = run_hone("train " + recipe + " --quiet --out " + (dir / "run") +
                               " sampling.temperature=0.9 sampling.top_p=0.9");
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK_FALSE(metrics_of(dir / "run")[0].contains("logp_diff_max"));
}
