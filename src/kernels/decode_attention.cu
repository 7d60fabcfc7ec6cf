// Attention of a decode step: one new token in each row, over the paged cache.
#include <cuda_bf16.h>

#include <algorithm>

#include "kernels/attention_tiles.cuh"
#include "kernels/launch.cuh"

namespace hone::kernels::cuda {

namespace {

struct DecodeArguments {
  HeadShape shape;
  DecodeRows rows;
  DecodeWork work;
  const __nv_bfloat16 *qkv, *keys, *values;
  __nv_bfloat16* out;
};

// Each warp has a ring of slots of its own; a slot holds the keys or the values of a tile. The
// copy engine fills them, always kSlots ahead of the arithmetic, over the borders of items too.
template <int D>
struct Ring {
  static constexpr int kWarps = D <= 64 ? 8 : (D <= 128 ? 4 : 2);
  static constexpr int kSlots = D == 96 ? 4 : 3;
  static constexpr int kSlotElements = kTile * D, kQueryElements = kRows * D;
  static constexpr int kBytes =
      kWarps * (kSlots * kSlotElements + 2 * kQueryElements) * static_cast<int>(sizeof(uint16_t));
};

template <int D>
__global__ void __launch_bounds__(32 * Ring<D>::kWarps, 1) decode_kernel(const DecodeArguments a) {
  constexpr int kWarps = Ring<D>::kWarps, kSlots = Ring<D>::kSlots;
  constexpr int kEach = kColumns<D> / 8, kParts = D / kColumns<D>;
  extern __shared__ __align__(128) __nv_bfloat16 shared[];
  __shared__ uint64_t barriers[kWarps][kSlots];
  __shared__ SpanItem pending[kWarps][4];  // items begun to load, not yet begun: fewer than four
  __shared__ int pending_slice[kWarps][4];
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, j = lane % 4;
  __nv_bfloat16* slots = shared + warp * kSlots * Ring<D>::kSlotElements;
  __nv_bfloat16* queries =
      shared + kWarps * kSlots * Ring<D>::kSlotElements + warp * 2 * Ring<D>::kQueryElements;
  if (lane < kSlots) barrier_init(&barriers[warp][lane]);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncwarp();
  let_next_begin();

  const HeadShape& shape = a.shape;
  const int group = shape.heads / shape.kv_heads, tiles_of_rows = row_tiles(shape);
  const int slices = shape.kv_heads * tiles_of_rows;
  const int total = *a.work.count * slices;
  const int64_t query_stride = static_cast<int64_t>(shape.heads + 2 * shape.kv_heads) * D;
  const int64_t block_stride = static_cast<int64_t>(shape.kv_heads) * kBlock * D;
  const float scale_log2 = shape.scale * kLog2e;

  // Neighbouring items go to different multiprocessors.
  int work = blockIdx.x + gridDim.x * warp, fetched = 0;
  SliceItem loaded{};  // what is being loaded; no tiles: nothing is left
  int blocks = 0;      // lane i: block i of the 32 from `blocks_from` on
  int blocks_from = 0;
  const auto fetch_blocks = [&](int from) {
    blocks_from = from;
    const int index = min(from + lane, (loaded.spans.context - 1) / kBlock);
    blocks = a.rows.tables[static_cast<int64_t>(loaded.spans.row) * a.rows.table_stride + index];
  };
  const auto fetch = [&] {
    loaded.tiles = 0;
    for (; work < total && loaded.tiles == 0; work += gridDim.x * kWarps) {
      loaded = slice_item(shape, a.work.items[work / slices], work % slices);
    }
    if (loaded.tiles > 0) fetch_blocks(loaded.tile_begin * kPieces);
    if (lane == 0) {
      pending[warp][fetched % 4] = loaded.spans;
      pending_slice[warp][fetched % 4] = loaded.tiles > 0 ? loaded.slice : -1;
    }
    ++fetched;
    __syncwarp();
  };

  // What is loaded next: step 2t brings the keys of a tile, the first of an item its queries too;
  // 2t + 1 brings the values.
  fetch();
  int load_step = 0, load_slot = 0, load_queries = 0;
  // The kernel in front writes the queries and the keys and values of the newest tokens, which are
  // up to 16 where rows are one sequence's draft: they lie in the last two blocks. Older keys need
  // not wait for it.
  bool waited = false;
  const auto wait_once = [&] {
    if (!waited) wait_for_previous();
    waited = true;
  };
  const auto copy_queries = [&](const SliceItem& item, uint64_t* barrier) {
    bulk_copy(queries + load_queries * Ring<D>::kQueryElements,
              a.qkv + item.spans.row * query_stride +
                  static_cast<int64_t>(item.head * group + item.first_row) * D,
              item.rows * D * sizeof(__nv_bfloat16), barrier);
  };
  const auto load = [&] {
    if (loaded.tiles == 0) return;
    uint64_t* barrier = &barriers[warp][load_slot];
    const int tile = loaded.tile_begin + load_step / 2;
    const int last = (loaded.spans.context - 1) / kBlock;
    const int pieces = min(kPieces, last + 1 - tile * kPieces);
    const bool with_queries = load_step == 0;
    constexpr uint32_t kPieceBytes = kBlock * D * sizeof(__nv_bfloat16);
    const uint32_t query_bytes = loaded.rows * D * sizeof(__nv_bfloat16);
    if (lane == 0) {
      barrier_expect(barrier, pieces * kPieceBytes + (with_queries ? query_bytes : 0));
    }
    if (tile * kPieces >= blocks_from + 32) fetch_blocks(tile * kPieces);
    const int64_t at = __shfl_sync(kAll, blocks, tile * kPieces + lane - blocks_from);
    __syncwarp();
    if (tile * kPieces + pieces >= last) wait_once();
    if (lane < pieces) {
      const __nv_bfloat16* from = (load_step % 2 == 0 ? a.keys : a.values) + at * block_stride +
                                  static_cast<int64_t>(loaded.head) * kBlock * D;
      bulk_copy(slots + load_slot * Ring<D>::kSlotElements + lane * kBlock * D, from, kPieceBytes,
                barrier);
    }
    if (waited && with_queries && lane == kPieces) copy_queries(loaded, barrier);
    load_slot = load_slot + 1 == kSlots ? 0 : load_slot + 1;
    if (++load_step == 2 * loaded.tiles) {
      fetch();
      load_step = 0;
      load_queries ^= 1;
    }
  };
  int slot = 0, use_queries = 0;
  uint32_t parity = 0;
  const auto wait = [&] { barrier_wait(&barriers[warp][slot], parity); };
  const auto release = [&] {  // the slot is read: fill it anew
    __syncwarp();
    load();
    if (++slot == kSlots) slot = 0, parity ^= 1;
  };
  const SliceItem first = loaded;
  load();
  const bool queries_wait = !waited && first.tiles > 0;
#pragma unroll 1
  for (int i = 1; i < kSlots; ++i) load();
  wait_once();
  if (queries_wait && lane == 0) {
    load_queries = 0;
    copy_queries(first, &barriers[warp][0]);
  }

  for (int begun = 0;; ++begun) {
    if (pending_slice[warp][begun % 4] < 0) break;
    const SliceItem item =
        slice_item(shape, pending[warp][begun % 4], pending_slice[warp][begun % 4]);
    const int row = item.spans.row, context = item.spans.context;
    const int first_span = item.from / kSpan, spans = (context - 1) / kSpan + 1 - first_span;
    // Partial results of a row with several spans: [slot][slice][D / 2 floats of each of 32 lanes],
    // then m and l of 16 rows.
    const bool high = item.rows > 8;
    float2* partial_sums = reinterpret_cast<float2*>(
        a.work.partial + static_cast<int64_t>(a.work.capacity) * slices * kRows * D);
    const int64_t first_slot = spans > 1 ? a.work.slots[row] : 0;
    const auto place = [&](int span) { return (first_slot + span) * slices + item.slice; };
    Queries<D> q;
    float o[kParts][kEach][4] = {};
    float m[2] = {negative_infinity(), negative_infinity()}, l[2] = {0.0f, 0.0f};
    for (int t = 0; t < item.tiles; ++t) {
      const int tile = item.tile_begin + t, key = tile * kTile;
      const int to = min(kTile, context - key), start = max(0, item.from - key);
      wait();
      if (t == 0) {
        const __nv_bfloat16* from = queries + use_queries * Ring<D>::kQueryElements + 8 * j;
#pragma unroll
        for (int c = 0; c < D / 32; ++c) {
          q.low[c] = g < item.rows ? load16(from + g * D + 32 * c) : make_uint4(0, 0, 0, 0);
          q.high[c] =
              g + 8 < item.rows ? load16(from + (g + 8) * D + 32 * c) : make_uint4(0, 0, 0, 0);
        }
      }
      const __nv_bfloat16* keys = slots + slot * Ring<D>::kSlotElements;
      uint32_t p[4][4];
      const TileSums sums = tile_scores<D>(
          q,
          [&](int token, int e) {
            return load16(keys + token * D + cache_element(Type::bf16, D, g, e));
          },
          {start, to, start, to}, scale_log2, p);
      release();
      const Merge f[2] = {merge_sums(m[0], l[0], sums.m[0], sums.l[0]),
                          merge_sums(m[1], l[1], sums.m[1], sums.l[1])};
      wait();
      const __nv_bfloat16* values = slots + slot * Ring<D>::kSlotElements;
#pragma unroll
      for (int v = 0; v < kParts; ++v) {
        const auto load_value = [&](int token, int parity) {
          const int e = cache_element(Type::bf16, D, 2 * j + parity, v * kColumns<D> + kEach * g);
          return load_values<D>(values + token * D + e);
        };
        float part[kEach][4];
        if (to == kTile) {
          tile_values<D>(p, load_value, part);
        } else {  // what lies behind the last token may be anything, and 0 times it too
          tile_values<D>(
              p,
              [&](int token, int) {
                const int seen = min(token, to - 1);
                return load_values<D>(
                    values + seen * D +
                    cache_element(Type::bf16, D, seen % kBlock, v * kColumns<D> + kEach * g));
              },
              part);
        }
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) o[v][i][e] = merged(f[e / 2], o[v][i][e], part[i][e]);
        }
      }
      release();
      if (spans == 1 || ((tile + 1) % kSpanTiles != 0 && t + 1 < item.tiles)) continue;
      // The end of a span.
      const int64_t at_span = place(tile / kSpanTiles);
      float4* mine = reinterpret_cast<float4*>(a.work.partial + at_span * kRows * D) + lane;
#pragma unroll
      for (int v = 0; v < kParts; ++v) {
#pragma unroll
        for (int i = 0; i < kEach; i += 2) {
          float(&x)[4] = o[v][i], (&y)[4] = o[v][i + 1];
          const int at = (v * kEach + i) / 2 * 32;
          __stcg(mine + at, make_float4(x[0], x[1], y[0], y[1]));
          if (high) __stcg(mine + at + kRows * D / 8, make_float4(x[2], x[3], y[2], y[3]));
          x[0] = x[1] = x[2] = x[3] = y[0] = y[1] = y[2] = y[3] = 0.0f;
        }
      }
      if (j == 0) {
        __stcg(partial_sums + at_span * kRows + g, make_float2(m[0], l[0]));
        __stcg(partial_sums + at_span * kRows + g + 8, make_float2(m[1], l[1]));
      }
      m[0] = m[1] = negative_infinity();
      l[0] = l[1] = 0.0f;
    }

