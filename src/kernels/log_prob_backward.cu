#include <cuda_bf16.h>

#include "kernels/cuda_sample.h"

namespace hone::kernels::cuda {

namespace {

constexpr int kThreads = 256, kEach = 16;  // logits that a thread takes

__device__ void store_four(float* p, const float (&x)[4]) {
  *reinterpret_cast<float4*>(p) = make_float4(x[0], x[1], x[2], x[3]);
}
__device__ void store_four(__nv_bfloat16* p, const float (&x)[4]) {
  const __nv_bfloat162 low = __floats2bfloat162_rn(x[0], x[1]),
                       high = __floats2bfloat162_rn(x[2], x[3]);
  *reinterpret_cast<uint2*>(p) =
      make_uint2(reinterpret_cast<const uint32_t&>(low), reinterpret_cast<const uint32_t&>(high));
}
__device__ void store_one(float* p, float x) { *p = x; }
__device__ void store_one(__nv_bfloat16* p, float x) { *p = __float2bfloat16_rn(x); }

// Each thread reads what it writes before it writes it: dlogits may be the logits.
template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    log_prob_backward_kernel(const LogProbBackward c, T* dlogits) {
  const int64_t row = blockIdx.x;
  const float inv_t = c.inv_temperature, lse = c.lse[row], dlogp = c.dlogp[row];
  const bool with_entropy = c.dentropy != nullptr;
  const float entropy = with_entropy ? c.entropy[row] : 0.0f;
  const float dentropy = with_entropy ? c.dentropy[row] : 0.0f;
  const int64_t target = c.targets[row];
  const float* from = c.logits + row * c.vocab;
  T* to = dlogits + row * c.vocab;
  const auto gradient = [&](float x, int64_t token) {
    const float log_p = fmaf(x, inv_t, -lse), p = __expf(log_p);
    float d = (token == target ? dlogp : 0.0f) - p * dlogp;
    // 0 * -inf: a logit of -inf has no part in the entropy.
    if (with_entropy && p > 0.0f) d -= p * (log_p + entropy) * dentropy;
    return d * inv_t;
  };
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * kThreads * kEach;
#pragma unroll
  for (int i = 0; i < kEach / 4; ++i) {
    const int64_t at = begin + 4 * (threadIdx.x + i * kThreads);
    if (kAligned && at + 4 <= c.vocab) {
      const float4 x = *reinterpret_cast<const float4*>(from + at);
      store_four(to + at, {gradient(x.x, at), gradient(x.y, at + 1), gradient(x.z, at + 2),
                           gradient(x.w, at + 3)});
      continue;
    }
    for (int64_t k = at; k < at + 4 && k < c.vocab; ++k) store_one(to + k, gradient(from[k], k));
  }
}

template <class T>
void launch(const LogProbBackward& c, T* dlogits, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((c.vocab + kThreads * kEach - 1) / (kThreads * kEach));
  const dim3 grid(static_cast<unsigned>(c.rows), blocks);  // rows where 2^31 may be
  const bool aligned = c.vocab % 4 == 0 && reinterpret_cast<uintptr_t>(c.logits) % 16 == 0 &&
                       reinterpret_cast<uintptr_t>(dlogits) % 16 == 0;
  (aligned ? log_prob_backward_kernel<T, true>
           : log_prob_backward_kernel<T, false>)<<<grid, kThreads, 0, stream>>>(c, dlogits);
}

}  // namespace

void log_prob_backward(const LogProbBackward& call, Type type, void* dlogits, cudaStream_t stream) {
  if (call.rows == 0) return;
  if (type == Type::bf16) {
    launch(call, static_cast<__nv_bfloat16*>(dlogits), stream);
  } else {
    launch(call, static_cast<float*>(dlogits), stream);
  }
}

}  // namespace hone::kernels::cuda
