#ifdef HONE_WITH_CUDA
#include "model/cuda_fp8.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cublasLt.h>

#include <array>
#include <bit>
#include <map>
#include <memory>
#include <mutex>

#include "base/error.h"
#include "kernels/cuda_fp8.h"

namespace hone::ops::cuda {

namespace k = kernels::cuda;
using at::Tensor;

namespace {

constexpr size_t kWorkspace = size_t{32} << 20;

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw RunError(cat("cuBLASLt: 8-bit ", what, " failed with status ", static_cast<int>(status)));
  }
}

int64_t up_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// out [rows_b, rows_a] = b [rows_b, depth] a [rows_a, depth]^T, or with `add` (float32) += .
struct Product {
  int64_t rows_a = 0, rows_b = 0, depth = 0;
  bool a_in_blocks = false;  // a weight
  bool add = false;
  const void *a = nullptr, *b = nullptr;
  const void *a_factors = nullptr, *b_factors = nullptr;
  void* out = nullptr;
};

class Call {
 public:
  explicit Call(const Product& p) {
    check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
    set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_A_SCALE_MODE, p.a_in_blocks
                                               ? CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F
                                               : CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
    set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p.a_factors);
    set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p.b_factors);
    make(a, CUDA_R_8F_E4M3, p.depth, p.rows_a);
    make(b, CUDA_R_8F_E4M3, p.depth, p.rows_b);
    make(out, p.add ? CUDA_R_32F : CUDA_R_16BF, p.rows_a, p.rows_b);
  }
  Call(const Call&) = delete;
  ~Call() {
    for (cublasLtMatrixLayout_t layout : {a, b, out}) cublasLtMatrixLayoutDestroy(layout);
    cublasLtMatmulDescDestroy(operation);
  }

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, out = nullptr;

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), "attribute");
  }
  static void make(cublasLtMatrixLayout_t& layout, cudaDataType type, int64_t rows,
                   int64_t columns) {
    check(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, rows), "layout");
  }
};

class Products {
 public:
  explicit Products(at::Device device) {
    check(cublasLtCreate(&handle_), "start");
    workspace_ = at::empty({static_cast<int64_t>(kWorkspace)},
                           at::TensorOptions().device(device).dtype(at::kByte));
  }

  void run(const Product& p) {
    const Call call(p);
    const float one = 1, zero = 0;
    check(cublasLtMatmul(handle_, call.operation, &one, p.a, call.a, p.b, call.b,
                         p.add ? &one : &zero, p.out, call.out, p.out, call.out, &algorithm(p),
                         workspace_.data_ptr(), kWorkspace,
                         c10::cuda::getCurrentCUDAStream().stream()),
          "product");
  }

 private:
  // What cuBLASLt proposes first for sizes rounded up, whatever was asked for before: a run that
  // resumes takes the same.
  const cublasLtMatmulAlgo_t& algorithm(Product p) {
    const auto rounded = [](int64_t n) {
      return n <= 512 ? up_to(n, 64)
                      : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n)));
    };
    (p.add ? p.depth : p.rows_b) = rounded(p.add ? p.depth : p.rows_b);
    const std::lock_guard lock(mutex_);
    const std::array<int64_t, 4> key{p.rows_a, p.rows_b, p.depth, 2 * p.a_in_blocks + p.add};
    const auto found = algorithms_.find(key);
    if (found != algorithms_.end()) return found->second;
    const Call call(p);
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "preference");
    const uint32_t reductions =
        CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &kWorkspace, sizeof kWorkspace);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                         &reductions, sizeof reductions);
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    cublasLtMatmulAlgoGetHeuristic(handle_, call.operation, call.a, call.b, call.out, call.out,
                                   preference, 1, &result, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    if (count == 0) {
      throw UserError(cat("fp8: cuBLASLt has no 8-bit product of ", p.rows_b, " x ", p.depth, " x ",
                          p.rows_a, " on this GPU; leave fp8 off"));
    }
    return algorithms_.emplace(key, result.algo).first->second;
  }

  cublasLtHandle_t handle_ = nullptr;
  Tensor workspace_;
  std::mutex mutex_;
  std::map<std::array<int64_t, 4>, cublasLtMatmulAlgo_t> algorithms_;
};

