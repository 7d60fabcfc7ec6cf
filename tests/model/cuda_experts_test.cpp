// Experts on the GPU against the same experts on the CPU, with given choices: forward and backward.
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch_test_macros.hpp>

#include "small_models.h"

namespace hone {
namespace {

using at::Tensor;

constexpr int64_t kTokens = 97, kHidden = 72, kWidth = 40, kExperts = 6, kUnused = 4;

struct Layer {
  ModelConfig config;
  WeightArena arena;
  ops::ExpertWeights weights;

  Layer(at::Device device, at::ScalarType type, int64_t per_token) {
    config.hidden = kHidden;
    config.experts.count = kExperts;
    config.experts.per_token = per_token;
    config.experts.intermediate = kWidth;
    std::vector<int64_t> up, down;
    for (int64_t i = 0; i <= kExperts; ++i) {
      up.push_back(i * 2 * kWidth);
      down.push_back(i * kHidden);
    }
    weights.router = arena.add_matrix({{"router", {kExperts}}}, kHidden);
    weights.gate_up = arena.add_matrix({{"up", {up.back()}}}, kHidden, up);
    weights.down = arena.add_matrix({{"down", {down.back()}}}, kWidth, down);
    weights.number = 0;
    arena.allocate(device, type, true);
    at::manual_seed(11);
    arena.master().copy_((at::randn({arena.numel()}) * 0.3).to(at::kBFloat16));
    arena.weights_changed();
  }
};

struct Pass {
  Tensor y, dx, router, up, down;  // float32 on the CPU
};

Pass run(Layer& layer, const Tensor& input, const Tensor& dy, const Tensor& replay) {
  const at::Device device = layer.arena.device();
  const at::ScalarType type = layer.arena.value().scalar_type();
  layer.arena.grad().zero_();
  ForwardBatch batch;
  batch.replay = replay.to(device);
  const Tensor x = input.to(device, type, false, true).set_requires_grad(true);
  const Tensor y = ops::experts(x, layer.weights, layer.config, batch);
  if (device.is_cuda()) {  // memory that nobody wrote would show
    at::full({kExperts * 2 * kWidth * kHidden}, NAN, x.options().requires_grad(false));
    at::full({kExperts * kHidden * kWidth}, NAN, x.options().requires_grad(false));
  }
  torch::autograd::backward({y}, {dy.to(device, type)});
  const auto host = [](const Tensor& t) {
    return t.detach().to(at::kCPU, at::kFloat, false, true);
  };
  return {host(y), host(x.grad()), host(layer.weights.router->grad),
          host(layer.weights.gate_up->grad), host(layer.weights.down->grad)};
}

double distance(const Tensor& a, const Tensor& b) {
  return ((a - b).norm() / (1e-12 + b.norm())).item<double>();
}

}  // namespace

TEST_CASE(
    "experts and their gradients on the GPU are those of the CPU, an expert without rows too") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  const at::AutoGradMode with_grad(true);
  for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
    for (const int64_t per_token : {1, 3}) {
      CAPTURE(type == at::kBFloat16, per_token);
      Layer host(at::kCPU, at::kFloat, per_token);
      Layer device(at::Device(at::kCUDA, 0), type, per_token);
      at::manual_seed(5);
      const Tensor x = at::randn({kTokens, kHidden}).to(at::kBFloat16).to(at::kFloat);
      const Tensor dy = at::randn({kTokens, kHidden}).to(at::kBFloat16).to(at::kFloat);
      Tensor rank = at::rand({kTokens, kExperts});
      rank.select(1, kUnused).fill_(2);  // never among the first
      const Tensor replay =
          rank.argsort(1, false).narrow(1, 0, per_token).contiguous().unsqueeze(1).to(at::kShort);
      const Pass wanted = run(host, x, dy, replay), found = run(device, x, dy, replay);
      const double allowed = type == at::kBFloat16 ? 0.02 : 2e-3;  // float32 may be TF32
      CHECK(distance(found.y, wanted.y) < allowed);
      CHECK(distance(found.dx, wanted.dx) < allowed);
      CHECK(distance(found.router, wanted.router) < allowed);
      CHECK(distance(found.up, wanted.up) < allowed);
      CHECK(distance(found.down, wanted.down) < allowed);
      CHECK(found.up.narrow(0, kUnused * 2 * kWidth, 2 * kWidth).eq(0).all().item<bool>());
      CHECK(found.down.narrow(0, kUnused * kHidden, kHidden).eq(0).all().item<bool>());
      const Pass again = run(device, x, dy, replay);
      CHECK(again.y.equal(found.y));
      CHECK(again.dx.equal(found.dx));
      CHECK(again.router.equal(found.router));
      CHECK(again.up.equal(found.up));
      CHECK(again.down.equal(found.down));
    }
  }
}

}  // namespace hone
