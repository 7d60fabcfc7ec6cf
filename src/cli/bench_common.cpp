#include "cli/bench_common.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "base/timer.h"
#include "model/named_shapes.h"
#include "train/run.h"

namespace hone {

std::unique_ptr<Transformer> make_bench_model(const std::string& shape, const ModelOptions& place,
                                              bool trainable) {
  set_threads(place.threads);
  ModelPlace where = choose_place(place.device, place.dtype, trainable, place.exact);
  where.fp8 = place.fp8;
  auto model = std::make_unique<Transformer>(named_shape(shape), where);
  WeightArena& weights = model->weights();
  at::Generator generator = at::globalContext().defaultGenerator(model->device());
  generator.set_current_seed(static_cast<uint64_t>(place.seed));
  at::Tensor all = weights.master().defined() ? weights.master() : weights.value();
  all.normal_(0, 0.02, generator);
  for (const NamedTensor& t : weights.tensors()) {
    if (t.shape.size() == 1) weights.view(t).fill_(t.name.ends_with("bias") ? 0.0 : 1.0);
  }
  weights.weights_changed();
  return model;
}

std::vector<int32_t> random_ids(int64_t n, int64_t vocab, Rng& rng) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  for (int32_t& id : ids) id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(vocab)));
  return ids;
}

std::vector<int64_t> tail_lengths(int64_t n, int64_t longest, uint64_t key) {
  constexpr double kNormal99 = 2.3263478740408408;  // its 99th percentile
  const double sigma = std::log(kTail99 / kTailMedian) / kNormal99;
  const double median = kTailMedian * static_cast<double>(longest) / kTailLongest;
  Rng rng(key);
  std::vector<int64_t> lengths(static_cast<size_t>(n));
  for (int64_t& length : lengths) {  // Box-Muller
    const double radius = std::sqrt(-2 * std::log(1 - rng.uniform()));
    const double normal = radius * std::cos(6.283185307179586 * rng.uniform());
    length = std::clamp<int64_t>(std::llround(median * std::exp(sigma * normal)), 1, longest);
  }
  return lengths;
}

double training_flops(const Transformer& model, const std::vector<TrainedSegment>& segments) {
  const ModelConfig& c = model.config();
  const int64_t head = c.vocab_size * c.hidden;
  const double each = model.adapters() ? 4 : 6;
  const auto adapters =
      model.adapters() ? static_cast<double>(model.adapters()->weights.numel()) : 0.0;
  const auto body = static_cast<double>(c.active_parameter_count() - (c.tied_head ? 1 : 2) * head);
  double flops = 0;
  for (const TrainedSegment& s : segments) {
    const auto n = static_cast<double>(s.length);
    flops += each * (body * n + static_cast<double>(head * s.predicted)) + 6 * adapters * n;
    for (int64_t layer = 0; layer < c.layers; ++layer) {
      const auto window = static_cast<double>(c.window(layer));
      double seen = static_cast<double>(s.prefix) + n / 2;  // keys of a token, on average
      if (window > 0) seen = std::min(seen, window);
      flops += 12.0 * static_cast<double>(c.heads * c.head_dim) * n * seen;
    }
  }
  return flops;
}

double product_peak(const at::Device& device, at::ScalarType dtype) {
  if (device.is_cpu()) return 0;
  constexpr int64_t kSide = 8192;
  constexpr int kRuns = 20;
  const at::Tensor x = at::randn({kSide, kSide}, at::TensorOptions().device(device).dtype(dtype));
  const auto run = [&] {
    const Timer timer;
    at::Tensor y;
    for (int i = 0; i < kRuns; ++i) y = at::mm(x, x);
    y.narrow(0, 0, 1).sum().item<double>();
    return timer.seconds() / kRuns;
  };
  run();
  std::vector<double> times;
  for (int i = 0; i < 3; ++i) times.push_back(run());
  return 2.0 * std::pow(static_cast<double>(kSide), 3) / median(times);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace hone
