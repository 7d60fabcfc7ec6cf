// Attention on the GPU against a plain double reference, and decoding against prefill bit for bit.
#ifdef HONE_WITH_CUDA
#include "kernels/cuda_attention.h"

#include <algorithm>
#include <numeric>

#include "tests/kernels/cuda_testing.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

using cuda::HeadShape;
using cuda::PrefillItem;
using cuda::Type;

// Sequences of random length in shuffled blocks; what lies behind a sequence in its last block, and
// blocks of nobody, are NaN.
template <class T>
struct Scene {
  HeadShape shape;
  std::vector<int32_t> contexts;
  std::vector<std::vector<T>> q, k, v;  // of each sequence: [n][H][D], [n][G][D]
  std::vector<int32_t> tables;
  int32_t stride = 0;
  std::vector<T> keys, values;  // [blocks][G][16][D]

  Scene(const HeadShape& s, const std::vector<int32_t>& lengths, uint64_t seed)
      : shape(s), contexts(lengths) {
    int32_t blocks = 3;
    for (const int32_t n : lengths) {
      stride = std::max(stride, (n + 15) / 16);
      blocks += (n + 15) / 16;
    }
    std::vector<int32_t> order(static_cast<size_t>(blocks));
    std::iota(order.begin(), order.end(), 0);
    Rng rng(seed);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    const int64_t d = s.head_dim, g = s.kv_heads;
    keys.assign(static_cast<size_t>(blocks * g * 16 * d), nan_of<T>());
    values = keys;
    tables.assign(lengths.size() * static_cast<size_t>(stride), 0);
    size_t next = 0;
    const auto random = [&](int64_t count, uint64_t key) {
      std::vector<T> x;
      for (const float f : random_floats(count, seed * 1000 + key, 2.0)) x.push_back(encode<T>(f));
      return x;
    };
    for (size_t i = 0; i < lengths.size(); ++i) {
      const int64_t n = lengths[i];
      q.push_back(random(n * s.heads * d, 3 * i));
      k.push_back(random(n * g * d, 3 * i + 1));
      v.push_back(random(n * g * d, 3 * i + 2));
      for (int64_t t = 0; t < n; ++t) {
        if (t % 16 == 0) tables[i * stride + t / 16] = order[next++];
        const int64_t block = tables[i * stride + t / 16];
        for (int64_t h = 0; h < g; ++h) {
          for (int64_t e = 0; e < d; ++e) {
            const int64_t to =
                ((block * g + h) * 16 + t % 16) * d +
                cuda::cache_element(kType<T>, s.head_dim, static_cast<int32_t>(t % 16),
                                    static_cast<int32_t>(e));
            keys[to] = k[i][(t * g + h) * d + e];
            values[to] = v[i][(t * g + h) * d + e];
          }
        }
      }
    }
  }

  // Rows [first, first + count) of sequence i as the kernels take them, [count][(H + 2G) D].
  std::vector<T> rows(size_t i, int64_t first, int64_t count) const {
    const int64_t d = shape.head_dim, g = shape.kv_heads, h = shape.heads;
    std::vector<T> out;
    for (int64_t t = first; t < first + count; ++t) {
      out.insert(out.end(), q[i].begin() + t * h * d, q[i].begin() + (t + 1) * h * d);
      out.insert(out.end(), k[i].begin() + t * g * d, k[i].begin() + (t + 1) * g * d);
      out.insert(out.end(), v[i].begin() + t * g * d, v[i].begin() + (t + 1) * g * d);
    }
    return out;
  }

  // Row t of sequence i in double, [H][D], and the logarithms of the sums, [H].
  std::pair<std::vector<double>, std::vector<double>> reference(size_t i, int64_t t) const {
    const int64_t d = shape.head_dim, g = shape.kv_heads, h = shape.heads;
    std::vector<double> out(static_cast<size_t>(h * d)), sums(static_cast<size_t>(h));
    const int64_t from = shape.window > 0 ? std::max<int64_t>(0, t + 1 - shape.window) : 0;
    for (int64_t head = 0; head < h; ++head) {
      const int64_t kv = head / (h / g);
      std::vector<double> score;
      for (int64_t key = from; key <= t; ++key) {
        double s = 0;
        for (int64_t e = 0; e < d; ++e) {
          s += static_cast<double>(decode(q[i][(t * h + head) * d + e])) *
               decode(k[i][(key * g + kv) * d + e]);
        }
        score.push_back(s * shape.scale);
      }
      const double top = *std::max_element(score.begin(), score.end());
      double sum = 0;
      for (double& s : score) sum += s = std::exp(s - top);
      for (int64_t key = from; key <= t; ++key) {
        for (int64_t e = 0; e < d; ++e) {
          out[head * d + e] += score[key - from] / sum * decode(v[i][(key * g + kv) * d + e]);
        }
      }
      sums[head] = top + std::log(sum);
    }
    return {out, sums};
  }

