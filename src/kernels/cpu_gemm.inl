// Register tiles, the heart of every matrix product here. Each element of C is one chain of fma
// over the steps, in order, so neither the tile nor the split of the steps changes its bits.
namespace hone::kernels::HONE_KERNELS_LEVEL {
namespace {

// C[r][16 * v + lane] = chain over k of fma(A(r, k), b[v][k * b_step + lane]), going on from C if
// `accumulate`. A(r, k) is a[r * lda + k], or a[k * lda + r] where A is stored transposed.
template <int R, int V, bool kTransposed>
void tile(const float* a, int64_t lda, const float* const* b, int64_t b_step, int64_t steps,
          float* c, int64_t ldc, bool accumulate) {
  F16 acc[R][V];
  const float* bp[V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = zero();
  }
  if (accumulate) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = load(c + r * ldc + 16 * v);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < V; ++v) bp[v] = b[v];
  for (int64_t k = 0; k < steps; ++k) {
    F16 bv[V];
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) bv[v] = load(bp[v] + k * b_step);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const F16 av = set(kTransposed ? a[k * lda + r] : a[r * lda + k]);
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) acc[r][v] = fma(av, bv[v], acc[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(c + r * ldc + 16 * v, acc[r][v]);
  }
}

// Few rows take more strips, so that there are always enough chains to hide the latency of an fma.
constexpr int kMostStrips = 4 * kStrips;
constexpr int widest(int rows) {
  return rows == 1 ? 4 * kStrips : rows * 2 * kStrips <= 12 / (3 - kStrips) ? 2 * kStrips : kStrips;
}

using TileFunction = void (*)(const float*, int64_t, const float* const*, int64_t, int64_t, float*,
                              int64_t, bool);
template <int R, bool kTransposed>
TileFunction tile_of(int strips) {
  if constexpr (widest(R) >= 8) {
    if (strips == 8) return tile<R, 8, kTransposed>;
  }
  if constexpr (widest(R) >= 4) {
    if (strips == 4) return tile<R, 4, kTransposed>;
  }
  if constexpr (widest(R) >= 2) {
    if (strips == 2) return tile<R, 2, kTransposed>;
  }
  return tile<R, 1, kTransposed>;
}
template <bool kTransposed>
TileFunction tile_of(int64_t rows, int strips) {
  switch (rows) {
    case 1:
      return tile_of<1, kTransposed>(strips);
    case 2:
      return tile_of<2, kTransposed>(strips);
    case 3:
      return tile_of<3, kTransposed>(strips);
    case 4:
      return tile_of<4, kTransposed>(strips);
    case 5:
      return tile_of<5, kTransposed>(strips);
    case 6:
      return tile_of<6, kTransposed>(strips);
#if defined(__AVX512F__)
    case 7:
      return tile_of<7, kTransposed>(strips);
    case 8:
      return tile_of<8, kTransposed>(strips);
    case 9:
      return tile_of<9, kTransposed>(strips);
    case 10:
      return tile_of<10, kTransposed>(strips);
    case 11:
      return tile_of<11, kTransposed>(strips);
    case 12:
      return tile_of<12, kTransposed>(strips);
#endif
    default:
      __builtin_trap();
  }
}
static_assert(kRows == (kStrips == 2 ? 12 : 6), "tile_of lists the sizes");

// C[m][cols] from A (m rows) and B in strips of 16 columns; strip(s) points at the first step of
// strip s. B has all 16 lanes of every strip; C is written in its `cols` columns alone.
template <bool kTransposed, class Strip>
void gemm(const float* a, int64_t lda, int64_t m, const Strip& strip, int64_t b_step, int64_t steps,
          float* c, int64_t ldc, int64_t cols, bool accumulate) {
  if (m <= 0) return;
  const int64_t strips = ceil_div(cols, 16), tiles = ceil_div(m, kRows);
  const int64_t most_rows = ceil_div(m, tiles);
  int width;
  for (int64_t s = 0; s < strips; s += width) {
    width = widest(static_cast<int>(most_rows));
    while (s + width > strips) width /= 2;
    const float* b[kMostStrips];
    for (int v = 0; v < width; ++v) b[v] = strip(s + v);
    const int64_t valid = least(16 * width, cols - 16 * s);
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t r0 = t * m / tiles, r1 = (t + 1) * m / tiles, rows = r1 - r0;
      const float* at = kTransposed ? a + r0 : a + r0 * lda;
      float* ct = c + r0 * ldc + 16 * s;
      const TileFunction run = tile_of<kTransposed>(rows, width);
      if (valid == 16 * width) {
        run(at, lda, b, b_step, steps, ct, ldc, accumulate);
        continue;
      }
      alignas(64) float edge[kRows * 16 * kMostStrips];
      const int64_t ld = 16 * width, whole = valid / 16 * 16;
      for (int64_t r = 0; r < rows && accumulate; ++r) {
        for (int64_t i = 0; i < whole; i += 16) store(edge + r * ld + i, load(ct + r * ldc + i));
        store(edge + r * ld + whole, load_n(ct + r * ldc + whole, valid - whole));
      }
      run(at, lda, b, b_step, steps, edge, ld, accumulate);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < whole; i += 16) store(ct + r * ldc + i, load(edge + r * ld + i));
        store_n(ct + r * ldc + whole, load(edge + r * ld + whole), valid - whole);
      }
    }
  }
}

}  // namespace
}  // namespace hone::kernels::HONE_KERNELS_LEVEL
