// Latent attention on the GPU against a plain double reference.
#ifdef HONE_WITH_CUDA
#include <algorithm>
#include <numeric>

#include "kernels/cuda_latents.h"
#include "tests/kernels/cuda_testing.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

using cuda::LatentShape;

LatentShape shape_of(int32_t heads, int32_t rank, int32_t rotary) {
  const int32_t width = rank + rotary;
  return {heads, rank, width, static_cast<float>(1 / std::sqrt(static_cast<double>(width)))};
}

template <class T>
std::vector<T> random_elements(int64_t count, uint64_t key) {
  std::vector<T> x;
  for (const float f : random_floats(count, key, 2.0)) x.push_back(encode<T>(f));
  return x;
}

// Sequences in shuffled blocks, one query row each; what lies behind a sequence in its last block,
// and blocks of nobody, are NaN.
template <class T>
struct Scene {
  LatentShape shape;
  std::vector<T> q;                     // [B][H][W]
  std::vector<std::vector<T>> latents;  // of each sequence: [n][W]
  std::vector<int32_t> tables;
  int32_t stride = 0;
  std::vector<T> cache;  // [blocks][16][W]

  Scene(const LatentShape& s, const std::vector<int32_t>& lengths, uint64_t seed) : shape(s) {
    int32_t blocks = 3;
    for (const int32_t n : lengths) {
      stride = std::max(stride, (n + 15) / 16);
      blocks += (n + 15) / 16;
    }
    std::vector<int32_t> order(static_cast<size_t>(blocks));
    std::iota(order.begin(), order.end(), 0);
    Rng rng(seed);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng.below(i)]);
    const int64_t w = s.width;
    q = random_elements<T>(static_cast<int64_t>(lengths.size()) * s.heads * w, seed * 1000);
    cache.assign(static_cast<size_t>(blocks * 16 * w), nan_of<T>());
    tables.assign(lengths.size() * static_cast<size_t>(stride), 0);
    size_t next = 0;
    for (size_t i = 0; i < lengths.size(); ++i) {
      latents.push_back(random_elements<T>(lengths[i] * w, seed * 1000 + i + 1));
      for (int32_t t = 0; t < lengths[i]; ++t) {
        if (t % 16 == 0) tables[i * stride + t / 16] = order[next++];
        const int64_t slot = tables[i * stride + t / 16] * 16 + t % 16;
        for (int32_t e = 0; e < s.width; ++e) {
          cache[slot * w + cuda::cache_element(kType<T>, s.width, t % 16, e)] =
              latents[i][t * w + e];
        }
      }
    }
  }

  // Row i with the first `context` tokens of its sequence, in double, [H][R].
  std::vector<double> reference(size_t i, int64_t context) const {
    const int64_t w = shape.width, r = shape.rank;
    std::vector<double> out(static_cast<size_t>(shape.heads * r)), tokens;
    for (int64_t e = 0; e < context * w; ++e) tokens.push_back(decode(latents[i][e]));
    for (int64_t h = 0; h < shape.heads; ++h) {
      std::vector<double> query, weight;
      for (int64_t e = 0; e < w; ++e) query.push_back(decode(q[(i * shape.heads + h) * w + e]));
      for (int64_t t = 0; t < context; ++t) {
        const double s = std::inner_product(query.begin(), query.end(), &tokens[t * w], 0.0);
        weight.push_back(s * shape.scale);
      }
      const double top = *std::max_element(weight.begin(), weight.end());
      double sum = 0;
      for (double& s : weight) sum += s = std::exp(s - top);
      for (int64_t t = 0; t < context; ++t) {
        const double p = weight[t] / sum;
        for (int64_t e = 0; e < r; ++e) out[h * r + e] += p * tokens[t * w + e];
      }
    }
    return out;
  }

  // All rows, with the first lengths[i] tokens of each sequence, [B][H][R].
  std::vector<T> decoded(const std::vector<int32_t>& lengths) const {
    const auto batch = static_cast<int32_t>(lengths.size());
    int64_t capacity = 1;
    for (const int32_t n : lengths) capacity += (n + cuda::kSpanKeys - 1) / cuda::kSpanKeys;
    const int32_t slices = (shape.heads + 15) / 16;
    const OnDevice<T> d_q(q), d_cache(cache),
        out(std::vector<T>(lengths.size() * shape.heads * shape.rank, nan_of<T>()));
    const OnDevice<int32_t> d_lengths(lengths), d_tables(tables);
    const OnDevice<cuda::SpanItem> items((std::vector<cuda::SpanItem>(capacity)));
    const OnDevice<int32_t> count(std::vector<int32_t>{0}), slots(std::vector<int32_t>(batch, 0)),
        arrived(std::vector<int32_t>(batch * slices, 0));
    const OnDevice<float> partial(
        Floats(cuda::decode_partial_floats(cuda::as_heads(shape), capacity)));
    const cuda::DecodeRows rows{d_lengths.get(), d_tables.get(), stride, batch};
    const cuda::DecodeWork work{items.get(),   count.get(),   slots.get(),
                                arrived.get(), partial.get(), static_cast<int32_t>(capacity)};
    cuda::plan_decode(rows, work, slices, nullptr);
    for (int layer = 0; layer < 2; ++layer) {  // the second finds what the first left
      cuda::decode_latents(kType<T>, shape, rows, work, d_q.get(), d_cache.get(), out.get(),
                           nullptr);
    }
    wait_for_gpu();
    for (const int32_t left : arrived.host()) REQUIRE(left == 0);
    return out.host();
  }

  void check_row(size_t i, int64_t context, const T* actual) const {
    const std::vector<double> expected = reference(i, context);
    const int64_t e = first_far(actual, expected);
    if (e < 0) return;
    CAPTURE(i, context, e, shape.heads, shape.rank, shape.width, decode(actual[e]),
            expected[static_cast<size_t>(e)]);
    FAIL("far from the reference");
  }
};

