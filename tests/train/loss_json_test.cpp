#include "train/loss_json.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_floating_point.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>

#include "base/error.h"

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Catch::Matchers::WithinRel;

namespace hone {
namespace {

Json input(const std::string& config) {
  Json in = Json::parse(R"({"logp": [[-1, -2], [-0.5], [-1, -1, -1], [-2, -2]],
    "old_logp": [[-1.1, -2], [-0.4], [-1, -1.3, -0.5], [-2, -2.5]],
    "ref_logp": [[-1, -2.2], [-0.5], [-1.1, -1, -1], [-2, -1]],
    "mask": [[1, 1], [1], [1, 1, 0], [1, 1]],
    "rewards": [1, 0, null, 1], "group": [0, 0, 1, 1], "truncated": [false, false, false, true]})");
  in["config"] = Json::parse(config);
  return in;
}

TEST_CASE("the three vocabularies name the same objective") {
  const Json own = loss_from_json(input(
      R"({"preset": "dapo", "filters": [], "kl": {"coef": 0.1}, "advantage": {"scale": "none"}})"));
  const Json trl = loss_from_json(input(
      R"({"trl": {"loss_type": "dapo", "epsilon_high": 0.28, "beta": 0.1, "scale_rewards": false,
                  "use_bias_correction_kl": false}})"));
  const Json verl = loss_from_json(input(
      R"({"verl": {"adv_estimator": "grpo", "norm_adv_by_std_in_grpo": false, "use_kl_loss": true,
                   "clip_ratio_high": 0.28, "kl_loss_coef": 0.1, "clip_ratio_c": 1000}})"));
  CHECK(own["loss"] == trl["loss"]);
  CHECK(own["grad_logp"] == trl["grad_logp"]);
  CHECK(own["loss"] == verl["loss"]);
  CHECK(own["resolved"]["aggregation"] == "token_mean");
  CHECK(own["resolved"]["preset"] == "dapo");
  CHECK_FALSE(trl["resolved"].contains("preset"));
}

TEST_CASE("hone loss gives the numbers worked out by hand") {
  const Json out = loss_from_json(input(R"({"trl": {"loss_type": "grpo"}})"));
  const double a = 0.5 / (std::sqrt(0.5) + 1e-4);
  CHECK_THAT(out["advantages"][0].get<double>(), WithinRel(a, 1e-14));
  CHECK(out["advantages"][2] == 0.0);  // null
  CHECK(out["advantages"][3] == 0.0);  // alone with a null
  // row 0: ratios e^.1, 1 and A > 0; row 1: ratio e^-.1 and A < 0
  const double loss = (-(std::exp(0.1) + 1) / 2 * a + std::exp(-0.1) * a) / 4;
  CHECK_THAT(out["loss"].get<double>(), WithinRel(loss, 1e-14));
  CHECK_THAT(out["grad_logp"][0][1].get<double>(), WithinRel(-a / 8, 1e-14));
  CHECK(out["grad_logp"][2][2] == 0.0);
  CHECK(out["metrics"]["frac_reward_zero_std"] == 0.5);
  CHECK(out["metrics"]["completions/mean_length"] == 7.0 / 4);
  CHECK(out["metrics"]["completions/clipped_ratio"] == 0.25);
  CHECK_FALSE(out.contains("grad_entropy"));
}

TEST_CASE("dr_grpo divides by its constant length") {
  const Json a =
      loss_from_json(input(R"({"trl": {"loss_type": "dr_grpo", "max_completion_length": 10}})"));
  const Json b =
      loss_from_json(input(R"({"trl": {"loss_type": "dr_grpo", "max_completion_length": 20}})"));
  CHECK_THAT(a["loss"].get<double>(), WithinRel(2 * b["loss"].get<double>(), 1e-14));
}

