// What the tests of the model share: the golden models and small batches.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "model/transformer.h"
#include "tests/temporary.h"

// LibTorch's logging defines a CHECK too, which would end the program at the first failure.
#undef CHECK
#define CHECK(...) \
  INTERNAL_CATCH_TEST("CHECK", Catch::ResultDisposition::ContinueOnFailure, __VA_ARGS__)

namespace hone::testing {

inline std::string golden(const std::string& name) {
  return std::string(HONE_TEST_DIR) + "/golden/" + name;
}

inline std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no UserError";
}

// One sequence as a training batch.
inline ForwardBatch batch_of(const std::vector<int64_t>& ids) {
  const auto t = static_cast<int64_t>(ids.size());
  ForwardBatch batch;
  batch.segments.push_back({0, t, 0, 0});
  batch.tokens = at::tensor(ids, at::kLong);
  batch.positions = at::arange(t, at::kLong);
  return batch;
}

// Adapters that change something: B, too, is random.
inline void add_random_adapters(Transformer& model, LoraShape shape) {
  model.add_adapters(std::move(shape));
  initialize_adapters(model, 1);
  WeightArena& weights = model.adapters()->weights;
  at::manual_seed(4);
  for (const NamedTensor& t : weights.tensors()) {
    at::Tensor value = weights.view(t);
    value.add_(at::randn_like(value), 0.05);
  }
  weights.weights_changed();
}

}  // namespace hone::testing
