// What the engine's tests sample from: a small model with random weights, a tokenizer whose ids
// are bytes, and the check against the training forward pass.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/rng.h"
#include "engine/engine.h"

// Designated initialisers leave the other options at their defaults, which is their point.
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

namespace hone::testing {

// Ids 0..2 are special (no text); id i > 2 is the byte 29 + i, so that 3 is a space.
class ByteTokenizer : public Tokenizer {
 public:
  explicit ByteTokenizer(int32_t size) {
    for (int32_t i = 0; i < size; ++i) {
      pieces_.push_back(i < 3 ? std::string() : std::string(1, static_cast<char>(29 + i)));
    }
  }
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (char c : text) ids.push_back(static_cast<int32_t>(c) - 29);
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (int32_t id : ids) text += token_bytes(id);
    return text;
  }
  std::string_view token_bytes(int32_t id) const override {
    return pieces_[static_cast<size_t>(id)];
  }
  int32_t vocab_size() const override { return static_cast<int32_t>(pieces_.size()); }
  std::optional<int32_t> bos() const override { return 1; }
  std::optional<int32_t> eos() const override { return 2; }
  std::optional<int32_t> pad() const override { return std::nullopt; }
  std::optional<int32_t> unk() const override { return 0; }

 private:
  std::vector<std::string> pieces_;
};

// Grouped-query attention and sizes that no tile divides. `spread` widens the weights, so that the
// distribution is not flat.
inline std::unique_ptr<Transformer> tiny_model(double spread = 8.0, uint64_t seed = 1,
                                               int64_t heads = 6, int64_t kv_heads = 2) {
  ModelConfig c;
  c.vocab_size = 97;
  c.hidden = 36;
  c.layers = 2;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.head_dim = 16;
  c.intermediate = 50;
  c.max_positions = 160;
  c.stop_ids = {2};
  auto model = std::make_unique<Transformer>(c, ModelPlace{});
  model->initialize(seed);
  model->weights().master().mul_(spread);
  model->weights().weights_changed();
  return model;
}

inline std::vector<int32_t> random_prompt(int64_t length, uint64_t seed, int64_t vocab = 97) {
  std::vector<int32_t> prompt;
  Rng rng(seed);
  for (int64_t i = 0; i < length; ++i) {
    prompt.push_back(static_cast<int32_t>(rng.between(3, vocab - 1)));
  }
  return prompt;
}

// Prompts that say the same several times over, so that there is something to look up.
inline std::vector<SampleRequest> repeating_requests() {
  std::vector<SampleRequest> requests;
  for (uint64_t i = 0; i < 6; ++i) {
    const std::vector<int32_t> phrase = random_prompt(static_cast<int64_t>(3 + 2 * i), i);
    std::vector<int32_t> prompt;
    for (int k = 0; k < 4; ++k) prompt.insert(prompt.end(), phrase.begin(), phrase.end());
    requests.push_back({prompt, static_cast<int64_t>(1 + i % 4), 50 + i});
  }
  return requests;
}

// Log-probabilities of the completions by one training batch: a segment for the prompt and one for
// each completion, which sees the prompt as its prefix.
inline std::vector<std::vector<float>> teacher_forced(const Transformer& model,
                                                      const std::vector<int32_t>& prompt,
                                                      const std::vector<Completion>& completions) {
  const at::NoGradGuard no_grad;
  const int64_t p = static_cast<int64_t>(prompt.size());
  std::vector<int64_t> tokens(prompt.begin(), prompt.end()), positions, rows, targets;
  for (int64_t i = 0; i < p; ++i) positions.push_back(i);
  ForwardBatch batch;
  batch.segments.push_back({0, p, 0, 0});
  for (const Completion& c : completions) {
    const int64_t begin = static_cast<int64_t>(tokens.size());
    const int64_t inputs = static_cast<int64_t>(c.tokens.size()) - 1;
    for (size_t i = 0; i < c.tokens.size(); ++i) {
      rows.push_back(i == 0 ? p - 1 : begin + static_cast<int64_t>(i) - 1);
      targets.push_back(c.tokens[i]);
    }
    if (inputs == 0) continue;
    batch.segments.push_back({begin, inputs, 0, p});
    for (int64_t i = 0; i < inputs; ++i) {
      tokens.push_back(c.tokens[static_cast<size_t>(i)]);
      positions.push_back(p + i);
    }
  }
  batch.tokens = at::tensor(tokens, at::kLong);
  batch.positions = at::tensor(positions, at::kLong);
  const at::Tensor hidden = model.forward(batch).index_select(0, at::tensor(rows, at::kLong));
  const at::Tensor logp = model.log_probs(hidden, at::tensor(targets, at::kLong)).logp;
  std::vector<std::vector<float>> result;
  const float* next = logp.const_data_ptr<float>();
  for (const Completion& c : completions) {
    result.emplace_back(next, next + c.tokens.size());
    next += c.tokens.size();
  }
  return result;
}

// The same by one batch in which every completion stands alone behind its own copy of the prompt,
// on the model's device; with a graph for the backward pass if asked for.
inline std::vector<float> teacher_forced_alone(const Transformer& model,
                                               const std::vector<int32_t>& prompt,
                                               const Completion& c, bool with_grad = false) {
  const at::AutoGradMode grad(with_grad);
  std::vector<int64_t> tokens(prompt.begin(), prompt.end());
  tokens.insert(tokens.end(), c.tokens.begin(), c.tokens.end() - 1);
  const int64_t t = static_cast<int64_t>(tokens.size()), n = static_cast<int64_t>(c.tokens.size());
  ForwardBatch batch;
  batch.segments.push_back({0, t, 0, 0});
  batch.tokens = at::tensor(tokens, at::kLong).to(model.device());
  batch.positions = at::arange(t, at::kLong).to(model.device());
  const at::Tensor targets =
      at::tensor(std::vector<int64_t>(c.tokens.begin(), c.tokens.end()), at::kLong)
          .to(model.device());
  const at::Tensor logp =
      model.log_probs(model.forward(batch).narrow(0, t - n, n), targets).logp.detach().cpu();
  return {logp.const_data_ptr<float>(), logp.const_data_ptr<float>() + n};
}

}  // namespace hone::testing
