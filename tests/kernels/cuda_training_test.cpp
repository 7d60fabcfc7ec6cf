// The kernels of the training step against plain double references.
#ifdef HONE_WITH_CUDA
#include "kernels/cuda_training.h"

#include "tests/kernels/cuda_testing.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

using cuda::Type;

struct Norm {
  Floats dy, x, dsum, weight, inverse;
  std::vector<double> dx, dweight;

  Norm(int64_t rows, int64_t width, bool with_sum)
      : dy(rounded(rows * width, 1, 1)),
        x(rounded(rows * width, 2, 2)),
        dsum(rounded(rows * width, 3, with_sum ? 1 : 0)),
        weight(rounded(width, 4, 1)),
        dweight(width, 0.5) {  // what was there before
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = r * width;
      double square = 0, dot = 0;
      for (int64_t i = 0; i < width; ++i) square += x[at + i] * x[at + i];
      const double inv = 1 / std::sqrt(square / static_cast<double>(width) + 1e-6);
      inverse.push_back(static_cast<float>(inv));
      for (int64_t i = 0; i < width; ++i) {
        dot += dy[at + i] * weight[i] * x[at + i] * inv;
        dweight[i] += dy[at + i] * x[at + i] * inv;
      }
      for (int64_t i = 0; i < width; ++i) {
        dx.push_back(dsum[at + i] + inv * (dy[at + i] * weight[i] -
                                           x[at + i] * inv * dot / static_cast<double>(width)));
      }
    }
  }
};

}  // namespace

TEST_CASE("the GPU's gradient of a norm is the reference's, and the same each time") {
  skip_without_gpu();
  for (const Type type : {Type::bf16, Type::float32}) {
    for (const int64_t width : {1, 7, 36, 64, 128, 300, 896, 1024, 1032, 3584, 4104, 8192, 9001}) {
      for (const int64_t rows : {int64_t{1}, int64_t{5}, int64_t{1100}}) {
        if (rows > 5 && width > 1100) continue;
        for (const bool with_sum : {false, true}) {
          CAPTURE(type == Type::bf16, width, rows, with_sum);
          const Norm n(rows, width, with_sum);
          const Typed dy(type, n.dy), x(type, n.x), dsum(type, n.dsum), weight(type, n.weight),
              dx(type, Floats(n.x.size(), kNan));
          const OnDevice<float> inverse(n.inverse), dweight(Floats(width, 0.5f)),
              workspace(Floats(cuda::norm_backward_floats(type, rows, width), kNan));
          const auto run = [&] {
            cuda::norm_backward(type,
                                {dy.get(), x.get(), with_sum ? dsum.get() : nullptr, weight.get(),
                                 inverse.get(), dx.get(), dweight.get(), width},
                                rows, workspace.get(), nullptr);
            wait_for_gpu();
          };
          run();
          const Floats first = dx.host(), of_weight = dweight.host();
          REQUIRE(largest_error(first, n.dx) < allowed(type));
          REQUIRE(largest_error(of_weight, n.dweight) < 1e-4);
          dweight.set(Floats(width, 0.5f));
          run();
          REQUIRE(first_difference(dx.host(), first) == -1);
          REQUIRE(first_difference(dweight.host(), of_weight) == -1);
        }
      }
    }
  }
}

TEST_CASE("the GPU rotates heads, and takes gradients of copied keys and values back") {
  skip_without_gpu();
  const int64_t rows = 5, h = 3, g = 2, positions = 9;
  // Rows 1 and 2 were copied twice and three times.
  const std::vector<int32_t> begin{0, 1, 3, 6, 7, 8}, places{4, 0, 7, 1, 2, 6, 3, 5};
  const std::vector<int64_t> position{8, 0, 3, 5, 1};
  for (const Type type : {Type::bf16, Type::float32}) {
    for (const int64_t d : {2, 6, 8, 20, 64, 80, 128, 256}) {
      CAPTURE(type == Type::bf16, d);
      const int64_t width = (h + 2 * g) * d, half = d / 2;
      const Floats qkv = rounded(rows * width, 1, 2), angle = random_floats(positions * half, 9, 3);
      Floats cos, sin;
      for (const float a : angle) cos.push_back(std::cos(a)), sin.push_back(std::sin(a));
      const Typed from(type, qkv), to(type, Floats(qkv.size(), kNan));
      const OnDevice<float> d_cos(cos), d_sin(sin);
      const OnDevice<int64_t> d_position(position);
      const cuda::HeadShape shape{static_cast<int32_t>(h), static_cast<int32_t>(g),
                                  static_cast<int32_t>(d), 1.0f, 0};
      const auto turn = [&](std::vector<double>& x, double sign) {
        for (int64_t r = 0; r < rows; ++r) {
          for (int64_t i = 0; i < (h + g) * half; ++i) {
            double& low = x[r * width + i / half * d + i % half];
            double& high = *(&low + half);
            const double c = cos[position[r] * half + i % half],
                         s = sign * sin[position[r] * half + i % half];
            const double turned = low * c - high * s;
            high = high * c + low * s;
            low = turned;
          }
        }
      };
      std::vector<double> expected(qkv.begin(), qkv.end());
      turn(expected, 1);
      cuda::rotate_heads(type,
                         {from.get(), to.get(), d_position.get(), d_cos.get(), d_sin.get(), shape},
                         rows, nullptr);
      wait_for_gpu();
      REQUIRE(largest_error(to.host(), expected) < allowed(type));

      for (const bool copied : {false, true}) {
        const int64_t keys = copied ? static_cast<int64_t>(places.size()) : rows;
        const Floats q = rounded(rows * h * d, 2, 1), k = rounded(keys * g * d, 3, 1),
                     v = rounded(keys * g * d, 4, 1);
        for (int64_t r = 0; r < rows; ++r) {
          double* row = expected.data() + r * width;
          std::copy_n(q.begin() + r * h * d, h * d, row);
          for (int64_t i = 0; i < g * d; ++i) {
            double sum_k = 0, sum_v = 0;
            for (int32_t p = copied ? begin[r] : 0; p < (copied ? begin[r + 1] : 1); ++p) {
              const int64_t at = (copied ? places[p] : r) * g * d + i;
              sum_k += k[at];
              sum_v += v[at];
            }
            row[h * d + i] = sum_k;
            row[(h + g) * d + i] = sum_v;
          }
        }
        turn(expected, -1);
        const Typed dq(type, q), dk(type, k), dv(type, v), out(type, Floats(qkv.size(), kNan));
        const OnDevice<int32_t> d_begin(begin), d_places(places);
        cuda::head_gradients(
            type,
            {dq.get(), dk.get(), dv.get(), out.get(), d_position.get(), d_cos.get(), d_sin.get(),
             copied ? d_begin.get() : nullptr, copied ? d_places.get() : nullptr, shape},
            rows, nullptr);
        wait_for_gpu();
        REQUIRE(largest_error(out.host(), expected) < allowed(type));
      }
    }
  }
}

}  // namespace hone::kernels
#endif
