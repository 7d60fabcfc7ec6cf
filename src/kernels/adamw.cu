// AdamW over flat buffers in one pass, with moments in each of their forms (train/moments.h has the
// forms, and what is stored where).
#include <cuda_bf16.h>

#include "kernels/cuda_training.h"
#include "kernels/packs.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kThreads = 256, kEach = 8;   // elements of a thread
constexpr int kBlockOfScale = 32 * kEach;  // a warp's elements are an int8 block
constexpr float kSignedLevels = 127.0f, kUnsignedLevels = 255.0f;

// random_bits of train/moments.cpp.
__device__ uint32_t random_bits(uint64_t key, uint32_t place) {
  uint32_t h = place ^ static_cast<uint32_t>(key);
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= static_cast<uint32_t>(key >> 32);
  h ^= h >> 15;
  h *= 0x846ca68bu;
  return h ^ (h >> 16);
}

__device__ __nv_bfloat16 to_bfloat16(float x, uint32_t bits) {
  return __ushort_as_bfloat16(static_cast<unsigned short>((__float_as_uint(x) + bits) >> 16));
}

__device__ float cube(float x) { return x * x * x; }

// The root of x in [0, 1] is a start that may be one code off.
__device__ float to_code(float x, float levels, uint32_t bits) {
  const float magnitude = fabsf(x), inverse = 1.0f / levels;
  float below = floorf(copysignf(exp2f(__log2f(magnitude) * (1.0f / 3.0f)), x) * levels);
  if (cube(below * inverse) > x) below -= 1.0f;
  if (cube((below + 1.0f) * inverse) <= x) below += 1.0f;
  const float low = cube(below * inverse), high = cube((below + 1.0f) * inverse);
  return below + ((x - low) * 65536.0f > static_cast<float>(bits) * (high - low) ? 1.0f : 0.0f);
}

struct Floats {
  float v[kEach];
};

__device__ Floats load(const float* from, int64_t at, int64_t n) {
  Floats x{};
#pragma unroll
  for (int e = 0; e < kEach; e += 4) {
    if (at + e + 4 <= n) {
      *reinterpret_cast<float4*>(x.v + e) = *reinterpret_cast<const float4*>(from + at + e);
    } else {
      for (int i = e; i < e + 4 && at + i < n; ++i) x.v[i] = from[at + i];
    }
  }
  return x;
}
__device__ void store(float* to, int64_t at, int64_t n, const Floats& x) {
#pragma unroll
  for (int e = 0; e < kEach; e += 4) {
    if (at + e + 4 <= n) {
      *reinterpret_cast<float4*>(to + at + e) = *reinterpret_cast<const float4*>(x.v + e);
    } else {
      for (int i = e; i < e + 4 && at + i < n; ++i) to[at + i] = x.v[i];
    }
  }
}

__device__ Pack<uint8_t, kEach>& codes_at(void* codes, int64_t at) {
  return *reinterpret_cast<Pack<uint8_t, kEach>*>(static_cast<uint8_t*>(codes) + at);
}

__device__ void load_moments(const AdamW& a, int64_t at, Floats& m, Floats& v) {
  if (a.form == AdamW::Form::float32) {
    m = load(static_cast<const float*>(a.first), at, a.count);
    v = load(static_cast<const float*>(a.second), at, a.count);
    return;
  }
  if (a.form == AdamW::Form::bfloat16) {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const bool real = at + e < a.count;
      m.v[e] = real ? to_float(static_cast<const __nv_bfloat16*>(a.first)[at + e]) : 0.0f;
      v.v[e] = real ? to_float(static_cast<const __nv_bfloat16*>(a.second)[at + e]) : 0.0f;
    }
    return;
  }
  const Pack<uint8_t, kEach> codes = codes_at(a.first, at), roots = codes_at(a.second, at);
  const float first = a.first_scale[at / kBlockOfScale],
              second = a.second_scale[at / kBlockOfScale];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    m.v[e] = cube((static_cast<float>(codes.v[e]) - 128.0f) * (1.0f / kSignedLevels)) * first;
    const float root = cube(static_cast<float>(roots.v[e]) * (1.0f / kUnsignedLevels)) * second;
    v.v[e] = root * root;
  }
}