    bool write = true;
    if (spans > 1) {
      const int mine = item.spans.first + item.spans.count - max(item.spans.first, first_span);
      if (mine < spans) {
        __threadfence();
        __syncwarp();
        int32_t* arrived = a.work.arrived + static_cast<int64_t>(row) * slices + item.slice;
        int before = 0;
        if (lane == 0) before = atomicAdd(arrived, mine);
        write = __shfl_sync(kAll, before, 0) == spans - mine;
        if (write && lane == 0) *arrived = 0;
        __threadfence();
      } else {
        __syncwarp();
      }
      if (write) {  // the last to come merges all in their order
#pragma unroll 2
        for (int s = first_span; s < first_span + spans; ++s) {
          const float2 low = __ldcg(partial_sums + place(s) * kRows + g),
                       up = __ldcg(partial_sums + place(s) * kRows + g + 8);
          const float4* from =
              reinterpret_cast<const float4*>(a.work.partial + place(s) * kRows * D) + lane;
          const Merge f[2] = {merge_sums(m[0], l[0], low.x, low.y),
                              merge_sums(m[1], l[1], up.x, up.y)};
#pragma unroll
          for (int v = 0; v < kParts; ++v) {
#pragma unroll
            for (int i = 0; i < kEach; i += 2) {
              const int at = (v * kEach + i) / 2 * 32;
              float(&x)[4] = o[v][i], (&y)[4] = o[v][i + 1];
              const float4 z = __ldcg(from + at);
              x[0] = merged(f[0], x[0], z.x), x[1] = merged(f[0], x[1], z.y);
              y[0] = merged(f[0], y[0], z.z), y[1] = merged(f[0], y[1], z.w);
              if (high) {
                const float4 w = __ldcg(from + at + kRows * D / 8);
                x[2] = merged(f[1], x[2], w.x), x[3] = merged(f[1], x[3], w.y);
                y[2] = merged(f[1], y[2], w.z), y[3] = merged(f[1], y[3], w.w);
              }
            }
          }
        }
      }
    }
    if (write) {
      __nv_bfloat16* out =
          a.out +
          (static_cast<int64_t>(row) * shape.heads + item.head * group + item.first_row + g) * D;
      write_rows<D>(o, l, g < item.rows ? out : nullptr, g + 8 < item.rows ? out + 8 * D : nullptr);
    }
    use_queries ^= 1;
  }
}