TEST_CASE("rewards by name are weighted and nulls left out") {
  Json in = Json::parse(R"({"logp": [[-1], [-1], [-1]],
    "rewards": {"right": [1, 0, null], "form": [1, null, null]}, "reward_weights": [1, 0.5],
    "config": {"advantage": {"scale": "none"}}})");
  const Json out = loss_from_json(in);
  CHECK_THAT(out["advantages"][0].get<double>(), WithinRel(0.75, 1e-14));
  CHECK(out["advantages"][2] == 0.0);
  CHECK(out["metrics"]["rewards/right/mean"] == 0.5);
  in["reward_weights"] = Json::parse(R"({"form": 0.5})");
  CHECK(loss_from_json(in) == out);
}

TEST_CASE("advantages may be given, by completion or by token") {
  Json in = Json::parse(R"({"logp": [[-1, -1]], "advantages": [2]})");
  const Json by_row = loss_from_json(in);
  in["advantages"] = Json::parse("[[2, 2]]");
  CHECK(loss_from_json(in)["grad_logp"] == by_row["grad_logp"]);
  CHECK(by_row["loss"] == -2.0);
}

TEST_CASE("the entropy bonus has a gradient of its own") {
  Json in = Json::parse(R"({"logp": [[-1, -1]], "entropy": [[0.5, 1.5]], "advantages": [0],
                            "config": {"entropy_coef": 0.1}})");
  const Json out = loss_from_json(in);
  CHECK(out["grad_entropy"] == Json::parse("[[-0.05, -0.05]]"));
  CHECK_THAT(out["loss"].get<double>(), WithinRel(-0.1, 1e-14));
}

TEST_CASE("a KL in the reward moves the advantages") {
  Json in = Json::parse(R"({"logp": [[-1], [-1]], "ref_logp": [[-2], [-1]], "rewards": [1, 1],
    "config": {"advantage": {"scale": "none"}, "kl": {"coef": 0.5, "place": "reward", "estimator": "k1"}}})");
  CHECK(loss_from_json(in)["advantages"] == Json::parse("[-0.25, 0.25]"));
}

TEST_CASE("what is unsupported or wrong is named") {
  const auto refuses = [](const Json& in, const std::string& what) {
    INFO(what);
    CHECK_THROWS_MATCHES(loss_from_json(in), UserError, MessageMatches(ContainsSubstring(what)));
  };
  refuses(input(R"({"trl": {"loss_type": "sapoo"}})"), "config.trl.loss_type: expected grpo");
  refuses(input(R"({"trl": {"top_entropy_quantile": 0.2}})"), "entropy: needed");
  refuses(input(R"({"trl": {"use_vllm": true}})"), "sampler_logp: needed");
  Json drawn = input(R"({"clip_cov": {"share": 0.5}})");
  drawn["seed"] = "x";
  refuses(drawn, "seed: expected a whole number");
  refuses(input(R"({"kl": {"coef": -0.1}})"), "kl.coef: expected >= 0");
  refuses(input(R"({"verl": {"adv_estimator": "grpo", "rollout_rs": "token_k1"}})"), "rollout_rs");
  refuses(input(R"({"trl": {"epsilom": 0.2}})"), "did you mean 'epsilon'");
  refuses(input(R"({"trl": {"delta": "x"}})"), "config");
  refuses(input(R"({"verl": {}})"), "adv_estimator");
  refuses(input(R"({"verl": {"adv_estimator": "grpo", "clip_ratio": 0.1}})"), "clip_ratio_low");
  refuses(input(R"({"preset": "gpro"})"), "did you mean 'grpo'");
  refuses(input(R"({"entropy_coef": 0.1})"), "entropy: needed");
  refuses(input(R"({"preset": "dr_grpo"})"), "config.length");
  Json in = input("{}");
  in["ref_logp"] = nullptr;
  in["config"]["kl"]["coef"] = 1;
  refuses(in, "ref_logp: needed");
  in = input("{}");
  in["mask"][1] = Json::parse("[1, 1]");
  refuses(in, "mask[1]");
  in = input("{}");
  in["old_lgp"] = 1;
  refuses(in, "did you mean 'old_logp'");
  in = input("{}");
  in["group"] = Json::parse("[1]");
  refuses(in, "group: expected a list of 4");
  in = input("{}");
  in.erase("rewards");
  refuses(in, "rewards");
}

}  // namespace
}  // namespace hone