  // The last row of every sequence (cut to `lengths`), [B][H D].
  std::vector<T> decoded(const std::vector<int32_t>& lengths) const {
    const auto batch = static_cast<int32_t>(lengths.size());
    std::vector<T> qkv;
    int64_t capacity = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      const std::vector<T> row =
          lengths[i] > 0 ? rows(i, lengths[i] - 1, 1)
                         : std::vector<T>((shape.heads + 2 * shape.kv_heads) * shape.head_dim);
      qkv.insert(qkv.end(), row.begin(), row.end());
      capacity += (lengths[i] + cuda::kSpanKeys - 1) / cuda::kSpanKeys;
    }
    capacity = std::max<int64_t>(capacity, 1);
    const OnDevice<T> d_qkv(qkv), d_keys(keys), d_values(values);
    const OnDevice<T> out(
        std::vector<T>(lengths.size() * shape.heads * shape.head_dim, nan_of<T>()));
    const OnDevice<int32_t> d_lengths(lengths), d_tables(tables);
    const OnDevice<cuda::SpanItem> items((std::vector<cuda::SpanItem>(capacity)));
    const OnDevice<int32_t> count(std::vector<int32_t>{0}), slots(std::vector<int32_t>(batch, 0)),
        arrived(std::vector<int32_t>(batch * shape.heads, 0));
    const OnDevice<float> partial(Floats(cuda::decode_partial_floats(shape, capacity)));
    const cuda::DecodeRows on_device{d_lengths.get(), d_tables.get(), stride, batch};
    const cuda::DecodeWork work{items.get(),   count.get(),   slots.get(),
                                arrived.get(), partial.get(), static_cast<int32_t>(capacity)};
    const int32_t slices = shape.kv_heads * ((shape.heads / shape.kv_heads + 15) / 16);
    cuda::plan_decode(on_device, work, slices, nullptr);
    for (int layer = 0; layer < 2; ++layer) {  // the second finds what the first left
      cuda::decode_attention(kType<T>, shape, on_device, work, d_qkv.get(), d_keys.get(),
                             d_values.get(), out.get(), nullptr);
    }
    wait_for_gpu();
    for (const int32_t left : arrived.host()) REQUIRE(left == 0);
    return out.host();
  }

  struct Prefilled {
    std::vector<T> out;  // [n][H D], the queries' rows
    Floats lse;          // [n][H]
  };
  // The last `count` rows of sequence i. `prefix`: not paged, so many keys stand elsewhere, behind
  // rows that no one may read.
  Prefilled prefilled(size_t i, int64_t count, bool paged, int64_t prefix = 0) const {
    const int64_t n = contexts[i], group = shape.heads / shape.kv_heads;
    const std::vector<T> all = rows(i, 0, n);
    const int64_t width = static_cast<int64_t>(all.size()) / n;
    std::vector<T> qkv(paged ? all.end() - count * width : all.begin() + prefix * width, all.end());
    const int64_t apart = n - prefix + 3;
    if (prefix > 0) {
      qkv.resize(apart * width, nan_of<T>());
      qkv.insert(qkv.end(), all.begin(), all.begin() + prefix * width);
    }
    std::vector<PrefillItem> items;
    for (int64_t first = 0; first < count * group; first += cuda::kPrefillRows) {
      items.push_back({static_cast<int32_t>(paged ? 0 : n - prefix - count),
                       static_cast<int32_t>(count), static_cast<int32_t>(n),
                       static_cast<int32_t>(paged ? i : 0), static_cast<int32_t>(first),
                       static_cast<int32_t>(apart), static_cast<int32_t>(prefix)});
    }
    const int64_t out_rows = paged ? count : n - prefix;
    const OnDevice<PrefillItem> d_items(items);
    const OnDevice<T> d_qkv(qkv), d_keys(keys), d_values(values);
    const OnDevice<T> out(std::vector<T>(out_rows * shape.heads * shape.head_dim, nan_of<T>()));
    const OnDevice<float> lse(Floats(out_rows * shape.heads, NAN));
    const OnDevice<int32_t> d_tables(tables);
    cuda::prefill_attention(kType<T>, shape, d_items.get(), static_cast<int32_t>(items.size()),
                            paged ? d_tables.get() : nullptr, stride, d_qkv.get(), d_keys.get(),
                            d_values.get(), out.get(), lse.get(), nullptr);
    wait_for_gpu();
    Prefilled result{out.host(), lse.host()};
    result.out.erase(result.out.begin(), result.out.end() - count * shape.heads * shape.head_dim);
    result.lse.erase(result.lse.begin(), result.lse.end() - count * shape.heads);
    return result;
  }
};

HeadShape shape_of(int32_t heads, int32_t kv_heads, int32_t d, int32_t window = 0) {
  return {heads, kv_heads, d, static_cast<float>(1 / std::sqrt(static_cast<double>(d))), window};
}