__device__ void store_moments(const AdamW& a, int64_t at, const Floats& m, const Floats& v) {
  if (a.form == AdamW::Form::float32) {
    store(static_cast<float*>(a.first), at, a.count, m);
    store(static_cast<float*>(a.second), at, a.count, v);
    return;
  }
  if (a.form == AdamW::Form::bfloat16) {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      if (at + e >= a.count) continue;
      const uint32_t bits = random_bits(a.key, static_cast<uint32_t>(at + e));
      static_cast<__nv_bfloat16*>(a.first)[at + e] = to_bfloat16(m.v[e], bits & 0xffff);
      static_cast<__nv_bfloat16*>(a.second)[at + e] = to_bfloat16(v.v[e], bits >> 16);
    }
    return;
  }
  float first = 0.0f, second = 0.0f, root[kEach];
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    root[e] = sqrtf(v.v[e]);
    first = fmaxf(first, fabsf(m.v[e]));
    second = fmaxf(second, root[e]);
  }
  first = warp_max(first);
  second = warp_max(second);
  if (threadIdx.x % 32 == 0) {
    a.first_scale[at / kBlockOfScale] = first;
    a.second_scale[at / kBlockOfScale] = second;
  }
  const float of_first = 1.0f / fmaxf(first, 1e-38f), of_second = 1.0f / fmaxf(second, 1e-38f);
  Pack<uint8_t, kEach> codes, roots;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const uint32_t bits = random_bits(a.key, static_cast<uint32_t>(at + e));
    const float code = to_code(m.v[e] * of_first, kSignedLevels, bits & 0xffff),
                root_code = to_code(root[e] * of_second, kUnsignedLevels, bits >> 16);
    codes.v[e] = static_cast<uint8_t>(fminf(fmaxf(code, -kSignedLevels), kSignedLevels) + 128.0f);
    roots.v[e] = static_cast<uint8_t>(fminf(fmaxf(root_code, 1.0f), kUnsignedLevels));
  }
  codes_at(a.first, at) = codes;
  codes_at(a.second, at) = roots;
}

__global__ void __launch_bounds__(kThreads) adamw_kernel(const AdamW a) {
  const int64_t at = (blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x) * kEach;
  // Of int8 the last block's warp stays whole: its lanes agree on the scale.
  const int64_t end = a.form == AdamW::Form::int8
                          ? (a.count + kBlockOfScale - 1) / kBlockOfScale * kBlockOfScale
                          : a.count;
  if (at >= end) return;
  const float scale = *a.gradient_scale;
  if (!isfinite(scale)) {
    store(a.gradient, at, a.count, Floats{});
    return;
  }
  Floats m, v, w = load(a.weights, at, a.count);
  const Floats g = load(a.gradient, at, a.count);
  load_moments(a, at, m, v);
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const float d = g.v[e] * scale;
    m.v[e] += a.gain1 * (d - m.v[e]);
    v.v[e] = a.beta2 * v.v[e] + a.gain2 * d * d;
    if (at + e >= a.count) m.v[e] = v.v[e] = 0.0f;  // of int8: what pads the last block
    w.v[e] = w.v[e] * a.decay - a.rate * m.v[e] / (sqrtf(v.v[e]) * a.root_correction + a.eps);
  }
  store(a.weights, at, a.count, w);
  store(a.gradient, at, a.count, Floats{});
  store_moments(a, at, m, v);
}

}  // namespace

void adamw(const AdamW& call, cudaStream_t stream) {
  if (call.count == 0) return;
  constexpr int64_t kOfBlock = int64_t{kThreads} * kEach;
  adamw_kernel<<<static_cast<unsigned>((call.count + kOfBlock - 1) / kOfBlock), kThreads, 0,
                 stream>>>(call);
}

}  // namespace hone::kernels::cuda
