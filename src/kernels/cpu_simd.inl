// Sixteen floats as one value, whatever the register width, so that lane numbers (and with them
// the order of every sum) are the same in both builds.
//
// A product is never followed by a plain add or subtract of it: compilers may fuse the two
// (-ffp-contract), and then the bits would depend on the compiler. Fusing is written as fma().
namespace hone::kernels::HONE_KERNELS_LEVEL {
namespace {

#define HONE_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)

constexpr int kRows = 12;  // register tile: kRows x 16 * kStrips
constexpr int kStrips = 2;

struct F16 {
  __m512 v;
};
HONE_INLINE __mmask16 first_lanes(int64_t n) {
  const int64_t count = n > 16 ? 16 : n < 0 ? 0 : n;
  return static_cast<__mmask16>(_bzhi_u32(0xFFFF, static_cast<unsigned>(count)));
}
HONE_INLINE F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
HONE_INLINE void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
HONE_INLINE F16 load_n(const float* p, int64_t n) {
  return {_mm512_maskz_loadu_ps(first_lanes(n), p)};
}
HONE_INLINE void store_n(float* p, F16 a, int64_t n) {
  _mm512_mask_storeu_ps(p, first_lanes(n), a.v);
}
HONE_INLINE F16 set(float x) { return {_mm512_set1_ps(x)}; }
HONE_INLINE F16 operator+(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
HONE_INLINE F16 operator-(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
HONE_INLINE F16 operator*(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
HONE_INLINE F16 operator/(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
HONE_INLINE F16 fma(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// If one is NaN: b.
HONE_INLINE F16 max(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
HONE_INLINE F16 min(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
// a in the first n lanes, b in the others.
HONE_INLINE F16 first_n(int64_t n, F16 a, F16 b) {
  return {_mm512_mask_blend_ps(first_lanes(n), b.v, a.v)};
}
HONE_INLINE F16 zero_where_less(F16 x, F16 limit, F16 y) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, limit.v, _CMP_NLT_UQ), y.v)};
}
// y * 2^n where the low bits of t are n.
HONE_INLINE F16 add_exponent(F16 y, F16 t) {
  return {_mm512_castsi512_ps(
      _mm512_add_epi32(_mm512_castps_si512(y.v), _mm512_slli_epi32(_mm512_castps_si512(t.v), 23)))};
}
HONE_INLINE __m256 low_half(F16 a) { return _mm512_castps512_ps256(a.v); }
HONE_INLINE __m256 high_half(F16 a) { return _mm512_extractf32x8_ps(a.v, 1); }

#else

constexpr int kRows = 6;
constexpr int kStrips = 1;

struct F16 {
  __m256 lo, hi;
};
HONE_INLINE __m256i first_lanes(int64_t n) {
  const int count = n > 8 ? 8 : n < 0 ? 0 : static_cast<int>(n);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
HONE_INLINE F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
HONE_INLINE void store(float* p, F16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
HONE_INLINE F16 load_n(const float* p, int64_t n) {
  return {_mm256_maskload_ps(p, first_lanes(n)), _mm256_maskload_ps(p + 8, first_lanes(n - 8))};
}
HONE_INLINE void store_n(float* p, F16 a, int64_t n) {
  _mm256_maskstore_ps(p, first_lanes(n), a.lo);
  _mm256_maskstore_ps(p + 8, first_lanes(n - 8), a.hi);
}
HONE_INLINE F16 set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
HONE_INLINE F16 operator+(F16 a, F16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
HONE_INLINE F16 operator-(F16 a, F16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
HONE_INLINE F16 operator*(F16 a, F16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
HONE_INLINE F16 operator/(F16 a, F16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
HONE_INLINE F16 fma(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
HONE_INLINE F16 max(F16 a, F16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
HONE_INLINE F16 min(F16 a, F16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
HONE_INLINE F16 first_n(int64_t n, F16 a, F16 b) {
  return {_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(first_lanes(n))),
          _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(first_lanes(n - 8)))};
}
HONE_INLINE F16 zero_where_less(F16 x, F16 limit, F16 y) {
  return {_mm256_and_ps(_mm256_cmp_ps(x.lo, limit.lo, _CMP_NLT_UQ), y.lo),
          _mm256_and_ps(_mm256_cmp_ps(x.hi, limit.hi, _CMP_NLT_UQ), y.hi)};
}
HONE_INLINE __m256 add_exponent(__m256 y, __m256 t) {
  return _mm256_castsi256_ps(
      _mm256_add_epi32(_mm256_castps_si256(y), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
HONE_INLINE F16 add_exponent(F16 y, F16 t) {
  return {add_exponent(y.lo, t.lo), add_exponent(y.hi, t.hi)};
}
HONE_INLINE __m256 low_half(F16 a) { return a.lo; }
HONE_INLINE __m256 high_half(F16 a) { return a.hi; }

#endif

HONE_INLINE F16 zero() { return set(0.0f); }
HONE_INLINE F16 operator-(F16 a) { return set(-0.0f) - a; }

// The fixed tree: lanes i and i + 8, then i and i + 4, i + 2, i + 1.
HONE_INLINE float sum(F16 a) {
  const __m256 s8 = _mm256_add_ps(low_half(a), high_half(a));
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}
HONE_INLINE float maximum(F16 a) {
  const __m256 s8 = _mm256_max_ps(low_half(a), high_half(a));
  const __m128 s4 = _mm_max_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_max_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_max_ss(s2, _mm_shuffle_ps(s2, s2, 1)));
}

constexpr float kExpLow = -87.33f;  // below: 0, so there are no denormals
constexpr float kExpHigh = 88.3f;   // above: exp(kExpHigh), still finite
constexpr float kLowest = -3.402823466e38f;

// 2^n * e^r, |r| <= ln(2) / 2, with Cephes' polynomial for e^r. Adding 1.5 * 2^23 rounds to an
// integer and leaves it in the low bits. NaN stays NaN.
HONE_INLINE F16 exp(F16 x) {
  const F16 low = set(kExpLow), magic = set(12582912.0f);
  const F16 c = min(set(kExpHigh), max(low, x));
  const F16 t = fma(c, set(1.44269504f), magic);
  const F16 n = t - magic;
  const F16 r = fma(n, set(2.12194440e-4f), fma(n, set(-0.693359375f), c));
  F16 p = set(1.9875691500e-4f);
  p = fma(p, r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  const F16 y = fma(p, r * r, r) + set(1.0f);
  return zero_where_less(x, low, add_exponent(y, t));
}

// dst[j][i] = src[i][j] for 8 x 8.
HONE_INLINE void transpose_8x8(const float* src, int64_t lds, float* dst, int64_t ldd) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) r[i] = _mm256_loadu_ps(src + i * lds);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; ++i) {
    _mm256_storeu_ps(dst + i * ldd, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(dst + (i + 4) * ldd, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

// dst[j][i] = src[i][j] for i < rows, j < cols, and 0 for rows <= i < padded_rows.
inline void transpose(const float* src, int64_t lds, int64_t rows, int64_t cols, float* dst,
                      int64_t ldd, int64_t padded_rows) {
  const int64_t full_rows = rows / 8 * 8, full_cols = cols / 8 * 8;
  for (int64_t i = 0; i < full_rows; i += 8) {
    for (int64_t j = 0; j < full_cols; j += 8) {
      transpose_8x8(src + i * lds + j, lds, dst + j * ldd + i, ldd);
    }
  }
  for (int64_t j = 0; j < cols; ++j) {
    for (int64_t i = j < full_cols ? full_rows : 0; i < padded_rows; ++i) {
      dst[j * ldd + i] = i < rows ? src[i * lds + j] : 0.0f;
    }
  }
}

HONE_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
HONE_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
HONE_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
HONE_INLINE float infinity() { return __builtin_inff(); }

template <class Body>
void parallel(int64_t tasks, int64_t nanoseconds, const Body& body) {
  parallel_tasks(
      tasks, nanoseconds, [](void* context, int64_t i) { (*static_cast<const Body*>(context))(i); },
      const_cast<Body*>(&body));
}

}  // namespace
}  // namespace hone::kernels::HONE_KERNELS_LEVEL
