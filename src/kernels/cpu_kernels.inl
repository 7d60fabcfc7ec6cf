// All CPU kernels of one vector width; see cpu_table.h.
// GCC 12 calls the undefined values inside its own AVX-512 intrinsics uninitialised.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/cpu_simd.inl"
#include "kernels/cpu_table.h"
// Order matters: each file uses those above it.
#include "kernels/cpu_attention.inl"
#include "kernels/cpu_attention_backward.inl"
#include "kernels/cpu_gemm.inl"
#include "kernels/cpu_linear.inl"
#include "kernels/cpu_rows.inl"

namespace hone::kernels {

const KernelTable& HONE_KERNELS_TABLE() {
  using namespace HONE_KERNELS_LEVEL;
  static constexpr KernelTable table = {pack_weight_impl,
                                        pack_weight_transposed_impl,
                                        linear_impl,
                                        linear_weight_grad_impl,
                                        rms_norm_impl,
                                        rms_norm_backward_impl,
                                        swiglu_impl,
                                        swiglu_backward_impl,
                                        rope_impl,
                                        store_kv_impl,
                                        paged_attention_impl,
                                        attention_backward_impl,
                                        log_prob_impl,
                                        log_prob_backward_impl,
                                        softmax_row_impl};
  return table;
}

}  // namespace hone::kernels