Products& products_on(const Tensor& t) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Products>> all;
  const std::lock_guard lock(mutex);
  std::unique_ptr<Products>& p = all[t.device().index()];
  if (!p) p = std::make_unique<Products>(t.device());
  return *p;
}

Tensor bytes(const Tensor& like, int64_t rows, int64_t columns) {
  return at::empty({rows, columns}, like.options().dtype(at::kFloat8_e4m3fn));
}
Tensor floats(const Tensor& like, int64_t rows, int64_t columns) {
  return at::empty({rows, columns}, like.options().dtype(at::kFloat));
}

// The weight's 8-bit form, made anew when the weights have changed.
const Parameter::Fp8Form& form_of(const Parameter& w) {
  Parameter::Fp8Form& form = w.fp8_form;
  if (form.version == w.version()) return form;
  const int64_t n = w.rows, columns = w.columns;
  if (!form.q.defined()) {  // whole or not at all: memory may run out in between
    form = {bytes(w.value, n, columns),
            floats(w.value, n / k::kFp8Block, up_to(columns / k::kFp8Block, 4)).zero_(),
            bytes(w.value, columns, n),
            floats(w.value, columns / k::kFp8Block, up_to(n / k::kFp8Block, 4)).zero_(), 0};
  }
  k::weight_to_fp8({w.value.const_data_ptr(), form.q.data_ptr(), form.factors.data_ptr<float>(),
                    form.qt.data_ptr(), form.factors_t.data_ptr<float>()},
                   n, columns, c10::cuda::getCurrentCUDAStream().stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  form.version = w.version();
  return form;
}

// x [M, depth] times the weight's rows, or its columns.
Tensor times_weight(const Fp8Matrix& x, int64_t rows, const Tensor& q, const Tensor& factors) {
  const c10::cuda::CUDAGuard guard(q.device());
  const Tensor y = at::empty({x.q.size(0), q.size(0)}, q.options().dtype(at::kBFloat16));
  if (rows > 0) {
    products_on(q).run({q.size(0), x.q.size(0), q.size(1), true, false, q.const_data_ptr(),
                        x.q.const_data_ptr(), factors.const_data_ptr(), x.factors.const_data_ptr(),
                        y.data_ptr()});
  }
  return y.narrow(0, 0, rows);
}

}  // namespace

Fp8Matrix to_fp8(const Tensor& x, bool along_rows) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor from = x.stride(1) == 1 ? x : x.contiguous();
  const int64_t m = x.size(0), n = x.size(1), padded = up_to(m, k::kFp8Rows);
  Fp8Matrix result;
  k::Fp8Rows call{from.const_data_ptr(), from.stride(0), nullptr, nullptr, nullptr, nullptr};
  result.q = bytes(x, padded, n);
  result.factors = floats(x, n / k::kFp8Block, padded);
  call.q = result.q.data_ptr();
  call.factors = result.factors.data_ptr<float>();
  if (along_rows) {
    result.qt = bytes(x, n, padded);
    result.factors_t = floats(x, up_to(padded, k::kFp8Block) / k::kFp8Block, n);
    call.qt = result.qt.data_ptr();
    call.factors_t = result.factors_t.data_ptr<float>();
  }
  k::to_fp8(call, m, n, c10::cuda::getCurrentCUDAStream().stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return result;
}

Tensor fp8_product(const Fp8Matrix& x, int64_t rows, const Parameter& w) {
  const Parameter::Fp8Form& form = form_of(w);
  return times_weight(x, rows, form.q, form.factors);
}

Tensor fp8_product_transposed(const Fp8Matrix& dy, int64_t rows, const Parameter& w) {
  const Parameter::Fp8Form& form = form_of(w);
  return times_weight(dy, rows, form.qt, form.factors_t);
}

void add_fp8_gradient(const Fp8Matrix& dy, const Fp8Matrix& x, const Tensor& grad) {
  if (dy.qt.size(1) == 0) return;
  const c10::cuda::CUDAGuard guard(grad.device());
  Tensor sum = grad;
  products_on(grad).run({grad.size(1), grad.size(0), dy.qt.size(1), false, true,
                         x.qt.const_data_ptr(), dy.qt.const_data_ptr(),
                         x.factors_t.const_data_ptr(), dy.factors_t.const_data_ptr(),
                         sum.data_ptr()});
}

}  // namespace hone::ops::cuda
#endif
