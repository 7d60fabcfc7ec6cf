// hone plan: what a recipe will need.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "run_hone.h"

using namespace hone;

namespace {

Json plan_of(const std::string& arguments) {
  const Outcome out = run_hone("plan " + arguments + " --json --memory 139");
  INFO(out.err);
  REQUIRE(out.code == 0);
  const std::string text = out.out.substr(0, out.out.find_last_not_of('\n') + 1);
  return Json::parse(text.substr(text.rfind('\n') + 1));
}

}  // namespace

TEST_CASE("a plan counts parameters exactly and what follows from them") {
  const Json plan = plan_of("recipes/qwen2.5-0.5b-gsm8k.yaml device=cuda");
  const Json stage = plan["stages"][0];
  const int64_t n = stage["parameters"].get<int64_t>();
  CHECK(n == 494032768);
  CHECK(stage["completions"] == 8192);  // the published batch
  CHECK(stage["bytes"]["weights"] == 2 * n);
  CHECK(stage["bytes"]["float32 masters"] == 4 * n);
  CHECK(stage["bytes"]["moments"] == 8 * n);
  CHECK(stage["bytes"]["reference"] == 2 * n);
  int64_t sum = 0;
  for (const auto& [kind, bytes] : stage["bytes"].items()) sum += bytes.get<int64_t>();
  CHECK(sum == stage["peak_bytes"]);
  // All of the cache is less than the half of what is free that the engine may take.
  CHECK(stage["bytes"]["key-value cache"] < stage["bytes"]["activations"]);
  CHECK(stage["least_bytes"] == stage["peak_bytes"]);
  CHECK(plan["fits"] == true);
}

TEST_CASE("where the cache is larger than the activations, as much as these will do for it") {
  const Json stage =
      plan_of("recipes/qwen2.5-0.5b-gsm8k.yaml device=cuda micro_batch_tokens=4096")["stages"][0];
  const auto bytes = [&](const char* kind) { return stage["bytes"][kind].get<int64_t>(); };
  REQUIRE(bytes("key-value cache") > bytes("activations"));
  CHECK(stage["least_bytes"].get<int64_t>() == stage["peak_bytes"].get<int64_t>() -
                                                   bytes("key-value cache") + bytes("activations") +
                                                   bytes("temporaries"));
}

TEST_CASE(
    "a plan counts the active parameters of experts, and a later stage has its model's shape") {
  const Json moe = plan_of("recipes/deepseek-v2-lite-small.yaml device=cuda")["stages"][0];
  CHECK(moe["active_parameters"] < moe["parameters"].get<int64_t>() / 2);
  const Json two = plan_of("recipes/kill.yaml device=cuda")["stages"];
  REQUIRE(two.size() == 2);
  CHECK(two[0]["parameters"] == two[1]["parameters"]);
}

TEST_CASE("what does not fit is exit 2 with what would help, and shorter completions need less") {
  const std::string recipe = "recipes/qwen2.5-3b-countdown.yaml device=cuda";
  const Outcome out = run_hone("plan " + recipe + " --memory 24");
  CHECK(out.code == 2);
  CHECK(one_line(out.err));
  CHECK(out.err.find("lora.rank=16 saves") != std::string::npos);
  const Outcome adapters = run_hone("plan " + recipe + " lora.rank=16 --memory 8");
  CHECK(adapters.code == 2);
  CHECK(adapters.err.find("micro_batch_tokens") != std::string::npos);
  CHECK(adapters.err.find("lora.rank") == std::string::npos);
  const auto peak = [&](const std::string& more) {
    return plan_of(recipe + " " + more)["stages"][0]["peak_bytes"].get<int64_t>();
  };
  CHECK(peak("max_tokens=256") < peak(""));
  CHECK(peak("micro_batch_tokens=4096") < peak(""));
  const Json bytes = plan_of(recipe)["stages"][0]["bytes"];
  const int64_t passes = bytes["activations"].get<int64_t>() + bytes["temporaries"].get<int64_t>();
  const int64_t smaller = std::min(passes, bytes["key-value cache"].get<int64_t>());
  CHECK(peak("release_cache=true") == peak("") - smaller);
}

