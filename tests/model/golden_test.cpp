// Our forward pass against what transformers computes (scripts/golden/dump_transformers.py).
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "base/file.h"
#include "small_models.h"

namespace hone {
namespace {

using testing::batch_of;
using testing::golden;

constexpr double kTolerance = 2e-5;  // of float32 sums in another order
const char* const kModels[] = {"llama-tiny", "llama-tiny-tied"};

Json expected_of(const std::string& model) {
  return Json::parse(read_file(golden(model) + "/expected.json"));
}

}  // namespace

TEST_CASE("logits are those of transformers") {
  const at::NoGradGuard no_grad;
  for (const std::string name : kModels) {
    const auto model = load_model(golden(name), ModelPlace{});
    double worst = 0;
    const Json expected = expected_of(name);
    REQUIRE(!expected["sequences"].empty());
    for (const Json& s : expected["sequences"]) {
      const auto ids = s["ids"].get<std::vector<int64_t>>();
      const at::Tensor logits = model->logits(model->forward(batch_of(ids)));
      for (size_t i = 0; i < s["positions"].size(); ++i) {
        const auto wanted = s["logits"][i].get<std::vector<double>>();
        const at::Tensor row = logits.select(0, s["positions"][i].get<int64_t>());
        REQUIRE(row.numel() == static_cast<int64_t>(wanted.size()));
        const at::Tensor difference = row.to(at::kDouble) - at::tensor(wanted, at::kDouble);
        worst = std::max(worst, difference.abs().max().item<double>());
      }
    }
    INFO(name);
    CHECK(worst < kTolerance);
  }
}

TEST_CASE("log-probabilities are those of transformers, alone and packed side by side") {
  const at::NoGradGuard no_grad;
  for (const std::string name : kModels) {
    INFO(name);
    const auto model = load_model(golden(name), ModelPlace{});
    const Json expected = expected_of(name);
    std::vector<int64_t> tokens, positions, rows, targets;
    std::vector<double> wanted;
    ForwardBatch packed;
    for (const Json& s : expected["sequences"]) {
      const auto ids = s["ids"].get<std::vector<int64_t>>();
      const auto begin = static_cast<int64_t>(tokens.size());
      packed.segments.push_back({begin, static_cast<int64_t>(ids.size()), 0, 0});
      for (size_t t = 0; t < ids.size(); ++t) {
        tokens.push_back(ids[t]);
        positions.push_back(static_cast<int64_t>(t));
        if (t == 0) continue;
        rows.push_back(begin + static_cast<int64_t>(t) - 1);
        targets.push_back(ids[t]);
        wanted.push_back(s["logprobs"][t].get<double>());
      }
      if (ids.size() < 2) continue;
      const auto n = static_cast<int64_t>(ids.size()) - 1;
      const at::Tensor hidden = model->forward(batch_of(ids)).narrow(0, 0, n);
      const at::Tensor alone =
          model->log_probs(hidden, at::tensor(ids, at::kLong).narrow(0, 1, n)).logp;
      const std::vector<double> own(wanted.end() - n, wanted.end());
      const at::Tensor difference = alone.to(at::kDouble) - at::tensor(own, at::kDouble);
      CHECK(difference.abs().max().item<double>() < kTolerance);
    }
    packed.tokens = at::tensor(tokens, at::kLong);
    packed.positions = at::tensor(positions, at::kLong);
    const at::Tensor hidden = model->forward(packed).index_select(0, at::tensor(rows, at::kLong));
    const at::Tensor logp = model->log_probs(hidden, at::tensor(targets, at::kLong)).logp;
    const at::Tensor difference = logp.to(at::kDouble) - at::tensor(wanted, at::kDouble);
    CHECK(difference.abs().max().item<double>() < kTolerance);
  }
}

}  // namespace hone
