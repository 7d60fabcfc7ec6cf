// 8-bit products on the GPU against products of what their forms stand for.
#ifdef HONE_WITH_CUDA
#include "model/cuda_fp8.h"

#include "gradient_task.h"

namespace hone {
namespace {

using at::Tensor;
using testing::distance;

// Values of several magnitudes from tile to tile.
Tensor drawn(int64_t rows, int64_t columns) {
  const auto options = at::TensorOptions().device(at::kCUDA);
  const Tensor scale = at::randn({rows, (columns + 127) / 128}, options).mul(2).exp();
  return (at::randn({rows, columns}, options) *
          scale.repeat_interleave(128, 1).narrow(1, 0, columns))
      .to(at::kBFloat16);
}

// x in E4M3 by LibTorch (which divides by a number through its reciprocal, by a tensor not), tiles
// of `tile` along the last dimension, as float.
Tensor reference_form(const Tensor& x) {
  const int64_t k = x.size(1), padded = (k + 127) / 128 * 128;
  const Tensor tiles =
      at::constant_pad_nd(x.to(at::kFloat), {0, padded - k}).view({x.size(0), padded / 128, 128});
  Tensor factor = tiles.abs().amax(2, true) / at::full({1}, 448.0f, tiles.options());
  factor = at::where(factor == 0, at::ones_like(factor), factor);
  const Tensor q = (tiles * factor.reciprocal()).to(at::kFloat8_e4m3fn).to(at::kFloat);
  return (q * factor).view({x.size(0), padded}).narrow(1, 0, k);
}

Tensor weight_form(const Tensor& w) {
  const int64_t n = w.size(0), k = w.size(1);
  const Tensor blocks = w.to(at::kFloat).view({n / 128, 128, k / 128, 128});
  const Tensor factor = blocks.abs().amax({1, 3}, true) / at::full({1}, 448.0f, blocks.options());
  const Tensor q = (blocks * factor.reciprocal()).to(at::kFloat8_e4m3fn).to(at::kFloat);
  return (q * factor).view({n, k});
}

ModelConfig config_of(int64_t hidden) {
  ModelConfig c;
  c.vocab_size = 320;
  c.hidden = hidden;
  c.layers = 2;
  c.heads = hidden / 64;
  c.kv_heads = hidden / 128;
  c.head_dim = 64;
  c.intermediate = 3 * 128;
  c.max_positions = 256;
  c.qkv_bias = true;
  c.tied_head = true;
  return c;
}

}  // namespace

TEST_CASE("8-bit forms of activations are E4M3 by tiles of 128, along rows and along columns") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  at::manual_seed(1);
  for (const int64_t m : {1, 3, 16, 100, 128, 129, 300}) {
    for (const int64_t k : {128, 384}) {
      CAPTURE(m, k);
      const Tensor x = drawn(m, k);
      const ops::cuda::Fp8Matrix form = ops::cuda::to_fp8(x, true);
      const int64_t padded = form.q.size(0);
      REQUIRE(padded == (m + 15) / 16 * 16);
      const Tensor rows =
          (form.q.to(at::kFloat).view({padded, k / 128, 128}) * form.factors.t().unsqueeze(2))
              .view({padded, k});
      CHECK(distance(rows.narrow(0, 0, m), reference_form(x)) < 1e-6);
      CHECK(rows.narrow(0, m, padded - m).abs().sum().item<double>() == 0);
      const Tensor factors =
          form.factors_t.t().repeat_interleave(128, 1).narrow(1, 0, padded);  // [K, P]
      const Tensor columns = form.qt.to(at::kFloat) * factors;
      CHECK(distance(columns.narrow(1, 0, m), reference_form(x.t().contiguous())) < 1e-6);
    }
  }
}

TEST_CASE("8-bit products and gradients are those of the matrices that the forms stand for") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  at::manual_seed(2);
  Transformer model(config_of(256), {at::Device(at::kCUDA, 0), at::kBFloat16, true, false, true});
  model.initialize(3);
  for (Parameter& w : model.weights().parameters()) {
    if (!w.fp8) continue;
    for (const int64_t m : {1, 7, 64, 333, 1030}) {
      CAPTURE(w.name, w.rows, w.columns, m);
      const Tensor x = drawn(m, w.columns), dy = drawn(m, w.rows);
      const auto of_x = ops::cuda::to_fp8(x, true), of_dy = ops::cuda::to_fp8(dy, true);
      const Tensor weight = weight_form(w.value);
      // The tensor cores keep some 14 bits of a sum of 128 (the paper, section 3.3.2).
      CHECK(distance(ops::cuda::fp8_product(of_x, m, w), at::mm(reference_form(x), weight.t())) <
            0.03);
      CHECK(distance(ops::cuda::fp8_product_transposed(of_dy, m, w),
                     at::mm(reference_form(dy), weight)) < 0.03);
      const Tensor before = at::randn({w.rows, w.columns}, x.options().dtype(at::kFloat));
      const Tensor grad = before.clone();
      ops::cuda::add_fp8_gradient(of_dy, of_x, grad);
      const Tensor product =
          at::mm(reference_form(dy.t().contiguous()), reference_form(x.t().contiguous()).t());
      CHECK(distance(grad - before, product) < 0.03);
    }
  }
}

