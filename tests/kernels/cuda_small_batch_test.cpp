// Products of few rows against a plain double reference that rounds where the kernels round.
#ifdef HONE_WITH_CUDA
#include "kernels/cuda_small_batch.h"

#include <memory>

#include "tests/kernels/cuda_testing.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

using Halves = std::vector<Half>;

Halves random_halves(int64_t n, uint64_t key, double scale) {
  Halves x;
  for (const float v : random_floats(n, key, scale)) x.push_back(to_half(v));
  return x;
}

double bf16(double x) { return from_half(to_half(static_cast<float>(x))); }

// Spare elements behind what a kernel may write, to see that it does not.
constexpr int64_t kSpare = 64;

struct Case {
  int32_t m, n, k;
  bool bias;

  int64_t parts() const { return (k + cuda::kSquareColumns - 1) / cuda::kSquareColumns; }
  Halves x() const { return random_halves(int64_t{m} * k, 1, 2.0); }
  Halves w() const { return random_halves(int64_t{n} * k, 2, 0.2); }
  Halves biases() const { return random_halves(n, 3, 1.0); }
  Halves norms() const { return random_halves(k, 4, 1.5); }
  // Sums of squares of each row's pieces.
  Floats squares() const {
    const Halves rows = x();
    Floats sums(static_cast<size_t>(parts() * m), 0.0f);
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t i = 0; i < k; ++i) {
        const float v = from_half(rows[static_cast<size_t>(row * k + i)]);
        sums[static_cast<size_t>(i / cuda::kSquareColumns * m + row)] += v * v;
      }
    }
    return sums;
  }
  // [M][N] before rounding, of x or of its norm.
  std::vector<double> product(bool norm) const {
    const Halves rows = x(), weight = w(), add = biases(), factors = norms();
    std::vector<double> y;
    for (int64_t row = 0; row < m; ++row) {
      std::vector<double> from;
      double square = 0;
      for (int64_t i = 0; i < k; ++i) {
        from.push_back(from_half(rows[static_cast<size_t>(row * k + i)]));
        square += from.back() * from.back();
      }
      for (int64_t i = 0; norm && i < k; ++i) {
        const auto at = static_cast<size_t>(i);
        from[at] = bf16(from[at] / std::sqrt(square / k + kEps) * from_half(factors[at]));
      }
      for (int64_t column = 0; column < n; ++column) {
        double sum = bias ? from_half(add[static_cast<size_t>(column)]) : 0.0;
        for (int64_t i = 0; i < k; ++i) {
          sum +=
              from[static_cast<size_t>(i)] * from_half(weight[static_cast<size_t>(column * k + i)]);
        }
        y.push_back(sum);
      }
    }
    return y;
  }
  static constexpr double kEps = 1e-6;
};

// The case's inputs on the device.
struct Inputs {
  OnDevice<Half> x, w, bias, norm;
  OnDevice<float> squares;
  explicit Inputs(const Case& c)
      : x(c.x()), w(c.w()), bias(c.biases()), norm(c.norms()), squares(c.squares()) {}
  cuda::NormedProduct normed(const Case& c) const {
    return {x.get(),
            norm.get(),
            squares.get(),
            static_cast<int32_t>(c.parts()),
            static_cast<float>(Case::kEps),
            w.get(),
            c.bias ? bias.get() : nullptr,
            c.m,
            c.n,
            c.k};
  }
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int32_t m : {1, 2, 3, 7, 8, 9, 13, 16}) {
    for (const auto& [n, k] :
         {std::pair{16, 32}, {48, 96}, {77, 160}, {130, 896}, {2500, 64}, {9, 4864}, {64, 1536}}) {
      all.push_back({m, n, k, (m + n) % 2 == 0});
    }
  }
  return all;
}

// Rounded values differ by a unit of bf16 where a sum lies at the border.
constexpr double kUnit = 1.0 / 128;

void check_spare(const Halves& written, size_t used) {
  for (size_t i = used; i < written.size(); ++i) REQUIRE(written[i] == kNanHalf);
}

}  // namespace

TEST_CASE("the GPU's product of few normed rows is the reference's") {
  skip_without_gpu();
  for (const Case& c : cases()) {
    INFO(c.m << " x " << c.k << " x " << c.n << (c.bias ? ", bias" : ""));
    if (!cuda::small_batch_holds(c.m, c.k)) {
      REQUIRE(c.m * c.k > 13 * 4096);  // as many rows of the models in use are held
      continue;
    }
    const Inputs in(c);
    const std::vector<double> expected = c.product(true);
    OnDevice<float> y(Floats(expected.size() + kSpare, -7.0f));
    OnDevice<Half> rounded(Halves(expected.size() + kSpare, kNanHalf));
    cuda::normed_product(in.normed(c), cuda::Type::float32, y.get(), nullptr);
    cuda::normed_product(in.normed(c), cuda::Type::bf16, rounded.get(), nullptr);
    wait_for_gpu();
    Floats values = y.host();
    for (size_t i = expected.size(); i < values.size(); ++i) REQUIRE(values[i] == -7.0f);
    values.resize(expected.size());
    // A normed value at the border of two bf16 may fall to either side.
    CHECK(largest_error(values, expected) < 4e-3);
    const Halves halves = rounded.host();
    check_spare(halves, expected.size());
    for (size_t i = 0; i < values.size(); ++i) REQUIRE(halves[i] == to_half(values[i]));
  }
}

