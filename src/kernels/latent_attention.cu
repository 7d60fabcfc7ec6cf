#include <cuda_bf16.h>

#include <algorithm>

#include "kernels/attention_tiles.cuh"
#include "kernels/cuda_latents.h"
#include "kernels/launch.cuh"

namespace hone::kernels::cuda {

namespace {

// A thread block takes 16 heads of a row: of the tile's scores each warp computes 16 keys by one
// half of the width; of the values each warp has 64 columns.
constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kMostRank = 64 * kWarps, kMostWidth = 576;
constexpr int kChunks = kMostWidth / 32 / 2;  // of 32 elements, in half of the width
constexpr int kSlots = 2;                     // tiles in shared memory
// Of rows of the scores (float) and probabilities (bf16): no two lanes meet in a bank.
constexpr int kRowStride = kTile + 8;

struct LatentArguments {
  LatentShape shape;
  DecodeRows rows;
  DecodeWork work;
  const __nv_bfloat16 *q, *cache;
  __nv_bfloat16* out;
};

// The tiles of a thread block's items, one after the other.
struct Walk {
  SliceItem item;  // no tiles: nothing is left
  int tile, work;

  __device__ void find(const LatentArguments& a, const HeadShape& heads, int slices) {
    const int total = *a.work.count * slices;
    item.tiles = 0;
    for (; work < total && item.tiles == 0; work += gridDim.x) {
      item = slice_item(heads, a.work.items[work / slices], work % slices);
    }
    tile = 0;
  }
};

__global__ void __launch_bounds__(kThreads, 1) decode_latents_kernel(const LatentArguments a) {
  extern __shared__ __align__(128) __nv_bfloat16 tiles[];
  __shared__ uint64_t barriers[kSlots];
  __shared__ __align__(16) float scores[2][kRows][kRowStride];
  __shared__ __align__(16) __nv_bfloat16 probabilities[kRows][kRowStride];
  __shared__ Merge factors[kRows];
  __shared__ float sums[kRows];
  __shared__ bool last_to_come;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, j = lane % 4;
  if (threadIdx.x < kSlots) barrier_init(&barriers[threadIdx.x]);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  let_next_begin();
  wait_for_previous();

  const int width = a.shape.width, rank = a.shape.rank;
  const HeadShape heads = as_heads(a.shape);
  const int slices = row_tiles(heads), parts = rank / 64;
  const int tile_elements = kTile * width, piece_elements = kBlock * width;
  const float scale_log2 = a.shape.scale * kLog2e;

  // The first warp keeps kSlots tiles on their way.
  Walk loading{{}, 0, static_cast<int>(blockIdx.x)};
  int load_slot = 0;
  const auto load = [&] {
    if (loading.item.tiles == 0) return;
    const SpanItem& spans = loading.item.spans;
    const int piece = (loading.item.tile_begin + loading.tile) * kPieces;
    const int pieces = min(kPieces, (spans.context - 1) / kBlock + 1 - piece);
    const uint32_t bytes = piece_elements * sizeof(__nv_bfloat16);
    if (lane == 0) barrier_expect(&barriers[load_slot], pieces * bytes);
    __syncwarp();
    if (lane < pieces) {
      const int64_t block =
          a.rows.tables[static_cast<int64_t>(spans.row) * a.rows.table_stride + piece + lane];
      bulk_copy(tiles + load_slot * tile_elements + lane * piece_elements,
                a.cache + block * piece_elements, bytes, &barriers[load_slot]);
    }
    load_slot = load_slot + 1 == kSlots ? 0 : load_slot + 1;
    if (++loading.tile == loading.item.tiles) loading.find(a, heads, slices);
  };
  if (warp == 0) {
    loading.find(a, heads, slices);
    for (int i = 0; i < kSlots; ++i) load();
  }

  // Scores: keys 16 * quarter .. of the tile, chunks 2 i + half of the width.
  const int quarter = warp / 2, half = warp % 2;
  const int chunks = (width / 32 + 1 - half) / 2;
  // Softmax: a row to 16 threads, 4 keys to each. m and l stand in all of them.
  const int row = threadIdx.x / 16, first_of_thread = threadIdx.x % 16 * 4;
  int slot = 0;
  uint32_t parity = 0;
  Walk now{{}, 0, static_cast<int>(blockIdx.x)};
  for (now.find(a, heads, slices); now.item.tiles > 0; now.find(a, heads, slices)) {
    const SliceItem& item = now.item;
    const int context = item.spans.context, spans = (context - 1) / kSpan + 1;
    const int64_t first_slot = spans > 1 ? a.work.slots[item.spans.row] : 0;
    const auto place = [&](int span) { return (first_slot + span) * slices + item.slice; };
    // Partial results of a row with several spans: [slot][slice][R / 64][64 / 2 floats of each of
    // 32 lanes], then m and l of 16 rows.
    float2* partial_sums = reinterpret_cast<float2*>(
        a.work.partial + static_cast<int64_t>(a.work.capacity) * slices * kRows * rank);
    const auto partial = [&](int span) {
      return reinterpret_cast<float4*>(a.work.partial + (place(span) * parts + warp) * kRows * 64) +
             lane;
    };
    const int64_t first_head =
        static_cast<int64_t>(item.spans.row) * a.shape.heads + item.first_row;

    uint4 q_low[kChunks], q_high[kChunks];  // rows g and g + 8, 8 elements of each chunk
    const __nv_bfloat16* query = a.q + (first_head + g) * width + 32 * half + 8 * j;
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      q_low[i] = q_high[i] = make_uint4(0, 0, 0, 0);
      if (i < chunks && g < item.rows) q_low[i] = load16(query + 64 * i);
      if (i < chunks && g + 8 < item.rows) q_high[i] = load16(query + 8 * width + 64 * i);
    }
    float o[1][8][4] = {};
    float m = negative_infinity(), l = 0.0f;
    for (int t = 0; t < item.tiles; ++t) {
      const int tile = item.tile_begin + t;
      const int seen = min(kTile, context - tile * kTile);
      const __nv_bfloat16* latents = tiles + slot * tile_elements;
      barrier_wait(&barriers[slot], parity);

      float s[2][2][4] = {};  // 8 keys each; two sums side by side
#pragma unroll
      for (int i = 0; i < kChunks; ++i) {
        if (i < chunks) {
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            const int token = kBlock * quarter + 8 * n + g;
            const uint4 k = load16(latents + token * width +
                                   cache_element(Type::bf16, width, g, 64 * i + 32 * half + 8 * j));
            mma(s[n][0], q_low[i].x, q_high[i].x, q_low[i].y, q_high[i].y, k.x, k.y);
            mma(s[n][1], q_low[i].z, q_high[i].z, q_low[i].w, q_high[i].w, k.z, k.w);
          }
        }
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        float* to = &scores[half][g][kBlock * quarter + 8 * n + 2 * j];
        const auto sum = [&](int e) { return __fadd_rn(s[n][0][e], s[n][1][e]); };
        *reinterpret_cast<float2*>(to) = make_float2(sum(0), sum(1));
        *reinterpret_cast<float2*>(to + 8 * kRowStride) = make_float2(sum(2), sum(3));
      }
      __syncthreads();

      const float4 a0 = *reinterpret_cast<const float4*>(&scores[0][row][first_of_thread]),
                   a1 = *reinterpret_cast<const float4*>(&scores[1][row][first_of_thread]);
      float p[4] = {__fadd_rn(a0.x, a1.x), __fadd_rn(a0.y, a1.y), __fadd_rn(a0.z, a1.z),
                    __fadd_rn(a0.w, a1.w)};
      float top = negative_infinity();
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[i] = first_of_thread + i < seen ? __fmul_rn(p[i], scale_log2) : negative_infinity();
        top = fmaxf(top, p[i]);
      }
#pragma unroll
      for (int step = 1; step < 16; step *= 2) top = fmaxf(top, __shfl_xor_sync(kAll, top, step));
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[i] = exp2_of(__fsub_rn(p[i], top));
        sum = __fadd_rn(sum, p[i]);
      }
#pragma unroll
      for (int step = 1; step < 16; step *= 2) {
        sum = __fadd_rn(sum, __shfl_xor_sync(kAll, sum, step));
      }
      *reinterpret_cast<uint2*>(&probabilities[row][first_of_thread]) =
          make_uint2(pack(p[0], p[1]), pack(p[2], p[3]));
      const Merge merge = merge_sums(m, l, top, sum);
      if (first_of_thread == 0) factors[row] = merge;
      __syncthreads();

