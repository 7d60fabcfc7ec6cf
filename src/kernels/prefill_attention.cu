// Attention of many tokens of a sequence: prefill over the paged cache, and training inside a
// batch.
#include <cuda_bf16.h>

#include <algorithm>

#include "kernels/attention_tiles.cuh"

namespace hone::kernels::cuda {

namespace {

constexpr int kPrefillWarps = kPrefillRows / kRows;

struct PrefillArguments {
  HeadShape shape;
  const PrefillItem* items;
  const int32_t* tables;
  int32_t table_stride;
  const __nv_bfloat16 *qkv, *keys, *values;
  __nv_bfloat16* out;
  float* lse;
};

// Where the keys of a sequence inside a batch lie: those of its prefix, then its own.
struct FlatKeys {
  int64_t stride;  // of a token, in elements
  int64_t begin;   // row of the first key
  int split;       // keys of the prefix
  int64_t jump;    // rows between the prefix's last key and the next, but for one

  __device__ FlatKeys(const PrefillItem& item, int64_t token_stride)
      : stride(token_stride),
        begin(item.prefix_length > 0 ? item.prefix : item.source),
        split(item.prefix_length),
        jump(item.source - begin - item.prefix_length) {}
  // In elements from the first key.
  __device__ int64_t operator()(int key) const {
    return (key + (key >= split ? jump : 0)) * stride;
  }
  __device__ int element(int, int e) const { return e; }
};

// Where a sequence's keys lie in the cache, in pieces of 16 tokens.
struct BlockTable {
  const int32_t* table;
  int64_t block_stride;  // in elements
};

// Each warp by itself: 16 rows (token * group + head in group) against all keys that they see.
template <int D, bool kPaged>
__global__ void __launch_bounds__(32 * kPrefillWarps) prefill_kernel(const PrefillArguments a) {
  extern __shared__ float sums_before[];
  constexpr int kEach = kColumns<D> / 8, kParts = D / kColumns<D>;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, j = lane % 4;
  const PrefillItem item = a.items[blockIdx.x];
  const HeadShape& shape = a.shape;
  const int head = blockIdx.y, group = shape.heads / shape.kv_heads;
  const int64_t stride = static_cast<int64_t>(shape.heads + 2 * shape.kv_heads) * D;
  const int rows = item.query_length * group, first = item.first + kRows * warp;
  if (first >= rows) return;

  const int place[2] = {first + g, first + g + 8};
  int limit[2];        // keys that the row sees
  int64_t element[2];  // of the row in out
  const __nv_bfloat16* query[2];
  bool real[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    real[r] = place[r] < rows;
    const int token = min(place[r], rows - 1) / group, h = min(place[r], rows - 1) % group;
    limit[r] = real[r] ? item.context - item.query_length + token + 1 : 0;
    const int64_t t = item.query_begin + token;
    element[r] = (t * shape.heads + head * group + h) * D;
    query[r] = a.qkv + t * stride + static_cast<int64_t>(head * group + h) * D + 8 * j;
  }
  const int most = item.context - item.query_length + min(first + kRows - 1, rows - 1) / group + 1;
  const int least = item.context - item.query_length + first / group + 1;

  const FlatKeys flat(item, stride);
  const BlockTable blocks{a.tables + static_cast<int64_t>(item.source) * a.table_stride,
                          static_cast<int64_t>(shape.kv_heads) * kBlock * D};
  const __nv_bfloat16 *keys, *values;  // of key 0; paged: of block 0 of the cache
  if constexpr (kPaged) {
    keys = a.keys + static_cast<int64_t>(head) * kBlock * D;
    values = a.values + static_cast<int64_t>(head) * kBlock * D;
  } else {
    keys = a.qkv + flat.begin * stride + static_cast<int64_t>(shape.heads + head) * D;
    values = keys + static_cast<int64_t>(shape.kv_heads) * D;
  }

  Queries<D> q;
#pragma unroll
  for (int c = 0; c < D / 32; ++c) {
    q.low[c] = real[0] ? load16(query[0] + 32 * c) : make_uint4(0, 0, 0, 0);
    q.high[c] = real[1] ? load16(query[1] + 32 * c) : make_uint4(0, 0, 0, 0);
  }

  const int from = first_key(least, shape.window), spans = (most - 1) / kSpan + 1;
  float o[kParts][kEach][4];
  float m[2] = {negative_infinity(), negative_infinity()}, l[2] = {0.0f, 0.0f};
  // The spans before, [element][lane]: touched once a span.
  float* before = sums_before + warp * kRows * D + lane;
  float m_before[2] = {negative_infinity(), negative_infinity()}, l_before[2] = {0.0f, 0.0f};
  bool any_before = false;
  for (int span = from / kSpan; span < spans; ++span) {
    m[0] = m[1] = negative_infinity();
    l[0] = l[1] = 0.0f;
#pragma unroll
    for (int v = 0; v < kParts; ++v) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) o[v][i][0] = o[v][i][1] = o[v][i][2] = o[v][i][3] = 0.0f;
    }
    const int tile_end = min((span + 1) * kSpanTiles, (most + kTile - 1) / kTile);
    for (int tile = max(span * kSpanTiles, from / kTile); tile < tile_end; ++tile) {
      const int key = tile * kTile, valid = min(kTile, most - key);
      int64_t piece[kPieces];
      if constexpr (kPaged) {
#pragma unroll
        for (int u = 0; u < kPieces; ++u) {
          piece[u] =
              blocks.table[min(tile * kPieces + u, (most - 1) / kBlock)] * blocks.block_stride;
        }
      }
      const auto at = [&](int token, int e) {
        if constexpr (!kPaged) return flat(key + token) + e;
        return piece[token / kBlock] + (token % kBlock) * int64_t{D} +
               cache_element(Type::bf16, D, token % kBlock, e);
      };
      const Visible see{max(0, first_key(limit[0], shape.window) - key), min(kTile, limit[0] - key),
                        max(0, first_key(limit[1], shape.window) - key),
                        min(kTile, limit[1] - key)};
      uint32_t p[4][4];
      const TileSums sums = tile_scores<D>(
          q, [&](int token, int e) { return load16(keys + at(min(token, valid - 1), e)); }, see,
          shape.scale * kLog2e, p);
      const Merge f[2] = {merge_sums(m[0], l[0], sums.m[0], sums.l[0]),
                          merge_sums(m[1], l[1], sums.m[1], sums.l[1])};
#pragma unroll
      for (int v = 0; v < kParts; ++v) {
        float part[kEach][4];
        tile_values<D>(
            p,
            [&](int token, int) {
              return load_values<D>(values +
                                    at(min(token, valid - 1), v * kColumns<D> + kEach * g));
            },
            part);
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
#pragma unroll
          for (int e = 0; e < 4; ++e) o[v][i][e] = merged(f[e / 2], o[v][i][e], part[i][e]);
        }
      }
    }
    if (span + 1 == spans && !any_before) break;
    const Merge f[2] = {merge_sums(m_before[0], l_before[0], m[0], l[0]),
                        merge_sums(m_before[1], l_before[1], m[1], l[1])};
#pragma unroll
    for (int v = 0; v < kParts; ++v) {
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          float* at = before + 32 * ((v * kEach + i) * 4 + e);
          o[v][i][e] = merged(f[e / 2], any_before ? *at : 0.0f, o[v][i][e]);
          *at = o[v][i][e];
        }
      }
    }
    any_before = true;
    m[0] = m_before[0], m[1] = m_before[1];
    l[0] = l_before[0], l[1] = l_before[1];
  }
  write_rows<D>(o, l, real[0] ? a.out + element[0] : nullptr,
                real[1] ? a.out + element[1] : nullptr);
  if (a.lse != nullptr && j == 0) {
    if (real[0]) a.lse[element[0] / D] = (m[0] + log2f(l[0])) * kLn2;
    if (real[1]) a.lse[element[1] / D] = (m[1] + log2f(l[1])) * kLn2;
  }
}

