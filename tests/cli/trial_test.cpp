// hone train --random-weights, and pretraining of a model with experts, as they are called.
#include <catch2/catch_test_macros.hpp>

#include "run_hone.h"

using namespace hone;

namespace {

std::vector<Json> rows_of(const std::string& path) {
  std::vector<Json> rows;
  std::istringstream lines(slurp(path));
  for (std::string line; std::getline(lines, line);) rows.push_back(Json::parse(line));
  return rows;
}

// Whether anything below the run is weights.
bool has_weights(const std::string& run) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run)) {
    if (entry.path().extension() == ".safetensors" || entry.path().filename() == "model") {
      return true;
    }
  }
  return false;
}

void check_trial(const std::string& run, const Outcome& outcome, size_t steps) {
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  const auto metrics = rows_of(run + "/metrics.jsonl");
  size_t updates = 0;
  for (const Json& row : metrics) {
    if (!row.contains("grad_norm")) continue;
    ++updates;
    CHECK(row["grad_norm"].get<double>() > 0);
    CHECK(row["reward_std"].get<double>() > 0);
  }
  CHECK(updates == steps);
  CHECK_FALSE(has_weights(run));
}

// A small shape instead of a recipe's, and few tokens.
const char* kSmall =
    " prompts_per_step=4 max_tokens=16 shape.hidden=32 shape.layers=2 shape.heads=2"
    " shape.kv_heads=2 shape.head_dim=16 shape.intermediate=64 shape.vocab_size=512"
    " device=cpu threads=1 --random-weights --quiet --out ";

}  // namespace

TEST_CASE("a recipe's trial with random weights updates and keeps no model") {
  const TemporaryDirectory dir;
  const std::string run = dir / "run";
  const Outcome o = run_hone("train recipes/qwen2.5-0.5b-gsm8k.yaml steps=3" + (kSmall + run));
  check_trial(run, o, 3);
}

TEST_CASE("a trial of latent attention and experts reports their load") {
  const TemporaryDirectory dir;
  const std::string run = dir / "run";
  const Outcome o = run_hone(
      "train recipes/deepseek-v2-lite-small.yaml steps=2 shape.kv_lora_rank=16"
      " shape.qk_nope_head_dim=16 shape.qk_rope_head_dim=8 shape.v_head_dim=16"
      " shape.n_routed_experts=8 shape.num_experts_per_tok=2"
      " shape.moe_intermediate_size=16" +
      (kSmall + run));
  check_trial(run, o, 2);
  for (const Json& row : rows_of(run + "/metrics.jsonl")) {
    if (!row.contains("grad_norm")) continue;
    CHECK(row["experts/load_max"].get<double>() >= 1);
    CHECK(row["experts/load_min"].get<double>() <= 1);
    CHECK(row["experts/balance"].get<double>() > 0);
  }
}

TEST_CASE("a trial takes the shape of a directory that has a config and no weights") {
  const TemporaryDirectory dir;
  for (const auto& file : std::filesystem::directory_iterator(random_model())) {
    if (file.path().extension() == ".safetensors") continue;
    std::filesystem::create_directories(dir / "model");
    std::filesystem::copy_file(file, dir / ("model/" + file.path().filename().string()));
  }
  spill(dir / "r.yaml", "kind: rl\nname: z\nmodel: " + (dir / "model") +
                            "\ndata: [{task: sum}]\nrewards: [{name: math}]\n");
  const std::string call = "train " + (dir / "r.yaml") +
                           " steps=2 prompts_per_step=4 max_tokens=8 device=cpu threads=1 --quiet";
  check_trial(dir / "run", run_hone(call + " --random-weights --out " + (dir / "run")), 2);
  const Outcome in_earnest = run_hone(call + " --out " + (dir / "earnest"));
  CHECK(in_earnest.code == 2);
  CHECK(one_line(in_earnest.err));
}

TEST_CASE("pretraining a model with experts and a prediction module logs both") {
  const TemporaryDirectory dir;
  spill(
      dir / "r.yaml",
      "kind: pretrain\nname: base\ntokenizer: data/models/tiny-base\nsteps: 3\n"
      "batch_tokens: 512\ndata: [{task: sum}]\noptimizer: {lr: 0.001}\n"
      "experts: {coef: 1e-4, bias_speed: 1e-3, predict_coef: 0.3}\n"
      "shape: {family: deepseek_v3, hidden: 32, layers: 2, heads: 2, kv_heads: 2, intermediate: 64,"
      " max_positions: 16777216, kv_lora_rank: 16, q_lora_rank: 'null', qk_nope_head_dim: 16,"
      " qk_rope_head_dim: 64, v_head_dim: 16, n_routed_experts: 8, num_experts_per_tok: 2,"
      " n_group: 2, topk_group: 1, n_shared_experts: 1, moe_intermediate_size: 16,"
      " first_k_dense_replace: 1, num_nextn_predict_layers: 1}\n");
  const Outcome o = run_hone("train " + (dir / "r.yaml") + " device=cpu threads=1 --quiet --out " +
                             (dir / "run"));
  INFO(o.err);
  REQUIRE(o.code == 0);
  size_t steps = 0;
  for (const Json& row : rows_of(dir / "run/metrics.jsonl")) {
    if (!row.contains("grad_norm")) continue;
    ++steps;
    CHECK(row["predict_loss"].get<double>() > 0);
    CHECK(row["experts/load_max"].get<double>() >= 1);
    CHECK(row["experts/load_min"].get<double>() <= 1);
    CHECK(row["experts/balance"].get<double>() > 0);
  }
  CHECK(steps == 3);

  SECTION("and a context of sixteen million positions takes no memory for what is not there") {
    for (const Json& row : rows_of(dir / "run/timing.jsonl")) {
      if (row.contains("memory_peak")) CHECK(row["memory_peak"].get<double>() < 2e9);
    }
    const std::string prompt = "{\"prompt\": \"Q: 1+2\\nA:\"}\n";
    const std::string more = " --in - --device cpu --max-tokens 12 --temperature 0";
    const Outcome large = run_hone("sample " + (dir / "run/model") + more, prompt);
    REQUIRE(large.code == 0);
    Json config = Json::parse(slurp(dir / "run/model/config.json"));
    CHECK(config["max_position_embeddings"] == 16777216);
    config["max_position_embeddings"] = 64;
    spill(dir / "run/model/config.json", config.dump());
    CHECK(run_hone("sample " + (dir / "run/model") + more, prompt).out == large.out);
  }
}
