// Narrow moments: what they hold, how they round, and that training follows float32's.
#include "train/moments.h"

#include <ATen/ATen.h>

#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "base/rng.h"
#include "small_trainer.h"

namespace hone {
namespace {

using testing::Completions;
using testing::trainable_model;

constexpr MomentForm kNarrow[] = {MomentForm::bfloat16, MomentForm::int8};

OptimizerOptions with(MomentForm form) {
  OptimizerOptions o;
  o.moments = form;
  o.clip_norm = 0;
  return o;
}

Moments::Piece drawn(int64_t n) {
  at::manual_seed(3);
  const at::Tensor scale = at::randn({n}).mul_(4).exp_();  // over several decades
  return {at::randn({n}) * scale, at::randn({n}).square() * scale.square()};
}

double largest(const at::Tensor& t) { return t.abs().max().item<double>(); }

// The mean loss of each step on the same completions.
std::vector<double> losses(MomentForm form, int steps) {
  const auto model = trainable_model(2, 1);
  Trainer trainer(*model, with(form), {});
  const Completions data;
  const auto sequences = data.sequences();
  std::vector<double> curve;
  for (int i = 0; i < steps; ++i) {
    curve.push_back(trainer.likelihood_step(sequences, {}, 1e-3).loss);
  }
  return curve;
}

}  // namespace

TEST_CASE("moments come back as their form can hold them, also at an uneven end") {
  const int64_t n = 3 * Moments::kBlock + 32;
  const Moments::Piece piece = drawn(n);
  for (const MomentForm form : {MomentForm::float32, MomentForm::bfloat16, MomentForm::int8}) {
    INFO("form " << static_cast<int>(form));
    Moments moments(form, at::zeros({n}));
    CHECK(largest(moments.load(0, n).first) == 0);
    CHECK(largest(moments.load(0, n).second) == 0);
    if (form == MomentForm::float32) {  // views
      moments.load(0, n).first.copy_(piece.first);
      moments.load(0, n).second.copy_(piece.second);
    }
    // In two pieces, as the optimizer goes over them.
    const int64_t cut = 2 * Moments::kBlock;
    const auto part = [&](int64_t begin, int64_t size) {
      return Moments::Piece{piece.first.narrow(0, begin, size),
                            piece.second.narrow(0, begin, size)};
    };
    moments.store(part(0, cut), 0, 1);
    moments.store(part(cut, n - cut), cut, 2);
    const Moments::Piece back = moments.load(0, n);
    if (form == MomentForm::int8) {
      // To the scale's spacing at x, of the block's largest: at most 3 x^(2/3) / levels and what
      // lies between 0 and the first code.
      for (int64_t b = 0; b < n; b += Moments::kBlock) {
        const int64_t size = std::min(Moments::kBlock, n - b);
        const auto check = [&](const at::Tensor& was, const at::Tensor& is, double levels) {
          const at::Tensor x = was.narrow(0, b, size), most = x.abs().max();
          const at::Tensor root = (x / most).abs().pow(1.0 / 3) + 1 / levels;
          CHECK(largest(((is.narrow(0, b, size) - x) / most).abs() / (3 / levels * root.square())) <
                1.001);
        };
        check(piece.first, back.first, 127);
        check(piece.second.sqrt(), back.second.sqrt(), 255);
      }
      CHECK(back.second.min().item<double>() > 0);
    } else {
      const double close = form == MomentForm::float32 ? 0 : std::ldexp(1.0, -7);
      CHECK(largest((back.first - piece.first) / piece.first) <= close);
      CHECK(largest((back.second - piece.second) / piece.second) <= close);
    }
  }
}

TEST_CASE("what narrow moments hold stays when it is stored again") {
  const int64_t n = 2 * Moments::kBlock;
  for (const MomentForm form : kNarrow) {
    Moments moments(form, at::zeros({n}));
    moments.store(drawn(n), 0, 1);
    const Moments::Piece once = moments.load(0, n);
    moments.store(once, 0, 2);
    const Moments::Piece twice = moments.load(0, n);
    // A value on the scale can fall one place short by the rounding of the cubic root.
    CHECK(testing::relative_difference(twice.first, once.first) < 1e-3);
    CHECK(testing::relative_difference(twice.second, once.second) < 1e-3);
  }
}

TEST_CASE("rounding keeps the mean, is a function of its key, and two keys differ") {
  const int64_t n = 1 << 16;
  for (const MomentForm form : kNarrow) {
    INFO("form " << static_cast<int>(form));
    Moments moments(form, at::zeros({n}));
    const double value = 0.777;
    at::Tensor first = at::full({n}, value), second = at::full({n}, value);
    // The largest of each block, so that the others lie between two codes.
    first.view({-1, Moments::kBlock}).select(1, 0).fill_(1);
    second.view({-1, Moments::kBlock}).select(1, 0).fill_(1);
    const auto stored = [&](uint64_t key) {
      moments.store({first, second}, 0, key);
      return moments.load(0, n);
    };
    const Moments::Piece a = stored(1), same = stored(1), b = stored(2);
    CHECK(a.first.equal(same.first));
    CHECK(a.second.equal(same.second));
    CHECK_FALSE(a.first.equal(b.first));
    CHECK_FALSE(a.second.equal(b.second));
    const auto mean = [&](const at::Tensor& t) {
      return t.view({-1, Moments::kBlock}).narrow(1, 1, Moments::kBlock - 1).mean().item<double>();
    };
    // Neighbours lie at most 0.02 apart: the mean of 65,280 draws has a deviation below 4e-5.
    CHECK(std::fabs(mean(a.first) - value) < 2e-4);
    CHECK(std::fabs(mean(form == MomentForm::int8 ? a.second.sqrt() : a.second) -
                    (form == MomentForm::int8 ? std::sqrt(value) : value)) < 2e-4);
  }
}

TEST_CASE(
    "a second moment that moves by thousandths follows, where the nearest would stand still") {
  const int64_t n = 1 << 12;
  for (const MomentForm form : kNarrow) {
    INFO("form " << static_cast<int>(form));
    Moments moments(form, at::zeros({n}));
    moments.store({at::zeros({n}), at::ones({n})}, 0, 0);
    double exact = 1;
    for (uint64_t step = 1; step <= 1000; ++step) {
      const Moments::Piece piece = moments.load(0, n);
      at::Tensor second = piece.second;
      second.mul_(0.999).add_(0.001 * 0.25);
      // One element of each block stays at the top, so that codes have to change.
      second.view({-1, Moments::kBlock}).select(1, 0).fill_(1);
      exact = 0.999 * exact + 0.001 * 0.25;
      moments.store(piece, 0, make_key(step));
    }
    const double mean = moments.load(0, n)
                            .second.view({-1, Moments::kBlock})
                            .narrow(1, 1, Moments::kBlock - 1)
                            .mean()
                            .item<double>();
    INFO(mean << " for " << exact);
    CHECK(exact < 0.53);
    CHECK(std::fabs(mean - exact) < 0.02);
  }
}

TEST_CASE("training with narrow moments follows float32's loss over 200 steps") {
  const std::vector<double> exact = losses(MomentForm::float32, 200);
  REQUIRE(exact.back() < 0.5 * exact.front());
  for (const MomentForm form : kNarrow) {
    const std::vector<double> narrow = losses(form, 200);
    double worst = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      worst = std::max(worst, std::fabs(narrow[i] - exact[i]));
    }
    INFO("form " << static_cast<int>(form) << ": " << exact.front() << " -> " << exact.back()
                 << " and " << narrow.back() << ", at most " << worst << " apart");
    CHECK(worst > 0);
    CHECK(worst < (form == MomentForm::bfloat16 ? 0.01 : 0.03));
  }
}

