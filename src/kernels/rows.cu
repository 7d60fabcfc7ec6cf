#include <algorithm>

#include "kernels/cuda_rows.h"
#include "kernels/launch.cuh"
#include "kernels/packs.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kBlock = 16;  // tokens of a cache block

// The sum over the thread block, known to all; `of_warp` is its scratch.
__device__ float block_sum(float x, float* of_warp) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  float sum = 0.0f;
  for (unsigned w = 0; w < blockDim.x / 32; ++w) sum = __fadd_rn(sum, of_warp[w]);
  return sum;
}

// One thread block a row; kEach packs of 16 bytes a thread stay in registers, wider rows are read
// twice. The order of the sum depends on the width alone.
template <class T>
__global__ void norm_kernel(const T* x, const T* delta, const T* weight, float eps, T* sum, T* y,
                            float* inv_rms, int64_t width) {
  constexpr int kEach = 4, kPack = Pack<T>::kSize;
  __shared__ float of_warp[32];
  let_next_begin();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int64_t packs = width / kPack;
  const auto* x_row = reinterpret_cast<const Pack<T>*>(x + row * width);
  const auto* delta_row = reinterpret_cast<const Pack<T>*>(delta + row * width);
  auto* sum_row = reinterpret_cast<Pack<T>*>(sum + row * width);
  Pack<T> kept[kEach];
  float square = 0.0f;
  const auto take = [&](int64_t i) {
    Pack<T> p = x_row[i];
    if (delta != nullptr) {
      const Pack<T> d = delta_row[i];
#pragma unroll
      for (int e = 0; e < kPack; ++e) {
        p.v[e] = from_float<T>(__fadd_rn(to_float(p.v[e]), to_float(d.v[e])));
      }
      sum_row[i] = p;
    }
#pragma unroll
    for (int e = 0; e < kPack; ++e) {
      const float f = to_float(p.v[e]);
      square = __fmaf_rn(f, f, square);
    }
    return p;
  };
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int64_t i = threadIdx.x + k * static_cast<int64_t>(blockDim.x);
    if (i < packs) kept[k] = take(i);
  }
  for (int64_t i = threadIdx.x + kEach * static_cast<int64_t>(blockDim.x); i < packs;
       i += blockDim.x) {
    take(i);
  }
  const float inverse = rsqrtf(block_sum(square, of_warp) / static_cast<float>(width) + eps);
  if (threadIdx.x == 0 && inv_rms != nullptr) inv_rms[row] = inverse;
  auto* y_row = reinterpret_cast<Pack<T>*>(y + row * width);
  const auto* w = reinterpret_cast<const Pack<T>*>(weight);
  const auto give = [&](int64_t i, Pack<T> p) {
    const Pack<T> f = w[i];
#pragma unroll
    for (int e = 0; e < kPack; ++e) {
      p.v[e] = from_float<T>(__fmul_rn(__fmul_rn(to_float(p.v[e]), inverse), to_float(f.v[e])));
    }
    y_row[i] = p;
  };
#pragma unroll
  for (int k = 0; k < kEach; ++k) {
    const int64_t i = threadIdx.x + k * static_cast<int64_t>(blockDim.x);
    if (i < packs) give(i, kept[k]);
  }
  for (int64_t i = threadIdx.x + kEach * static_cast<int64_t>(blockDim.x); i < packs;
       i += blockDim.x) {
    give(i, delta != nullptr ? sum_row[i] : x_row[i]);
  }
}

// Sum of squares of a row of any width by one warp, lane by lane; used for heads.
template <class T>
__device__ float warp_inverse_rms(const T* x, int width, float eps) {
  float square = 0.0f;
  for (int i = threadIdx.x % 32; i < width; i += 32) {
    const float f = to_float(x[i]);
    square = __fmaf_rn(f, f, square);
  }
  return rsqrtf(warp_sum(square) / static_cast<float>(width) + eps);
}

