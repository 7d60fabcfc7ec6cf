// Attention on the GPU over a paged cache or inside a training batch, on raw device pointers.
//
// Every query row is defined by one fixed order of operations, whatever else is computed beside it:
//   tile   64 keys: scores, their maximum m, p = exp2(score - m) rounded to bf16, l = sum of p,
//          o = p V
//   merge  (m, l, o) with the next: m' = max; both sides scaled by exp2(m - m') and added
//   span   kSpanKeys keys: its tiles merged in order; a row: its spans merged in order
// Decoding gives the spans of a row to several warps, prefill and training walk through them in
// one; both give the same bits.
//
// Shapes: H query heads, G key/value heads (H % G == 0), D head size.
// Cache of one layer: keys, values [blocks][G][16][D], the elements of a token in the order of
// cache_element; a sequence's block table lists its blocks.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace hone::kernels::cuda {

constexpr int32_t kSpanKeys = 256;

enum class Type { bf16, float32 };

#if defined(__CUDACC__)
#define HONE_HOST_DEVICE __host__ __device__
#else
#define HONE_HOST_DEVICE
#endif
// Where element `e` of the token at `offset` in its block lies. Tensor cores read a block from
// shared memory as it lies in the cache; their lanes' 16-byte pieces are spread over the banks by
// an exclusive or with the token, different for neighbours (keys) and for every other one (values).
HONE_HOST_DEVICE constexpr int32_t cache_element(Type type, int32_t head_dim, int32_t offset,
                                                 int32_t e) {
  if (type != Type::bf16 || head_dim % 64 != 0) return e;
  return e ^ ((((offset >> 1 & 3) << 1) ^ ((offset & 1) << 2)) << 3);
}

struct HeadShape {
  int32_t heads, kv_heads, head_dim;
  float scale;     // of the scores, before the softmax
  int32_t window;  // keys that a row sees, its own included; 0: all
};

// Whether the tensor cores' kernels serve the shape; the plain kernels serve every other one.
bool has_tensor_core_attention(Type type, int32_t head_dim);

// What a decode step reads: one new token in each of B rows. Up to 16 rows may be successive tokens
// of one sequence.
struct DecodeRows {
  const int32_t* contexts;  // [B] keys that the row sees, its new token included; 0: no row
  const int32_t* tables;    // [B][table_stride] blocks of each row
  int32_t table_stride;
  int32_t batch;
};

// The spans of a step, made once a step on the device and used by every layer.
struct SpanItem {
  int32_t row, first, count, context;  // spans [first, first + count) of the row
};
struct DecodeWork {
  SpanItem* items;   // [capacity]
  int32_t* count;    // [1]
  int32_t* slots;    // [B] where the partial results of a row with several spans begin
  int32_t* arrived;  // [B * G * ceil(H / G / 16)], zero between calls
  float* partial;    // decode_partial_floats(...) of it
  int32_t capacity;  // of items and of slots: at least B + keys of all rows / kSpanKeys, rounded up
};
struct DecodeStep {
  DecodeRows rows;
  DecodeWork work;
};
int64_t decode_partial_floats(const HeadShape& shape, int64_t capacity);
// `slices`: G * ceil(H / G / 16) of the model.
void plan_decode(const DecodeRows& rows, const DecodeWork& work, int32_t slices,
                 cudaStream_t stream);

// qkv: [B][(H + 2G) D], queries ready (normed, rotated), keys and values already in the cache;
// out: [B][H D]. Rows without a context are left alone.
void decode_attention(Type type, const HeadShape& shape, const DecodeRows& rows,
                      const DecodeWork& work, const void* qkv, const void* keys, const void* values,
                      void* out, cudaStream_t stream);

// Up to 64 / group query tokens of a sequence: made on the host, one for each thread block.
struct PrefillItem {
  int32_t query_begin;   // row of the sequence's first query in qkv
  int32_t query_length;  // rows
  int32_t context;       // keys, these rows included: row i sees context - query_length + i + 1
  int32_t source;        // paged: row of `tables`; else: row of qkv where its own keys begin
  int32_t first;         // first of the item's (token * group + head in group)
  // Not paged: the first `prefix_length` keys stand in qkv from row `prefix` on, the others from
  // `source` on.
  int32_t prefix = 0, prefix_length = 0;
};
// Query rows * group that an item covers: an item for each multiple of it below
// query_length * group.
constexpr int32_t kPrefillRows = 64;

// tables null: keys and values stand in qkv itself, [T][(H + 2G) D], rotated.
// lse: [T][H] natural logarithm of the softmax's sum, or null.
void prefill_attention(Type type, const HeadShape& shape, const PrefillItem* items, int32_t count,
                       const int32_t* tables, int32_t table_stride, const void* qkv,
                       const void* keys, const void* values, void* out, float* lse,
                       cudaStream_t stream);

}  // namespace hone::kernels::cuda