TEST_CASE("the state takes the bytes that its form says") {
  const auto model = trainable_model();
  const int64_t n = model->weights().numel();
  for (const MomentForm form : {MomentForm::float32, MomentForm::bfloat16, MomentForm::int8}) {
    Optimizer optimizer(with(form), model->weights());
    int64_t bytes = 0;
    for (const auto& [name, tensor] : optimizer.state()) {
      bytes += static_cast<int64_t>(tensor.nbytes());
    }
    CHECK(bytes == moment_bytes(form, n));
  }
  CHECK(moment_bytes(MomentForm::float32, n) == 8 * n);
  CHECK(moment_bytes(MomentForm::bfloat16, n) == 4 * n);
  CHECK(moment_bytes(MomentForm::int8, 1 << 20) == (1 << 20) * 65 / 32);  // 2.03 a parameter
}

TEST_CASE("moments that travel piece by piece are rounded as those that stay") {
  const int64_t n = 5 * Moments::kBlock + 32, piece_of = 2 * Moments::kBlock;
  const Moments::Piece drawn_piece = drawn(n);
  for (const MomentForm form : {MomentForm::float32, MomentForm::bfloat16, MomentForm::int8}) {
    INFO("form " << static_cast<int>(form));
    Moments stay(form, at::zeros({n})), travel(form, at::zeros({n}));
    for (int64_t at = 0; at < n; at += piece_of) {
      const int64_t size = std::min(piece_of, n - at);
      const auto update = [&](Moments& moments, int64_t begin) {
        const Moments::Piece piece = moments.load(begin, size);
        at::Tensor first = piece.first, second = piece.second;
        first.add_(drawn_piece.first.narrow(0, at, size));
        second.add_(drawn_piece.second.narrow(0, at, size));
        moments.store(piece, begin, make_key(7, static_cast<uint64_t>(at)));
      };
      update(stay, at);
      Moments copy = travel.copy_to(at::kCPU, at, size);
      update(copy, 0);
      travel.take_back(copy, at);
    }
    for (size_t i = 0; i < stay.state().size(); ++i) {
      CHECK(travel.state()[i].second.equal(stay.state()[i].second));
    }
    CHECK(largest(travel.load(0, n).first) > 0);
  }
}