      if (warp < parts) {
        uint32_t weights[4][4];
#pragma unroll
        for (int u = 0; u < 4; ++u) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            weights[u][i] = *reinterpret_cast<const uint32_t*>(
                &probabilities[g + 8 * (i % 2)][16 * u + 8 * (i / 2) + 2 * j]);
          }
        }
        const auto load_value = [&](int token, int parity) {
          const int e = cache_element(Type::bf16, width, 2 * j + parity, 64 * warp + 8 * g);
          return load_values<64>(latents + token * width + e);
        };
        float part[8][4];
        if (seen == kTile) {
          tile_values<64>(weights, load_value, part);
        } else {  // what lies behind the last token may be anything, and 0 times it too
          tile_values<64>(
              weights,
              [&](int token, int) {
                const int real = min(token, seen - 1);
                return load_values<64>(
                    latents + real * width +
                    cache_element(Type::bf16, width, real % kBlock, 64 * warp + 8 * g));
              },
              part);
        }
        const Merge f[2] = {factors[g], factors[g + 8]};
#pragma unroll
        for (int i = 0; i < 8; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) o[0][i][e] = merged(f[e / 2], o[0][i][e], part[i][e]);
        }
      }
      __syncthreads();  // the slot is read: fill it anew
      if (warp == 0) load();
      if (++slot == kSlots) slot = 0, parity ^= 1;

      if (spans == 1 || ((tile + 1) % kSpanTiles != 0 && t + 1 < item.tiles)) continue;
      // The end of a span.
      if (warp < parts) {
        float4* mine = partial(tile / kSpanTiles);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          float(&x)[4] = o[0][i];
          __stcg(mine + 32 * i, make_float4(x[0], x[1], x[2], x[3]));
          x[0] = x[1] = x[2] = x[3] = 0.0f;
        }
      }
      if (first_of_thread == 0) {
        __stcg(partial_sums + place(tile / kSpanTiles) * kRows + row, make_float2(m, l));
      }
      m = negative_infinity();
      l = 0.0f;
    }

    bool write = true;
    if (spans > 1) {
      __threadfence();
      __syncthreads();
      if (threadIdx.x == 0) {
        int32_t* arrived =
            a.work.arrived + static_cast<int64_t>(item.spans.row) * slices + item.slice;
        const int mine = item.spans.count;
        last_to_come = atomicAdd(arrived, mine) == spans - mine;
        if (last_to_come) *arrived = 0;
        __threadfence();
      }
      __syncthreads();
      write = last_to_come;
      if (write) {  // the last to come merges all in their order
        for (int span = 0; span < spans; ++span) {
          const float2 of_span = __ldcg(partial_sums + place(span) * kRows + row);
          const Merge merge = merge_sums(m, l, of_span.x, of_span.y);
          if (first_of_thread == 0) factors[row] = merge;
          __syncthreads();
          if (warp < parts) {
            const Merge f[2] = {factors[g], factors[g + 8]};
#pragma unroll
            for (int i = 0; i < 8; ++i) {
              float(&x)[4] = o[0][i];
              const float4 y = __ldcg(partial(span) + 32 * i);
              x[0] = merged(f[0], x[0], y.x), x[1] = merged(f[0], x[1], y.y);
              x[2] = merged(f[1], x[2], y.z), x[3] = merged(f[1], x[3], y.w);
            }
          }
          __syncthreads();
        }
      }
    }
    if (!write) continue;
    if (first_of_thread == 0) sums[row] = l;
    __syncthreads();
    if (warp < parts) {
      const float of_rows[2] = {sums[g], sums[g + 8]};
      __nv_bfloat16* out = a.out + (first_head + g) * rank + 64 * warp;
      write_rows<64>(o, of_rows, g < item.rows ? out : nullptr,
                     g + 8 < item.rows ? out + 8 * rank : nullptr);
    }
  }
}