TEST_CASE("a plan counts the form of the moments and layers that run again") {
  const std::string recipe = "recipes/qwen2.5-3b-countdown.yaml device=cuda ";
  const auto bytes = [&](const std::string& more) {
    const Json stage = plan_of(recipe + more)["stages"][0];
    CHECK(stage["recompute"] == (more.find("layers") == std::string::npos ? "none" : "layers"));
    return stage["bytes"];
  };
  const Json plain = bytes("recompute=none"), again = bytes("recompute=layers");
  const auto n = plain["moments"].get<int64_t>() / 8;
  CHECK(plain["moments"] == 8 * n);
  CHECK(bytes("recompute=none optimizer.moments=bfloat16")["moments"] == 4 * n);
  const double narrow = bytes("recompute=none optimizer.moments=int8")["moments"].get<double>() /
                        static_cast<double>(n);
  CHECK(narrow > 2.03);
  CHECK(narrow < 2.04);
  CHECK(again["activations"].get<int64_t>() < plain["activations"].get<int64_t>() / 2);
  CHECK(again["moments"] == plain["moments"]);
  // The results of two norms and of the gate: Qwen2.5-3B has 36 layers, 2,048 and 11,008 wide.
  const Json stage = plan_of(recipe + "recompute=selective")["stages"][0];
  CHECK(stage["recompute"] == "selective");
  CHECK(plain["activations"].get<int64_t>() - stage["bytes"]["activations"].get<int64_t>() ==
        2 * 36 * stage["micro_batch_tokens"].get<int64_t>() * (2 * 2048 + 11008));
  CHECK_FALSE(bytes("recompute=none optimizer.offload=true").contains("moments"));
}

TEST_CASE("as little is computed again as the plan needs to fit, and nothing on the CPU") {
  const std::string recipe = "plan recipes/qwen2.5-3b-countdown.yaml --json ";
  const auto stage = [&](const std::string& more, double gib) {
    const Outcome out = run_hone(recipe + more + " --memory " + std::to_string(gib));
    REQUIRE(out.code == 0);
    const std::string text = out.out.substr(0, out.out.find_last_not_of('\n') + 1);
    return Json::parse(text.substr(text.rfind('\n') + 1))["stages"][0];
  };
  double before = 1e9;
  for (const std::string recompute : {"none", "selective", "layers"}) {
    const double gib =
        stage("device=cuda recompute=" + recompute, 1000)["least_bytes"].get<double>() / (1 << 30);
    REQUIRE(gib + 0.02 < before);
    CHECK(stage("device=cuda", gib + 0.01)["recompute"] == recompute);
    CHECK(stage("device=cuda", before - 0.01)["recompute"] == recompute);
    before = gib;
  }
  const double host = stage("device=cpu", 1000)["least_bytes"].get<double>() / (1 << 30);
  CHECK(stage("device=cpu", host + 0.01)["recompute"] == "none");
}

TEST_CASE("a refusal names three changes, each with what it saves by itself") {
  const std::string recipe = "recipes/qwen2.5-3b-countdown.yaml device=cuda recompute=none ";
  const Outcome out = run_hone("plan " + recipe + " --memory 24");
  REQUIRE(out.code == 2);
  INFO(out.err);
  const auto least = [&](const std::string& more) {
    return plan_of(recipe + more)["stages"][0]["least_bytes"].get<double>();
  };
  const std::string mark = " saves ";
  int changes = 0;
  double before = 1e300;
  for (size_t at = out.err.find(mark); at != std::string::npos; at = out.err.find(mark, at + 1)) {
    const size_t begin = out.err.rfind(' ', at - 1) + 1;
    const std::string change = out.err.substr(begin, at - begin);
    const double saved = std::stod(out.err.substr(at + mark.size()));  // GiB, one digit
    INFO(change << " saves " << saved);
    CHECK(std::abs((least("") - least(change)) / (1 << 30) - saved) < 0.051);
    CHECK(saved <= before);
    before = saved;
    ++changes;
  }
  CHECK(changes == 3);
}

TEST_CASE("a plan in 8 bits counts both forms of its weights and says their share") {
  const std::string recipe = "recipes/qwen2.5-3b-countdown.yaml device=cuda fp8=true ";
  const Json bytes = plan_of(recipe)["stages"][0]["bytes"];
  // Of each of 36 layers: 16 query and 2 key heads of 128, 2,048 and 11,008 wide.
  const int64_t layer = (16 + 2 * 2) * 128 * 2048 + 2048 * 2048 + 3 * 2048 * 11008;
  CHECK(bytes["8-bit weights"] == 2 * 36 * layer);
  const Json plain = plan_of("recipes/qwen2.5-3b-countdown.yaml device=cuda")["stages"][0]["bytes"];
  CHECK_FALSE(plain.contains("8-bit weights"));
  if (plain.contains("reference")) {
    CHECK(bytes["reference"].get<int64_t>() - plain["reference"].get<int64_t>() == 2 * 36 * layer);
  }
  // The embedding is the head, the other 10% of 3.09 billion.
  const Outcome out = run_hone("plan " + recipe + "--memory 139");
  CHECK(out.out.find("(90% of what a token is multiplied with") != std::string::npos);
}
