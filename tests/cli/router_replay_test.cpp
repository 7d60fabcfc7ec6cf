// Runs of a model with experts: what router_replay changes, and what a run says of its experts.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "run_hone.h"

using namespace hone;

namespace {

// Two layers, the first dense, with eight experts of which each token takes two.
const std::string& sparse_model() {
  static const TemporaryDirectory directory;
  static const std::string model = [] {
    spill(directory / "s.yaml",
          "kind: pretrain\nname: s\ntokenizer: data/models/tiny-base\nsteps: 2\n"
          "batch_tokens: 512\ndata: [{task: sum}]\n"
          "shape: {family: deepseek_v3, hidden: 32, layers: 2, heads: 2, kv_heads: 2,"
          " intermediate: 48, max_positions: 128, q_lora_rank: 'null', kv_lora_rank: 16,"
          " qk_nope_head_dim: 16, qk_rope_head_dim: 8, v_head_dim: 16, n_routed_experts: 8,"
          " num_experts_per_tok: 2, n_group: 1, topk_group: 1, n_shared_experts: 1,"
          " moe_intermediate_size: 16, first_k_dense_replace: 1}\noptimizer: {lr: 0.01}\n");
    const Outcome made = run_hone("train " + (directory / "s.yaml") +
                                  " device=cpu threads=1 --quiet --out " + (directory / "run"));
    if (made.code != 0) throw std::runtime_error("no model to test with: " + made.err);
    return directory / "run/model";
  }();
  return model;
}

std::string write_recipe(const TemporaryDirectory& dir) {
  const std::string path = dir / "r.yaml";
  spill(path, "kind: rl\nname: z\nmodel: " + sparse_model() +
                  "\ndata: [{task: sum}]\nrewards: [{name: random}]\n"
                  "prompts_per_step: 4\ngroup_size: 4\nmax_tokens: 12\nsteps: 4\n"
                  "minibatches: 2\nepochs: 2\nmicro_batch_tokens: 100\neval: {problems: 4}\n"
                  "device: cpu\nthreads: 1\nobjective: {preset: grpo, kl: {coef: 0.1}}\n"
                  "optimizer: {lr: 0.02}\nexperts: {bias_speed: 0.01}\n"
                  "checkpoint: {every_steps: 2}\n");
  return path;
}

std::vector<Json> rows_of(const std::string& path) {
  std::vector<Json> rows;
  std::istringstream lines(slurp(path));
  for (std::string line; std::getline(lines, line);) rows.push_back(Json::parse(line));
  return rows;
}

void train(const std::string& recipe, const std::string& run, const std::string& more) {
  const Outcome out = run_hone("train " + recipe + " --quiet --out " + run + " " + more);
  INFO(out.err);
  REQUIRE(out.code == 0);
}

}  // namespace

TEST_CASE("where sampler and trainer choose alike, r2 and r3 are one run, and another than none") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir);
  for (const std::string mode : {"none", "r2", "r3"}) {
    train(recipe, dir / mode, "router_replay=" + mode);
    for (const Json& row : rows_of((dir / mode) + "/metrics.jsonl")) {
      if (row["step"] > 0) CHECK(row["logp_diff_max"] == 0);
    }
  }
  for (const char* file : {"/metrics.jsonl", "/experts.jsonl", "/model/model.safetensors"}) {
    INFO(file);
    CHECK((slurp(dir / "r2" + file) == slurp(dir / "r3" + file)));  // not written out: binary
  }
  CHECK(slurp(dir / "none/metrics.jsonl") != slurp(dir / "r3/metrics.jsonl"));
}

TEST_CASE("a run with replay resumes to the same bytes after a kill") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir), run = dir / "killed";
  train(recipe, dir / "whole", "router_replay=r3");
  const std::string call = std::string(HONE_BINARY) + " train " + recipe +
                           " router_replay=r3 --quiet --out " + run + " 2>/dev/null";
  // In the middle of the third step's updates, with a checkpoint of the second behind it.
  CHECK(std::system(("HONE_KILL_AT=update:10 sh -c '" + call + "'").c_str()) != 0);
  train(recipe, run, "router_replay=r3 --resume");
  for (const char* file : {"/metrics.jsonl", "/experts.jsonl", "/model/model.safetensors",
                           "/stages/01-z/rollouts/step-000004.jsonl",
                           "/stages/01-z/checkpoints/step-000004/optimizer.safetensors"}) {
    INFO(file);
    CHECK((slurp(run + file) == slurp(dir / "whole" + file)));
  }
}

TEST_CASE("a run writes the load of every expert, and of the busiest into its metrics") {
  const TemporaryDirectory dir;
  train(write_recipe(dir), dir / "run", "steps=2");
  const auto experts = rows_of(dir / "run/experts.jsonl"),
             metrics = rows_of(dir / "run/metrics.jsonl");
  REQUIRE(experts.size() == 2);
  REQUIRE(metrics.size() == 3);  // the first is the base's evaluation
  for (size_t i = 0; i < 2; ++i) {
    const Json& row = metrics[i + 1];
    CHECK(experts[i]["stage"] == "z");
    CHECK(experts[i]["step"] == row["step"]);
    REQUIRE(experts[i]["choices"].size() == 1);  // the first layer is dense
    const auto load = experts[i]["choices"]["1"].get<std::vector<double>>();
    REQUIRE(load.size() == 8);
    double sum = 0, most = 0;
    for (const double n : load) {
      sum += n;
      most = std::max(most, n);
    }
    CHECK(std::abs(row["experts/load_max"].get<double>() - most / sum * 8) < 1e-5);
    CHECK(row["experts/load_max_layer"] == 1);
    CHECK(std::abs(row["experts/load_max_share"].get<double>() - 2 * most / sum) < 1e-5);
    CHECK(row["experts/load_entropy"].get<double>() > 0.2);
    CHECK(row["experts/load_entropy"].get<double>() <= 1);
  }
}

TEST_CASE("a model without experts has none to replay, which shows before anything runs") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir);
  for (const std::string mode : {"r2", "r3"}) {
    const Outcome out = run_hone("train " + recipe + " --out " + (dir / "run") +
                                 " --quiet model=" + random_model() + " router_replay=" + mode);
    CHECK(out.code == 2);
    CHECK(one_line(out.err));
    CHECK(out.err.find("router_replay") != std::string::npos);
    CHECK(out.err.find("no experts") != std::string::npos);
  }
  CHECK(run_hone("train " + recipe + " --dry-run router_replay=r4").err.find("none, r2, r3") !=
        std::string::npos);
}

TEST_CASE("a stage that samples nothing refuses to replay routers") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir);
  for (const std::string kind : {"sft", "pretrain tokenizer=data/models/tiny-base"}) {
    const Outcome out = run_hone("train " + recipe + " --dry-run router_replay=r3 kind=" + kind);
    INFO(out.err);
    CHECK(out.code == 2);
    CHECK(one_line(out.err));
    CHECK(out.err.find("router_replay is of kind rl, found kind " + kind.substr(0, 3)) !=
          std::string::npos);
  }
}