TEST_CASE("the GPU's product of few rows onto a residual gives the sum and its squares") {
  skip_without_gpu();
  for (const Case& c : cases()) {
    INFO(c.m << " x " << c.k << " x " << c.n << (c.bias ? ", bias" : ""));
    const Inputs in(c);
    const std::vector<double> product = c.product(false);
    const Halves residual = random_halves(int64_t{c.m} * c.n, 5, 3.0);
    Halves padded = residual;
    padded.resize(padded.size() + kSpare, kNanHalf);
    const OnDevice<Half> sum(padded);
    const int64_t parts = (c.n + cuda::kSquareColumns - 1) / cuda::kSquareColumns;
    const OnDevice<float> squares(Floats(static_cast<size_t>(parts * c.m), -1.0f));
    cuda::product_onto({in.x.get(), in.w.get(), c.bias ? in.bias.get() : nullptr, sum.get(),
                        squares.get(), c.m, c.n, c.k},
                       nullptr);
    wait_for_gpu();
    const Halves sums = sum.host();
    check_spare(sums, product.size());
    std::vector<double> square(static_cast<size_t>(parts * c.m), 0.0);
    Floats values;
    std::vector<double> expected;
    for (size_t i = 0; i < product.size(); ++i) {
      values.push_back(from_half(sums[i]));
      expected.push_back(bf16(from_half(residual[i]) + bf16(product[i])));
      const size_t row = i / static_cast<size_t>(c.n), column = i % static_cast<size_t>(c.n);
      square[column / cuda::kSquareColumns * static_cast<size_t>(c.m) + row] +=
          double{values.back()} * values.back();
    }
    CHECK(largest_error(values, expected) < 2 * kUnit);
    CHECK(largest_error(squares.host(), square) < 1e-5);
  }
}

TEST_CASE("the GPU's gated product of few rows is the reference's") {
  skip_without_gpu();
  for (const int32_t m : {1, 5, 8, 11, 16}) {
    for (const auto& [f, k] : {std::pair{8, 32}, {24, 96}, {136, 896}, {1304, 64}, {2200, 160}}) {
      const Case c{m, 2 * f, k, false};
      INFO(m << " x " << k << " x 2 * " << f);
      const Inputs in(c);
      const std::vector<double> product = c.product(true);
      const OnDevice<Half> y(Halves(static_cast<size_t>(m * f + kSpare), kNanHalf));
      cuda::normed_product_gated(in.normed(c), y.get(), nullptr);
      wait_for_gpu();
      const Halves halves = y.host();
      check_spare(halves, static_cast<size_t>(m * f));
      Floats values;
      std::vector<double> expected;
      for (int64_t i = 0; i < int64_t{m} * f; ++i) {
        const auto at = static_cast<size_t>(i / f * 2 * f + i % f);
        const double gate = bf16(product[at]), up = bf16(product[at + static_cast<size_t>(f)]);
        values.push_back(from_half(halves[static_cast<size_t>(i)]));
        expected.push_back(gate / (1 + std::exp(-gate)) * up);
      }
      CHECK(largest_error(values, expected) < 3 * kUnit);
    }
  }
}

TEST_CASE("a row of the GPU's product of few rows has the same bits in every batch") {
  skip_without_gpu();
  const int32_t n = 2500;
  const Case all{16, n, 896, true};
  const Inputs in(all);
  const OnDevice<float> whole(Floats(16 * n, 0.0f));
  cuda::normed_product(in.normed(all), cuda::Type::float32, whole.get(), nullptr);
  wait_for_gpu();
  const Floats expected = whole.host(), squares = all.squares();
  for (const int32_t m : {1, 6, 8, 15}) {
    Floats own;  // the sums of squares of the first m rows
    for (int64_t part = 0; part < all.parts(); ++part) {
      for (int32_t row = 0; row < m; ++row) {
        own.push_back(squares[static_cast<size_t>(part * all.m + row)]);
      }
    }
    const OnDevice<float> of_rows(own);
    cuda::NormedProduct call = in.normed(all);
    call.m = m;
    call.squares = of_rows.get();
    const OnDevice<float> y(Floats(static_cast<size_t>(m * n), 0.0f));
    cuda::normed_product(call, cuda::Type::float32, y.get(), nullptr);
    wait_for_gpu();
    const Floats values = y.host();
    CHECK(same_bits(values.data(), expected.data(), int64_t{m} * n));
  }
}

TEST_CASE("the GPU's embedding of few rows copies them and sums their squares") {
  skip_without_gpu();
  const int32_t c = 904, m = 5;
  const Halves table = random_halves(30 * c, 6, 2.0);
  const OnDevice<Half> on_device(table);
  const OnDevice<int64_t> tokens({3, 29, 0, 3, 17});
  OnDevice<Half> x(Halves(static_cast<size_t>(m * c), kNanHalf));
  OnDevice<float> squares(Floats(5, 0.0f));
  cuda::small_embedding(tokens.get(), on_device.get(), x.get(), squares.get(), m, c, nullptr);
  wait_for_gpu();
  const Halves rows = x.host();
  std::vector<double> expected(m, 0.0);
  const std::vector<int64_t> ids = tokens.host();
  for (size_t i = 0; i < rows.size(); ++i) {
    const size_t row = i / static_cast<size_t>(c);
    REQUIRE(rows[i] == table[static_cast<size_t>(ids[row]) * c + i % c]);
    expected[row] += double{from_half(rows[i])} * from_half(rows[i]);
  }
  CHECK(largest_error(squares.host(), expected) < 1e-5);
}

}  // namespace hone::kernels
#endif
