// What the attention kernels are made of: the order of operations that they share, tiles on the
// tensor cores, copies into shared memory, and the plain form of a row.
#pragma once

#include <cuda_bf16.h>

#include "kernels/cuda_attention.h"

namespace hone::kernels::cuda {

constexpr int kTile = 64;  // keys that a warp takes at a time
constexpr int kSpan = kSpanKeys;
constexpr int kSpanTiles = kSpan / kTile;
constexpr int kBlock = 16;  // tokens of a cache block
constexpr int kPieces = kTile / kBlock;
constexpr int kRows = 16;  // query rows of a tensor core's tile
constexpr unsigned kAll = 0xFFFFFFFFu;
constexpr float kLog2e = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

__device__ inline float negative_infinity() { return __int_as_float(0xFF800000); }

__device__ inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// ---- the order of operations that all kernels share ---------------------------------------------

// Factors of the state and of what is merged into it.
struct Merge {
  float keep, add;
};
__device__ inline Merge merge_sums(float& m, float& l, float m_new, float l_new) {
  const float top = fmaxf(m, m_new);
  if (top == negative_infinity()) return {0.0f, 0.0f};
  const Merge f{exp2_of(__fsub_rn(m, top)), exp2_of(__fsub_rn(m_new, top))};
  l = __fmaf_rn(f.keep, l, __fmul_rn(f.add, l_new));
  m = top;
  return f;
}
__device__ inline float merged(Merge f, float o, float o_new) {
  return __fmaf_rn(f.keep, o, __fmul_rn(f.add, o_new));
}

__device__ inline void mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                           uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 x = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(x);
}

__device__ inline uint4 load16(const __nv_bfloat16* p) {
  return *reinterpret_cast<const uint4*>(p);
}

// A warp's part of a tile. Lane 4g + j holds, of the 16 query rows, rows g and g + 8.
// The sum over the head runs in blocks of 32: a lane brings 8 neighbouring elements of a key with
// one load, and the queries are brought in the same order.
template <int D>
struct Queries {
  uint4 low[D / 32], high[D / 32];  // rows g and g + 8, elements 32c + 8j ..
};

struct Visible {  // keys of the tile that rows g and g + 8 see: [from, to)
  int from_low, to_low, from_high, to_high;
};

struct TileSums {
  float m[2], l[2];  // rows g and g + 8, known to the four lanes of a row
};

// Scores of a tile and their softmax's parts. p: the 16 x 64 probabilities as four A operands.
// keys(token, element): 8 elements of a key of the tile.
template <int D, class Keys>
__device__ TileSums tile_scores(const Queries<D>& q, const Keys& keys, const Visible& see,
                                float scale_log2, uint32_t (&p)[4][4]) {
  const int lane = threadIdx.x % 32, g = lane / 4, j = lane % 4;
  float s[8][4] = {};
  constexpr int kAtOnce = D <= 64 ? 8 : (D <= 128 ? 4 : 2);  // 64 registers of loads in flight
#pragma unroll
  for (int first = 0; first < 8; first += kAtOnce) {
    uint4 k[kAtOnce][D / 32];
#pragma unroll
    for (int t = 0; t < kAtOnce; ++t) {
#pragma unroll
      for (int c = 0; c < D / 32; ++c) k[t][c] = keys(8 * (first + t) + g, 32 * c + 8 * j);
    }
    // Each key's chain of products waits for itself: the keys take turns.
#pragma unroll
    for (int c = 0; c < D / 32; ++c) {
#pragma unroll
      for (int t = 0; t < kAtOnce; ++t) {
        mma(s[first + t], q.low[c].x, q.high[c].x, q.low[c].y, q.high[c].y, k[t][c].x, k[t][c].y);
      }
#pragma unroll
      for (int t = 0; t < kAtOnce; ++t) {
        mma(s[first + t], q.low[c].z, q.high[c].z, q.low[c].w, q.high[c].w, k[t][c].z, k[t][c].w);
      }
    }
  }
  const bool cut =
      see.from_low > 0 || see.from_high > 0 || see.to_low < kTile || see.to_high < kTile;
#pragma unroll
  for (int t = 0; t < 8; ++t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) s[t][i] = __fmul_rn(s[t][i], scale_log2);
    if (cut) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int key = 8 * t + 2 * j + i;
        if (key < see.from_low || key >= see.to_low) s[t][i] = negative_infinity();
        if (key < see.from_high || key >= see.to_high) s[t][2 + i] = negative_infinity();
      }
    }
  }
  TileSums sums;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float m = negative_infinity();
