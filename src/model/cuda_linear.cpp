// Matrix products on the GPU through cuBLASLt.
//
// Exact products: the kernels of one family (cuBLASLt's algorithm 66, warpgroup MMA) add the
// products of a row in the order of K whatever their tile, unless K is split; measured over the
// shapes and batch sizes in BENCHMARKS.md, and tested. Other algorithms are not taken.
#ifdef HONE_WITH_CUDA
#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <limits>
#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "kernels/cuda_rows.h"
#include "model/cuda_ops.h"

namespace hone::ops::cuda {
namespace {

using at::Tensor;

constexpr size_t kWorkspace = size_t{64} << 20;
constexpr int kWarpgroupAlgorithm = 66;
// A K this long leaves most of the GPU idle at small M unless it is cut.
constexpr int64_t kLongK = 12288, kPieceOfK = 4096;

void check(cublasStatus_t status, const char* what) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw RunError(cat("cuBLASLt: ", what, " failed with status ", static_cast<int>(status)));
  }
}

struct Shape {
  int64_t m, n, k, pieces, y_stride;
  bool exact, bias, float_out;
  auto key() const { return std::tuple(m, n, k, pieces, exact, bias, float_out); }
};

// Rounded up so that the number of plans stays small.
int64_t bucket(int64_t m) {
  if (m <= 64) return m;
  if (m <= 512) return (m + 31) / 32 * 32;
  return static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(m)));
}

// Row-major y = x w^T is column-major y^T [N, M] = w [N, K] x^T [K, M].
struct Layouts {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t w = nullptr, x = nullptr, y = nullptr;

  Layouts(const Shape& s, int64_t m, int64_t x_stride, const void* bias) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
    set(CUBLASLT_MATMUL_DESC_TRANSA, transposed);
    if (s.bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    }
    const int64_t piece = s.k / s.pieces;
    make(w, CUDA_R_16BF, piece, s.n, s.k, piece, s.pieces);
    make(x, CUDA_R_16BF, piece, m, x_stride, piece, s.pieces);
    make(y, s.float_out ? CUDA_R_32F : CUDA_R_16BF, s.n, m, s.y_stride, m * s.y_stride, s.pieces);
  }
  Layouts(const Layouts&) = delete;
  ~Layouts() {
    cublasLtMatrixLayoutDestroy(w);
    cublasLtMatrixLayoutDestroy(x);
    cublasLtMatrixLayoutDestroy(y);
    cublasLtMatmulDescDestroy(operation);
  }

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), "attribute");
  }
  static void make(cublasLtMatrixLayout_t& layout, cudaDataType type, int64_t rows, int64_t columns,
                   int64_t stride, int64_t batch_stride, int64_t batch) {
    check(cublasLtMatrixLayoutCreate(&layout, type, rows, columns, stride), "layout");
    if (batch == 1) return;
    const auto count = static_cast<int32_t>(batch);
    check(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                           sizeof count),
          "batch");
    check(cublasLtMatrixLayoutSetAttribute(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                           &batch_stride, sizeof batch_stride),
          "batch stride");
  }
};

// grad [N, K] += dy^T x, column-major grad^T [K, N] += x^T [K, M] dy [M, N].
struct GradientLayouts {
  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t x = nullptr, dy = nullptr, grad = nullptr;

  GradientLayouts(int64_t m, int64_t n, int64_t k, int64_t x_stride, int64_t dy_stride) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    check(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description");
    check(cublasLtMatmulDescSetAttribute(operation, CUBLASLT_MATMUL_DESC_TRANSB, &transposed,
                                         sizeof transposed),
          "attribute");
    check(cublasLtMatrixLayoutCreate(&x, CUDA_R_16BF, k, m, x_stride), "layout");
    check(cublasLtMatrixLayoutCreate(&dy, CUDA_R_16BF, n, m, dy_stride), "layout");
    check(cublasLtMatrixLayoutCreate(&grad, CUDA_R_32F, k, n, k), "layout");
  }
  GradientLayouts(const GradientLayouts&) = delete;
  ~GradientLayouts() {
    cublasLtMatrixLayoutDestroy(x);
    cublasLtMatrixLayoutDestroy(dy);
    cublasLtMatrixLayoutDestroy(grad);
    cublasLtMatmulDescDestroy(operation);
  }
};

int config(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t what) {
  int value = -1;
  size_t written = 0;
  cublasLtMatmulAlgoConfigGetAttribute(&algorithm, what, &value, sizeof value, &written);
  return value;
}

class Planner {
 public:
  cublasLtHandle_t handle() const { return handle_; }
  void* workspace() const { return workspace_.data_ptr(); }

  explicit Planner(at::Device device) {
    check(cublasLtCreate(&handle_), "start");
    workspace_ = at::empty({static_cast<int64_t>(kWorkspace)},
                           at::TensorOptions().device(device).dtype(at::kByte));
  }