// One thread block makes the list: of each row, pieces of `length` spans, the last perhaps shorter.
// All pieces of full length stand in front. A piece is as long as leaves one for each warp.
__global__ void plan_kernel(const DecodeRows rows, const DecodeWork work, int warps_per_slice) {
  __shared__ int32_t warp_full[32], warp_tail[32], warp_slots[32];
  __shared__ int32_t base_full, base_tail, base_slots, length;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  const auto spans_of = [&](int row) {
    return row < rows.batch ? (rows.contexts[row] + kSpan - 1) / kSpan : 0;
  };
  const auto count = [&](auto value) {  // the sum over the rows, known to all
    int32_t mine = 0;
    for (int row = threadIdx.x; row < rows.batch; row += blockDim.x) mine += value(row);
    for (int step = 16; step > 0; step /= 2) mine += __shfl_xor_sync(kAll, mine, step);
    __syncthreads();
    if (lane == 0) warp_full[warp] = mine;
    __syncthreads();
    int32_t sum = 0;
    for (int w = 0; w < warps; ++w) sum += warp_full[w];
    __syncthreads();
    return sum;
  };
  const int32_t all = count(spans_of);
  if (threadIdx.x == 0) length = max(1, (all + warps_per_slice / 2) / warps_per_slice);
  __syncthreads();
  const int32_t all_full = count([&](int row) { return spans_of(row) / length; });
  if (threadIdx.x == 0) {
    base_full = base_slots = 0;
    base_tail = all_full;
  }
  __syncthreads();
  for (int first = 0; first < rows.batch; first += blockDim.x) {
    const int row = first + threadIdx.x;
    const int32_t spans = spans_of(row), full = spans / length, tail = spans % length > 0 ? 1 : 0,
                  slots = spans > 1 ? spans : 0;
    const int32_t context = spans > 0 ? rows.contexts[row] : 0;
    int32_t f = full, t = tail, s = slots;  // inclusive sums over the warp
    for (int step = 1; step < 32; step *= 2) {
      const int32_t df = __shfl_up_sync(kAll, f, step), dt = __shfl_up_sync(kAll, t, step),
                    ds = __shfl_up_sync(kAll, s, step);
      if (lane >= step) f += df, t += dt, s += ds;
    }
    if (lane == 31) warp_full[warp] = f, warp_tail[warp] = t, warp_slots[warp] = s;
    __syncthreads();
    int32_t at_full = base_full + f - full, at_tail = base_tail + t - tail,
            at_slot = base_slots + s - slots;
    for (int w = 0; w < warp; ++w) {
      at_full += warp_full[w], at_tail += warp_tail[w], at_slot += warp_slots[w];
    }
    if (row < rows.batch) work.slots[row] = at_slot;
    for (int i = 0; i < full; ++i) work.items[at_full + i] = {row, i * length, length, context};
    if (tail) work.items[at_tail] = {row, full * length, spans - full * length, context};
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int w = 0; w < warps; ++w) {
        base_full += warp_full[w], base_tail += warp_tail[w], base_slots += warp_slots[w];
      }
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) *work.count = base_tail;
}

