// What a routing record says, against plain loops.
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch_test_macros.hpp>

#include "small_models.h"

namespace hone {
namespace {

using at::Tensor;

constexpr int64_t kHidden = 12;

struct Layer {
  ModelConfig config;
  WeightArena arena;
  ops::ExpertWeights weights;

  Layer(Router router, int64_t count, int64_t per_token) {
    config.hidden = kHidden;
    ExpertOptions& e = config.experts;
    e.count = count;
    e.per_token = per_token;
    e.intermediate = 8;
    e.router = router;
    e.normalize = router != Router::softmax;
    std::vector<int64_t> up, down;
    for (int64_t i = 0; i <= count; ++i) {
      up.push_back(i * 2 * e.intermediate);
      down.push_back(i * kHidden);
    }
    weights.router = arena.add_matrix({{"router", {count}}}, kHidden);
    weights.gate_up = arena.add_matrix({{"up", {up.back()}}}, kHidden, up);
    weights.down = arena.add_matrix({{"down", {down.back()}}}, e.intermediate, down);
    if (router == Router::sigmoid) weights.selection = arena.add_fixed("bias", count);
    arena.allocate(at::kCPU, at::kFloat, true);
    at::manual_seed(11);
    arena.master().copy_(at::randn({arena.numel()}));
    if (weights.selection) weights.selection->value.copy_(at::randn({count}) * 0.2);
    arena.weights_changed();
  }

  Tensor scores(const Tensor& x, const Tensor& w) const {
    const Tensor z = x.mm(w.t());
    return config.experts.router == Router::sigmoid ? at::sigmoid(z) : at::softmax(z, 1);
  }
  Tensor choices(const Tensor& x) const {
    const at::NoGradGuard no_grad;
    Tensor s = scores(x, weights.router->value);
    if (weights.selection) s = s + weights.selection->value;
    return std::get<1>(s.topk(config.experts.per_token, 1));
  }
};

// Segments of several lengths, an empty one and one with a prefix among them.
ForwardBatch ragged_batch() {
  ForwardBatch batch;
  batch.segments = {{0, 5, 0, 0}, {5, 1, 0, 0}, {6, 0, 0, 0}, {6, 9, 0, 5}, {15, 2, 0, 0}};
  return batch;
}

// DeepSeek-V3, equations 17 to 20, segment by segment and expert by expert.
Tensor plain_balance(const Layer& layer, const Tensor& x, const Tensor& w,
                     const std::vector<AttentionSegment>& segments) {
  const ExpertOptions& e = layer.config.experts;
  const Tensor ids = layer.choices(x);
  Tensor p = layer.scores(x, w);
  p = p / p.sum(1, true);
  Tensor total = at::zeros({});
  for (const AttentionSegment& s : segments) {
    for (int64_t expert = 0; expert < e.count && s.length > 0; ++expert) {
      const auto length = static_cast<double>(s.length);
      const auto chosen =
          static_cast<double>((ids.narrow(0, s.begin, s.length) == expert).sum().item<int64_t>());
      const double share =
          chosen * static_cast<double>(e.count) / (length * static_cast<double>(e.per_token));
      const Tensor mean = p.narrow(0, s.begin, s.length).select(1, expert).sum() / length;
      total = total + share * mean * length;
    }
  }
  return total / static_cast<double>(x.size(0));
}

void check_close(const Tensor& found, const Tensor& wanted) {
  INFO("found " << found.norm().item<double>() << ", wanted " << wanted.norm().item<double>());
  REQUIRE(wanted.norm().item<double>() > 0);
  CHECK(((found - wanted).norm() / wanted.norm()).item<double>() < 1e-5);
}

}  // namespace

TEST_CASE("the balance loss and its gradient are those of a loop over sequences and experts") {
  const at::AutoGradMode with_grad(true);
  for (const Router router : {Router::softmax, Router::softmax_of_chosen, Router::sigmoid}) {
    for (const int64_t per_token : {1, 3}) {
      INFO("router " << static_cast<int>(router) << ", " << per_token << " of 7 experts");
      const Layer layer(router, 7, per_token);
      ForwardBatch batch = ragged_batch();
      const Tensor x = at::randn({17, kHidden}).set_requires_grad(true);
      RoutingRecord routing;
      batch.routing = &routing;
      ops::experts(x, layer.weights, layer.config, batch);
      torch::autograd::backward({routing.balance}, {at::ones({})});

      const Tensor y = x.detach().clone().set_requires_grad(true);
      const Tensor w = layer.weights.router->value.detach().clone().set_requires_grad(true);
      const Tensor wanted = plain_balance(layer, y, w, batch.segments);
      torch::autograd::backward({wanted}, {at::ones({})});
      check_close(routing.balance.detach(), wanted.detach());
      check_close(x.grad(), y.grad());
      check_close(layer.weights.router->grad, w.grad());
    }
  }
}

TEST_CASE("a routing record sums the balance of its layers and keeps each layer's counts") {
  const at::AutoGradMode with_grad(true);
  const Layer layer(Router::softmax, 5, 2);
  ForwardBatch batch = ragged_batch();
  const Tensor x = at::randn({17, kHidden});
  RoutingRecord once, twice;
  batch.routing = &once;
  ops::experts(x, layer.weights, layer.config, batch);
  batch.routing = &twice;
  for (int i = 0; i < 2; ++i) ops::experts(x, layer.weights, layer.config, batch);
  CHECK(twice.balance.item<float>() == 2 * once.balance.item<float>());
  REQUIRE(twice.counts.size() == 2);
  CHECK(twice.counts[1].sum().item<int64_t>() == 17 * 2);
  CHECK(twice.counts[1].equal(layer.choices(x).flatten().bincount({}, layer.config.experts.count)));
}

}  // namespace hone