// Rows that are narrow (heads) or of a width without 16-byte packs: one warp a row.
template <class T>
__global__ void narrow_norm_kernel(const T* x, const T* delta, const T* weight, float eps, T* sum,
                                   T* y, float* inv_rms, int64_t rows, int64_t width) {
  let_next_begin();
  wait_for_previous();
  const int64_t row = blockIdx.x * static_cast<int64_t>(blockDim.x / 32) + threadIdx.x / 32;
  if (row >= rows) return;
  const int lane = threadIdx.x % 32;
  const T* from = x + row * width;
  if (delta != nullptr) {
    for (int64_t i = lane; i < width; i += 32) {
      sum[row * width + i] =
          from_float<T>(__fadd_rn(to_float(from[i]), to_float(delta[row * width + i])));
    }
    from = sum + row * width;  // each lane reads what it wrote
  }
  const float inverse = warp_inverse_rms(from, static_cast<int>(width), eps);
  if (lane == 0 && inv_rms != nullptr) inv_rms[row] = inverse;
  for (int64_t i = lane; i < width; i += 32) {
    y[row * width + i] =
        from_float<T>(__fmul_rn(__fmul_rn(to_float(from[i]), inverse), to_float(weight[i])));
  }
}

__device__ float silu(float x) { return x / (1.0f + __expf(-x)); }

// One thread block takes 256 packs of a row.
template <class T>
__global__ void swiglu_kernel(const T* gate_up, T* y, int packs) {
  let_next_begin();
  wait_for_previous();
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  const int64_t row = blockIdx.y;
  if (column >= packs) return;
  const auto* from = reinterpret_cast<const Pack<T>*>(gate_up) + row * 2 * packs + column;
  Pack<T> gate = from[0];
  const Pack<T> up = from[packs];
#pragma unroll
  for (int e = 0; e < Pack<T>::kSize; ++e) {
    gate.v[e] = from_float<T>(__fmul_rn(silu(to_float(gate.v[e])), to_float(up.v[e])));
  }
  reinterpret_cast<Pack<T>*>(y)[row * packs + column] = gate;
}

template <class T>
__global__ void swiglu_backward_kernel(const T* dy, const T* gate_up, T* dgate_up, int packs) {
  const int column = blockIdx.x * blockDim.x + threadIdx.x;
  const int64_t row = blockIdx.y;
  if (column >= packs) return;
  const auto* from = reinterpret_cast<const Pack<T>*>(gate_up) + row * 2 * packs + column;
  Pack<T> gate = from[0], up = from[packs];
  const Pack<T> d = reinterpret_cast<const Pack<T>*>(dy)[row * packs + column];
#pragma unroll
  for (int e = 0; e < Pack<T>::kSize; ++e) {
    const float x = to_float(gate.v[e]), u = to_float(up.v[e]), g = to_float(d.v[e]);
    const float s = 1.0f / (1.0f + __expf(-x));
    up.v[e] = from_float<T>(g * x * s);
    gate.v[e] = from_float<T>(g * u * s * (1.0f + x * (1.0f - s)));
  }
  auto* to = reinterpret_cast<Pack<T>*>(dgate_up) + row * 2 * packs + column;
  to[0] = gate;
  to[packs] = up;
}

// The same for a width without 16-byte packs.
template <class T>
__global__ void plain_swiglu_kernel(const T* gate_up, const T* dy, T* out, int64_t rows,
                                    int64_t width) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= rows * width) return;
  const T* from = gate_up + i / width * 2 * width + i % width;
  const float x = to_float(from[0]), u = to_float(from[width]);
  if (dy == nullptr) {
    out[i] = from_float<T>(__fmul_rn(silu(x), u));
    return;
  }
  const float s = 1.0f / (1.0f + __expf(-x)), g = to_float(dy[i]);
  T* to = out + i / width * 2 * width + i % width;
  to[0] = from_float<T>(g * u * s * (1.0f + x * (1.0f - s)));
  to[width] = from_float<T>(g * x * s);
}