template <class T>
__global__ void plain_decode_kernel(const HeadShape s, const DecodeRows rows, const T* qkv,
                                    const T* keys, const T* values, T* out) {
  const int64_t work = blockIdx.x * static_cast<int64_t>(blockDim.x / 32) + threadIdx.x / 32;
  const int64_t row = work / s.heads, h = work % s.heads;
  if (row >= rows.batch || rows.contexts[row] == 0) return;
  const int64_t d = s.head_dim;
  const PagedKeys<T> at{rows.tables + row * rows.table_stride, s.kv_heads,
                        h / (s.heads / s.kv_heads), d};
  plain_row(qkv + (row * (s.heads + 2 * s.kv_heads) + h) * d, keys, values, at, rows.contexts[row],
            s.window, s.head_dim, {0, s.head_dim}, s.scale, out + (row * s.heads + h) * d,
            static_cast<float*>(nullptr));
}

template <int D>
void launch_decode(const DecodeArguments& a, cudaStream_t stream) {
  static const bool once = [] {
    cudaFuncSetAttribute(decode_kernel<D>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         Ring<D>::kBytes);
    return true;
  }();
  (void)once;
  const int most = a.work.capacity * a.shape.kv_heads * row_tiles(a.shape);
  launch_overlapped(decode_kernel<D>, std::min(most, processor_count()), 32 * Ring<D>::kWarps,
                    Ring<D>::kBytes, stream, a);
}

