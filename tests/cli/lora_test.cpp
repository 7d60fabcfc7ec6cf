// Recipes with lora: what is trained, kept and left as it was.
#include <catch2/catch_test_macros.hpp>

#include "run_hone.h"

using namespace hone;
namespace fs = std::filesystem;

namespace {

std::string recipe_with(const TemporaryDirectory& dir, const std::string& more,
                        const std::string& lora = "{rank: 4}") {
  const std::string path = dir / "r.yaml";
  spill(path, "kind: rl\nname: z\nmodel: " + random_model() +
                  "\ndata: [{task: sum}]\nrewards: [{name: random}]\n"
                  "prompts_per_step: 2\ngroup_size: 4\nmax_tokens: 12\nsteps: 4\n"
                  "eval: {problems: 4, every: 2}\ndevice: cpu\nthreads: 1\n"
                  "objective: {preset: grpo, kl: {coef: 0.1}}\noptimizer: {lr: 0.05}\n"
                  "checkpoint: {every_steps: 2}\nlora: " +
                  lora + "\n" + more);
  return path;
}

std::string error_of(const std::string& recipe, const std::string& more = "") {
  const Outcome out = run_hone("train " + recipe + " --dry-run " + more);
  INFO(out.err);
  CHECK(out.code == 2);
  CHECK(one_line(out.err));
  return out.err;
}

bool says(const std::string& text, const std::string& word) {
  return text.find(word) != std::string::npos;
}

Json metrics_of(const std::string& run, size_t line) {
  std::istringstream lines(slurp(run + "/metrics.jsonl"));
  std::string text;
  for (size_t i = 0; i <= line; ++i) std::getline(lines, text);
  return Json::parse(text);
}

}  // namespace

TEST_CASE("an RL run with lora resumes to the same bytes after a kill, and leaves the base alone") {
  const TemporaryDirectory dir;
  const std::string recipe = recipe_with(dir, "");
  const std::string base = slurp(random_model() + "/model.safetensors");
  const Outcome whole = run_hone("train " + recipe + " --quiet --out " + (dir / "whole"));
  INFO(whole.err);
  REQUIRE(whole.code == 0);
  CHECK(slurp(random_model() + "/model.safetensors") == base);
  CHECK(metrics_of(dir / "whole", 4)["logp_diff_max"] == 0);
  CHECK(metrics_of(dir / "whole", 1)["kl"] == 0);  // B is zero: still the reference
  CHECK(metrics_of(dir / "whole", 4)["kl"] > 0);
  const std::string checkpoint = "/stages/01-z/checkpoints/step-000004";
  CHECK(fs::exists((dir / "whole") + checkpoint + "/adapter/adapter_model.safetensors"));
  CHECK_FALSE(fs::exists((dir / "whole") + checkpoint + "/model"));  // the base is not kept again

  const std::string run = dir / "killed";
  const std::string call =
      std::string(HONE_BINARY) + " train " + recipe + " --quiet --out " + run + " 2>/dev/null";
  CHECK(std::system(("HONE_KILL_AT=checkpoint_after_rename sh -c '" + call + "'").c_str()) != 0);
  REQUIRE(fs::exists(run + "/stages/01-z/checkpoints/step-000002"));
  REQUIRE(run_hone("train " + recipe + " --resume --quiet --out " + run).code == 0);
  for (const std::string& file :
       {std::string("/metrics.jsonl"), std::string("/model/model.safetensors"),
        std::string("/adapter/adapter_model.safetensors"),
        std::string("/adapter/adapter_config.json"),
        checkpoint + "/adapter/adapter_model.safetensors", checkpoint + "/optimizer.safetensors",
        std::string("/stages/01-z/rollouts/step-000004.jsonl")}) {
    INFO(file);
    REQUIRE(fs::exists(run + file));
    CHECK(slurp(run + file) == slurp((dir / "whole") + file));
  }
  CHECK_FALSE(fs::exists(run + "/stages/01-z/model/adapter"));  // it moved beside the model
}

TEST_CASE("an sft run with lora leaves a merged model that samples, and an adapter to begin with") {
  const TemporaryDirectory dir;
  const std::string path = dir / "s.yaml";
  spill(path,
        "kind: sft\nname: s\nmodel: " + random_model() +
            "\ndata: [{task: sum}]\nsteps: 3\nbatch_tokens: 256\ndevice: cpu\nthreads: 1\n"
            "optimizer: {lr: 0.02}\nlora: {rank: 2, alpha: 3, targets: [q_proj, down_proj]}\n");
  const Outcome out = run_hone("train " + path + " --quiet --out " + (dir / "run"));
  INFO(out.err);
  REQUIRE(out.code == 0);
  const Json config = Json::parse(slurp(dir / "run/adapter/adapter_config.json"));
  CHECK(config["r"] == 2);
  CHECK(config["lora_alpha"] == 3);
  CHECK(config["target_modules"] == Json{"down_proj", "q_proj"});
  CHECK(config["base_model_name_or_path"] == random_model());
  CHECK(slurp(dir / "run/model/model.safetensors") != slurp(random_model() + "/model.safetensors"));
  CHECK(run_hone("sample " + (dir / "run/model") + " --in - --device cpu --max-tokens 4",
                 "{\"prompt\": \"37\"}\n")
            .code == 0);

  // The adapter merges into the same weights, also that of the last checkpoint.
  for (const std::string& adapter :
       {dir / "run/adapter", dir / "run/stages/01-s/checkpoints/step-000003"}) {
    const Outcome alone = run_hone("sample " + adapter + " --in - --device cpu", "{}\n");
    CHECK(alone.code == 2);
    CHECK(says(alone.err, "hone export"));
    const std::string to = dir / ("out" + std::to_string(adapter.size()));
    const Outcome exported = run_hone("export " + adapter + " --out " + to);
    INFO(exported.err);
    REQUIRE(exported.code == 0);
    CHECK(slurp(to + "/model.safetensors") == slurp(dir / "run/model/model.safetensors"));
  }
  const std::string call = "export " + (dir / "run/adapter") + " --out " + (dir / "no");
  CHECK(run_hone(call + " --base " + (dir / "nothing")).code == 2);
  CHECK(run_hone("export " + random_model() + " --base x --out " + (dir / "no")).code == 2);

  // Begins where it ended: the first step's policy is not the reference.
  const std::string recipe = recipe_with(dir, "", "{from: " + (dir / "run/adapter") + "}");
  REQUIRE(run_hone("train " + recipe + " --quiet --out " + (dir / "on")).code == 0);
  CHECK(metrics_of(dir / "on", 1)["kl"] > 0);
  CHECK(Json::parse(slurp(dir / "on/adapter/adapter_config.json"))["target_modules"] ==
        config["target_modules"]);
}

