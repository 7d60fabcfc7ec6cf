#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary.h"
#include "train/foreign_config.h"
#include "train/recipe.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace hone {
namespace {

using testing::TemporaryDirectory;

// The stage that the translation reads back as.
StageOptions stage_of(std::string text) {
  const TemporaryDirectory dir;
  const std::string file = dir.file("rewards.py", "def shouting(**k):\n  return []\n");
  if (const size_t at = text.find("python:FILE.py"); at != std::string::npos) {
    text.replace(at + 7, 7, file);  // what its note asks for
  }
  write_file_atomic(dir / "r.yaml", text);
  return read_recipe(dir / "r.yaml", {}).stages.at(0);
}

const char* const kTrl = R"(
model_name_or_path: Qwen/Qwen2.5-0.5B
dataset_name: trl-lib/DeepMath-103K
reward_funcs: [accuracy_reward, think_format_reward, my_rewards.shouting]
reward_weights: [1.0, 0.2, 0.5]
learning_rate: 2.0e-5
lr_scheduler_type: cosine
warmup_ratio: 0.1
max_steps: 200
per_device_train_batch_size: 16
gradient_accumulation_steps: 4
steps_per_generation: 8
num_generations: 16
num_iterations: 2
max_completion_length: 1024
max_prompt_length: 512
temperature: 0.9
loss_type: dr_grpo
scale_rewards: none
beta: 0.001
use_bias_correction_kl: false
sync_ref_model: true
repetition_penalty: 1.1
bf16: true
use_vllm: false
tools: [search]
)";

TEST_CASE("a GRPOConfig becomes a recipe that hone reads") {
  const std::string text = recipe_from_trl(kTrl, "grpo.yaml");
  INFO(text);
  const StageOptions s = stage_of(text);
  CHECK(s.model == "Qwen/Qwen2.5-0.5B");
  CHECK(s.group_size == 16);
  CHECK(s.prompts_per_step == 8);  // 16 x 8 completions of one process
  CHECK(s.minibatches == 2);
  CHECK(s.epochs == 2);
  CHECK(s.max_tokens == 1024);
  CHECK(s.max_prompt_tokens == 512);
  CHECK(s.steps == 50);  // of 2 x 2 updates each
  CHECK(s.sampling.temperature == 0.9);
  CHECK(s.optimizer.lr == 2e-5);
  CHECK(s.optimizer.schedule.kind == ScheduleKind::cosine);
  CHECK(s.optimizer.schedule.warmup == 5);
  CHECK(s.objective.aggregation == Aggregation::constant_length);
  CHECK(s.objective.length == 1024);
  CHECK(s.objective.advantage.scale == AdvantageScale::none);
  CHECK(s.objective.kl.coef == 0.001);
  CHECK(s.objective.kl.reference_refresh == 512);
  CHECK(s.objective.kl.reference_mix == 0.6);
  REQUIRE(s.rewards.size() == 3);
  CHECK(s.rewards[0].name == "math");
  CHECK(s.rewards[1].weight == 0.2);
  CHECK_THAT(text, ContainsSubstring("name: python:FILE.py:shouting"));
  CHECK(s.rewards[2].as == "shouting");
  // What has no counterpart is said.
  CHECK_THAT(text, ContainsSubstring("repetition_penalty"));
  CHECK_THAT(text, ContainsSubstring("tools"));
  CHECK_THAT(text, ContainsSubstring("dataset_name"));
  CHECK_THAT(text, !ContainsSubstring("bf16"));
}

TEST_CASE("a verl configuration becomes a recipe that hone reads") {
  const std::string text = recipe_from_verl(R"(
data: {train_files: gsm8k/train.parquet, train_batch_size: 512, max_prompt_length: 256, max_response_length: 2048}
algorithm: {adv_estimator: grpo, use_kl_in_reward: false}
actor_rollout_ref:
  model: {path: Qwen/Qwen2.5-3B}
  actor:
    ppo_mini_batch_size: 128
    clip_ratio_low: 0.2
    clip_ratio_high: 0.28
    loss_agg_mode: token-mean
    use_kl_loss: true
    kl_loss_coef: 0.001
    optim: {lr: 1.0e-6, weight_decay: 0.1}
    fsdp_config: {param_offload: false}
  rollout: {name: vllm, n: 8, temperature: 1.0, val_kwargs: {n: 4, temperature: 0.6}}
  ref: {log_prob_micro_batch_size_per_gpu: 4}
critic: {optim: {lr: 1.0e-5}}
trainer: {total_epochs: 15, save_freq: 20, test_freq: 5, n_gpus_per_node: 8}
)",
                                            "ppo.yaml");
  INFO(text);
  const StageOptions s = stage_of(text);
  CHECK(s.model == "Qwen/Qwen2.5-3B");
  CHECK(s.prompts_per_step == 512);
  CHECK(s.minibatches == 4);
  CHECK(s.group_size == 8);
  CHECK(s.max_tokens == 2048);
  CHECK(s.sampling.temperature == 1);
  CHECK(s.optimizer.lr == 1e-6);
  CHECK(s.objective.epsilon_high == 0.28);
  CHECK(s.objective.dual_clip == 3);
  CHECK(s.objective.aggregation == Aggregation::token_mean);
  CHECK(s.objective.kl.coef == 0.001);
  CHECK(s.objective.kl.cap == 10);
  CHECK(s.checkpoint.every_steps == 20);
  CHECK(s.eval.every == 5);
  CHECK_THAT(text, ContainsSubstring("total_epochs 15"));
  CHECK_THAT(text, ContainsSubstring("Parquet"));
}

