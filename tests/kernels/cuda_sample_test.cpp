#ifdef HONE_WITH_CUDA
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <numeric>

#include "kernels/cuda_kernels.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& host) : size_(host.size()) {
    REQUIRE(cudaMalloc(&data_, size_ * sizeof(T)) == cudaSuccess);
    REQUIRE(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice) ==
            cudaSuccess);
  }
  OnDevice(const OnDevice&) = delete;
  ~OnDevice() { cudaFree(data_); }
  T* get() const { return static_cast<T*>(data_); }
  std::vector<T> host() const {
    std::vector<T> copy(size_);
    REQUIRE(cudaMemcpy(copy.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost) ==
            cudaSuccess);
    return copy;
  }

 private:
  size_t size_;
  void* data_ = nullptr;
};

struct Draws {
  std::vector<int64_t> tokens;
  Floats logprobs, sampled_logprobs;
};

Draws draw(const Floats& logits, int64_t batch, int64_t vocab, float inv_temperature, bool gpu) {
  const Floats inv(batch, inv_temperature);
  const std::vector<uint64_t> keys(batch, 7);
  std::vector<int64_t> samples(batch), positions(batch, 5);
  std::iota(samples.begin(), samples.end(), 0);
  Draws draws{std::vector<int64_t>(batch), Floats(batch), Floats(batch)};
  if (!gpu) {
    sample_tokens(logits.data(), batch, vocab, inv.data(), keys.data(), samples.data(),
                  positions.data(), draws.tokens.data(), draws.logprobs.data(),
                  draws.sampled_logprobs.data());
    return draws;
  }
  const OnDevice<float> d_logits(logits), d_inv(inv);
  const OnDevice<uint64_t> d_keys(keys);
  const OnDevice<int64_t> d_samples(samples), d_positions(positions), d_tokens(draws.tokens);
  const OnDevice<float> d_logprobs(draws.logprobs), d_sampled(draws.sampled_logprobs);
  cuda::sample_tokens(d_logits.get(), batch, vocab, d_inv.get(), d_keys.get(), d_samples.get(),
                      d_positions.get(), d_tokens.get(), d_logprobs.get(), d_sampled.get(),
                      nullptr);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
  return {d_tokens.host(), d_logprobs.host(), d_sampled.host()};
}

void skip_without_gpu() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) SKIP("no GPU");
}

TEST_CASE("the GPU draws the tokens that the CPU draws, up to rounding") {
  skip_without_gpu();
  for (int64_t vocab : {7, 512, 1000, 151936}) {
    const int64_t batch = vocab > 10000 ? 16 : 2000;
    Floats logits = random_floats(batch * vocab, 1, 6.0);
    for (int64_t i = 3; i < batch * vocab; i += 5) logits[i] = kNegativeInfinity;
    for (float inv_temperature : {0.0f, 1.0f, 0.7f}) {
      const Draws cpu = draw(logits, batch, vocab, inv_temperature, false);
      const Draws gpu = draw(logits, batch, vocab, inv_temperature, true);
      int64_t same = 0;
      for (int64_t row = 0; row < batch; ++row) {
        REQUIRE(gpu.tokens[row] >= 0);
        REQUIRE(gpu.tokens[row] < vocab);
        REQUIRE(logits[row * vocab + gpu.tokens[row]] != kNegativeInfinity);
        if (gpu.tokens[row] != cpu.tokens[row]) continue;
        ++same;
        REQUIRE(std::abs(gpu.logprobs[row] - cpu.logprobs[row]) < 1e-4f);
        REQUIRE(std::abs(gpu.sampled_logprobs[row] - cpu.sampled_logprobs[row]) < 1e-4f);
      }
      REQUIRE(static_cast<double>(same) >= (inv_temperature == 0.0f ? 1.0 : 0.98) * batch);
    }
  }
}

TEST_CASE("a row drawn on the GPU has the same bits alone and in a batch") {
  skip_without_gpu();
  const int64_t batch = 64, vocab = 3001;
  const Floats logits = random_floats(batch * vocab, 2, 5.0);
  const Draws together = draw(logits, batch, vocab, 0.9f, true);
  const Draws alone = draw(Floats(logits.begin(), logits.begin() + vocab), 1, vocab, 0.9f, true);
  REQUIRE(alone.tokens[0] == together.tokens[0]);
  REQUIRE(alone.logprobs[0] == together.logprobs[0]);
  REQUIRE(alone.sampled_logprobs[0] == together.sampled_logprobs[0]);
}

}  // namespace
}  // namespace hone::kernels
#endif
