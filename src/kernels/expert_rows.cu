#include <type_traits>

#include "kernels/cuda_expert_rows.h"
#include "kernels/packs.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kThreads = 128;  // a thread block takes a row or a token

template <class T, int kSize>
__global__ void __launch_bounds__(kThreads)
    gather_kernel(const T* x, const int64_t* token, T* rows, int64_t width) {
  using P = Pack<T, kSize>;
  const int64_t packs = width / kSize, row = blockIdx.x;
  const auto* from = reinterpret_cast<const P*>(x) + token[row] * packs;
  auto* to = reinterpret_cast<P*>(rows) + row * packs;
  for (int64_t i = threadIdx.x; i < packs; i += kThreads) to[i] = from[i];
}

template <class T, int kSize>
__global__ void __launch_bounds__(kThreads)
    sum_kernel(const T* rows, const int64_t* place, const float* weights, T* y, int choices,
               int64_t width) {
  using P = Pack<T, kSize>;
  const int64_t packs = width / kSize, first = static_cast<int64_t>(blockIdx.x) * choices;
  const auto* from = reinterpret_cast<const P*>(rows);
  auto* to = reinterpret_cast<P*>(y) + blockIdx.x * packs;
  for (int64_t i = threadIdx.x; i < packs; i += kThreads) {
    float sum[kSize] = {};
#pragma unroll 4
    for (int c = 0; c < choices; ++c) {
      const P p = from[place[first + c] * packs + i];
      const float w = weights == nullptr ? 1.0f : weights[first + c];
#pragma unroll
      for (int e = 0; e < kSize; ++e) sum[e] = __fmaf_rn(w, to_float(p.v[e]), sum[e]);
    }
    P out;
#pragma unroll
    for (int e = 0; e < kSize; ++e) out.v[e] = from_float<T>(sum[e]);
    to[i] = out;
  }
}

template <class T, int kSize>
__global__ void __launch_bounds__(kThreads)
    sum_backward_kernel(const T* dy, const T* rows, const int64_t* place, const float* weights,
                        T* drows, float* dweights, int choices, int64_t width) {
  using P = Pack<T, kSize>;
  __shared__ float of_warp[kThreads / 32];
  const int64_t packs = width / kSize, first = static_cast<int64_t>(blockIdx.x) * choices;
  const auto* d = reinterpret_cast<const P*>(dy) + blockIdx.x * packs;
  for (int c = 0; c < choices; ++c) {
    const int64_t row = place[first + c] * packs;
    const auto* from = reinterpret_cast<const P*>(rows) + row;
    auto* to = reinterpret_cast<P*>(drows) + row;
    const float w = weights[first + c];
    float dot = 0.0f;
    for (int64_t i = threadIdx.x; i < packs; i += kThreads) {
      const P g = d[i], r = from[i];
      P out;
#pragma unroll
      for (int e = 0; e < kSize; ++e) {
        const float f = to_float(g.v[e]);
        dot = __fmaf_rn(f, to_float(r.v[e]), dot);
        out.v[e] = from_float<T>(__fmul_rn(w, f));
      }
      to[i] = out;
    }
    dot = warp_sum(dot);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = dot;
    __syncthreads();
    if (threadIdx.x == 0) {
      float sum = 0.0f;
      for (int warp = 0; warp < kThreads / 32; ++warp) sum = __fadd_rn(sum, of_warp[warp]);
      dweights[first + c] = sum;
    }
    __syncthreads();  // of_warp is free again
  }
}

// Calls run(element, pack size) with values of the types that serve.
template <class Run>
void with_types(Type type, int64_t width, const Run& run) {
  const auto with = [&](auto element) {
    using T = decltype(element);
    constexpr int kWide = 16 / sizeof(T);
    if (width % kWide == 0) {
      run(element, std::integral_constant<int, kWide>{});
    } else {
      run(element, std::integral_constant<int, 1>{});
    }
  };
  if (type == Type::bf16) {
    with(__nv_bfloat16{});
  } else {
    with(0.0f);
  }
}

}  // namespace

void gather_rows(Type type, const void* x, const int64_t* token, void* rows, int64_t count,
                 int64_t width, cudaStream_t stream) {
  if (count == 0) return;
  with_types(type, width, [&](auto element, auto size) {
    using T = decltype(element);
    gather_kernel<T, size><<<static_cast<unsigned>(count), kThreads, 0, stream>>>(
        static_cast<const T*>(x), token, static_cast<T*>(rows), width);
  });
}

void sum_rows(Type type, const void* rows, const int64_t* place, const float* weights, void* y,
              int64_t tokens, int64_t choices, int64_t width, cudaStream_t stream) {
  if (tokens == 0) return;
  with_types(type, width, [&](auto element, auto size) {
    using T = decltype(element);
    sum_kernel<T, size><<<static_cast<unsigned>(tokens), kThreads, 0, stream>>>(
        static_cast<const T*>(rows), place, weights, static_cast<T*>(y), static_cast<int>(choices),
        width);
  });
}

void sum_rows_backward(Type type, const void* dy, const void* rows, const int64_t* place,
                       const float* weights, void* drows, float* dweights, int64_t tokens,
                       int64_t choices, int64_t width, cudaStream_t stream) {
  if (tokens == 0) return;
  with_types(type, width, [&](auto element, auto size) {
    using T = decltype(element);
    sum_backward_kernel<T, size><<<static_cast<unsigned>(tokens), kThreads, 0, stream>>>(
        static_cast<const T*>(dy), static_cast<const T*>(rows), place, weights,
        static_cast<T*>(drows), dweights, static_cast<int>(choices), width);
  });
}

}  // namespace hone::kernels::cuda