// A warp for each row, head and 256 columns of its result.
template <class T>
__global__ void plain_latents_kernel(const LatentShape s, const DecodeRows rows, const T* q,
                                     const T* cache, T* out) {
  constexpr int kWidth = 32 * kPlainColumns;
  wait_for_previous();
  const int pieces = (s.rank + kWidth - 1) / kWidth;
  const int64_t work = blockIdx.x * static_cast<int64_t>(blockDim.x / 32) + threadIdx.x / 32;
  const int64_t place = work / pieces, row = place / s.heads;
  if (row >= rows.batch || rows.contexts[row] == 0) return;
  const int first = static_cast<int>(work % pieces) * kWidth;
  const PagedKeys<T> at{rows.tables + row * rows.table_stride, 1, 0, s.width};
  plain_row(q + place * s.width, cache, cache, at, rows.contexts[row], 0, s.width,
            {first, min(first + kWidth, s.rank)}, s.scale, out + place * s.rank,
            static_cast<float*>(nullptr));
}

template <class T>
__device__ int64_t element_at(const LatentShape& s, int64_t slot, int e) {
  constexpr Type kType = sizeof(T) == 2 ? Type::bf16 : Type::float32;
  return slot * s.width + cache_element(kType, s.width, static_cast<int32_t>(slot % kBlock), e);
}

