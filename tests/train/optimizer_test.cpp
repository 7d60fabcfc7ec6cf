#include "train/optimizer.h"

#include <ATen/ATen.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "small_trainer.h"

namespace hone {
namespace {

using testing::trainable_model;

std::vector<double> doubles(const at::Tensor& t) {
  const at::Tensor d = t.to(at::kDouble).contiguous();
  return {d.const_data_ptr<double>(), d.const_data_ptr<double>() + d.numel()};
}

}  // namespace

TEST_CASE("AdamW is the textbook's, in double") {
  const auto model = trainable_model();
  WeightArena& weights = model->weights();
  OptimizerOptions o;
  o.betas = {0.9, 0.95};
  o.weight_decay = 0.1;
  o.clip_norm = 50;
  Optimizer optimizer(o, weights);
  std::vector<double> w = doubles(weights.master()), m(w.size()), v(w.size());
  at::manual_seed(1);
  for (int t = 1; t <= 4; ++t) {
    const double lr = 1e-2 / t;
    weights.grad().copy_(at::randn({weights.numel()}) * (t == 3 ? 2.0 : 0.1));
    std::vector<double> g = doubles(weights.grad());
    double norm = 0;
    for (double x : g) norm += x * x;
    norm = std::sqrt(norm);
    CHECK((t == 3) == (norm > o.clip_norm));  // the third is clipped
    CHECK(std::fabs(optimizer.step(lr) - norm) < 1e-4 * norm);
    const double scale = norm > o.clip_norm ? o.clip_norm / norm : 1;
    for (size_t i = 0; i < w.size(); ++i) {
      m[i] = 0.9 * m[i] + 0.1 * scale * g[i];
      v[i] = 0.95 * v[i] + 0.05 * scale * g[i] * scale * g[i];
      const double mhat = m[i] / (1 - std::pow(0.9, t)), vhat = v[i] / (1 - std::pow(0.95, t));
      w[i] -= lr * (mhat / (std::sqrt(vhat) + o.eps) + o.weight_decay * w[i]);
    }
    CHECK(weights.grad().abs().max().item<double>() == 0);
  }
  double worst = 0;
  const std::vector<double> ours = doubles(weights.master());
  for (size_t i = 0; i < w.size(); ++i) worst = std::max(worst, std::fabs(ours[i] - w[i]));
  CHECK(worst < 2e-6);
  CHECK(optimizer.updates() == 4);
}

TEST_CASE("on the GPU AdamW in one pass is the CPU's, with moments of each form") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  for (const MomentForm form : {MomentForm::float32, MomentForm::bfloat16, MomentForm::int8}) {
    INFO("form " << static_cast<int>(form));
    const auto host = trainable_model();
    Transformer device(host->config(), {at::Device(at::kCUDA, 0), at::kFloat, true});
    device.weights().master().copy_(host->weights().master());
    OptimizerOptions o;
    o.weight_decay = 0.1;
    o.clip_norm = 50;
    o.moments = form;
    Optimizer on_host(o, host->weights()), on_device(o, device.weights());
    at::manual_seed(1);
    for (int t = 1; t <= 5; ++t) {
      const at::Tensor g = at::randn({host->weights().numel()}) * (t == 3 ? 2.0 : 0.1);
      if (t == 4) g[7] = std::numeric_limits<float>::infinity();
      host->weights().grad().copy_(g);
      device.weights().grad().copy_(g);
      const double expected = on_host.step(1e-2), norm = on_device.step(1e-2);
      CHECK((t == 4 ? !std::isfinite(norm) : std::fabs(norm - expected) < 1e-5 * expected));
      CHECK(device.weights().grad().abs().max().item<double>() == 0);
    }
    // A code that falls to the other neighbour moves a weight by a part of the rate.
    const double far =
        (device.weights().master().cpu() - host->weights().master()).abs().max().item<double>();
    CHECK(far < (form == MomentForm::float32 ? 2e-6 : 2e-3));
    const auto expected = on_host.state(), actual = on_device.state();
    for (size_t i = 0; i < expected.size(); ++i) {
      const at::Tensor a = actual[i].second.cpu().to(at::kFloat),
                       b = expected[i].second.to(at::kFloat);
      // Where a moment nearly cancels, its rounding is that of what it came from.
      const at::Tensor allowed = 1e-5 * b.abs() + 1e-7 * b.abs().max();
      CHECK(((a - b).abs() > allowed).to(at::kDouble).mean().item<double>() < 1e-3);
    }
  }
}

TEST_CASE("Muon's update of a matrix is close to orthogonal, each projection for itself") {
  const auto model = trainable_model();
  WeightArena& weights = model->weights();
  OptimizerOptions o;
  o.name = "muon";
  o.clip_norm = 0;
  Optimizer optimizer(o, weights);
  at::manual_seed(2);
  weights.grad().copy_(at::randn({weights.numel()}));
  const at::Tensor before = weights.master().clone();
  const double lr = 1e-2;
  optimizer.step(lr);
  int matrices = 0;
  for (const NamedTensor& t : weights.tensors()) {
    const at::Tensor change = WeightArena::view(before, t) - WeightArena::view(weights.master(), t);
    INFO(t.name);
    if (t.name.find(".layers.") == std::string::npos || t.shape.size() == 1) {
      // AdamW: the first step moves every weight by lr.
      CHECK(std::fabs(change.abs().max().item<double>() - lr) < 1e-4 * lr + 1e-6);
      continue;
    }
    ++matrices;
    const double scale =
        0.2 * std::sqrt(static_cast<double>(std::max(change.size(0), change.size(1))));
    const at::Tensor singular = std::get<1>(at::linalg_svd(change / (lr * scale), false));
    CHECK(singular.min().item<double>() > 0.6);
    CHECK(singular.max().item<double>() < 1.3);
  }
  CHECK(matrices == 2 * 7);  // q, k, v, o, gate, up, down of two layers
}

TEST_CASE("narrow moments are refused with Muon, and in words") {
  OptimizerOptions o;
  o.name = "muon";
  o.moments = MomentForm::int8;
  try {
    OptionWriter::write(o);
    FAIL("not refused");
  } catch (const UserError& error) {
    CHECK(std::string(error.what()).find("optimizer.moments") != std::string::npos);
  }
}

TEST_CASE("a gradient that is not finite leaves the weights as they are") {
  for (const char* name : {"adamw", "muon"}) {
    const auto model = trainable_model();
    WeightArena& weights = model->weights();
    OptimizerOptions o;
    o.name = name;
    o.weight_decay = 0.1;
    Optimizer optimizer(o, weights);
    const at::Tensor before = weights.master().clone();
    weights.grad()[5] = std::numeric_limits<float>::quiet_NaN();
    CHECK_FALSE(std::isfinite(optimizer.step(1e-2)));
    CHECK(weights.master().equal(before));
    CHECK(weights.grad().abs().max().item<double>() == 0);
  }
}

}  // namespace hone
