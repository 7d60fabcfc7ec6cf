// The GPU's row kernels and the end of a decode step against plain double references.
#ifdef HONE_WITH_CUDA
#include "kernels/cuda_rows.h"

#include "kernels/cuda_decode_step.h"
#include "tests/kernels/cuda_testing.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {
using cuda::Type;
}  // namespace

TEST_CASE("the GPU's norm of a residual sum is the reference's, whatever rows stand beside") {
  skip_without_gpu();
  const int64_t rows = 5;
  for (const Type type : {Type::bf16, Type::float32}) {
    for (const int64_t width : {1, 7, 36, 64, 128, 256, 264, 300, 896, 1536, 5000, 9001}) {
      const Floats x = rounded(rows * width, 1, 2), delta = rounded(rows * width, 2, 2),
                   weight = rounded(width, 3, 1);
      for (const bool with_delta : {false, true}) {
        CAPTURE(type == Type::bf16, width, with_delta);
        const Typed d_x(type, x), d_delta(type, delta), d_weight(type, weight),
            sum(type, Floats(x.size(), kNan)), y(type, Floats(x.size(), kNan));
        const OnDevice<float> inverse(Floats(rows, kNan));
        const auto run = [&](int64_t count) {
          cuda::add_rms_norm(type, d_x.get(), with_delta ? d_delta.get() : nullptr, d_weight.get(),
                             1e-5f, sum.get(), y.get(), inverse.get(), count, width, nullptr);
          wait_for_gpu();
        };
        run(rows);
        const Floats sums = with_delta ? sum.host() : x, together = y.host();
        std::vector<double> expected, inverses;
        for (int64_t r = 0; r < rows; ++r) {
          double square = 0;
          for (int64_t i = 0; i < width; ++i) square += sums[r * width + i] * sums[r * width + i];
          inverses.push_back(1 / std::sqrt(square / static_cast<double>(width) + 1e-5));
          for (int64_t i = 0; i < width; ++i) {
            const double before = x[r * width + i] + (with_delta ? delta[r * width + i] : 0);
            REQUIRE(std::abs(sums[r * width + i] - before) <=
                    allowed(type) * (1 + std::abs(before)));
            expected.push_back(sums[r * width + i] * inverses.back() * weight[i]);
          }
        }
        REQUIRE(largest_error(together, expected) < allowed(type));
        REQUIRE(largest_error(inverse.host(), inverses) < 1e-4);
        run(1);
        REQUIRE(first_difference(y.host(), together) == -1);
      }
    }
  }
}

TEST_CASE("the GPU's SwiGLU and its gradient are the reference's") {
  skip_without_gpu();
  const int64_t rows = 3;
  for (const Type type : {Type::bf16, Type::float32}) {
    for (const int64_t width : {1, 5, 8, 50, 328, 4864}) {
      CAPTURE(type == Type::bf16, width);
      const Floats gate_up = rounded(rows * 2 * width, 4, 3), dy = rounded(rows * width, 5, 1);
      const Typed from(type, gate_up), d(type, dy), y(type, Floats(dy.size(), kNan)),
          dx(type, Floats(gate_up.size(), kNan));
      cuda::swiglu(type, from.get(), y.get(), rows, width, nullptr);
      cuda::swiglu_backward(type, d.get(), from.get(), dx.get(), rows, width, nullptr);
      wait_for_gpu();
      std::vector<double> value(dy.size()), gradient(gate_up.size());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t i = 0; i < width; ++i) {
          const int64_t at = r * 2 * width + i;
          const double x = gate_up[at], u = gate_up[at + width], g = dy[r * width + i];
          const double s = 1 / (1 + std::exp(-x));
          value[r * width + i] = x * s * u;
          gradient[at] = g * u * s * (1 + x * (1 - s));
          gradient[at + width] = g * x * s;
        }
      }
      REQUIRE(largest_error(y.host(), value) < allowed(type));
      REQUIRE(largest_error(dx.host(), gradient) < allowed(type));
    }
  }
}