// One thread block a token.
template <class T>
__global__ void store_latents_kernel(const LatentShape s, const T* latents, const T* rotated,
                                     const int64_t* slots, T* cache) {
  let_next_begin();
  wait_for_previous();
  const int64_t token = blockIdx.x, slot = slots[token];
  if (slot < 0) return;
  for (int e = threadIdx.x; e < s.width; e += blockDim.x) {
    cache[element_at<T>(s, slot, e)] =
        e < s.rank ? latents[token * s.rank + e] : rotated[token * (s.width - s.rank) + e - s.rank];
  }
}

template <class T>
__global__ void load_latents_kernel(const LatentShape s, const T* cache, const int64_t* slots,
                                    T* out) {
  const int64_t token = blockIdx.x, slot = slots[token];
  for (int e = threadIdx.x; e < s.width; e += blockDim.x) {
    out[token * s.width + e] = cache[element_at<T>(s, slot, e)];
  }
}

void launch_tensor_core(const LatentArguments& a, cudaStream_t stream) {
  constexpr int kTileBytes = kSlots * kTile * static_cast<int>(sizeof(__nv_bfloat16));  // by width
  static const bool once = [] {
    cudaFuncSetAttribute(decode_latents_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         kTileBytes * kMostWidth);
    return true;
  }();
  (void)once;
  const int most = a.work.capacity * row_tiles(as_heads(a.shape));
  launch_overlapped(decode_latents_kernel, std::min(most, processor_count()), kThreads,
                    kTileBytes * a.shape.width, stream, a);
}

template <class T>
void launch_plain(const LatentShape& shape, const DecodeRows& rows, const void* q,
                  const void* cache, void* out, cudaStream_t stream) {
  constexpr int kWidth = 32 * kPlainColumns;
  const int64_t warps =
      static_cast<int64_t>(rows.batch) * shape.heads * ((shape.rank + kWidth - 1) / kWidth);
  launch_overlapped(plain_latents_kernel<T>, static_cast<unsigned>((warps + 7) / 8), 256, 0, stream,
                    shape, rows, static_cast<const T*>(q), static_cast<const T*>(cache),
                    static_cast<T*>(out));
}

template <class T>
void launch_store(const LatentShape& shape, const void* latents, const void* rotated,
                  const int64_t* slots, void* cache, int64_t tokens, cudaStream_t stream) {
  launch_overlapped(store_latents_kernel<T>, static_cast<unsigned>(tokens), 128, 0, stream, shape,
                    static_cast<const T*>(latents), static_cast<const T*>(rotated), slots,
                    static_cast<T*>(cache));
}

template <class T>
void launch_load(const LatentShape& shape, const void* cache, const int64_t* slots, void* out,
                 int64_t tokens, cudaStream_t stream) {
  load_latents_kernel<T><<<static_cast<unsigned>(tokens), 128, 0, stream>>>(
      shape, static_cast<const T*>(cache), slots, static_cast<T*>(out));
}

}  // namespace

bool has_tensor_core_latents(Type type, const LatentShape& shape) {
  return type == Type::bf16 && shape.rank % 64 == 0 && shape.rank <= kMostRank &&
         shape.width % 32 == 0 && shape.width <= kMostWidth;
}

void decode_latents(Type type, const LatentShape& shape, const DecodeRows& rows,
                    const DecodeWork& work, const void* q, const void* cache, void* out,
                    cudaStream_t stream) {
  if (has_tensor_core_latents(type, shape)) {
    launch_tensor_core({shape, rows, work, static_cast<const __nv_bfloat16*>(q),
                        static_cast<const __nv_bfloat16*>(cache), static_cast<__nv_bfloat16*>(out)},
                       stream);
    return;
  }
  (type == Type::bf16 ? launch_plain<__nv_bfloat16> : launch_plain<float>)(shape, rows, q, cache,
                                                                           out, stream);
}

void store_latents(Type type, const LatentShape& shape, const void* latents, const void* rotated,
                   const int64_t* slots, void* cache, int64_t tokens, cudaStream_t stream) {
  if (tokens == 0) return;
  (type == Type::bf16 ? launch_store<__nv_bfloat16>
                      : launch_store<float>)(shape, latents, rotated, slots, cache, tokens, stream);
}

void load_latents(Type type, const LatentShape& shape, const void* cache, const int64_t* slots,
                  void* out, int64_t tokens, cudaStream_t stream) {
  if (tokens == 0) return;
  (type == Type::bf16 ? launch_load<__nv_bfloat16> : launch_load<float>)(shape, cache, slots, out,
                                                                         tokens, stream);
}

}  // namespace hone::kernels::cuda