TEST_CASE("the 8-bit forms of a weight are made anew when the weights have changed") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  Transformer model(config_of(256), {at::Device(at::kCUDA, 0), at::kBFloat16, true, false, true});
  model.initialize(3);
  Parameter* w = nullptr;
  for (Parameter& p : model.weights().parameters()) {
    if (p.fp8) w = &p;
  }
  REQUIRE(w);
  at::manual_seed(6);
  const Tensor x = drawn(64, w->columns), dy = drawn(64, w->rows);
  for (const uint64_t seed : {3, 4}) {
    model.initialize(seed);
    const Tensor weight = weight_form(w->value);
    CHECK(distance(ops::cuda::fp8_product(ops::cuda::to_fp8(x, false), 64, *w),
                   at::mm(reference_form(x), weight.t())) < 0.03);
    CHECK(distance(ops::cuda::fp8_product_transposed(ops::cuda::to_fp8(dy, false), 64, *w),
                   at::mm(reference_form(dy), weight)) < 0.03);
  }
}

TEST_CASE("8-bit products of no rows are empty and add nothing") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  Transformer model(config_of(256), {at::Device(at::kCUDA, 0), at::kBFloat16, true, false, true});
  model.initialize(3);
  for (const Parameter& w : model.weights().parameters()) {
    if (!w.fp8) continue;
    const Tensor x = at::empty({0, w.columns}, w.value.options()),
                 dy = at::empty({0, w.rows}, w.value.options());
    const auto of_x = ops::cuda::to_fp8(x, true), of_dy = ops::cuda::to_fp8(dy, true);
    const Tensor y = ops::cuda::fp8_product(of_x, 0, w);
    const Tensor dx = ops::cuda::fp8_product_transposed(of_dy, 0, w);
    CHECK(y.sizes() == at::IntArrayRef{0, w.rows});
    CHECK(dx.sizes() == at::IntArrayRef{0, w.columns});
    const Tensor grad = at::ones({w.rows, w.columns}, y.options().dtype(at::kFloat));
    ops::cuda::add_fp8_gradient(of_dy, of_x, grad);
    CHECK(at::equal(grad, at::ones_like(grad)));
  }
}

TEST_CASE("a model in 8 bits has bf16's log-probabilities and gradients within E4M3's rounding") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  const at::Device device(at::kCUDA, 0);
  for (const bool lora : {false, true}) {
    CAPTURE(lora);
    Transformer plain(config_of(256), {device, at::kBFloat16, !lora}),
        narrow(config_of(256), {device, at::kBFloat16, !lora, false, true});
    for (Transformer* model : {&plain, &narrow}) {
      model->initialize(5);
      if (lora) testing::add_random_adapters(*model, {8, 16, {}});
    }
    int eight = 0;
    for (const Parameter& w : narrow.weights().parameters()) eight += w.fp8;
    REQUIRE(eight == 8);
    at::manual_seed(4);
    ForwardBatch batch;
    const int64_t t = 150;
    batch.segments = {{0, 50, 0, 0}, {50, 100, 0, 0}};
    batch.tokens = at::randint(320, {t}, at::kLong).to(device);
    batch.positions = at::cat({at::arange(50, at::kLong), at::arange(100, at::kLong)}).to(device);
    const Tensor targets = at::randint(320, {t}, at::kLong).to(device);
    const Tensor dlogp = at::randn({t}).to(device);
    const auto run = [&](Transformer& model) {
      batch.plan.reset();
      model.trained().grad().zero_();
      const ops::LogProbs out = model.log_probs(model.forward(batch), targets);
      torch::autograd::backward({out.logp}, {dlogp});
      return out.logp.detach();
    };
    const Tensor logp = run(narrow), first = narrow.trained().grad().clone();
    CHECK(distance(logp, run(plain)) < 0.01);
    for (const NamedTensor& w : plain.trained().tensors()) {
      CAPTURE(w.name);
      const Tensor expected = WeightArena::view(plain.trained().grad(), w);
      CHECK(expected.abs().max().item<double>() > 0);
      CHECK(distance(WeightArena::view(first, w), expected) < 0.12);
    }
    CHECK(at::equal(run(narrow), logp));  // one order of every sum
    CHECK(at::equal(narrow.trained().grad(), first));
  }
}

TEST_CASE("what 8 bits cannot do is refused in words") {
  const std::string on_cpu = testing::error_of([] {
    Transformer(config_of(256), {at::Device(at::kCPU), at::kFloat, true, false, true});
  });
  CHECK(on_cpu.find("device cuda") != std::string::npos);
  const std::string exact = testing::error_of([] {
    Transformer(config_of(256), {at::Device(at::kCUDA, 0), at::kBFloat16, true, true, true});
  });
  CHECK(exact.find("fp8 and exact") != std::string::npos);
}

}  // namespace hone
#endif
