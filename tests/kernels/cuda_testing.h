// What the tests of the GPU's kernels share: memory on the device, bf16 on the host, the skip.
#pragma once
#ifdef HONE_WITH_CUDA
#include <cuda_runtime_api.h>

#include <algorithm>
#include <bit>
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/cuda_attention.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {

inline void skip_without_gpu() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) SKIP("no GPU");
}

inline void wait_for_gpu() {
  REQUIRE(cudaGetLastError() == cudaSuccess);
  REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
}

template <class T>
class OnDevice {
 public:
  explicit OnDevice(const std::vector<T>& host) : size_(host.size()) {
    REQUIRE(cudaMalloc(&data_, (size_ + 1) * sizeof(T)) == cudaSuccess);
    set(host);
  }
  OnDevice(const OnDevice&) = delete;
  ~OnDevice() { cudaFree(data_); }
  T* get() const { return static_cast<T*>(data_); }
  void set(const std::vector<T>& host) const {
    if (size_ == 0) return;
    REQUIRE(cudaMemcpy(data_, host.data(), size_ * sizeof(T), cudaMemcpyHostToDevice) ==
            cudaSuccess);
  }
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

// bf16 as its bits.
using Half = uint16_t;
inline Half to_half(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<Half>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
inline float from_half(Half x) { return std::bit_cast<float>(static_cast<uint32_t>(x) << 16); }
constexpr Half kNanHalf = 0x7FC0;

// An element of either type from and to float.
template <class T>
T encode(float x) {
  if constexpr (sizeof(T) == 2) {
    return to_half(x);
  } else {
    return x;
  }
}
template <class T>
float decode(T x) {
  if constexpr (sizeof(T) == 2) {
    return from_half(x);
  } else {
    return x;
  }
}
template <class T>
T nan_of() {
  return encode<T>(std::numeric_limits<float>::quiet_NaN());
}
template <class T>
constexpr cuda::Type kType = sizeof(T) == 2 ? cuda::Type::bf16 : cuda::Type::float32;

// The first of `expected` that attention's result is far from, or -1.
template <class T>
int64_t first_far(const T* actual, const std::vector<double>& expected) {
  const double allowed = sizeof(T) == 2 ? 0.02 : 2e-5;
  for (size_t e = 0; e < expected.size(); ++e) {
    if (!(std::abs(decode(actual[e]) - expected[e]) < allowed)) return static_cast<int64_t>(e);
  }
  return -1;
}

template <class T>
bool same_bits(const T* a, const T* b, int64_t n) {
  return std::equal(a, a + n, b, [](T x, T y) { return x == y; });
}

// Values that bf16 holds, so that both types compute from the same.
inline Floats rounded(int64_t n, uint64_t key, double scale) {
  Floats x = random_floats(n, key, scale);
  for (float& v : x) v = from_half(to_half(v));
  return x;
}

// An array in the kernels' type.
class Typed {
 public:
  Typed(cuda::Type type, const Floats& values) : type_(type) {
    if (type == cuda::Type::float32) {
      floats_ = std::make_unique<OnDevice<float>>(values);
      return;
    }
    std::vector<Half> halves;
    for (const float v : values) halves.push_back(to_half(v));
    halves_ = std::make_unique<OnDevice<Half>>(halves);
  }
  void* get() const {
    return type_ == cuda::Type::float32 ? static_cast<void*>(floats_->get()) : halves_->get();
  }
  Floats host() const {
    if (type_ == cuda::Type::float32) return floats_->host();
    Floats values;
    for (const Half h : halves_->host()) values.push_back(from_half(h));
    return values;
  }

 private:
  cuda::Type type_;
  std::unique_ptr<OnDevice<float>> floats_;
  std::unique_ptr<OnDevice<Half>> halves_;
};

inline double allowed(cuda::Type type) { return type == cuda::Type::bf16 ? 0.01 : 2e-5; }
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace hone::kernels
#endif