TEST_CASE("an adapter of an earlier stage's model finds it again in its run") {
  const TemporaryDirectory dir;
  const std::string path = dir / "two.yaml";
  spill(path,
        "device: cpu\nthreads: 1\nstages:\n- {name: one, kind: sft, model: " + random_model() +
            ", data: [{task: sum}], steps: 2, batch_tokens: 128, optimizer: {lr: 0.02}}\n"
            "- {name: two, kind: sft, model: one, data: [{task: sum}], steps: 2,"
            " batch_tokens: 128, optimizer: {lr: 0.02}, lora: {rank: 2}}\n");
  const Outcome out = run_hone("train " + path + " --quiet --out " + (dir / "run"));
  INFO(out.err);
  REQUIRE(out.code == 0);
  CHECK_FALSE(fs::exists(dir / "run/stages/01-one/adapter"));
  const Outcome exported = run_hone("export " + (dir / "run/adapter") + " --out " + (dir / "out"));
  INFO(exported.err);
  REQUIRE(exported.code == 0);
  CHECK(slurp(dir / "out/model.safetensors") == slurp(dir / "run/model/model.safetensors"));
  fs::copy(dir / "run/adapter", dir / "elsewhere");
  const Outcome lost = run_hone("export " + (dir / "elsewhere") + " --out " + (dir / "no"));
  CHECK(lost.code == 2);
  CHECK(says(lost.err, "--base DIR"));
}

TEST_CASE("what lora cannot be combined with is refused in words") {
  const TemporaryDirectory dir;
  const auto with = [&](const std::string& lora, const std::string& overrides = "") {
    return error_of(recipe_with(dir, "", lora), overrides);
  };
  CHECK(says(with("{rank: -1}"), "lora.rank: expected at least 0"));
  CHECK(says(with("{alpha: 8}"), "lora.rank is missing"));
  CHECK(says(with("{rank: 4, alpha: 0}"), "lora.alpha"));
  CHECK(says(with("{rank: 4, from: x}"), "leave them out"));
  CHECK(says(with("{ranks: 4}"), "rank"));
  CHECK(says(with("{rank: 4}", "objective.kl.reference_refresh=2"), "reference_refresh"));
  CHECK(says(with("{rank: 4}", "experts.bias_speed=0.1"), "bias_speed"));
  CHECK(says(error_of("recipes/tiny-base.yaml", "lora.rank=4"), "pretrain"));
  const std::string unknown = recipe_with(dir, "", "{rank: 4, targets: [qproj]}");
  const Outcome out = run_hone("train " + unknown + " --quiet --out " + (dir / "run"));
  CHECK(out.code == 2);
  CHECK(says(out.err, "'qproj' cannot have adapters"));
  CHECK(says(run_hone("train " + recipe_with(dir, "", "{from: " + random_model() + "}") +
                      " --quiet --out " + (dir / "run"))
                 .err,
             "expected a PEFT adapter"));
  CHECK(says(run_hone("recipe keys").out, "lora.targets"));
}

TEST_CASE("a plan with lora counts gradients, masters and moments of the adapters alone") {
  const Outcome out =
      run_hone("plan recipes/qwen2.5-1.5b-math.yaml device=cuda lora.rank=16 --memory 139 --json");
  INFO(out.err);
  REQUIRE(out.code == 0);
  const size_t end = out.out.find_last_not_of('\n');
  const Json stage = Json::parse(out.out.substr(out.out.rfind('\n', end) + 1, end))["stages"][0];
  // Hidden 1536, 2 key-value heads of 128, inner width 8960: r (K + N) of each of the 28 layers.
  const int64_t layer = 2 * (1536 + 1536) + 2 * (1536 + 256) + 3 * (1536 + 8960);
  const int64_t trained = 16 * 28 * layer;
  CHECK(stage["trained_parameters"] == trained);
  CHECK(stage["bytes"]["weights"] == 2 * stage["parameters"].get<int64_t>());
  CHECK(stage["bytes"]["adapters"] == 2 * trained);
  CHECK(stage["bytes"]["float32 masters"] == 4 * trained);
  CHECK(stage["bytes"]["gradients"] == 4 * trained);
  CHECK(stage["bytes"]["moments"] == 8 * trained);
  CHECK_FALSE(stage["bytes"].contains("reference"));
  CHECK(says(out.out, "trained"));
}
