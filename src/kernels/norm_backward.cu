// The gradient of an RMS norm. A group of threads takes a row at a time, each of them the same
// columns of every row, so that the weight's gradient adds up in registers. A thread block adds the
// sums of its groups, a second kernel those of the blocks. Every sum has one order.
#include <algorithm>

#include "kernels/cuda_training.h"
#include "kernels/packs.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kThreads = 256, kEach = 4;  // of a thread block; packs of a thread

// The sum over the kGroup threads of a row, known to all of them.
template <int kGroup>
__device__ float group_sum(float x, float* of_warp) {
  x = warp_sum(x);
  if constexpr (kGroup > 32) {
    constexpr int kWarps = kGroup / 32;
    const int warp = threadIdx.x / 32;
    __syncthreads();  // the last row's sums are read
    if (threadIdx.x % 32 == 0) of_warp[warp] = x;
    __syncthreads();
    x = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) x = __fadd_rn(x, of_warp[warp / kWarps * kWarps + w]);
  }
  return x;
}

// dw: [gridDim.x][width] or null.
template <class T, int kGroup>
__global__ void __launch_bounds__(kThreads)
    norm_backward_kernel(const NormBackward a, int64_t rows, float* dw) {
  constexpr int kPack = Pack<T>::kSize, kGroups = kThreads / kGroup;
  __shared__ float of_warp[kThreads / 32];
  __shared__ float of_block[kGroup * kEach * kPack];
  const int packs = static_cast<int>(a.width / kPack), lane = threadIdx.x % kGroup;
  const int64_t group = blockIdx.x * kGroups + threadIdx.x / kGroup;
  const auto* weight = static_cast<const Pack<T>*>(a.weight);
  float sums[kEach][kPack] = {};
  // All groups of a block take as many turns: they meet at its barriers.
  const int64_t turns = (rows + kGroups * gridDim.x - 1) / (kGroups * gridDim.x);
  for (int64_t turn = 0; turn < turns; ++turn) {
    const int64_t row = group + turn * kGroups * gridDim.x;
    const bool real = row < rows;
    const float inverse = real ? a.inv_rms[row] : 0.0f;
    const int64_t begin = row * packs;
    Pack<T> x[kEach], d[kEach];
    float dot = 0.0f;
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const int i = lane + k * kGroup;
      if (!real || i >= packs) continue;
      x[k] = static_cast<const Pack<T>*>(a.x)[begin + i];
      d[k] = static_cast<const Pack<T>*>(a.dy)[begin + i];
      const Pack<T> w = weight[i];
#pragma unroll
      for (int e = 0; e < kPack; ++e) {
        const float n = to_float(x[k].v[e]) * inverse, g = to_float(d[k].v[e]);
        sums[k][e] = fmaf(g, n, sums[k][e]);
        dot = fmaf(g * to_float(w.v[e]), n, dot);
      }
    }
    const float mean = group_sum<kGroup>(dot, of_warp) / static_cast<float>(a.width);
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const int i = lane + k * kGroup;
      if (!real || i >= packs) continue;
      const Pack<T> w = weight[i];
      Pack<T> more{}, out;
      if (a.dsum != nullptr) more = static_cast<const Pack<T>*>(a.dsum)[begin + i];
#pragma unroll
      for (int e = 0; e < kPack; ++e) {
        const float n = to_float(x[k].v[e]) * inverse;
        const float g = (to_float(d[k].v[e]) * to_float(w.v[e]) - n * mean) * inverse;
        out.v[e] = from_float<T>(a.dsum != nullptr ? g + to_float(more.v[e]) : g);
      }
      static_cast<Pack<T>*>(a.dx)[begin + i] = out;
    }
  }
  if (dw == nullptr) return;
  for (int g = 0; g < kGroups; ++g) {
    __syncthreads();
    if (threadIdx.x / kGroup != g) continue;
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      const int i = lane + k * kGroup;
#pragma unroll
      for (int e = 0; e < kPack; ++e) {
        const int at = i * kPack + e;
        of_block[at] = g == 0 ? sums[k][e] : of_block[at] + sums[k][e];
      }
    }
  }
  __syncthreads();
  for (int64_t i = threadIdx.x; i < a.width; i += kThreads)
    dw[blockIdx.x * a.width + i] = of_block[i];
}