template <class T, bool kPaged>
__global__ void plain_prefill_kernel(const HeadShape s, const PrefillItem* items,
                                     const int32_t* tables, int32_t table_stride, const T* qkv,
                                     const T* keys, const T* values, T* out, float* lse) {
  const PrefillItem item = items[blockIdx.x];
  const int64_t head = blockIdx.y, d = s.head_dim;
  const int group = s.heads / s.kv_heads;
  const int end = min(item.first + kPrefillRows, item.query_length * group);
  const int64_t stride = (s.heads + 2 * s.kv_heads) * d;
  for (int place = item.first + threadIdx.x / 32; place < end; place += blockDim.x / 32) {
    const int token = place / group;
    const int64_t t = item.query_begin + token, h = head * group + place % group;
    const int limit = item.context - item.query_length + token + 1;
    float* row_lse = lse != nullptr ? lse + t * s.heads + h : nullptr;
    const T* query = qkv + t * stride + h * d;
    T* to = out + (t * s.heads + h) * d;
    if constexpr (kPaged) {
      const PagedKeys<T> at{tables + static_cast<int64_t>(item.source) * table_stride, s.kv_heads,
                            head, d};
      plain_row(query, keys, values, at, limit, s.window, s.head_dim, {0, s.head_dim}, s.scale, to,
                row_lse);
    } else {
      const FlatKeys at(item, stride);
      const T* row = qkv + at.begin * stride;
      plain_row(query, row + (s.heads + head) * d, row + (s.heads + s.kv_heads + head) * d, at,
                limit, s.window, s.head_dim, {0, s.head_dim}, s.scale, to, row_lse);
    }
  }
}