// One warp for each head of each token.
template <class T>
__global__ void prepare_kernel(const PrepareHeads a, int64_t rows) {
  let_next_begin();
  wait_for_previous();
  const int64_t work = blockIdx.x * static_cast<int64_t>(blockDim.x / 32) + threadIdx.x / 32;
  const int heads = a.shape.heads + 2 * a.shape.kv_heads, d = a.shape.head_dim, half = d / 2;
  const int64_t row = work / heads;
  if (row >= rows) return;
  const int head = static_cast<int>(work % heads), lane = threadIdx.x % 32;
  T* x = static_cast<T*>(a.qkv) + (row * heads + head) * d;
  const int key_head = head - a.shape.heads;  // of keys from 0, of values from G
  const bool value = key_head >= a.shape.kv_heads;
  T* cached = nullptr;
  int offset = 0;
  if (key_head >= 0 && a.slots != nullptr && a.slots[row] >= 0) {
    const int64_t slot = a.slots[row], g = value ? key_head - a.shape.kv_heads : key_head;
    cached = static_cast<T*>(value ? a.values : a.keys) +
             ((slot / kBlock * a.shape.kv_heads + g) * kBlock + slot % kBlock) * d;
    offset = static_cast<int>(slot % kBlock);
  }
  constexpr Type kType = sizeof(T) == 2 ? Type::bf16 : Type::float32;
  const auto place = [&](int i) { return cache_element(kType, d, offset, i); };
  if (value) {
    if (cached == nullptr) return;
    for (int i = lane; i < d; i += 32) cached[place(i)] = x[i];
    return;
  }
  const auto* norm = static_cast<const T*>(key_head < 0 ? a.query_norm : a.key_norm);
  const float inverse = norm != nullptr ? warp_inverse_rms(x, d, a.eps) : 1.0f;
  const int64_t position = a.positions[row];
  for (int i = lane; i < half; i += 32) {
    T low = x[i], high = x[i + half];
    if (norm != nullptr) {
      low = from_float<T>(__fmul_rn(__fmul_rn(to_float(low), inverse), to_float(norm[i])));
      high = from_float<T>(__fmul_rn(__fmul_rn(to_float(high), inverse), to_float(norm[i + half])));
    }
    if (a.cos != nullptr) {
      const float c = a.cos[position * half + i], s = a.sin[position * half + i];
      const float p = to_float(low), q = to_float(high);
      low = from_float<T>(__fmaf_rn(p, c, -__fmul_rn(q, s)));
      high = from_float<T>(__fmaf_rn(q, c, __fmul_rn(p, s)));
    }
    x[i] = low;
    x[i + half] = high;
    if (cached != nullptr) cached[place(i)] = low, cached[place(i + half)] = high;
  }
}

template <class T>
__global__ void add_pieces_kernel(const float* parts, int64_t count, const __nv_bfloat16* bias,
                                  T* y, int64_t all, int64_t columns) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= all) return;
  float sum = parts[i];
  for (int64_t p = 1; p < count; ++p) sum = __fadd_rn(sum, parts[p * all + i]);
  if (bias != nullptr) sum = __fadd_rn(sum, to_float(bias[i % columns]));
  y[i] = from_float<T>(sum);
}

template <class T>
void norm_rows(const void* x, const void* delta, const void* weight, float eps, void* sum, void* y,
               float* inv_rms, int64_t rows, int64_t width, cudaStream_t stream) {
  const auto launch = [&](auto kernel, int64_t blocks, unsigned threads, auto... extra) {
    launch_overlapped(kernel, static_cast<unsigned>(blocks), threads, 0, stream,
                      static_cast<const T*>(x), static_cast<const T*>(delta),
                      static_cast<const T*>(weight), eps, static_cast<T*>(sum), static_cast<T*>(y),
                      inv_rms, extra..., width);
  };
  constexpr int kPack = Pack<T>::kSize;
  if (width <= 256 || width % kPack != 0) {
    launch(narrow_norm_kernel<T>, (rows + 7) / 8, 256, rows);
  } else {
    const int64_t packs = width / kPack;
    const auto threads = static_cast<unsigned>(packs <= 128 ? 128 : (packs <= 1024 ? 256 : 512));
    launch(norm_kernel<T>, rows, threads);
  }
}