#pragma unroll
    for (int t = 0; t < 8; ++t) m = fmaxf(m, fmaxf(s[t][2 * r], s[t][2 * r + 1]));
    m = fmaxf(m, __shfl_xor_sync(kAll, m, 1));
    m = fmaxf(m, __shfl_xor_sync(kAll, m, 2));
    const float base = m == negative_infinity() ? 0.0f : m;
    float l = 0.0f;
#pragma unroll
    for (int t = 0; t < 8; ++t) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float e = exp2_of(__fsub_rn(s[t][2 * r + i], base));
        s[t][2 * r + i] = e;
        l = __fadd_rn(l, e);
      }
    }
    l = __fadd_rn(l, __shfl_xor_sync(kAll, l, 1));
    l = __fadd_rn(l, __shfl_xor_sync(kAll, l, 2));
    sums.m[r] = m;
    sums.l[r] = l;
  }
#pragma unroll
  for (int u = 0; u < 4; ++u) {
    p[u][0] = pack(s[2 * u][0], s[2 * u][1]);
    p[u][1] = pack(s[2 * u][2], s[2 * u][3]);
    p[u][2] = pack(s[2 * u + 1][0], s[2 * u + 1][1]);
    p[u][3] = pack(s[2 * u + 1][2], s[2 * u + 1][3]);
  }
  return sums;
}

// Width of the columns of V that a warp multiplies at a time: a lane loads kColumns / 8 of them.
template <int D>
constexpr int kColumns = D % 64 == 0 ? 64 : 32;

template <int D>
struct ValueWords {
  uint32_t w[kColumns<D> / 16];
};
template <int D>
__device__ ValueWords<D> load_values(const __nv_bfloat16* p) {
  ValueWords<D> x;
  if constexpr (kColumns<D> == 64) {
    const uint4 v = load16(p);
    x.w[0] = v.x, x.w[1] = v.y, x.w[2] = v.z, x.w[3] = v.w;
  } else {
    const uint2 v = *reinterpret_cast<const uint2*>(p);
    x.w[0] = v.x, x.w[1] = v.y;
  }
  return x;
}

// o = p V for kColumns columns: lane 4g + j gets o[i][0 .. 1] of row g and o[i][2 .. 3] of row
// g + 8; column i + 2j * kColumns / 8 in o[i][0] and o[i][2], kColumns / 8 behind it in o[i][1] and
// o[i][3]: two pieces of a lane's that lie side by side.
// values(token, token % 2): the lane's columns of a value of the tile, from g * kColumns / 8 on.
template <int D, class Values>
__device__ void tile_values(const uint32_t (&p)[4][4], const Values& values,
                            float (&o)[kColumns<D> / 8][4]) {
  constexpr int kEach = kColumns<D> / 8;
  const int j = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < kEach; ++i) o[i][0] = o[i][1] = o[i][2] = o[i][3] = 0.0f;
#pragma unroll
  for (int u = 0; u < 4; ++u) {
    ValueWords<D> v[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) v[r] = values(16 * u + 2 * j + r % 2 + 8 * (r / 2), r % 2);
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const unsigned half = i % 2 == 0 ? 0x5410 : 0x7632;
      mma(o[i], p[u][0], p[u][1], p[u][2], p[u][3], __byte_perm(v[0].w[i / 2], v[1].w[i / 2], half),
          __byte_perm(v[2].w[i / 2], v[3].w[i / 2], half));
    }
  }
}

// Rows g and g + 8 of the result, in bf16, at low and high (null: no such row).
template <int D>
__device__ void write_rows(const float (&o)[D / kColumns<D>][kColumns<D> / 8][4],
                           const float (&l)[2], __nv_bfloat16* low, __nv_bfloat16* high) {
  constexpr int kEach = kColumns<D> / 8;
  const int j = threadIdx.x % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    __nv_bfloat16* row = r == 0 ? low : high;
    if (row == nullptr) continue;
    const float inverse = 1.0f / l[r];
#pragma unroll
    for (int v = 0; v < D / kColumns<D>; ++v) {
      __nv_bfloat16* to = row + v * kColumns<D> + 2 * j * kEach;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        uint32_t words[kEach / 2];
#pragma unroll
        for (int i = 0; i < kEach; i += 2) {
          words[i / 2] = pack(__fmul_rn(o[v][i][2 * r + half], inverse),
                              __fmul_rn(o[v][i + 1][2 * r + half], inverse));
        }
        if constexpr (kEach == 8) {
          *reinterpret_cast<uint4*>(to + half * kEach) =
              make_uint4(words[0], words[1], words[2], words[3]);
        } else {
          *reinterpret_cast<uint2*>(to + half * kEach) = make_uint2(words[0], words[1]);
        }
      }
    }
  }
}

// ---- decoding

__host__ __device__ inline int row_tiles(const HeadShape& s) {
  return (s.heads / s.kv_heads + kRows - 1) / kRows;
}
__device__ inline int first_key(int context, int window) {
  return window > 0 ? max(0, context - window) : 0;
}