template <class T>
void launch_plain_decode(const HeadShape& shape, const DecodeRows& rows, const void* qkv,
                         const void* keys, const void* values, void* out, cudaStream_t stream) {
  const int64_t warps = static_cast<int64_t>(rows.batch) * shape.heads;
  plain_decode_kernel<T><<<static_cast<unsigned>((warps + 7) / 8), 256, 0, stream>>>(
      shape, rows, static_cast<const T*>(qkv), static_cast<const T*>(keys),
      static_cast<const T*>(values), static_cast<T*>(out));
}

}  // namespace

bool has_tensor_core_attention(Type type, int32_t head_dim) {
  return type == Type::bf16 &&
         (head_dim == 32 || head_dim == 64 || head_dim == 96 || head_dim == 128 || head_dim == 256);
}

int64_t decode_partial_floats(const HeadShape& shape, int64_t capacity) {
  return capacity * shape.kv_heads * row_tiles(shape) * kRows * (shape.head_dim + 2);
}

void plan_decode(const DecodeRows& rows, const DecodeWork& work, int32_t slices,
                 cudaStream_t stream) {
  constexpr int kBusyWarps = 4;  // of a multiprocessor: enough to keep the memory busy
  plan_kernel<<<1, 256, 0, stream>>>(rows, work,
                                     std::max(1, processor_count() * kBusyWarps / slices));
}

void decode_attention(Type type, const HeadShape& shape, const DecodeRows& rows,
                      const DecodeWork& work, const void* qkv, const void* keys, const void* values,
                      void* out, cudaStream_t stream) {
  if (!has_tensor_core_attention(type, shape.head_dim)) {
    (type == Type::bf16 ? launch_plain_decode<__nv_bfloat16>
                        : launch_plain_decode<float>)(shape, rows, qkv, keys, values, out, stream);
    return;
  }
  const DecodeArguments a{shape,
                          rows,
                          work,
                          static_cast<const __nv_bfloat16*>(qkv),
                          static_cast<const __nv_bfloat16*>(keys),
                          static_cast<const __nv_bfloat16*>(values),
                          static_cast<__nv_bfloat16*>(out)};
  switch (shape.head_dim) {
    case 32:
      return launch_decode<32>(a, stream);
    case 64:
      return launch_decode<64>(a, stream);
    case 96:
      return launch_decode<96>(a, stream);
    case 128:
      return launch_decode<128>(a, stream);
    default:
      return launch_decode<256>(a, stream);
  }
}

}  // namespace hone::kernels::cuda
