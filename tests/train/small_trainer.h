// What the trainer's tests share: a small model, completions of shared prompts.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "train/trainer.h"

namespace hone::testing {

inline std::unique_ptr<Transformer> trainable_model(uint64_t seed = 1, double spread = 6) {
  ModelConfig c;
  c.vocab_size = 61;
  c.hidden = 48;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 16;
  c.intermediate = 72;
  c.max_positions = 128;
  c.tied_head = false;
  c.stop_ids = {2};
  ModelPlace place;
  place.trainable = true;
  auto model = std::make_unique<Transformer>(c, place);
  model->initialize(seed);
  model->weights().master().mul_(spread);  // so that attention is not flat
  model->weights().weights_changed();
  return model;
}

// Sigmoid routers with a selection bias in two of three layers, and a module that predicts the
// token after next.
inline std::unique_ptr<Transformer> deepseek_model() {
  ModelConfig shape;
  shape.family = "deepseek_v3";
  shape.vocab_size = 61;
  shape.hidden = 32;
  shape.layers = 3;
  shape.heads = shape.kv_heads = 2;
  shape.intermediate = 48;
  shape.max_positions = 128;
  shape.tied_head = false;
  shape.more = {{"q_lora_rank", "null"},
                {"kv_lora_rank", "16"},
                {"qk_nope_head_dim", "16"},
                {"qk_rope_head_dim", "8"},
                {"v_head_dim", "16"},
                {"n_routed_experts", "8"},
                {"num_experts_per_tok", "2"},
                {"n_group", "1"},
                {"topk_group", "1"},
                {"n_shared_experts", "1"},
                {"moe_intermediate_size", "16"},
                {"first_k_dense_replace", "1"},
                {"num_nextn_predict_layers", "1"}};
  ModelPlace place;
  place.trainable = true;
  auto model = std::make_unique<Transformer>(complete_shape(shape, "shape"), place);
  model->initialize(4);
  model->weights().master().mul_(6);  // so that the routers have preferences
  model->weights().weights_changed();
  return model;
}

// Three prompts with 4, 1 and 3 completions, of lengths around a block of the cache.
struct Completions {
  std::vector<std::vector<int32_t>> prompts, completions;
  std::vector<size_t> prompt_of;

  Completions() {
    Rng rng(5);
    const auto draw = [&](int64_t n) {
      std::vector<int32_t> ids;
      for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.between(3, 60)));
      return ids;
    };
    for (const int64_t n : {17, 5, 32}) prompts.push_back(draw(n));
    const int64_t lengths[] = {9, 16, 1, 33, 20, 2, 15, 40};
    for (size_t i = 0; i < 8; ++i) {
      completions.push_back(draw(lengths[i]));
      prompt_of.push_back(i < 4 ? 0 : i < 5 ? 1 : 2);
    }
  }
  std::vector<TrainingSequence> sequences() const {
    std::vector<TrainingSequence> s;
    for (size_t i = 0; i < completions.size(); ++i) {
      s.push_back({prompts[prompt_of[i]], completions[i]});
    }
    return s;
  }
};

// Its first moment after one step from zero is the gradient times 1 - beta1.
inline OptimizerOptions plain_adamw() {
  OptimizerOptions o;
  o.clip_norm = 0;
  return o;
}

inline double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).to(at::kDouble).norm() / b.to(at::kDouble).norm()).item<double>();
}

}  // namespace hone::testing
