// Linear layers: y = x w^T on packed weights, and the gradient of the weight.
namespace hone::kernels::HONE_KERNELS_LEVEL {
namespace {

constexpr int64_t kPanel = 32;  // columns of a packed panel

// w is [n, k], or [k, n] if `transposed`; the panels run over n.
void pack(const float* w, int64_t n, int64_t k, bool transposed, float* packed) {
  parallel(ceil_div(n, kPanel), n * k / 2, [&](int64_t panel) {
    const int64_t first = panel * kPanel, columns = least(kPanel, n - first);
    float* dst = packed + panel * kPanel * k;
    if (!transposed) {
      transpose(w + first * k, k, columns, k, dst, kPanel, kPanel);
      return;
    }
    for (int64_t i = 0; i < k; ++i) {
      const float* src = w + i * n + first;
      store(dst + i * kPanel, load_n(src, columns));
      store(dst + i * kPanel + 16, columns > 16 ? load_n(src + 16, columns - 16) : zero());
    }
  });
}

void pack_weight_impl(const float* w, int64_t n, int64_t k, float* packed) {
  pack(w, n, k, false, packed);
}

// w: [N, K]; the outputs of the packed layer are K.
void pack_weight_transposed_impl(const float* w, int64_t n, int64_t k, float* packed) {
  pack(w, k, n, true, packed);
}

// Rough time on one thread: arithmetic, or reading the operands.
HONE_INLINE int64_t product_nanoseconds(int64_t m, int64_t n, int64_t k) {
  return most(m * n * k / 100, n * k / 10);
}

void linear_impl(const float* x, int64_t ldx, const float* packed, float* y, int64_t ldy, int64_t m,
                 int64_t n, int64_t k) {
  if (m == 0 || n == 0) return;
  // A task's rows of x stay in the second-level cache, a panel of weights (cut along K) in the
  // first.
  constexpr int64_t kTaskRows = 96;
  const int64_t k_step = m <= kRows ? k : 256;
  const int64_t panels = ceil_div(n, kPanel);
  const int64_t row_tasks = ceil_div(m, kTaskRows);
  const int64_t nanoseconds = product_nanoseconds(m, n, k);
  int64_t column_tasks = 1;
  if (num_threads() > 1 && row_tasks < 8 * num_threads()) {
    // Enough tasks to even out, but none so short that taking it costs more than it.
    column_tasks =
        least(ceil_div(4 * num_threads(), row_tasks), 1 + nanoseconds / 4000 / row_tasks);
    // One row runs four panels side by side (widest() in cpu_gemm.inl).
    column_tasks = most(1, least(column_tasks, m == 1 ? ceil_div(panels, 4) : panels));
  }
  parallel(row_tasks * column_tasks, nanoseconds, [&](int64_t task) {
    const int64_t i = task / column_tasks, j = task % column_tasks;
    const int64_t m0 = i * m / row_tasks, m1 = (i + 1) * m / row_tasks;
    const int64_t p0 = j * panels / column_tasks, p1 = (j + 1) * panels / column_tasks;
    const int64_t n0 = p0 * kPanel, n1 = least(n, p1 * kPanel);
    int64_t k0 = 0;
    do {
      const float* base = packed + p0 * kPanel * k + k0 * kPanel;
      gemm<false>(
          x + m0 * ldx + k0, ldx, m1 - m0,
          [&](int64_t s) { return base + (s / 2) * kPanel * k + (s % 2) * 16; }, kPanel,
          least(k_step, k - k0), y + m0 * ldy + n0, ldy, n1 - n0, k0 > 0);
      k0 += k_step;
    } while (k0 < k);
  });
}

void linear_weight_grad_impl(const float* dy, int64_t lddy, const float* x, int64_t ldx, float* dw,
                             int64_t m, int64_t n, int64_t k) {
  // Each task owns some rows of dw and runs over all of m, so the bits do not depend on the tasks.
  // Both operands are packed kDepth rows at a time: dy in panels of kRows, x in panels of kWide.
  // Packing reads whole rows of x: pieces of rows would cost a miss of the TLB each.
  constexpr int64_t kWide = 16 * kStrips, kDepth = 256, kLeastPanels = 4;
  const int64_t a_panels = ceil_div(n, kRows), b_panels = ceil_div(k, kWide);
  const int64_t tasks =
      num_threads() == 1 ? 1 : most(1, least(2 * num_threads(), a_panels / kLeastPanels));
  parallel(tasks, product_nanoseconds(m, n, k), [&](int64_t task) {
    const int64_t a0 = task * a_panels / tasks, a1 = (task + 1) * a_panels / tasks;
    float* b_packed = scratch(Scratch::kTask, kDepth * (b_panels * kWide + (a1 - a0) * kRows));
    float* a_packed = b_packed + kDepth * b_panels * kWide;
    for (int64_t m0 = 0; m0 < m; m0 += kDepth) {
      const int64_t depth = least(kDepth, m - m0);
      for (int64_t r = 0; r < depth; ++r) {
        const float* row = x + (m0 + r) * ldx;
        for (int64_t q = 0; q < b_panels; ++q) {
          float* dst = b_packed + (q * kDepth + r) * kWide;
          for (int v = 0; v < kStrips; ++v) {
            const int64_t column = q * kWide + 16 * v;
            store(dst + 16 * v, column + 16 <= k ? load(row + column)
                                : column < k     ? load_n(row + column, k - column)
                                                 : zero());
          }
        }
      }
      for (int64_t r = 0; r < depth; ++r) {
        const float* row = dy + (m0 + r) * lddy;
        for (int64_t p = a0; p < a1; ++p) {
          store_n(a_packed + ((p - a0) * kDepth + r) * kRows,
                  load_n(row + p * kRows, least(kRows, n - p * kRows)), kRows);
        }
      }
      for (int64_t q = 0; q < b_panels; ++q) {
        const float* b = b_packed + q * kDepth * kWide;
        for (int64_t p = a0; p < a1; ++p) {
          for (int64_t r = (p + 1) * kRows; r < least(n, (p + 2) * kRows); ++r) {
            __builtin_prefetch(dw + r * k + q * kWide, 1);
            __builtin_prefetch(dw + r * k + q * kWide + 16, 1);
          }
          gemm<true>(
              a_packed + (p - a0) * kDepth * kRows, kRows, least(kRows, n - p * kRows),
              [&](int64_t s) { return b + 16 * s; }, kWide, depth, dw + p * kRows * k + q * kWide,
              k, least(kWide, k - q * kWide), true);
        }
      }
    }
  });
}

}  // namespace
}  // namespace hone::kernels::HONE_KERNELS_LEVEL