TEST_CASE("verl's keys are told apart by their sections, nested or dotted") {
  const std::string text = recipe_from_verl(R"(
actor_rollout_ref.rollout.n: 8
actor_rollout_ref.rollout.val_kwargs.n: 1
actor_rollout_ref.actor.optim.lr: 2.0e-6
actor_rollout_ref.actor.optim.lr_warmup_steps_ratio: 0.1
actor_rollout_ref.actor.loss_agg_mode: seq-mean-token-sum-norm
actor_rollout_ref.actor.loss_scale_factor: 9999
critic.optim.lr: 1.0e-5
data.custom_cls: {path: null}
actor_rollout_ref.model.path: some/model
algorithm.adv_estimator: grpo
algorithm.filter_groups: {enable: true, max_num_gen_batches: 3}
reward_model.reward_kwargs.overlong_buffer_cfg.enable: false
)",
                                            "v.yaml");
  INFO(text);
  const StageOptions s = stage_of(text);
  CHECK(s.group_size == 8);
  CHECK(s.optimizer.lr == 2e-6);
  CHECK(s.model == "some/model");
  CHECK(s.dynamic_sampling == 3);
  CHECK(s.objective.length == 9999);
  CHECK_THAT(text, ContainsSubstring("lr_warmup_steps_ratio 0.1"));
}

TEST_CASE("verl's replay of routers and its optimizer's memory are the actor's, of either engine") {
  const auto stage_with = [](const std::string& actor) {
    return stage_of(recipe_from_verl(
        "actor_rollout_ref:\n  model: {path: some/model}\n"
        "  ref: {router_replay: {mode: R2}, fsdp_config: {optimizer_offload: true}}\n" +
            actor,
        "v.yaml"));
  };
  const StageOptions none = stage_with("  actor: {router_replay: {mode: disabled}}\n");
  CHECK(none.router_replay == RouterReplay::none);
  CHECK_FALSE(none.optimizer.offload);
  const StageOptions r2 = stage_with(
      "  actor:\n    router_replay: {mode: R2, record_file: null}\n"
      "    fsdp_config: {optimizer_offload: true, param_offload: true}\n");
  CHECK(r2.router_replay == RouterReplay::r2);
  CHECK(r2.optimizer.offload);
  const StageOptions r3 = stage_with(
      "  actor:\n    router_replay: {mode: disabled}\n"
      "    megatron: {router_replay: {mode: R3}, optimizer_offload: true}\n"
      "  rollout: {enable_rollout_routing_replay: true}\n");
  CHECK(r3.router_replay == RouterReplay::r3);
  CHECK(r3.optimizer.offload);
  CHECK_THAT(recipe_from_verl("actor_rollout_ref.actor.router_replay.mode: R7", "v.yaml"),
             ContainsSubstring("router_replay: mode 'R7' has no counterpart"));
}

TEST_CASE("what cannot be translated is said at its place, and what is no configuration refused") {
  const std::string gae = recipe_from_verl("{algorithm: {adv_estimator: gae}}", "ppo.yaml");
  CHECK_THAT(gae, ContainsSubstring("adv_estimator: 'gae' has no counterpart"));
  CHECK_THROWS_MATCHES(recipe_from_trl("[1, 2]", "x.yaml"), UserError,
                       MessageMatches(ContainsSubstring("x.yaml: expected a map")));
  CHECK_THROWS_MATCHES(
      recipe_from_trl("{epsilon: much}", "x.yaml"), UserError,
      MessageMatches(ContainsSubstring("x.yaml: config.trl.epsilon: expected a number")));
  CHECK_THROWS_AS(recipe_from_verl("{a: [", "x.yaml"), UserError);
}

}  // namespace
}  // namespace hone