template <class T>
void swiglu_rows(const void* dy, const void* gate_up, void* out, int64_t rows, int64_t width,
                 cudaStream_t stream) {
  constexpr int kPack = Pack<T>::kSize;
  const auto* from = static_cast<const T*>(gate_up);
  const auto* d = static_cast<const T*>(dy);
  auto* to = static_cast<T*>(out);
  if (width % kPack != 0) {
    plain_swiglu_kernel<<<static_cast<unsigned>((rows * width + 255) / 256), 256, 0, stream>>>(
        from, d, to, rows, width);
    return;
  }
  const auto packs = static_cast<int>(width / kPack);
  constexpr int64_t kMostRows = 65535;  // of a grid
  for (int64_t row = 0; row < rows; row += kMostRows) {
    const dim3 grid(static_cast<unsigned>((packs + 255) / 256),
                    static_cast<unsigned>(std::min(kMostRows, rows - row)));
    const T* part = from + row * 2 * width;
    if (d == nullptr) {
      launch_overlapped(swiglu_kernel<T>, grid, 256, 0, stream, part, to + row * width, packs);
    } else {
      swiglu_backward_kernel<<<grid, 256, 0, stream>>>(d + row * width, part, to + row * 2 * width,
                                                       packs);
    }
  }
}

}  // namespace

void add_rms_norm(Type type, const void* x, const void* delta, const void* weight, float eps,
                  void* sum, void* y, float* inv_rms, int64_t rows, int64_t width,
                  cudaStream_t stream) {
  if (rows == 0) return;
  (type == Type::bf16 ? norm_rows<__nv_bfloat16> : norm_rows<float>)(x, delta, weight, eps, sum, y,
                                                                     inv_rms, rows, width, stream);
}

void swiglu(Type type, const void* gate_up, void* y, int64_t rows, int64_t width,
            cudaStream_t stream) {
  swiglu_backward(type, nullptr, gate_up, y, rows, width, stream);
}

void swiglu_backward(Type type, const void* dy, const void* gate_up, void* dgate_up, int64_t rows,
                     int64_t width, cudaStream_t stream) {
  if (rows * width == 0) return;
  (type == Type::bf16 ? swiglu_rows<__nv_bfloat16> : swiglu_rows<float>)(dy, gate_up, dgate_up,
                                                                         rows, width, stream);
}

void prepare_heads(Type type, const PrepareHeads& call, int64_t rows, cudaStream_t stream) {
  const int64_t warps = rows * (call.shape.heads + 2 * call.shape.kv_heads);
  if (warps == 0) return;
  const auto blocks = static_cast<unsigned>((warps + 7) / 8);
  if (type == Type::bf16) {
    launch_overlapped(prepare_kernel<__nv_bfloat16>, blocks, 256, 0, stream, call, rows);
  } else {
    launch_overlapped(prepare_kernel<float>, blocks, 256, 0, stream, call, rows);
  }
}

void add_pieces(const float* parts, int64_t count, const void* bias, Type type, void* y,
                int64_t rows, int64_t columns, cudaStream_t stream) {
  const int64_t all = rows * columns;
  const auto blocks = static_cast<unsigned>((all + 255) / 256);
  const auto* b = static_cast<const __nv_bfloat16*>(bias);
  if (type == Type::bf16) {
    add_pieces_kernel<<<blocks, 256, 0, stream>>>(parts, count, b, static_cast<__nv_bfloat16*>(y),
                                                  all, columns);
  } else {
    add_pieces_kernel<<<blocks, 256, 0, stream>>>(parts, count, b, static_cast<float*>(y), all,
                                                  columns);
  }
}

}  // namespace hone::kernels::cuda