  // run(algorithm) computes the product that the algorithm is wanted for.
  template <class Run>
  const cublasLtMatmulAlgo_t& algorithm(Shape s, int64_t x_stride, const Run& run) {
    s.m = bucket(s.m);
    const std::lock_guard lock(mutex_);
    const auto found = algorithms_.find(s.key());
    if (found != algorithms_.end()) return found->second;
    return algorithms_.emplace(s.key(), fastest(choose(s, x_stride), run)).first->second;
  }

  // What cuBLASLt proposes first for the M of the bucket. Sums are reduced in one order.
  const cublasLtMatmulAlgo_t& gradient_algorithm(int64_t m, int64_t n, int64_t k) {
    const std::lock_guard lock(mutex_);
    const std::array<int64_t, 3> key{bucket(m), n, k};
    const auto found = gradients_.find(key);
    if (found != gradients_.end()) return found->second;
    const GradientLayouts l(key[0], n, k, k, n);
    const Algorithms first =
        propose(l.operation, l.x, l.dy, l.grad,
                CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
    if (first.empty()) throw RunError(cat("cuBLASLt: no gradient of ", n, " x ", k));
    return gradients_.emplace(key, first.front()).first->second;
  }

 private:
  using Algorithms = std::vector<cublasLtMatmulAlgo_t>;

  // Algorithms to choose from by their time. They give the same bits, so that a run does not depend
  // on the clock: all are of the family and without a split of K, or there is one alone.
  // Fast: what cuBLASLt proposes first, and the family if that is of it. Exact: the family for this
  // M if it is proposed first; then for a larger M, since for a small M and a long K the proposals
  // without a split are poor.
  Algorithms choose(const Shape& s, int64_t x_stride) const {
    const Algorithms first = propose(s, s.m, x_stride);
    if (!s.exact) {
      if (first.empty()) throw RunError(cat("cuBLASLt: no product of ", words(s)));
      if (!whole(first.front())) return {first.front()};
      return family(first);
    }
    for (int64_t m = s.m; m <= std::max<int64_t>(s.m, 1024); m = std::max(2 * m, m + 32)) {
      const Algorithms found = m == s.m ? first : propose(s, m, x_stride);
      if (!found.empty() && whole(found.front())) return family(found);
    }
    const Algorithms rest = family(first);
    if (!rest.empty()) return rest;
    throw UserError(
        cat("exact: cuBLASLt has no exact product of ", words(s), " on this GPU; leave exact off"));
  }

  // Of the family, and K in one piece.
  static bool whole(const cublasLtMatmulAlgo_t& algorithm) {
    return config(algorithm, CUBLASLT_ALGO_CONFIG_ID) == kWarpgroupAlgorithm &&
           config(algorithm, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) <= 1;
  }
  static Algorithms family(const Algorithms& all) {
    Algorithms kept;
    std::copy_if(all.begin(), all.end(), std::back_inserter(kept), whole);
    return kept;
  }

  // The one whose median of a few runs is shortest; one that cannot run this shape is left out.
  template <class Run>
  static cublasLtMatmulAlgo_t fastest(const Algorithms& algorithms, const Run& run) {
    if (algorithms.size() == 1) return algorithms.front();
    constexpr size_t kRuns = 5;
    const auto stream = c10::cuda::getCurrentCUDAStream().stream();
    cudaEvent_t begin = nullptr, end = nullptr;
    C10_CUDA_CHECK(cudaEventCreate(&begin));
    C10_CUDA_CHECK(cudaEventCreate(&end));
    size_t best = 0;
    float shortest = std::numeric_limits<float>::infinity();
    for (size_t i = 0; i < algorithms.size(); ++i) {
      if (run(algorithms[i]) != CUBLAS_STATUS_SUCCESS) continue;
      std::array<float, kRuns> times{};
      for (float& time : times) {
        C10_CUDA_CHECK(cudaEventRecord(begin, stream));
        run(algorithms[i]);
        C10_CUDA_CHECK(cudaEventRecord(end, stream));
        C10_CUDA_CHECK(cudaEventSynchronize(end));
        C10_CUDA_CHECK(cudaEventElapsedTime(&time, begin, end));
      }
      std::sort(times.begin(), times.end());
      if (times[kRuns / 2] < shortest) shortest = times[kRuns / 2], best = i;
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return algorithms[best];
  }

  static std::string words(const Shape& s) { return cat(s.m, " x ", s.k, " x ", s.n); }

  Algorithms propose(const Shape& s, int64_t m, int64_t x_stride) const {
    const Layouts layouts(s, m, x_stride, nullptr);
    return propose(layouts.operation, layouts.w, layouts.x, layouts.y,
                   s.exact ? CUBLASLT_REDUCTION_SCHEME_NONE : CUBLASLT_REDUCTION_SCHEME_MASK);
  }

  Algorithms propose(cublasLtMatmulDesc_t operation, cublasLtMatrixLayout_t a,
                     cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                     uint32_t reductions) const {
    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "preference");
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                         &kWorkspace, sizeof kWorkspace);
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                         &reductions, sizeof reductions);
    std::array<cublasLtMatmulHeuristicResult_t, 8> results{};
    int count = 0;
    cublasLtMatmulAlgoGetHeuristic(handle_, operation, a, b, c, c, preference,
                                   static_cast<int>(results.size()), results.data(), &count);
    cublasLtMatmulPreferenceDestroy(preference);
    Algorithms algorithms;
    for (int i = 0; i < count; ++i) algorithms.push_back(results[static_cast<size_t>(i)].algo);
    return algorithms;
  }

  cublasLtHandle_t handle_ = nullptr;
  Tensor workspace_;
  std::mutex mutex_;
  std::map<std::array<int64_t, 3>, cublasLtMatmulAlgo_t> gradients_;  // by M, N, K
  std::map<decltype(Shape().key()), cublasLtMatmulAlgo_t> algorithms_;
};