template <int D>
void launch_prefill(const PrefillArguments& a, int32_t count, cudaStream_t stream) {
  constexpr int kBytes = kPrefillWarps * kRows * D * static_cast<int>(sizeof(float));
  static const bool once = [] {
    for (auto* kernel : {prefill_kernel<D, true>, prefill_kernel<D, false>}) {
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
    }
    return true;
  }();
  (void)once;
  const dim3 grid(static_cast<unsigned>(count), static_cast<unsigned>(a.shape.kv_heads));
  if (a.tables != nullptr) {
    prefill_kernel<D, true><<<grid, 32 * kPrefillWarps, kBytes, stream>>>(a);
  } else {
    prefill_kernel<D, false><<<grid, 32 * kPrefillWarps, kBytes, stream>>>(a);
  }
}

template <class T>
void launch_plain_prefill(const HeadShape& shape, const PrefillItem* items, int32_t count,
                          const int32_t* tables, int32_t table_stride, const void* qkv,
                          const void* keys, const void* values, void* out, float* lse,
                          cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(count), static_cast<unsigned>(shape.kv_heads));
  const auto launch = [&](auto kernel) {
    kernel<<<grid, 256, 0, stream>>>(shape, items, tables, table_stride, static_cast<const T*>(qkv),
                                     static_cast<const T*>(keys), static_cast<const T*>(values),
                                     static_cast<T*>(out), lse);
  };
  if (tables != nullptr) {
    launch(plain_prefill_kernel<T, true>);
  } else {
    launch(plain_prefill_kernel<T, false>);
  }
}

}  // namespace

void prefill_attention(Type type, const HeadShape& shape, const PrefillItem* items, int32_t count,
                       const int32_t* tables, int32_t table_stride, const void* qkv,
                       const void* keys, const void* values, void* out, float* lse,
                       cudaStream_t stream) {
  if (count == 0) return;
  if (!has_tensor_core_attention(type, shape.head_dim)) {
    (type == Type::bf16 ? launch_plain_prefill<__nv_bfloat16>
                        : launch_plain_prefill<float>)(shape, items, count, tables, table_stride,
                                                       qkv, keys, values, out, lse, stream);
    return;
  }
  const PrefillArguments a{shape,
                           items,
                           tables,
                           table_stride,
                           static_cast<const __nv_bfloat16*>(qkv),
                           static_cast<const __nv_bfloat16*>(keys),
                           static_cast<const __nv_bfloat16*>(values),
                           static_cast<__nv_bfloat16*>(out),
                           lse};
  switch (shape.head_dim) {
    case 32:
      return launch_prefill<32>(a, count, stream);
    case 64:
      return launch_prefill<64>(a, count, stream);
    case 96:
      return launch_prefill<96>(a, count, stream);
    case 128:
      return launch_prefill<128>(a, count, stream);
    default:
      return launch_prefill<256>(a, count, stream);
  }
}

}  // namespace hone::kernels::cuda
