#include "train/diagnosis.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <functional>

namespace hone {
namespace {

using Row = std::map<std::string, double>;

// A run in which nothing is wrong: accuracy rises, entropy falls slowly.
Row healthy(int step) {
  return {{"reward", 0.3 + 0.01 * step},
          {"rewards/accuracy/mean", 0.3 + 0.01 * step},
          {"rewards/format/mean", 0.9},
          {"frac_reward_zero_std", 0.2},
          {"completions/clipped_ratio", 0.01},
          {"completions/mean_length", 100.0 + step},
          {"entropy", 1.0 - 0.01 * step},
          {"ratio/min", 0.9},
          {"ratio/max", 1.2},
          {"loss", 0.01},
          {"grad_norm", 0.5},
          {"kl", 0.01},
          {"verifier_errors", 0},
          {"no_answer", 1}};
}

// What is found over so many steps, in order.
std::vector<Finding> findings(int steps, const std::function<void(int, Row&)>& change) {
  Diagnosis diagnosis({"accuracy", "format", 8, 8});
  std::vector<Finding> all;
  for (int step = 1; step <= steps; ++step) {
    Row row = healthy(step);
    change(step, row);
    for (Finding& f : diagnosis.add(step, row)) all.push_back(std::move(f));
  }
  return all;
}

std::vector<std::string> keys(const std::vector<Finding>& findings) {
  std::vector<std::string> k;
  for (const Finding& f : findings) k.push_back(f.key);
  return k;
}

using Keys = std::vector<std::string>;

TEST_CASE("a run that goes well is left alone") {
  CHECK(findings(60, [](int, Row&) {}).empty());
}

TEST_CASE("each trouble is named once, by its figures, with something to try") {
  const struct {
    const char* key;
    std::function<void(int, Row&)> change;
  } troubles[] = {
      {"constant_reward",
       [](int, Row& r) {
         r["frac_reward_zero_std"] = 1;
         r["reward"] = 0;
       }},
      {"zero_variance",
       [](int step, Row& r) {
         r["frac_reward_zero_std"] = 0.9;
         r["reward"] = 0.01 * (step % 2);
       }},
      {"truncated", [](int, Row& r) { r["completions/clipped_ratio"] = 0.5; }},
      {"verifier_errors", [](int, Row& r) { r["verifier_errors"] = 20; }},
      {"no_answer", [](int, Row& r) { r["no_answer"] = 50; }},
      {"exploding_ratio", [](int, Row& r) { r["ratio/max"] = 1e4; }},
      {"exploding_kl", [](int step, Row& r) { r["kl"] = step; }},
      {"gradient_not_finite", [](int step, Row& r) { r["grad_norm"] = step == 3 ? NAN : 0.5; }},
      {"entropy_collapse", [](int step, Row& r) { r["entropy"] = step > 10 ? 0.01 : 1; }},
      {"sampler_mismatch", [](int, Row& r) { r["logp_diff_max"] = 3; }},
      {"expert_collapse", [](int, Row& r) { r["experts/load_max"] = 7; }},
      {"expert_collapse",  // few experts: none can have three times its share
       [](int, Row& r) {
         r["experts/load_max"] = 2;
         r["experts/load_entropy"] = 0.5;
       }},
      {"weak_base",
       [](int step, Row& r) {
         r["rewards/accuracy/mean"] = 0.02;
         r["rewards/format/mean"] = std::min(1.0, 0.1 * step);
         r["completions/mean_length"] = 50 + 3 * step;
       }},
      {"length_drift",
       [](int step, Row& r) {
         r["rewards/accuracy/mean"] = 0.3;
         r["completions/mean_length"] = 50 + 10 * step;
       }},
      {"reward_drift", [](int step, Row& r) { r["rewards/accuracy/mean"] = 0.5 - 0.01 * step; }},
      {"zero_loss",
       [](int, Row& r) {
         r["loss"] = 1e-9;
         r["ratio/min"] = r["ratio/max"] = 1;
       }},
  };
  for (const auto& trouble : troubles) {
    INFO(trouble.key);
    const auto found = findings(40, trouble.change);
    CHECK(keys(found) == Keys{trouble.key});
    for (const Finding& f : found) {
      CHECK(f.meaning.size() > 20);
      CHECK(f.advice.size() > 20);
    }
  }
}

TEST_CASE("shares are of the completions that were asked, also of groups asked anew") {
  CHECK(findings(10, [](int, Row& r) {
          r["no_answer"] = 50;
          r["dynamic_sampling/groups"] = 40;
        }).empty());
}

TEST_CASE("a state that passes is not reported") {
  CHECK(findings(40, [](int step, Row& r) {
          if (step % 5 != 0) r["completions/clipped_ratio"] = 0.9;
        }).empty());
}

TEST_CASE("the advice for groups without differences depends on which end they are at") {
  const auto with_accuracy = [](double accuracy) {
    return findings(8, [&](int step, Row& r) {
      r["frac_reward_zero_std"] = 0.9;
      r["rewards/accuracy/mean"] = accuracy;
      r["reward"] = accuracy + 0.001 * step;
    });
  };
  CHECK(with_accuracy(0.02)[0].advice.find("easier") != std::string::npos);
  CHECK(with_accuracy(0.98)[0].advice.find("harder") != std::string::npos);
}

}  // namespace
}  // namespace hone