// The same for rows that packs do not fit: a warp a row, its own columns lane by lane. dw: a row
// for each warp.
template <class T>
__global__ void __launch_bounds__(kThreads)
    plain_norm_backward_kernel(const NormBackward a, int64_t rows, float* dw) {
  const int lane = threadIdx.x % 32;
  const int64_t group = (blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x) / 32,
                groups = gridDim.x * (kThreads / 32);
  float* own = dw != nullptr ? dw + group * a.width : nullptr;
  for (int64_t i = lane; own != nullptr && i < a.width; i += 32) own[i] = 0.0f;
  const auto* w = static_cast<const T*>(a.weight);
  for (int64_t row = group; row < rows; row += groups) {
    const T* x = static_cast<const T*>(a.x) + row * a.width;
    const T* d = static_cast<const T*>(a.dy) + row * a.width;
    const float inverse = a.inv_rms[row];
    float dot = 0.0f;
    for (int64_t i = lane; i < a.width; i += 32) {
      const float n = to_float(x[i]) * inverse, g = to_float(d[i]);
      if (own != nullptr) own[i] = fmaf(g, n, own[i]);
      dot = fmaf(g * to_float(w[i]), n, dot);
    }
    const float mean = warp_sum(dot) / static_cast<float>(a.width);
    for (int64_t i = lane; i < a.width; i += 32) {
      const float n = to_float(x[i]) * inverse;
      float g = (to_float(d[i]) * to_float(w[i]) - n * mean) * inverse;
      if (a.dsum != nullptr) g += to_float(static_cast<const T*>(a.dsum)[row * a.width + i]);
      static_cast<T*>(a.dx)[row * a.width + i] = from_float<T>(g);
    }
  }
}

constexpr int kColumnWarps = 32;

// dweight [width] += the sum of parts [count][width] in order: a thread block takes 32 columns, its
// warps a share of the parts each.
__global__ void __launch_bounds__(32 * kColumnWarps)
    norm_columns_kernel(const float* parts, int64_t count, float* dweight, int64_t width) {
  __shared__ float of_warp[kColumnWarps][33];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t column = blockIdx.x * 32 + lane;
  float sum = 0.0f;
  for (int64_t p = warp; column < width && p < count; p += kColumnWarps)
    sum += parts[p * width + column];
  of_warp[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || column >= width) return;
  for (int w = 1; w < kColumnWarps; ++w) sum += of_warp[w][lane];
  dweight[column] += sum;
}

enum class Way { warp, half, block, plain };

template <class T>
Way way_of(int64_t width) {
  constexpr int kPack = Pack<T>::kSize;
  if (width % kPack != 0 || width > kEach * kPack * 256) return Way::plain;
  if (width <= kEach * kPack * 32) return Way::warp;
  return width <= kEach * kPack * 128 ? Way::half : Way::block;
}

int64_t groups_of_block(Way way) {
  switch (way) {
    case Way::warp:
    case Way::plain:
      return 8;
    case Way::half:
      return 2;
    case Way::block:
      return 1;
  }
  return 1;
}

Way way_of(Type type, int64_t width) {
  return type == Type::bf16 ? way_of<__nv_bfloat16>(width) : way_of<float>(width);
}

constexpr int64_t kMostBlocks = 528;  // four on each of an H200's multiprocessors

// Rows of the sums that the first kernel leaves.
int64_t parts_of(Way way, int64_t blocks) {
  return way == Way::plain ? blocks * groups_of_block(way) : blocks;
}

int64_t blocks_of(Way way, int64_t rows) {
  const int64_t groups = groups_of_block(way);
  return std::min(kMostBlocks, (rows + groups - 1) / groups);
}

template <class T>
void launch(const NormBackward& a, Way way, int64_t rows, float* dw, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(blocks_of(way, rows));
  const auto run = [&](auto kernel) { kernel<<<blocks, kThreads, 0, stream>>>(a, rows, dw); };
  switch (way) {
    case Way::warp:
      return run(norm_backward_kernel<T, 32>);
    case Way::half:
      return run(norm_backward_kernel<T, 128>);
    case Way::block:
      return run(norm_backward_kernel<T, 256>);
    case Way::plain:
      return run(plain_norm_backward_kernel<T>);
  }
}

}  // namespace

int64_t norm_backward_floats(Type type, int64_t rows, int64_t width) {
  const Way way = way_of(type, width);
  return parts_of(way, blocks_of(way, rows)) * width;
}

void norm_backward(Type type, const NormBackward& call, int64_t rows, float* workspace,
                   cudaStream_t stream) {
  if (rows == 0) return;
  const Way way = way_of(type, call.width);
  float* parts = call.dweight != nullptr ? workspace : nullptr;
  (type == Type::bf16 ? launch<__nv_bfloat16> : launch<float>)(call, way, rows, parts, stream);
  if (parts == nullptr) return;
  norm_columns_kernel<<<static_cast<unsigned>((call.width + 31) / 32), 32 * kColumnWarps, 0,
                        stream>>>(parts, parts_of(way, blocks_of(way, rows)), call.dweight,
                                  call.width);
}

}  // namespace hone::kernels::cuda
