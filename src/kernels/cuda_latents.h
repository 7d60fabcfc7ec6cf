// Latent attention on the GPU: decoding in the absorbed form over a paged cache of latents. A
// latent is a token's one key, W elements wide, and its first R elements are the token's value, for
// all heads. The order of operations is that of cuda_attention.h, with one sum for each half of W.
//
// Cache of one layer: [blocks][1][16][W], the elements of a token in the order of cache_element.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda_attention.h"

namespace hone::kernels::cuda {

struct LatentShape {
  int32_t heads, rank, width;  // H, R, W
  float scale;                 // of the scores, before the softmax
};

// What DecodeWork must have room for: as many slices and partial results as this shape has.
HONE_HOST_DEVICE constexpr HeadShape as_heads(const LatentShape& s) {
  return {s.heads, 1, s.rank, s.scale, 0};
}

// Whether the tensor cores' kernel serves the shape; the plain kernel serves every other one.
bool has_tensor_core_latents(Type type, const LatentShape& shape);

// q: [B][H][W], absorbed and rotated; the rows' newest latents already in the cache; out:
// [B][H][R]. Rows without a context are left alone.
void decode_latents(Type type, const LatentShape& shape, const DecodeRows& rows,
                    const DecodeWork& work, const void* q, const void* cache, void* out,
                    cudaStream_t stream);

// Puts tokens into the cache: latents [T][R], normed, and rotated keys [T][W - R], at slots [T]
// (block * 16 + offset; -1: not at all).
void store_latents(Type type, const LatentShape& shape, const void* latents, const void* rotated,
                   const int64_t* slots, void* cache, int64_t tokens, cudaStream_t stream);

// out [T][W]: what the cache holds at slots [T], in the plain order of elements.
void load_latents(Type type, const LatentShape& shape, const void* cache, const int64_t* slots,
                  void* out, int64_t tokens, cudaStream_t stream);

}  // namespace hone::kernels::cuda
