// Gradients in bf16 on the GPU against those of the same weights in float32 on the CPU.
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch_test_macros.hpp>

#include "small_models.h"

namespace hone {
namespace {

struct Kind {
  const char* name;
  int64_t head_dim, kv_heads;
  bool exact, head_norms, tied;
  int64_t window;
};

ModelConfig config_of(const Kind& kind) {
  ModelConfig c;
  c.vocab_size = 331;
  c.hidden = 128;
  c.layers = 2;
  c.heads = 6;
  c.kv_heads = kind.kv_heads;
  c.head_dim = kind.head_dim;
  c.intermediate = 200;
  c.max_positions = 512;
  c.qkv_bias = !kind.head_norms;
  c.head_norms = kind.head_norms;
  c.tied_head = kind.tied;
  if (kind.window > 0) c.windows = {kind.window, 0};
  return c;
}

// Sequences of odd lengths, side by side.
struct Task {
  ForwardBatch batch;
  at::Tensor targets, dlogp, dentropy;

  Task(int64_t vocab, at::Device device) {
    at::manual_seed(3);
    int64_t t = 0;
    std::vector<at::Tensor> positions;
    for (const int64_t length : {1, 3, 17, 64, 65, 130}) {
      batch.segments.push_back({t, length, 0, 0});
      positions.push_back(at::arange(length, at::kLong));
      t += length;
    }
    batch.tokens = at::randint(vocab, {t}, at::kLong).to(device);
    batch.positions = at::cat(positions).to(device);
    targets = at::randint(vocab, {t}, at::kLong).to(device);
    dlogp = at::randn({t}).to(device);
    dentropy = (at::randn({t}) * 0.3).to(device);
  }
  ops::LogProbs backward(Transformer& model) const {
    const ops::LogProbs out = model.log_probs(model.forward(batch), targets, 1 / 0.9);
    torch::autograd::backward({out.logp, out.entropy}, {dlogp, dentropy});
    return out;
  }
};

double distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kCPU, at::kDouble), y = b.to(at::kCPU, at::kDouble);
  return (x - y).norm().item<double>() / (1e-12 + y.norm().item<double>());
}

}  // namespace

TEST_CASE("gradients in bf16 on the GPU are those of float32 on the CPU within rounding") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  for (const Kind& kind : {Kind{"heads of 64", 64, 2, false, false, true, 0},
                           Kind{"heads of 32, a window", 32, 6, false, false, false, 20},
                           Kind{"heads of 128, normed", 128, 1, false, true, false, 0},
                           Kind{"heads of 20", 20, 3, false, false, true, 0},
                           Kind{"exact, heads of 64", 64, 2, true, false, true, 0},
                           Kind{"exact, heads of 128, normed", 128, 3, true, true, false, 40}}) {
    const ModelConfig c = config_of(kind);
    Transformer host(c, {at::Device(at::kCPU), at::kFloat, true});
    host.initialize(7);
    host.weights().master().mul_(3.0);  // far from the mean: gradients that differ by place
    host.weights().master().copy_(host.weights().master().to(at::kBFloat16));
    host.weights().weights_changed();
    Transformer model(c, {at::Device(at::kCUDA, 0), at::kBFloat16, true, kind.exact});
    model.weights().master().copy_(host.weights().master());
    model.weights().weights_changed();
    const ops::LogProbs expected = Task(c.vocab_size, at::kCPU).backward(host);
    const ops::LogProbs actual = Task(c.vocab_size, model.device()).backward(model);
    CAPTURE(kind.name);
    CHECK(distance(actual.logp, expected.logp) < 0.02);
    CHECK(distance(actual.entropy, expected.entropy) < 0.02);
    for (const NamedTensor& t : host.weights().tensors()) {
      CAPTURE(t.name);
      CHECK(distance(WeightArena::view(model.weights().grad(), t),
                     WeightArena::view(host.weights().grad(), t)) < 0.06);
    }
  }
}

}  // namespace hone
