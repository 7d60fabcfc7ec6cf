#include "cli/bench_common.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/named_shapes.h"
#include "train/run.h"

namespace hone {

std::unique_ptr<Transformer> make_bench_model(const std::string& shape, const ModelOptions& place,
                                              bool trainable) {
  set_threads(place.threads);
  auto model = std::make_unique<Transformer>(
      named_shape(shape), choose_place(place.device, place.dtype, trainable, place.exact));
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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace hone
