#include "engine/decode_limit.h"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "model/named_shapes.h"

namespace hone {

using Catch::Approx;

TEST_CASE("a step reads every weight and the cache of every sequence once") {
  const ModelConfig c = named_shape("qwen2.5-0.5b");  // tied: its embedding is read as the head
  const DecodeBytes b = decode_bytes(c, {128, std::vector<int64_t>(256, 512), 256}, 2);
  CHECK(b.steps == 512);
  CHECK(b.weights == Approx(2.0 * 494032768));
  // 24 layers x 2 heads x 64 wide, keys and values; contexts of 128 to 639 tokens.
  CHECK(b.cache / 512 == Approx(256 * 383.5 * 24 * 2 * 64 * 2 * 2));
  CHECK(b.total() == Approx(512 * b.weights + b.cache));
}

TEST_CASE("an embedding that is not the head is not read") {
  const ModelConfig c = named_shape("qwen2.5-7b");
  CHECK(decode_bytes(c, {1, {1}, 1}, 2).weights == Approx(2.0 * (7615616512 - 152064 * 3584)));
}

TEST_CASE("of the experts those are read that a step's tokens choose") {
  const ModelConfig c = named_shape("qwen3-30b-a3b");
  const double embedding = 151936.0 * 2048, experts = 48 * 128 * 3 * 2048.0 * 768;
  const double all = static_cast<double>(c.parameter_count()) - embedding;
  const auto weights = [&](int64_t batch) {
    return decode_bytes(c, {1, std::vector<int64_t>(static_cast<size_t>(batch), 10), batch}, 1)
        .weights;
  };
  CHECK(weights(1) == Approx(all - experts * 120 / 128));
  CHECK(weights(2) == Approx(all - experts * 120 / 128 * 120 / 128));
  CHECK(weights(4096) == Approx(all));
}

TEST_CASE("latent attention reads one row of each token before") {
  const ModelConfig c = named_shape("deepseek-v2-lite");
  CHECK(decode_bytes(c, {10, {1}, 1}, 2).cache == Approx(10 * 27 * (512 + 64) * 2));
}

TEST_CASE("the fewest steps are those of the longest completion or of full batches") {
  const ModelConfig c = named_shape("bench-5m");
  CHECK(decode_bytes(c, {4, {1, 100, 3}, 3}, 4).steps == 100);
  CHECK(decode_bytes(c, {4, {50, 50, 50, 1}, 2}, 4).steps == 76);
}

}  // namespace hone
