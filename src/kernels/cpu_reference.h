// Plain scalar twins of the CPU kernels. The forward kernels must be equal to these bit for bit;
// the backward ones are compared with doubles. Arguments are those of cpu_kernels.h.
#pragma once

#include <cstdint>

#include "kernels/cpu_kernels.h"

namespace hone::kernels::reference {

float exp(float x);
// w: [N, K], not packed.
void linear(const float* x, int64_t ldx, const float* w, float* y, int64_t ldy, int64_t m,
            int64_t n, int64_t k);
void rms_norm(const float* x, const float* w, float eps, float* y, float* inv_rms, int64_t m,
              int64_t d);
void swiglu(const float* gate_up, float* y, int64_t m, int64_t f);
void rope(float* x, int64_t ldx, const int64_t* positions, const float* cos, const float* sin,
          int64_t t, int64_t heads, int64_t d, bool inverse);
void paged_attention(const float* q, int64_t ldq, const AttentionSequence* sequences,
                     int64_t sequence_count, const float* key_cache, const float* value_cache,
                     float scale, float* out, float* lse, int64_t heads, int64_t kv_heads,
                     int64_t d, int64_t window);
void log_prob(const float* logits, const int64_t* targets, float inv_temperature, float* logp,
              float* entropy, float* lse, int64_t m, int64_t v);

// In double; dw is [N, K] and added to.
void linear_weight_grad(const float* dy, int64_t lddy, const float* x, int64_t ldx, double* dw,
                        int64_t m, int64_t n, int64_t k);
void rms_norm_backward(const float* dy, const float* x, const float* w, float eps, double* dx,
                       double* dw, int64_t m, int64_t d);
void swiglu_backward(const float* dy, const float* gate_up, double* dgate_up, int64_t m, int64_t f);
// Takes q, k, v, dout and the strides from `tensors`; softmax and output are computed again. dq:
// [T, H, D], dk, dv: [T, G, D], contiguous, overwritten.
void attention_backward(const AttentionGrad& tensors, const AttentionSegment* segments,
                        int64_t segment_count, int64_t total_rows, float scale, int64_t heads,
                        int64_t kv_heads, int64_t d, int64_t window, double* dq, double* dk,
                        double* dv);
// Also the values, in double: logp and entropy [M]. dentropy may be null.
void log_prob_backward(const float* logits, const int64_t* targets, double inv_temperature,
                       const float* dlogp, const float* dentropy, double* logp, double* entropy,
                       double* dlogits, int64_t m, int64_t v);

}  // namespace hone::kernels::reference