TEST_CASE("on a GPU moments in the host's memory give the weights that they give on the device") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  const int64_t n = (int64_t{1} << 24) * 2 + 1000;  // three pieces
  for (const MomentForm form : {MomentForm::float32, MomentForm::bfloat16, MomentForm::int8}) {
    INFO("form " << static_cast<int>(form));
    at::Tensor weights[2], first[2];
    for (const bool offload : {false, true}) {
      WeightArena arena;
      arena.add_matrix({{"w", {n / 8}}}, 8);
      arena.allocate(at::kCUDA, at::kBFloat16, true);
      OptimizerOptions options = with(form);
      options.offload = offload;
      Optimizer optimizer(options, arena);
      at::manual_seed(5);
      for (int step = 0; step < 3; ++step) {
        arena.grad().copy_(at::randn({arena.numel()}));
        optimizer.step(1e-2);
      }
      weights[offload] = arena.value().cpu();
      first[offload] = optimizer.state().front().second.cpu();
    }
    CHECK(weights[1].equal(weights[0]));
    CHECK(first[1].equal(first[0]));
    CHECK(largest(weights[1].to(at::kFloat)) > 0);
  }
}

TEST_CASE(
    "on a GPU moments in the host's memory clip, leave out a gradient that is not finite, and go "
    "on from a copy of their state") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  const int64_t n = (int64_t{1} << 24) + 1000;  // two pieces
  struct Trained {
    WeightArena arena;
    std::unique_ptr<Optimizer> optimizer;
    Trained(int64_t n, OptimizerOptions options, bool offload) {
      arena.add_matrix({{"w", {n / 8}}}, 8);
      arena.allocate(at::kCUDA, at::kBFloat16, true);
      options.offload = offload;
      options.clip_norm = 1;
      optimizer = std::make_unique<Optimizer>(options, arena);
    }
    double step(uint64_t seed, bool finite) {
      at::manual_seed(seed);
      at::Tensor g = arena.grad();
      g.normal_();
      if (!finite) g[g.numel() - 1] = NAN;  // in the second piece
      return optimizer->step(1e-2);
    }
    std::vector<at::Tensor> copies() {  // of the master and the moments
      std::vector<at::Tensor> all{arena.master().cpu().clone()};
      for (const auto& [name, t] : optimizer->state()) all.push_back(t.cpu().clone());
      return all;
    }
  };
  const auto same = [](const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    REQUIRE(a.size() == b.size());
    bool equal = true;
    for (size_t i = 0; i < a.size(); ++i) equal = equal && a[i].equal(b[i]);
    return equal;
  };
  for (const MomentForm form : {MomentForm::float32, MomentForm::bfloat16, MomentForm::int8}) {
    INFO("form " << static_cast<int>(form));
    Trained stay(n, with(form), false), travel(n, with(form), true);
    CHECK(travel.step(1, true) > 1);  // is clipped
    stay.step(1, true);
    const auto before = travel.copies();
    CHECK(largest(before[1].to(at::kFloat)) > 0);
    CHECK_FALSE(std::isfinite(travel.step(2, false)));
    CHECK_FALSE(std::isfinite(stay.step(2, false)));
    CHECK(same(travel.copies(), before));
    CHECK(largest(travel.arena.grad()) == 0);
    Trained loaded(n, with(form), true);
    loaded.arena.master().copy_(before[0]);
    loaded.optimizer->set_updates(travel.optimizer->updates());
    size_t i = 1;
    for (auto& [name, t] : loaded.optimizer->state()) t.copy_(before[i++]);
    for (Trained* trained : {&stay, &travel, &loaded}) trained->step(3, true);
    CHECK_FALSE(same(travel.copies(), before));
    CHECK(same(travel.copies(), stay.copies()));
    CHECK(same(loaded.copies(), travel.copies()));
  }
}

}  // namespace hone