TEST_CASE("the GPU norms and rotates heads and writes the cache where slots say") {
  skip_without_gpu();
  const int64_t rows = 4, heads = 3, kv = 1, positions = 9;
  for (const Type type : {Type::bf16, Type::float32}) {
    for (const int64_t d : {2, 6, 64, 96, 128, 256}) {
      CAPTURE(type == Type::bf16, d);
      const int64_t width = (heads + 2 * kv) * d, half = d / 2;
      const Floats qkv = rounded(rows * width, 6, 2), query_norm = rounded(d, 7, 1),
                   key_norm = rounded(d, 8, 1), angle = random_floats(positions * half, 9, 3);
      Floats cos, sin;
      for (const float a : angle) cos.push_back(std::cos(a)), sin.push_back(std::sin(a));
      const std::vector<int64_t> position{8, 0, 3, 5}, slot{17, -1, 0, 40};
      const Typed x(type, qkv), q_norm(type, query_norm), k_norm(type, key_norm),
          keys(type, Floats(3 * kv * 16 * d, kNan)), values(type, Floats(3 * kv * 16 * d, kNan));
      const OnDevice<float> d_cos(cos), d_sin(sin);
      const OnDevice<int64_t> d_position(position), d_slot(slot);
      cuda::PrepareHeads call{};
      call.qkv = x.get();
      call.positions = d_position.get();
      call.slots = d_slot.get();
      call.cos = d_cos.get();
      call.sin = d_sin.get();
      call.query_norm = q_norm.get();
      call.key_norm = k_norm.get();
      call.eps = 1e-6f;
      call.keys = keys.get();
      call.values = values.get();
      call.shape = {static_cast<int32_t>(heads), static_cast<int32_t>(kv), static_cast<int32_t>(d),
                    1.0f, 0};
      cuda::prepare_heads(type, call, rows, nullptr);
      wait_for_gpu();
      const Floats turned = x.host(), cached_keys = keys.host(), cached_values = values.host();
      std::vector<double> expected(qkv.begin(), qkv.end()), normed(qkv.begin(), qkv.end());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t h = 0; h < heads + kv; ++h) {
          double* n = normed.data() + r * width + h * d;
          double square = 0;
          for (int64_t i = 0; i < d; ++i) square += n[i] * n[i];
          const double inverse = 1 / std::sqrt(square / static_cast<double>(d) + 1e-6);
          for (int64_t i = 0; i < d; ++i) n[i] *= inverse * (h < heads ? query_norm : key_norm)[i];
          for (int64_t i = 0; i < half; ++i) {
            const double c = cos[position[r] * half + i], s = sin[position[r] * half + i];
            expected[r * width + h * d + i] = n[i] * c - n[i + half] * s;
            expected[r * width + h * d + i + half] = n[i + half] * c + n[i] * s;
          }
        }
      }
      REQUIRE(largest_error(turned, expected) < 2 * allowed(type));
      Floats want_keys(cached_keys.size(), kNan), want_values = want_keys;
      for (int64_t r = 0; r < rows; ++r) {
        if (slot[r] < 0) continue;
        for (int64_t i = 0; i < d; ++i) {
          const int64_t at = slot[r] * d + cuda::cache_element(type, static_cast<int32_t>(d),
                                                               static_cast<int32_t>(slot[r] % 16),
                                                               static_cast<int32_t>(i));
          want_keys[at] = turned[r * width + heads * d + i];
          want_values[at] = turned[r * width + (heads + kv) * d + i];
        }
      }
      for (size_t i = 0; i < want_keys.size(); ++i) {
        REQUIRE((std::isnan(want_keys[i]) ? std::isnan(cached_keys[i])
                                          : cached_keys[i] == want_keys[i]));
        REQUIRE((std::isnan(want_values[i]) ? std::isnan(cached_values[i])
                                            : cached_values[i] == want_values[i]));
      }
    }
  }
}

TEST_CASE("the GPU adds pieces of a product in order") {
  skip_without_gpu();
  const int64_t pieces = 4, rows = 3, columns = 70;
  const Floats parts = random_floats(pieces * rows * columns, 10, 1e4);
  const OnDevice<float> d_parts(parts), y(Floats(rows * columns, kNan));
  cuda::add_pieces(d_parts.get(), pieces, nullptr, Type::float32, y.get(), rows, columns, nullptr);
  wait_for_gpu();
  Floats expected(static_cast<size_t>(rows * columns));
  for (size_t i = 0; i < expected.size(); ++i) {
    expected[i] = parts[i];
    for (size_t p = 1; p < pieces; ++p) expected[i] += parts[p * expected.size() + i];
  }
  REQUIRE(first_difference(y.host(), expected) == -1);
}

TEST_CASE("a decode step's end records draws, ends rows and prepares the next step") {
  skip_without_gpu();
  // Rows: goes on; ends by a stop id; ends by its limit; is empty; crosses into its second block.
  const int32_t batch = 5, stride = 2;
  const OnDevice<int64_t> tokens({1, 1, 1, 0, 1}), positions({4, 4, 4, 0, 15}),
      slots({4, 36, 68, -1, 111}), places({5, 5, 5, 0, 16}), drawn({30, 9, 30, 77, 31});
  const OnDevice<int32_t> contexts({5, 5, 5, 0, 16}), limits({50, 50, 6, 0, 50}),
      earliest({8, 0, 0, 0, 0}), tables({0, 1, 2, 3, 4, 5, 0, 0, 6, 3}), stop_ids({9, 8, 30}),
      stop_count({2}), step({1}), out_tokens(std::vector<int32_t>(10, -7));
  const OnDevice<uint8_t> forbid(std::vector<uint8_t>{0, 0, 0, 0, 0});
  const OnDevice<float> logprobs({-1, -2, -3, -4, -5}), sampled({-6, -7, -8, -9, -10}),
      out_logprobs(Floats(10, 1)), out_sampled(Floats(10, 1));
  cuda::advance_decode({tokens.get(), positions.get(), slots.get(), contexts.get(), places.get(),
                        limits.get(), earliest.get(), forbid.get(), tables.get(), stride, batch,
                        stop_ids.get(), stop_count.get(), step.get()},
                       drawn.get(), logprobs.get(), sampled.get(),
                       {out_tokens.get(), out_logprobs.get(), out_sampled.get()}, nullptr);
  wait_for_gpu();
  CHECK(step.host() == std::vector<int32_t>{2});
  CHECK(out_tokens.host() == std::vector<int32_t>{-7, -7, -7, -7, -7, 30, 9, 30, -1, 31});
  CHECK(out_logprobs.host() == Floats{1, 1, 1, 1, 1, -1, -2, -3, 1, -5});
  CHECK(out_sampled.host() == Floats{1, 1, 1, 1, 1, -6, -7, -8, 1, -10});
  CHECK(contexts.host() == std::vector<int32_t>{6, 0, 0, 0, 17});
  CHECK(tokens.host() == std::vector<int64_t>{30, 0, 0, 0, 31});
  CHECK(positions.host() == std::vector<int64_t>{5, 0, 0, 0, 16});
  CHECK(places.host() == std::vector<int64_t>{6, 0, 0, 0, 17});
  CHECK(slots.host() == std::vector<int64_t>{5, -1, -1, -1, 48});
  CHECK(forbid.host() == std::vector<uint8_t>{1, 0, 0, 0, 0});
}

}  // namespace hone::kernels
#endif