Planner& planner(at::Device device) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Planner>> planners;
  const std::lock_guard lock(mutex);
  std::unique_ptr<Planner>& p = planners[device.index()];
  if (!p) p = std::make_unique<Planner>(device);
  return *p;
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& w, const std::optional<Tensor>& bias, bool exact,
              at::ScalarType out) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor from = x.stride(1) == 1 ? x : x.contiguous();
  Shape s{x.size(0), w.size(0), w.size(1),        1,
          w.size(0), exact,     bias.has_value(), out == at::kFloat};
  if (exact) s.y_stride = (s.n + 7) / 8 * 8;  // the family wants rows on 16-byte boundaries
  const bool padded = s.y_stride != s.n;
  Tensor y = at::empty({s.m, s.y_stride}, x.options().dtype(out));
  if (s.m == 0) return y.narrow(1, 0, s.n);
  if (exact && !padded && s.k >= kLongK && s.k % (8 * (s.k / kPieceOfK)) == 0)
    s.pieces = s.k / kPieceOfK;
  const bool cut = s.pieces > 1;
  Tensor parts;
  if (cut) {
    s.float_out = true;
    s.bias = false;
    parts = at::empty({s.pieces, s.m, s.y_stride}, x.options().dtype(at::kFloat));
  }
  Planner& p = planner(x.device());
  const auto stream = c10::cuda::getCurrentCUDAStream().stream();
  const Layouts layouts(s, s.m, from.stride(0), s.bias ? bias->const_data_ptr() : nullptr);
  const float one = 1, zero = 0;
  void* to = cut ? parts.data_ptr() : y.data_ptr();
  const auto run = [&](const cublasLtMatmulAlgo_t& algorithm) {
    return cublasLtMatmul(p.handle(), layouts.operation, &one, w.const_data_ptr(), layouts.w,
                          from.const_data_ptr(), layouts.x, &zero, to, layouts.y, to, layouts.y,
                          &algorithm, p.workspace(), kWorkspace, stream);
  };
  check(run(p.algorithm(s, from.stride(0), run)), "product");
  if (cut) {
    kernels::cuda::add_pieces(parts.const_data_ptr<float>(), s.pieces,
                              bias ? bias->const_data_ptr() : nullptr, type_of(y), y.data_ptr(),
                              s.m, s.y_stride, stream);
  }
  return padded ? y.narrow(1, 0, s.n).contiguous() : y;
}

void add_gradient(const Tensor& dy, const Tensor& x, const Tensor& grad) {
  const c10::cuda::CUDAGuard guard(x.device());
  const int64_t m = x.size(0), n = dy.size(1), k = x.size(1);
  if (m == 0) return;
  Tensor sum = grad;
  if (n % 8 || k % 8 || x.stride(1) != 1 || dy.stride(1) != 1 || x.stride(0) % 8 ||
      dy.stride(0) % 8) {  // rows on 16-byte boundaries are what the fast kernels want
    sum.add_(at::mm(dy.t(), x, at::kFloat));
    return;
  }
  Planner& p = planner(x.device());
  const GradientLayouts layouts(m, n, k, x.stride(0), dy.stride(0));
  const float one = 1;
  check(cublasLtMatmul(p.handle(), layouts.operation, &one, x.const_data_ptr(), layouts.x,
                       dy.const_data_ptr(), layouts.dy, &one, sum.data_ptr(), layouts.grad,
                       sum.data_ptr(), layouts.grad, &p.gradient_algorithm(m, n, k), p.workspace(),
                       kWorkspace, c10::cuda::getCurrentCUDAStream().stream()),
        "gradient");
}

}  // namespace hone::ops::cuda
#endif