template <class T>
void check_scene(const LatentShape& shape, const std::vector<int32_t>& lengths, uint64_t seed) {
  const Scene<T> scene(shape, lengths, seed);
  const int64_t size = int64_t{shape.heads} * shape.rank;
  const std::vector<T> out = scene.decoded(lengths);
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] == 0) {
      REQUIRE(std::isnan(decode(out[i * size])));
      continue;
    }
    scene.check_row(i, lengths[i], out.data() + i * size);
    std::vector<int32_t> alone(lengths.size(), 0);
    alone[i] = lengths[i];
    CAPTURE(i, lengths[i], shape.heads, shape.rank, shape.width);
    REQUIRE(same_bits(scene.decoded(alone).data() + i * size, out.data() + i * size, size));
  }
}

const std::vector<int32_t> kLengths{1, 15, 0, 16, 17, 63, 64, 65, 130, 255, 256, 257, 512, 1030};

TEST_CASE("GPU latent attention is the reference's, and a row's bits are not its batch's") {
  skip_without_gpu();
  uint64_t seed = 1;
  for (const auto& [rank, rotary] :
       std::vector<std::pair<int, int>>{{512, 64}, {512, 32}, {256, 64}, {128, 0}, {64, 32}}) {
    for (const int heads : {1, 3, 16, 20}) {
      const LatentShape shape = shape_of(heads, rank, rotary);
      REQUIRE(cuda::has_tensor_core_latents(cuda::Type::bf16, shape));
      check_scene<Half>(shape, kLengths, ++seed);
    }
  }
  check_scene<Half>(shape_of(128, 512, 64), {1, 300, 0, 77, 600}, ++seed);
}

TEST_CASE("the plain GPU kernel takes latents of any size and float32") {
  skip_without_gpu();
  const std::vector<int32_t> lengths{1, 31, 32, 33, 0, 200, 300};
  for (const auto& [rank, rotary] : std::vector<std::pair<int, int>>{{40, 8}, {24, 6}, {300, 20}}) {
    for (const int heads : {1, 5}) {
      REQUIRE(!cuda::has_tensor_core_latents(cuda::Type::bf16, shape_of(heads, rank, rotary)));
      check_scene<Half>(shape_of(heads, rank, rotary), lengths, 100 + rank);
      check_scene<float>(shape_of(heads, rank, rotary), lengths, 200 + rank);
    }
  }
  check_scene<float>(shape_of(3, 512, 64), lengths, 7);
  check_scene<Half>(shape_of(2, 576, 64), lengths, 8);
}

TEST_CASE("a long GPU context of latents is merged from many spans") {
  skip_without_gpu();
  const Scene<Half> scene(shape_of(5, 512, 64), {20000, 3, 517}, 9);
  const std::vector<Half> out = scene.decoded({20000, 3, 517});
  scene.check_row(0, 20000, out.data());
  scene.check_row(2, 517, out.data() + 2 * 5 * 512);
}

template <class T>
void check_store(const LatentShape& shape) {
  const Scene<T> scene(shape, {40}, 3);
  const int64_t w = shape.width, r = shape.rank;
  std::vector<T> latents, rotated;
  std::vector<int64_t> slots;
  for (int64_t t = 0; t < 40; ++t) {
    const T* token = scene.latents[0].data() + t * w;
    latents.insert(latents.end(), token, token + r);
    rotated.insert(rotated.end(), token + r, token + w);
    slots.push_back(scene.tables[t / 16] * 16 + t % 16);
    if (t % 3 == 0) {  // an empty row, of NaN
      latents.insert(latents.end(), r, nan_of<T>());
      rotated.insert(rotated.end(), w - r, nan_of<T>());
      slots.push_back(-1);
    }
  }
  const OnDevice<T> d_latents(latents), d_rotated(rotated),
      cache(std::vector<T>(scene.cache.size(), nan_of<T>())),
      out(std::vector<T>(40 * w, nan_of<T>()));
  const OnDevice<int64_t> d_slots(slots);
  cuda::store_latents(kType<T>, shape, d_latents.get(), d_rotated.get(), d_slots.get(), cache.get(),
                      static_cast<int64_t>(slots.size()), nullptr);
  wait_for_gpu();
  const std::vector<T> stored = cache.host();
  for (size_t i = 0; i < stored.size(); ++i) {
    const float x = decode(stored[i]), y = decode(scene.cache[i]);
    REQUIRE((x == y || (std::isnan(x) && std::isnan(y))));
  }
  std::erase(slots, -1);
  const OnDevice<int64_t> real(slots);
  cuda::load_latents(kType<T>, shape, cache.get(), real.get(), out.get(), 40, nullptr);
  wait_for_gpu();
  REQUIRE(same_bits(out.host().data(), scene.latents[0].data(), 40 * w));
}

TEST_CASE("latents go to the GPU's cache where the slots say, and come back") {
  skip_without_gpu();
  check_store<Half>(shape_of(1, 512, 64));
  check_store<Half>(shape_of(1, 40, 8));
  check_store<float>(shape_of(1, 64, 32));
}

}  // namespace
}  // namespace hone::kernels
#endif
