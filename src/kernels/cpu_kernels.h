// Exact CPU kernels in float32 on raw pointers.
//
// Exact means: every output element is defined by one chain of operations that depends only on
// its own row's inputs, never on how many rows are computed together, how they are tiled, the
// number of threads or the vector width. A sampler that decodes one token of many sequences and
// a trainer that runs whole sequences therefore get the same bits. Each kernel has a plain scalar
// twin in cpu_reference.h, to which it must be equal bit for bit.
//
//   linear      y[m][n] = s_K,  s_0 = 0,  s_{k+1} = fma(x[m][k], w[n][k], s_k)
//   rms_norm    sum of squares in 16 lanes by index, then a fixed tree
//   attention   s_j = chain over d as in linear; max = max_j s_j * scale;
//               p_j = exp(fma(s_j, scale, -max)); sum of p in 16 lanes by key index j mod 16, then
//               a fixed tree; out_d = chain over keys j = 0.. of fma(p_j, v[j][d], out_d), divided
//               by the sum
//   log_prob    z = fma(x, inv_temperature, -max); sum of exp(z) in 16 lanes by index, then a fixed
//               tree; lse = max + log(sum) in double, rounded once
//   exp         one polynomial, the same for all lanes; 0 below -87.33
//
// Shapes: T tokens, H query heads, G key/value heads (H % G == 0), D head size (multiple of 16).
// scale and inv_temperature are positive.
// Threads: a pool of their own; `set_num_threads` once at start. Calls from several threads at once
// are safe, but only one of them shares its work. No kernel allocates more than scratch.
#pragma once

#include <cstdint>

