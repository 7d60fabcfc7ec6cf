// What `exact` refuses on a GPU, in words and before anything is put there: none is needed here.
#include "model/named_shapes.h"
#include "small_models.h"

namespace hone {
namespace {

ModelConfig dense(int64_t head_dim) {
  ModelConfig c;
  c.vocab_size = 97;
  c.hidden = 64;
  c.layers = 1;
  c.heads = c.kv_heads = 2;
  c.head_dim = head_dim;
  c.intermediate = 32;
  c.max_positions = 64;
  return c;
}

std::string refusal(const ModelConfig& config, at::ScalarType dtype) {
  const ModelPlace place{at::Device(at::kCUDA, 0), dtype, false, /*exact=*/true};
  return testing::error_of([&] { Transformer(config, place); });
}

}  // namespace

TEST_CASE("exact on the GPU refuses what would depend on the batch, by its name") {
  const struct {
    ModelConfig config;
    at::ScalarType dtype;
    std::string told;
  } cases[] = {
      {dense(64), at::kFloat, "float32 products"},
      {named_shape("qwen3-30b-a3b-small"), at::kBFloat16, "experts"},
      {named_shape("deepseek-v2-lite"), at::kBFloat16, "latent attention"},
      {dense(80), at::kBFloat16, "heads of other than 32, 64, 96, 128 or 256 elements"},
      {dense(512), at::kBFloat16, "heads of other than 32, 64, 96, 128 or 256 elements"},
  };
  for (const auto& c : cases) {
    INFO(c.told);
    const std::string error = refusal(c.config, c.dtype);
    INFO(error);
    CHECK(error.starts_with("exact: the GPU computes " + c.told + " in an order"));
    CHECK(error.find("run on the CPU") != std::string::npos);
  }
}

TEST_CASE("on the CPU every model is exact, asked for or not") {
  for (const int64_t head_dim : {64, 80}) {
    for (const bool asked : {false, true}) {
      CHECK(Transformer(dense(head_dim), {at::Device(at::kCPU), at::kFloat, false, asked}).exact());
    }
  }
}

}  // namespace hone
