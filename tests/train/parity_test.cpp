// `hone loss` against what TRL and verl compute themselves (scripts/golden/trl_objective.py and
// verl_objective.py). A line is {name, input, loss, grad_logp, advantages, grad_entropy, why}.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "train/loss_json.h"

namespace hone {
namespace {

using Matrix = std::vector<std::vector<double>>;

struct Tolerance {
  double loss;      // relative to the loss, or to the sum of |gradient| where its terms cancel
  double gradient;  // relative to the largest of its row
};

// Of the largest of all rows: below it a row is rounding, as where a reward is its group's mean.
constexpr double kNothing = 1e-7;

double largest(const std::vector<double>& row) {
  double most = 0;
  for (double x : row) most = std::max(most, std::abs(x));
  return most;
}

// Never of NaN.
bool near(double a, double b, double distance) { return std::abs(a - b) <= distance; }

std::string differs(const std::string& what, double ours, double theirs) {
  return cat(what, ": ", ours, ", expected ", theirs, ", off by ", ours - theirs);
}

// What is first out of tolerance; empty if nothing is.
std::string compare(const std::string& what, const Matrix& ours, const Matrix& theirs,
                    double tolerance) {
  if (ours.size() != theirs.size()) return what + ": another number of rows";
  double most = 0;
  for (const std::vector<double>& row : theirs) most = std::max(most, largest(row));
  for (size_t i = 0; i < theirs.size(); ++i) {
    const std::string where = cat(what, "[", i, "]");
    if (ours[i].size() != theirs[i].size()) return where + ": another length";
    const double scale = std::max(largest(theirs[i]), kNothing * most);
    for (size_t t = 0; t < theirs[i].size(); ++t) {
      if (!near(ours[i][t], theirs[i][t], tolerance * scale)) {
        return differs(cat(where, "[", t, "]"), ours[i][t], theirs[i][t]);
      }
    }
  }
  return "";
}

// Advantages as [N][T] whichever way they are written; 0 where the mask is, which is not compared.
Matrix by_token(const Json& advantages, const Json& input) {
  Matrix matrix;
  for (size_t i = 0; i < advantages.size(); ++i) {
    std::vector<double>& row = matrix.emplace_back();
    for (size_t t = 0; t < input["logp"][i].size(); ++t) {
      const Json& a = advantages[i].is_array() ? advantages[i][t] : advantages[i];
      row.push_back(input["mask"][i][t] == 0 ? 0.0 : a.get<double>());
    }
  }
  return matrix;
}

// One row, so that every advantage is measured by the largest of the step.
Matrix in_one_row(const Matrix& matrix) {
  Matrix flat(1);
  for (const std::vector<double>& row : matrix) {
    flat[0].insert(flat[0].end(), row.begin(), row.end());
  }
  return flat;
}

std::string compare(const Json& ours, const Json& theirs, const Tolerance& tolerance) {
  const Json& input = theirs["input"];
  const Matrix gradient = theirs["grad_logp"].get<Matrix>();
  double sum = 0;
  for (const std::vector<double>& row : gradient) {
    for (double x : row) sum += std::abs(x);
  }
  const double loss = theirs["loss"].get<double>();
  const double our_loss = ours["loss"].get<double>();
  if (!near(our_loss, loss, tolerance.loss * std::max(std::abs(loss), sum))) {
    return differs("loss", our_loss, loss);
  }
  std::string found =
      compare("grad_logp", ours["grad_logp"].get<Matrix>(), gradient, tolerance.gradient);
  if (found.empty() && theirs.contains("grad_entropy")) {
    if (!ours.contains("grad_entropy")) return "grad_entropy: none";
    found = compare("grad_entropy", ours["grad_entropy"].get<Matrix>(),
                    theirs["grad_entropy"].get<Matrix>(), tolerance.gradient);
  }
  if (found.empty() && theirs.contains("advantages")) {
    found = compare("advantages", in_one_row(by_token(ours["advantages"], input)),
                    in_one_row(by_token(theirs["advantages"], input)), tolerance.gradient);
  }
  return found;
}

std::string compare(const Json& golden, const Tolerance& tolerance) {
  try {
    return compare(loss_from_json(golden["input"]), golden, tolerance);
  } catch (const UserError& e) {
    return cat("refused: ", e.what());
  }
}

// What verl has and hone says that it has not.
bool has_no_counterpart(const Json& config) {
  const Json verl = config.value("verl", Json::object());
  return verl.contains("rollout_rs") || verl.contains("bypass_mode") ||
         verl.contains("rollout_is_batch_normalize");
}

void compare_all(const std::string& file, const Tolerance& tolerance) {
  int64_t agreed = 0, wrong = 0;
  for_each_line(HONE_TEST_DIR "/train/golden/" + file, [&](int64_t, const std::string& line) {
    const Json golden = Json::parse(line);
    const std::string name = golden["name"];
    const std::string found = compare(golden, tolerance);
    INFO(name);
    if (has_no_counterpart(golden["input"]["config"])) {
      CHECK(found.starts_with("refused: config.verl."));
    } else if (name.starts_with("trap_")) {
      INFO(golden["why"].get<std::string>());
      CHECK(found != "");
      const bool refused =
          name.find("delta") != std::string::npos || name == "trap_clip_ratio_alone";
      CHECK(found.starts_with("refused") == refused);
      ++wrong;
    } else {
      CHECK(found == "");
      ++agreed;
    }
  });
  CHECK(agreed > 100);
  CHECK(wrong > 0);
}

TEST_CASE("hone loss agrees with TRL on loss, gradient and advantages, and not where it is wrong") {
  compare_all("trl_objective.jsonl", {1e-9, 1e-8});
}

// verl adds 1e-8 to the counts of tokens that it divides by, hone does not: up to 1e-8 of a
// completion with one token, in its mean and in the exponent of a geometric mean.
TEST_CASE(
    "hone loss agrees with verl on loss, gradient and advantages, and not where it is wrong") {
  compare_all("verl_objective.jsonl", {2e-8, 2e-8});
}

}  // namespace
}  // namespace hone
