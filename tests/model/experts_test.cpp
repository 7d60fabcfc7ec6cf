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

namespace {

// The layer's output as a loop over tokens and choices, with weights as leaves of their own.
struct PlainExperts {
  Tensor router, up, down;

  explicit PlainExperts(const Layer& layer) {
    const auto leaf = [](const Parameter* w) {
      return w->value.detach().clone().set_requires_grad(true);
    };
    router = leaf(layer.weights.router);
    up = leaf(layer.weights.gate_up);
    down = leaf(layer.weights.down);
  }
  Tensor operator()(const Layer& layer, const Tensor& x, const Tensor& ids) const {
    const ExpertOptions& o = layer.config.experts;
    const int64_t f = o.intermediate;
    const Tensor z = x.mm(router.t());
    std::vector<Tensor> rows;
    for (int64_t t = 0; t < x.size(0); ++t) {
      const Tensor chosen = o.router == Router::softmax_of_chosen ? z[t].index_select(0, ids[t])
                                                                  : layer.scores(x, router)[t];
      Tensor weight = o.router == Router::softmax_of_chosen ? at::softmax(chosen, 0)
                                                            : chosen.index_select(0, ids[t]);
      if (o.normalize) weight = weight / weight.sum();
      Tensor sum = at::zeros({kHidden});
      for (int64_t k = 0; k < ids.size(1); ++k) {
        const int64_t e = ids[t][k].item<int64_t>();
        const Tensor both = up.narrow(0, e * 2 * f, 2 * f).mv(x[t]);
        const Tensor mixed = at::silu(both.narrow(0, 0, f)) * both.narrow(0, f, f);
        sum = sum + weight[k] * down.narrow(0, e * kHidden, kHidden).mv(mixed);
      }
      rows.push_back(sum);
    }
    return at::stack(rows);
  }
};

struct Pass {
  Tensor y, dx, router, up, down;
};

// Forward and backward; `replay` may be undefined.
Pass run(Layer& layer, const Tensor& input, const Tensor& dy, const Tensor& replay,
         Tensor* routes = nullptr) {
  layer.arena.grad().zero_();
  ForwardBatch batch = ragged_batch();
  batch.replay = replay;
  if (routes) batch.routes = *routes;
  const Tensor x = input.clone().set_requires_grad(true);
  const Tensor y = ops::experts(x, layer.weights, layer.config, batch);
  torch::autograd::backward({y}, {dy});
  return {y.detach(), x.grad(), layer.weights.router->grad.clone(),
          layer.weights.gate_up->grad.clone(), layer.weights.down->grad.clone()};
}

// Other experts for every token than chance would have the router choose.
Tensor random_ids(int64_t tokens, int64_t count, int64_t per_token) {
  return at::rand({tokens, count}).argsort(1, false).narrow(1, 0, per_token).contiguous();
}

}  // namespace

TEST_CASE("replaying the experts that the router chooses changes no bit, forward or backward") {
  const at::AutoGradMode with_grad(true);
  for (const Router router : {Router::softmax, Router::softmax_of_chosen, Router::sigmoid}) {
    Layer layer(router, 7, 3);
    layer.weights.number = 0;
    const Tensor x = at::randn({17, kHidden}), dy = at::randn({17, kHidden});
    Tensor routes = at::full({17, 1, 3}, -1, at::kShort);
    const Pass plain = run(layer, x, dy, {}, &routes);
    CHECK(routes.ge(0).all().item<bool>());
    const Pass replayed = run(layer, x, dy, routes);
    CHECK(replayed.y.equal(plain.y));
    CHECK(replayed.dx.equal(plain.dx));
    CHECK(replayed.router.equal(plain.router));
    CHECK(replayed.up.equal(plain.up));
    CHECK(replayed.down.equal(plain.down));
  }
}