namespace hone::kernels {

void set_num_threads(int threads);
int num_threads();

// The vector width is chosen at first use: the widest that the CPU has. Tests force one; a level
// that the CPU lacks is refused (false).
enum class Level { avx2, avx512 };
bool set_level(Level level);

// ---- linear ----------------------------------------------------------------------------------
// Weights are packed as [ceil(N/32)][K][32] with zeros behind N.
int64_t packed_size(int64_t n, int64_t k);                              // in floats
void pack_weight(const float* w, int64_t n, int64_t k, float* packed);  // w: [N, K]
// Packs w^T ([K, N]), the weight of the layer that takes the gradient back: dx = linear(dy).
void pack_weight_transposed(const float* w, int64_t n, int64_t k, float* packed);
// y: [M, N] row stride ldy; x: [M, K] row stride ldx.
void linear(const float* x, int64_t ldx, const float* packed, float* y, int64_t ldy, int64_t m,
            int64_t n, int64_t k);
// dw[n][k] += sum_m dy[m][n] * x[m][k], one chain over m from the value that is there; dw: [N, K]
// contiguous.
void linear_weight_grad(const float* dy, int64_t lddy, const float* x, int64_t ldx, float* dw,
                        int64_t m, int64_t n, int64_t k);

// ---- elementwise and row kernels ---------------------------------------------------------------
// y = x * rsqrt(mean(x^2) + eps) * w; inv_rms [M] is kept for the backward pass (may be null).
// x, y: [M, D] contiguous. x == y is allowed.
void rms_norm(const float* x, const float* w, float eps, float* y, float* inv_rms, int64_t m,
              int64_t d);
// dx: [M, D] (overwritten); dw: [D] (added to).
void rms_norm_backward(const float* dy, const float* x, const float* w, const float* inv_rms,
                       float* dx, float* dw, int64_t m, int64_t d);
// y[m][f] = silu(gate_up[m][f]) * gate_up[m][F + f]; gate_up: [M, 2F], y: [M, F].
void swiglu(const float* gate_up, float* y, int64_t m, int64_t f);
void swiglu_backward(const float* dy, const float* gate_up, float* dgate_up, int64_t m, int64_t f);
// Rotates pairs (i, i + D/2) of every head in place (rotate-half, as Hugging Face's Llama).
// x: [T, heads, D] with row stride ldx; cos, sin: [max_position, D/2]; positions: [T].
// `inverse` rotates back: the backward pass.
void rope(float* x, int64_t ldx, const int64_t* positions, const float* cos, const float* sin,
          int64_t t, int64_t heads, int64_t d, bool inverse);

// ---- paged attention
// ----------------------------------------------------------------------------- The cache of one
// layer, in blocks of 16 tokens:
//   keys   [blocks][G][D][16]   (a key's 16 neighbours side by side: scores vectorise over keys)
//   values [blocks][G][16][D]
// slot = block * 16 + offset.
constexpr int64_t kBlockTokens = 16;
void store_kv(const float* k, const float* v, int64_t ldk, int64_t ldv, const int64_t* slots,
              float* key_cache, float* value_cache, int64_t t, int64_t kv_heads, int64_t d);

struct AttentionSequence {
  int64_t query_begin;    // first row of q
  int64_t query_length;   // rows
  int64_t context;        // tokens in the cache including these rows: row i sees
                          // context - query_length + i + 1 keys
  const int32_t* blocks;  // block table, ceil(context / 16) entries
};
// q: [T, H, D] row stride ldq; out: [T, H, D] contiguous; lse [T, H]: max + log(sum) (may be null).
// window: a row sees only the last `window` of its keys, its own included; 0: all.
void paged_attention(const float* q, int64_t ldq, const AttentionSequence* sequences,
                     int64_t sequence_count, const float* key_cache, const float* value_cache,
                     float scale, float* out, float* lse, int64_t heads, int64_t kv_heads,
                     int64_t d, int64_t window);

// Backward of causal attention inside a training batch. Segment s has rows
// [begin, begin + length) and sees rows [prefix_begin, prefix_begin + prefix_length) before them
// (a group's prompt, which is itself a segment without a prefix), then its own rows causally.
// Segments that share a prefix must stand next to each other, the prefix before them.
struct AttentionSegment {
  int64_t begin, length;
  int64_t prefix_begin, prefix_length;
};
// q, dq, out, dout: [T, H, D]; k, v, dk, dv: [T, G, D]; all with their row strides; dq, dk, dv are
// overwritten. Deterministic for any number of threads.
struct AttentionGrad {
  const float *q, *k, *v, *out, *dout, *lse;
  int64_t ldq, ldk, ldv;  // row strides of q, k, v; out and dout are contiguous
  float *dq, *dk, *dv;
  int64_t lddq, lddk, lddv;
};
void attention_backward(const AttentionGrad& tensors, const AttentionSegment* segments,
                        int64_t segment_count, int64_t total_rows, float scale, int64_t heads,
                        int64_t kv_heads, int64_t d, int64_t window);

// ---- distribution over the vocabulary
// -------------------------------------------------------------- logits: [M, V] contiguous,
// multiplied by inv_temperature first. logp[m] = x[target] - logsumexp(x); entropy[m] = -sum p log
// p (may be null); lse [M] (may be null).
void log_prob(const float* logits, const int64_t* targets, float inv_temperature, float* logp,
              float* entropy, float* lse, int64_t m, int64_t v);
// dlogits = inv_temperature * (dlogp * (onehot - p) + dentropy * (-p * (log p + entropy))).
// dentropy and entropy may be null together. dlogits may be logits (in place).
void log_prob_backward(const float* logits, const int64_t* targets, float inv_temperature,
                       const float* lse, const float* entropy, const float* dlogp,
                       const float* dentropy, float* dlogits, int64_t m, int64_t v);

// Draws one token a row: the first whose cumulative probability exceeds u times the total, with
// u = philox_uniform(key, sample, position), so a draw does not depend on its batch.
// inv_temperature [B]: 0 takes the largest logit (the first of equals). Logits of -inf are never
// drawn. logprobs are log_prob's bits at temperature 1, sampled_logprobs those at the row's
// inv_temperature (0 where it is 0: that token was certain). Either may be null.
void sample_tokens(const float* logits, int64_t batch, int64_t vocab, const float* inv_temperature,
                   const uint64_t* keys, const int64_t* samples, const int64_t* positions,
                   int64_t* tokens, float* logprobs, float* sampled_logprobs);

// Sets the logits that a filter drops to -infinity. In this order, each on the distribution that
// the one before it left: top_k (0: off; ties with the k-th stay), top_p (1: off; the smallest set
// of the likeliest tokens whose mass reaches it, at least one; ties with the last of them stay),
// min_p (0: off; drops what is less likely than min_p times the likeliest). Masses are at
// inv_temperature.
void filter_logits(float* logits_row, int64_t vocab, int64_t top_k, float top_p, float min_p,
                   float inv_temperature);

}  // namespace hone::kernels
