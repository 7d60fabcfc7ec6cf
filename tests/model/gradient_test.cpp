// The backward pass of the whole Transformer against differences of its forward pass.
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "base/rng.h"
#include "small_models.h"

namespace hone {
namespace {

// Two segments that see a third as their prefix, and one that stands alone; lengths around a
// block of the cache.
struct Task {
  ForwardBatch batch;
  at::Tensor targets, dlogp, dentropy;

  explicit Task(int64_t vocab) {
    at::manual_seed(3);
    const int64_t prefix = 17;
    batch.segments = {{0, prefix, 0, 0}, {17, 16, 0, prefix}, {33, 5, 0, prefix}, {38, 12, 0, 0}};
    batch.tokens = at::randint(vocab, {50}, at::kLong);
    batch.positions =
        at::cat({at::arange(17), at::arange(17, 33), at::arange(17, 22), at::arange(12)})
            .to(at::kLong);
    targets = at::randint(vocab, {50}, at::kLong);
    dlogp = at::randn({50});
    dentropy = at::randn({50});
  }

  ops::LogProbs outputs(const Transformer& model) const {
    return model.log_probs(model.forward(batch), targets, 1 / 0.9);
  }
  double value(const Transformer& model) const {
    const at::NoGradGuard no_grad;
    const ops::LogProbs out = outputs(model);
    return (out.logp.to(at::kDouble).dot(dlogp.to(at::kDouble)) +
            out.entropy.to(at::kDouble).dot(dentropy.to(at::kDouble)))
        .item<double>();
  }
};

}  // namespace

TEST_CASE("the gradient is the slope of the loss, parameter by parameter") {
  for (const char* name : {"llama-tiny", "llama-tiny-tied"}) {
    ModelPlace place;
    place.trainable = true;
    const auto model = load_model(testing::golden(name), place);
    const Task task(model->config().vocab_size);
    {
      const at::AutoGradMode with_grad(true);
      const ops::LogProbs out = task.outputs(*model);
      torch::autograd::backward({out.logp, out.entropy}, {task.dlogp, task.dentropy});
    }
    const at::NoGradGuard no_grad;
    WeightArena& weights = model->weights();
    for (const NamedTensor& t : weights.tensors()) {
      const at::Tensor grad = WeightArena::view(weights.grad(), t).clone();
      at::Tensor weight = WeightArena::view(weights.master(), t);
      const at::Tensor before = weight.clone();
      const double norm = grad.norm().item<double>();
      REQUIRE(norm > 0);
      // Along the gradient, where the slope is its norm, and along a direction that knows nothing
      // of it, which would show a part that is missing.
      const at::Tensor drawn = at::randn_like(grad);
      for (const at::Tensor& direction : {grad / norm, drawn / drawn.norm()}) {
        const double size = 3e-4 * before.norm().item<double>();
        const auto at_distance = [&](double h) {
          weight.copy_(before + h * direction);
          weights.weights_changed();
          return task.value(*model);
        };
        // Richardson's extrapolation of central differences: the error is of the fourth order.
        const double near = (at_distance(size) - at_distance(-size)) / (2 * size);
        const double far = (at_distance(2 * size) - at_distance(-2 * size)) / (4 * size);
        const double slope = (4 * near - far) / 3;
        weight.copy_(before);
        weights.weights_changed();
        const double wanted =
            (grad.to(at::kDouble) * direction.to(at::kDouble)).sum().item<double>();
        INFO(name << " " << t.name << ": norm " << norm << ", slope " << slope << ", gradient "
                  << wanted);
        CHECK(std::fabs(slope - wanted) < 3e-3 * norm);
      }
    }
  }
}

TEST_CASE("backward passes add up, and nothing flows without the mode") {
  ModelPlace place;
  place.trainable = true;
  const auto model = load_model(testing::golden("llama-tiny"), place);
  const Task task(model->config().vocab_size);
  const auto backward = [&] {
    const at::AutoGradMode with_grad(true);
    torch::autograd::backward({task.outputs(*model).logp}, {task.dlogp});
  };
  backward();
  const at::Tensor once = model->weights().grad().clone();
  backward();
  CHECK(model->weights().grad().allclose(2 * once, 1e-5, 1e-6));
  const at::NoGradGuard no_grad;
  CHECK_FALSE(task.outputs(*model).logp.requires_grad());
}

}  // namespace hone
