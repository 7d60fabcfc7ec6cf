// All CPU kernels of one vector width; see cpu_table.h.

// GCC 12 calls the undefined values inside its own AVX-512 intrinsics uninitialised.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu_table.h"

// Each of these uses those above it.
// clang-format off
#include "kernels/cpu_simd.inl"
#include "kernels/cpu_gemm.inl"
#include "kernels/cpu_linear.inl"
#include "kernels/cpu_rows.inl"
#include "kernels/cpu_attention.inl"
#include "kernels/cpu_attention_backward.inl"
// clang-format on

namespace hone::kernels {

const KernelTable& HONE_KERNELS_TABLE() {
  using namespace HONE_KERNELS_LEVEL;
  static constexpr KernelTable kTable = {
      .pack_weight = pack_weight_impl,
      .pack_weight_transposed = pack_weight_transposed_impl,
      .linear = linear_impl,
      .linear_weight_grad = linear_weight_grad_impl,
      .rms_norm = rms_norm_impl,
      .rms_norm_backward = rms_norm_backward_impl,
      .swiglu = swiglu_impl,
      .swiglu_backward = swiglu_backward_impl,
      .rope = rope_impl,
      .store_kv = store_kv_impl,
      .paged_attention = paged_attention_impl,
      .attention_backward = attention_backward_impl,
      .log_prob = log_prob_impl,
      .log_prob_backward = log_prob_backward_impl,
      .softmax_row = softmax_row_impl,
  };
  return kTable;
}

}  // namespace hone::kernels
