// Choice of the vector width, and scratch memory.
#include "kernels/cpu_kernels.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "kernels/cpu_table.h"

namespace hone::kernels {

namespace {

bool has_level(Level level) {
  if (level == Level::avx2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512cd");
}

const KernelTable* widest_table() {
  if (has_level(Level::avx512)) return &avx512_kernels();
  if (has_level(Level::avx2)) return &avx2_kernels();
  std::fprintf(stderr, "hone: this CPU has no AVX2 and FMA, which the CPU kernels need\n");
  std::abort();
}

const KernelTable*& chosen() {
  static const KernelTable* table = widest_table();
  return table;
}

}  // namespace

const KernelTable& table() { return *chosen(); }

bool set_level(Level level) {
  if (!has_level(level)) return false;
  chosen() = level == Level::avx2 ? &avx2_kernels() : &avx512_kernels();
  return true;
}

float* scratch(Scratch which, int64_t floats) {
  struct Buffer {
    std::unique_ptr<float, decltype(&std::free)> data{nullptr, &std::free};
    int64_t floats = 0;
  };
  static thread_local Buffer buffers[2];
  Buffer& buffer = buffers[static_cast<int>(which)];
  if (buffer.floats < floats) {
    const int64_t rounded = (floats + 1023) / 1024 * 1024;
    buffer.data.reset(static_cast<float*>(std::aligned_alloc(64, rounded * sizeof(float))));
    if (buffer.data == nullptr) {
      std::fprintf(stderr, "hone: out of memory for the scratch of a CPU kernel\n");
      std::abort();
    }
    buffer.floats = rounded;
  }
  return buffer.data.get();
}

float log_sum_exp(float max, float sum) {
  return static_cast<float>(static_cast<double>(max) + std::log(static_cast<double>(sum)));
}

int64_t packed_size(int64_t n, int64_t k) { return (n + 31) / 32 * 32 * k; }

void pack_weight(const float* w, int64_t n, int64_t k, float* packed) {
  table().pack_weight(w, n, k, packed);
}
void pack_weight_transposed(const float* w, int64_t n, int64_t k, float* packed) {
  table().pack_weight_transposed(w, n, k, packed);
}
void linear(const float* x, int64_t ldx, const float* packed, float* y, int64_t ldy, int64_t m,
            int64_t n, int64_t k) {
  table().linear(x, ldx, packed, y, ldy, m, n, k);
}
void linear_weight_grad(const float* dy, int64_t lddy, const float* x, int64_t ldx, float* dw,
                        int64_t m, int64_t n, int64_t k) {
  table().linear_weight_grad(dy, lddy, x, ldx, dw, m, n, k);
}
void rms_norm(const float* x, const float* w, float eps, float* y, float* inv_rms, int64_t m,
              int64_t d) {
  table().rms_norm(x, w, eps, y, inv_rms, m, d);
}
void rms_norm_backward(const float* dy, const float* x, const float* w, const float* inv_rms,
                       float* dx, float* dw, int64_t m, int64_t d) {
  table().rms_norm_backward(dy, x, w, inv_rms, dx, dw, m, d);
}
void swiglu(const float* gate_up, float* y, int64_t m, int64_t f) {
  table().swiglu(gate_up, y, m, f);
}
void swiglu_backward(const float* dy, const float* gate_up, float* dgate_up, int64_t m, int64_t f) {
  table().swiglu_backward(dy, gate_up, dgate_up, m, f);
}
void rope(float* x, int64_t ldx, const int64_t* positions, const float* cos, const float* sin,
          int64_t t, int64_t heads, int64_t d, bool inverse) {
  table().rope(x, ldx, positions, cos, sin, t, heads, d, inverse);
}
void store_kv(const float* k, const float* v, int64_t ldk, int64_t ldv, const int64_t* slots,
              float* key_cache, float* value_cache, int64_t t, int64_t kv_heads, int64_t d) {
  table().store_kv(k, v, ldk, ldv, slots, key_cache, value_cache, t, kv_heads, d);
}
void paged_attention(const float* q, int64_t ldq, const AttentionSequence* sequences,
                     int64_t sequence_count, const float* key_cache, const float* value_cache,
                     float scale, float* out, float* lse, int64_t heads, int64_t kv_heads,
                     int64_t d, int64_t window) {
  table().paged_attention(q, ldq, sequences, sequence_count, key_cache, value_cache, scale, out,
                          lse, heads, kv_heads, d, window);
}
void attention_backward(const AttentionGrad& tensors, const AttentionSegment* segments,
                        int64_t segment_count, int64_t total_rows, float scale, int64_t heads,
                        int64_t kv_heads, int64_t d, int64_t window) {
  table().attention_backward(tensors, segments, segment_count, total_rows, scale, heads, kv_heads,
                             d, window);
}
void log_prob(const float* logits, const int64_t* targets, float inv_temperature, float* logp,
              float* entropy, float* lse, int64_t m, int64_t v) {
  table().log_prob(logits, targets, inv_temperature, logp, entropy, lse, m, v);
}
void log_prob_backward(const float* logits, const int64_t* targets, float inv_temperature,
                       const float* lse, const float* entropy, const float* dlogp,
                       const float* dentropy, float* dlogits, int64_t m, int64_t v) {
  table().log_prob_backward(logits, targets, inv_temperature, lse, entropy, dlogp, dentropy,
                            dlogits, m, v);
}

}  // namespace hone::kernels