__device__ inline uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
__device__ inline void barrier_init(uint64_t* barrier) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(barrier)));
}
__device__ inline void barrier_expect(uint64_t* barrier, uint32_t bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
__device__ inline void barrier_wait(uint64_t* barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\nwait:\nmbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra wait;\n}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
__device__ inline void bulk_copy(void* to, const void* from, uint32_t bytes, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(barrier))
      : "memory");
}

// Spans of a row, for up to 16 query heads of one key head.
struct SliceItem {
  SpanItem spans;
  int slice, head, first_row, rows;  // query heads [head * group + first_row, + rows)
  int from;                          // first key that the row sees
  int tile_begin, tiles;
};
__device__ inline SliceItem slice_item(const HeadShape& shape, const SpanItem& spans, int slice) {
  SliceItem item{spans, slice};
  const int group = shape.heads / shape.kv_heads, tiles_of_rows = row_tiles(shape);
  item.head = slice / tiles_of_rows;
  item.first_row = slice % tiles_of_rows * kRows;
  item.rows = min(kRows, group - item.first_row);
  item.from = first_key(spans.context, shape.window);
  item.tile_begin = max(spans.first * kSpanTiles, item.from / kTile);
  const int end =
      min((spans.first + spans.count) * kSpanTiles, (spans.context + kTile - 1) / kTile);
  item.tiles = max(0, end - item.tile_begin);
  return item;
}

// ---- the plain form: any head size, float32 or bf16

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void store(float* p, float x) { *p = x; }
__device__ inline void store(__nv_bfloat16* p, float x) { *p = __float2bfloat16_rn(x); }

constexpr int kPlainColumns = 8;  // of a lane

struct Columns {  // [first, end) of the values, at most 32 * kPlainColumns
  int first, end;
};

// One warp, one row of one head: 32 keys at a time, one to a lane, merged in order.
template <class T, class At>
__device__ void plain_row(const T* query, const T* keys, const T* values, const At& key_at,
                          int limit, int window, int d, Columns columns, float scale, T* out,
                          float* lse) {
  const int lane = threadIdx.x % 32;
  float o[kPlainColumns] = {}, m = negative_infinity(), l = 0.0f;
  const int from = first_key(limit, window);
  for (int base = from / 32 * 32; base < limit; base += 32) {
    const int key = base + lane;
    const bool seen = key >= from && key < limit;
    float s = 0.0f;
    if (seen) {
      const T* k = keys + key_at(key);
      for (int i = 0; i < d; ++i) {
        s = __fmaf_rn(to_float(query[i]), to_float(k[key_at.element(key, i)]), s);
      }
    }
    s = seen ? __fmul_rn(s, scale * kLog2e) : negative_infinity();
    float top = s;
    for (int step = 16; step > 0; step /= 2) top = fmaxf(top, __shfl_xor_sync(kAll, top, step));
    const float p = exp2f(__fsub_rn(s, top));
    float sum = p;
    for (int step = 16; step > 0; step /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(kAll, sum, step));
    const Merge f = merge_sums(m, l, top, sum);
    float t[kPlainColumns] = {};
    const int count = min(32, limit - base);
    for (int i = 0; i < count; ++i) {
      const float weight = __shfl_sync(kAll, p, i);
      const T* v = values + key_at(base + i);
      for (int c = 0; c < kPlainColumns; ++c) {
        const int e = columns.first + lane + 32 * c;
        if (e < columns.end)
          t[c] = __fmaf_rn(weight, to_float(v[key_at.element(base + i, e)]), t[c]);
      }
    }
    for (int c = 0; c < kPlainColumns; ++c) o[c] = merged(f, o[c], t[c]);
  }
  for (int c = 0; c < kPlainColumns; ++c) {
    const int e = columns.first + lane + 32 * c;
    if (e < columns.end) store(out + e, o[c] / l);
  }
  if (lse != nullptr && lane == 0) *lse = (m + log2f(l)) * kLn2;
}

template <class T>
struct PagedKeys {  // element of a key's head in the cache
  const int32_t* table;
  int64_t kv_heads, head, d;
  __device__ int64_t operator()(int key) const {
    return ((table[key / kBlock] * kv_heads + head) * kBlock + key % kBlock) * d;
  }
  __device__ int element(int key, int e) const {
    constexpr Type kType = sizeof(T) == 2 ? Type::bf16 : Type::float32;
    return cache_element(kType, static_cast<int32_t>(d), key % kBlock, e);
  }
};

inline int processor_count() {
  static const int count = [] {
    int device = 0, processors = 1;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    return processors;
  }();
  return count;
}

}  // namespace hone::kernels::cuda
