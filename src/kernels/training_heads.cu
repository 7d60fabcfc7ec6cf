// Between the product of queries, keys and values and attention, in training: rotation, and the
// copies of shared keys and values that attention reads as one row of memory.
#include "kernels/cuda_training.h"
#include "kernels/packs.cuh"

namespace hone::kernels::cuda {

namespace {

// A thread takes a pack of the lower half of a head and its partner in the upper half.
struct Place {
  int64_t row, head;
  int at;  // in the half
};

template <int kPack>
__device__ bool find_place(const HeadShape& s, int64_t rows, Place& p) {
  const int packs = s.head_dim / 2 / kPack;
  const int64_t work = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  const int heads = s.heads + 2 * s.kv_heads;
  p.at = static_cast<int>(work % packs) * kPack;
  p.head = work / packs % heads;
  p.row = work / packs / heads;
  return p.row < rows;
}

// The sampler's arithmetic (prepare_heads): the same bits.
template <int kPack>
__device__ void rotate(float (&low)[kPack], float (&high)[kPack], const float* cos,
                       const float* sin, bool back) {
#pragma unroll
  for (int e = 0; e < kPack; ++e) {
    const float p = low[e], q = high[e], c = cos[e], s = back ? -sin[e] : sin[e];
    low[e] = __fmaf_rn(p, c, -__fmul_rn(q, s));
    high[e] = __fmaf_rn(q, c, __fmul_rn(p, s));
  }
}

template <class T, int kPack>
__device__ void load(const T* from, float (&x)[kPack]) {
  const auto p = *reinterpret_cast<const Pack<T, kPack>*>(from);
#pragma unroll
  for (int e = 0; e < kPack; ++e) x[e] = to_float(p.v[e]);
}
template <class T, int kPack>
__device__ void store(T* to, const float (&x)[kPack]) {
  Pack<T, kPack> p;
#pragma unroll
  for (int e = 0; e < kPack; ++e) p.v[e] = from_float<T>(x[e]);
  *reinterpret_cast<Pack<T, kPack>*>(to) = p;
}

template <class T, int kPack>
__device__ void add(const T* from, float (&x)[kPack]) {
  const auto p = *reinterpret_cast<const Pack<T, kPack>*>(from);
#pragma unroll
  for (int e = 0; e < kPack; ++e) x[e] = __fadd_rn(x[e], to_float(p.v[e]));
}

template <class T, int kPack>
__global__ void rotate_heads_kernel(const RotateHeads a, int64_t rows) {
  const HeadShape& s = a.shape;
  Place p;
  if (!find_place<kPack>(s, rows, p)) return;
  const int heads = s.heads + 2 * s.kv_heads, half = s.head_dim / 2;
  const int64_t at = (p.row * heads + p.head) * s.head_dim + p.at;
  float low[kPack], high[kPack];
  load(static_cast<const T*>(a.from) + at, low);
  load(static_cast<const T*>(a.from) + at + half, high);
  if (a.cos != nullptr && p.head < s.heads + s.kv_heads) {
    const int64_t entry = a.positions[p.row] * half + p.at;
    rotate(low, high, a.cos + entry, a.sin + entry, false);
  }
  store(static_cast<T*>(a.to) + at, low);
  store(static_cast<T*>(a.to) + at + half, high);
}

template <class T, int kPack>
__global__ void head_gradients_kernel(const HeadGradients a, int64_t rows) {
  const HeadShape& s = a.shape;
  Place p;
  if (!find_place<kPack>(s, rows, p)) return;
  const int heads = s.heads + 2 * s.kv_heads, half = s.head_dim / 2;
  float low[kPack], high[kPack];
  if (p.head < s.heads) {
    const T* from = static_cast<const T*>(a.dq) + (p.row * s.heads + p.head) * s.head_dim + p.at;
    load(from, low);
    load(from + half, high);
  } else {
    const int64_t g = (p.head - s.heads) % s.kv_heads;
    const auto* of = static_cast<const T*>(p.head < s.heads + s.kv_heads ? a.dk : a.dv);
    const auto from = [&](int64_t place) {
      return of + (place * s.kv_heads + g) * s.head_dim + p.at;
    };
    int64_t first = p.row, end = p.row + 1;
    if (a.places != nullptr) first = a.place_begin[p.row], end = a.place_begin[p.row + 1];
    const auto place = [&](int64_t i) {
      return a.places != nullptr ? static_cast<int64_t>(a.places[i]) : i;
    };
    load(from(place(first)), low);
    load(from(place(first)) + half, high);
    for (int64_t i = first + 1; i < end; ++i) {
      add(from(place(i)), low);
      add(from(place(i)) + half, high);
    }
  }
  if (a.cos != nullptr && p.head < s.heads + s.kv_heads) {
    const int64_t entry = a.positions[p.row] * half + p.at;
    rotate(low, high, a.cos + entry, a.sin + entry, true);
  }
  T* to = static_cast<T*>(a.dqkv) + (p.row * heads + p.head) * s.head_dim + p.at;
  store(to, low);
  store(to + half, high);
}

template <class T>
constexpr int kWide = 16 / sizeof(T);

template <class Launch>
void each_width(const HeadShape& s, int64_t rows, int wide, const Launch& launch) {
  const int pack = s.head_dim % (2 * wide) == 0 ? wide : 1;
  const int64_t threads = rows * (s.heads + 2 * s.kv_heads) * (s.head_dim / 2 / pack);
  launch(pack > 1, static_cast<unsigned>((threads + 255) / 256));
}

template <class T>
void rotate_rows(const RotateHeads& a, int64_t rows, cudaStream_t stream) {
  each_width(a.shape, rows, kWide<T>, [&](bool wide, unsigned blocks) {
    (wide ? rotate_heads_kernel<T, kWide<T>>
          : rotate_heads_kernel<T, 1>)<<<blocks, 256, 0, stream>>>(a, rows);
  });
}

template <class T>
void gradient_rows(const HeadGradients& a, int64_t rows, cudaStream_t stream) {
  each_width(a.shape, rows, kWide<T>, [&](bool wide, unsigned blocks) {
    (wide ? head_gradients_kernel<T, kWide<T>>
          : head_gradients_kernel<T, 1>)<<<blocks, 256, 0, stream>>>(a, rows);
  });
}

}  // namespace

void rotate_heads(Type type, const RotateHeads& call, int64_t rows, cudaStream_t stream) {
  if (rows == 0) return;
  (type == Type::bf16 ? rotate_rows<__nv_bfloat16> : rotate_rows<float>)(call, rows, stream);
}

void head_gradients(Type type, const HeadGradients& call, int64_t rows, cudaStream_t stream) {
  if (rows == 0) return;
  (type == Type::bf16 ? gradient_rows<__nv_bfloat16> : gradient_rows<float>)(call, rows, stream);
}

}  // namespace hone::kernels::cuda
