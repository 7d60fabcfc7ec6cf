// The rotary table grows with what is asked for and not with what a config allows.
#include <sys/resource.h>
#include <torch/csrc/autograd/autograd.h>

#include <catch2/catch_test_macros.hpp>

#include "small_models.h"

namespace hone {
namespace {

constexpr int64_t kLongest = 16777216;  // a table of so many positions takes 4 GB here

std::unique_ptr<Transformer> model_of(const std::string& family, int64_t max_positions) {
  ModelConfig shape;
  shape.family = family;
  shape.vocab_size = 40;
  shape.hidden = 32;
  shape.layers = 2;
  shape.heads = shape.kv_heads = 2;
  shape.intermediate = 48;
  shape.max_positions = max_positions;
  if (family == "llama") {
    shape.more["rope_scaling"] =
        R"({"rope_type": "llama3", "factor": 8, "original_max_position_embeddings": 64})";
  } else {
    shape.more = {
        {"q_lora_rank", "null"},    {"kv_lora_rank", "16"},       {"qk_nope_head_dim", "16"},
        {"qk_rope_head_dim", "64"}, {"v_head_dim", "16"},         {"first_k_dense_replace", "2"},
        {"n_routed_experts", "4"},  {"num_experts_per_tok", "2"}, {"moe_intermediate_size", "8"}};
  }
  ModelPlace place;
  place.trainable = true;
  auto model = std::make_unique<Transformer>(complete_shape(shape, "shape"), place);
  model->initialize(3);
  model->weights().master().mul_(8);
  model->weights().weights_changed();
  return model;
}

std::vector<int64_t> ids_of_length(int64_t n) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back((i * 7 + i / 5) % 40);
  return ids;
}

at::Tensor hidden(const Transformer& model, int64_t n) {
  const at::NoGradGuard no_grad;
  return model.forward(testing::batch_of(ids_of_length(n)));
}

// The last of n tokens, computed token by token over the cache.
at::Tensor decoded(const Transformer& model, int64_t n) {
  const at::NoGradGuard no_grad;
  const std::vector<int64_t> ids = ids_of_length(n);
  KvCache cache = model.make_cache(n / kBlockTokens + 1);
  PagedSequence sequence;
  for (int32_t b = 0; b < cache.blocks; ++b) sequence.blocks.push_back(b);
  sequence.query_length = 1;
  at::Tensor last;
  for (int64_t t = 0; t < n; ++t) {
    ForwardBatch batch;
    batch.tokens = at::tensor({ids[static_cast<size_t>(t)]}, at::kLong);
    batch.positions = batch.slots = at::tensor({t}, at::kLong);
    batch.cache = &cache;
    sequence.context = t + 1;
    batch.sequences = {sequence};
    last = model.forward(batch);
  }
  return last;
}

int64_t peak_kilobytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

}  // namespace

TEST_CASE("a config of sixteen million positions costs no memory and changes no bit") {
  for (const char* family : {"llama", "deepseek_v2"}) {
    DYNAMIC_SECTION(family) {
      const int64_t before = peak_kilobytes();
      const auto large = model_of(family, kLongest), small = model_of(family, 100);
      for (const int64_t n : {1, 2, 33, 100}) CHECK(hidden(*large, n).equal(hidden(*small, n)));
      CHECK(peak_kilobytes() - before < 100 * 1024);
    }
  }
}

TEST_CASE("decoding passes every size of the table and keeps the bits of the training pass") {
  for (const char* family : {"llama", "deepseek_v2"}) {
    DYNAMIC_SECTION(family) {
      const auto grown = model_of(family, kLongest), at_once = model_of(family, kLongest);
      CHECK(decoded(*grown, 70).equal(hidden(*at_once, 70).narrow(0, 69, 1)));
    }
  }
}

TEST_CASE("an empty batch has no hidden states, also as the first of a model") {
  for (const char* family : {"llama", "deepseek_v2"}) {
    CHECK(hidden(*model_of(family, kLongest), 0).size(0) == 0);
  }
}

TEST_CASE("a prefix counts as context") {
  const auto alone = model_of("llama", kLongest), shared = model_of("llama", kLongest);
  ForwardBatch batch = testing::batch_of(ids_of_length(70));
  batch.segments = {{0, 50, 0, 0}, {50, 20, 0, 50}};
  const at::NoGradGuard no_grad;
  CHECK(shared->forward(batch).equal(hidden(*alone, 70)));
}

TEST_CASE("a table that grows between a forward and its backward pass changes no gradient") {
  const auto gradient = [](const std::string& family, bool grows) {
    const auto model = model_of(family, kLongest);
    const at::AutoGradMode with_grad(true);
    const ForwardBatch batch = testing::batch_of(ids_of_length(20));
    const at::Tensor out = model->forward(batch);
    if (grows) hidden(*model, 90);
    torch::autograd::backward({out}, {at::ones_like(out)});
    return model->weights().grad().clone();
  };
  for (const char* family : {"llama", "deepseek_v2"}) {
    DYNAMIC_SECTION(family) {
      const at::Tensor wanted = gradient(family, false);
      CHECK(wanted.abs().max().item<float>() > 0);
      CHECK(gradient(family, true).equal(wanted));
    }
  }
}

}  // namespace hone