TEST_CASE("other experts can be replayed: output and gradients are those of a loop over them") {
  const at::AutoGradMode with_grad(true);
  for (const Router router : {Router::softmax, Router::softmax_of_chosen, Router::sigmoid}) {
    for (const int64_t per_token : {1, 3}) {
      INFO("router " << static_cast<int>(router) << ", " << per_token << " of 7 experts");
      Layer layer(router, 7, per_token);
      layer.weights.number = 0;
      const Tensor x = at::randn({17, kHidden}), dy = at::randn({17, kHidden});
      const Tensor ids = random_ids(17, 7, per_token);
      const Tensor replay = ids.unsqueeze(1).to(at::kShort);
      const Pass found = run(layer, x, dy, replay);
      CHECK_FALSE(found.y.equal(run(layer, x, dy, {}).y));

      const PlainExperts plain(layer);
      const Tensor leaf = x.clone().set_requires_grad(true);
      const Tensor wanted = plain(layer, leaf, ids);
      torch::autograd::backward({wanted}, {dy});
      check_close(found.y, wanted.detach());
      check_close(found.dx, leaf.grad());
      check_close(found.up, plain.up.grad());
      check_close(found.down, plain.down.grad());
      // One softmax_of_chosen or normalized choice weighs 1, whatever the router says.
      if (per_token > 1 || router == Router::softmax) {
        check_close(found.router, plain.router.grad());
      } else {
        CHECK(found.router.abs().max().item<double>() < 1e-5);
      }
    }
  }
}

TEST_CASE("with replayed experts the gradients of router and input are slopes of the output") {
  const at::AutoGradMode with_grad(true);
  for (const Router router : {Router::softmax, Router::softmax_of_chosen, Router::sigmoid}) {
    Layer layer(router, 7, 3);
    layer.weights.number = 0;
    const Tensor x = at::randn({17, kHidden}), dy = at::randn({17, kHidden});
    const Tensor replay = random_ids(17, 7, 3).unsqueeze(1).to(at::kShort);
    const Pass pass = run(layer, x, dy, replay);
    Tensor weight = WeightArena::view(layer.arena.master(), layer.arena.tensors().front());
    const auto value = [&](const Tensor& input) {
      return (run(layer, input, dy, replay).y.to(at::kDouble) * dy).sum().item<double>();
    };
    const auto slope = [&](const std::function<double(double)>& at_distance, double h) {
      const double near = (at_distance(h) - at_distance(-h)) / (2 * h);
      const double far = (at_distance(2 * h) - at_distance(-2 * h)) / (4 * h);
      return (4 * near - far) / 3;
    };
    const double dx_norm = pass.dx.norm().item<double>();
    const double along_x = slope([&](double h) { return value(x + h * pass.dx / dx_norm); }, 5e-3);
    INFO("router " << static_cast<int>(router) << ", input: " << along_x << ", " << dx_norm);
    CHECK(std::abs(along_x - dx_norm) < 3e-3 * dx_norm);
    const Tensor before = weight.clone(), grad = pass.router.view_as(weight);
    const double norm = grad.norm().item<double>();
    REQUIRE(norm > 0);
    const double along_w = slope(
        [&](double h) {
          weight.copy_(before + h * grad / norm);
          layer.arena.weights_changed();
          return value(x);
        },
        1e-2);
    INFO("weights: " << along_w << ", " << norm);
    CHECK(std::abs(along_w - norm) < 3e-3 * norm);
  }
}

TEST_CASE("a module that predicts ahead chooses its experts itself, whatever is replayed") {
  const at::AutoGradMode with_grad(true);
  Layer layer(Router::softmax, 5, 2);  // its number is that of no layer
  const Tensor x = at::randn({17, kHidden}), dy = at::randn({17, kHidden});
  const Tensor replay = random_ids(17, 5, 2).unsqueeze(1).to(at::kShort);
  CHECK(run(layer, x, dy, replay).y.equal(run(layer, x, dy, {}).y));
}

}  // namespace hone