template <class T>
void check_row(const Scene<T>& scene, size_t i, int64_t t, const T* actual) {
  const auto [expected, sums] = scene.reference(i, t);
  const int64_t e = first_far(actual, expected);
  if (e < 0) return;
  CAPTURE(i, t, e, scene.shape.heads, scene.shape.kv_heads, scene.shape.head_dim,
          scene.shape.window, decode(actual[e]), expected[static_cast<size_t>(e)]);
  FAIL("far from the reference");
}

template <class T>
void check_scene(const HeadShape& shape, const std::vector<int32_t>& lengths, uint64_t seed) {
  const Scene<T> scene(shape, lengths, seed);
  const int64_t width = int64_t{shape.heads} * shape.head_dim;
  const std::vector<T> out = scene.decoded(lengths);
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] == 0) {
      REQUIRE(std::isnan(decode(out[i * width])));
      continue;
    }
    check_row(scene, i, lengths[i] - 1, out.data() + i * width);
  }
  for (size_t i = 0; i < lengths.size(); ++i) {
    const int64_t n = lengths[i];
    if (n == 0) continue;
    for (const int64_t count : {n, std::min<int64_t>(n, 21), int64_t{1}}) {
      const auto paged = scene.prefilled(i, count, true), flat = scene.prefilled(i, count, false);
      CAPTURE(i, n, count, shape.heads, shape.kv_heads, shape.head_dim, shape.window);
      REQUIRE(same_bits(paged.out.data(), flat.out.data(), count * width));
      REQUIRE(first_difference(paged.lse, flat.lse) == -1);
      REQUIRE(same_bits(paged.out.data() + (count - 1) * width, out.data() + i * width, width));
      for (const int64_t prefix : {int64_t{1}, n / 2, n - count}) {
        if (prefix < 1 || prefix > n - count) continue;
        const auto split = scene.prefilled(i, count, false, prefix);
        REQUIRE(same_bits(split.out.data(), flat.out.data(), count * width));
        REQUIRE(first_difference(split.lse, flat.lse) == -1);
      }
      for (int64_t row = 0; row < count; row += 1 + count / 7) {
        check_row(scene, i, n - count + row, paged.out.data() + row * width);
        const auto sums = scene.reference(i, n - count + row).second;
        for (int64_t h = 0; h < shape.heads; ++h) {
          REQUIRE(std::abs(paged.lse[row * shape.heads + h] - sums[h]) < 2e-3);
        }
      }
    }
  }
  // Earlier rows, decoded in another batch, are the prefill's rows.
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] < 2) continue;
    std::vector<int32_t> shorter(lengths.size(), 0);
    const int32_t cut = std::max(1, lengths[i] / 2);
    shorter[i] = cut;
    const auto paged = scene.prefilled(i, lengths[i], true);
    const std::vector<T> row = scene.decoded(shorter);
    REQUIRE(same_bits(paged.out.data() + (cut - 1) * width, row.data() + i * width, width));
  }
}

TEST_CASE("GPU attention is the reference's, and decoding and prefill give the same bits") {
  skip_without_gpu();
  const std::vector<int32_t> lengths{1, 15, 0, 16, 17, 63, 64, 65, 130, 255, 256, 257, 512, 1030};
  uint64_t seed = 1;
  for (const auto& [heads, kv_heads] :
       std::vector<std::pair<int, int>>{{14, 2}, {4, 4}, {8, 1}, {28, 4}, {20, 1}}) {
    for (const int d : {32, 64, 96, 128, 256}) {
      if (heads > 20 && d != 128) continue;
      check_scene<Half>(shape_of(heads, kv_heads, d), lengths, ++seed);
    }
  }
}

TEST_CASE("GPU attention sees a window's keys alone") {
  skip_without_gpu();
  for (const int window : {1, 5, 64, 100, 600}) {
    check_scene<Half>(shape_of(4, 2, 64, window), {3, 64, 70, 500, 700, 1200}, 77 + window);
    check_scene<float>(shape_of(4, 2, 24, window), {3, 64, 70, 300}, 78 + window);
  }
}

TEST_CASE("the plain GPU kernels take float32 and heads of any even size") {
  skip_without_gpu();
  for (const int d : {2, 16, 40, 64, 128, 250}) {
    check_scene<float>(shape_of(6, 2, d), {1, 31, 32, 33, 0, 200}, 300 + d);
    if (d != 64 && d != 128) check_scene<Half>(shape_of(6, 2, d), {1, 31, 32, 33, 0, 200}, 400 + d);
  }
}

TEST_CASE("a long GPU context is merged from many spans") {
  skip_without_gpu();
  const Scene<Half> scene(shape_of(7, 1, 64), {20000, 3, 517}, 9);
  const std::vector<Half> out = scene.decoded({20000, 3, 517});
  check_row(scene, 0, 19999, out.data());
  const auto paged = scene.prefilled(0, 5, true);
  REQUIRE(same_bits(paged.out.data() + 4 * 7 * 64, out.data(), 7 * 64));
}

}  // namespace
}  // namespace hone::kernels
#endif
