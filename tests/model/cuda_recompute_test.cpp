// What the backward pass computes again on the GPU gives the gradient that it gives kept
// (tests/train/recompute_test.cpp: the same on the CPU).
#include "gradient_task.h"

namespace hone {
namespace {

using at::Tensor;
using testing::distance;
using testing::GradientTask;

struct Kind {
  const char* name;
  bool fp8, lora, head_norms, experts;
};

// Of sides that 8 bits can have.
ModelConfig config_of(const Kind& kind) {
  ModelConfig c;
  c.vocab_size = 320;
  c.hidden = 256;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 64;
  c.intermediate = 384;
  c.max_positions = 128;
  c.head_norms = kind.head_norms;
  if (kind.experts) {
    c.family = "qwen3_moe";
    c.experts = {.count = 6, .per_token = 2, .intermediate = 128, .normalize = true};
  }
  return c;
}

std::unique_ptr<Transformer> model_of(const Kind& kind) {
  auto model = std::make_unique<Transformer>(
      config_of(kind),
      ModelPlace{at::Device(at::kCUDA, 0), at::kBFloat16, !kind.lora, false, kind.fp8});
  model->initialize(7);
  if (kind.lora) {
    testing::add_random_adapters(*model, {8, 16, {}});
  } else {
    model->weights().master().mul_(2);  // so that attention is not flat
    model->weights().weights_changed();
  }
  return model;
}

}  // namespace

TEST_CASE("on the GPU norms and gates computed again give the same gradient, bit for bit") {
  if (!at::globalContext().hasCUDA()) SKIP("no CUDA device");
  for (Kind kind :
       {Kind{"dense", false, false, false, false}, Kind{"head norms", false, false, true, false},
        Kind{"lora", false, true, false, false}, Kind{"experts", false, false, false, true}}) {
    Tensor in_bf16;
    for (const bool fp8 : {false, true}) {
      kind.fp8 = fp8;
      const auto model = model_of(kind);
      WeightArena& trained = model->trained();
      GradientTask task(model->config().vocab_size, model->device(), true);
      const auto gradient = [&](Recompute recompute) {
        task.batch.recompute = recompute;
        trained.grad().zero_();
        task.backward(*model);
        return trained.grad().clone();
      };
      CAPTURE(kind.name, fp8);
      const Tensor kept = gradient(Recompute::none);
      CHECK(kept.abs().max().item<double>() > 0);
      CHECK(at::equal(gradient(Recompute::selective), kept));
      // Of layers run again the two gradients of the stream between them are rounded before they
      // are added, not after. To E4M3 such a bit decides between two neighbours, which are up to an
      // eighth apart: there what rounding to 8 bits does to the gradient is the measure.
      if (!fp8) in_bf16 = kept;
      const Tensor again = gradient(Recompute::layers);
      for (const NamedTensor& t : trained.tensors()) {
        CAPTURE(t.name);
        const auto far = [&](const Tensor& gradient) {
          return distance(WeightArena::view(gradient, t), WeightArena::view(kept, t));
        };
        CHECK(far(again) < (fp8 ? far(in_bf16) : 0.01));
      }
    }
  }
}

}  // namespace hone
