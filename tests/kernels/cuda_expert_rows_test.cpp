// Gathering rows for experts and summing their results, on the GPU, against sums in double.
#ifdef HONE_WITH_CUDA
#include "kernels/cuda_expert_rows.h"

#include <algorithm>
#include <numeric>

#include "tests/kernels/cuda_testing.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

// Choices of random experts: which row each has when rows are sorted by expert, and whose they are.
struct Routing {
  std::vector<int64_t> place, token;

  Routing(int64_t tokens, int64_t choices, int64_t experts) {
    Rng rng(11);
    std::vector<int64_t> expert, order(static_cast<size_t>(tokens * choices));
    for (size_t i = 0; i < order.size(); ++i) expert.push_back(rng.between(0, experts - 1));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return expert[static_cast<size_t>(a)] < expert[static_cast<size_t>(b)];
    });
    place.resize(order.size());
    for (size_t row = 0; row < order.size(); ++row) {
      place[static_cast<size_t>(order[row])] = static_cast<int64_t>(row);
      token.push_back(order[row] / choices);
    }
  }
};

template <class T>
std::vector<T> encoded(const Floats& values) {
  std::vector<T> out;
  for (const float v : values) out.push_back(encode<T>(v));
  return out;
}
template <class T>
Floats decoded(const std::vector<T>& values) {
  Floats out;
  for (const T v : values) out.push_back(decode(v));
  return out;
}
template <class T>
std::vector<T> nans(int64_t n) {
  return std::vector<T>(static_cast<size_t>(n), nan_of<T>());
}

template <class T>
void check(int64_t tokens, int64_t choices, int64_t width) {
  CAPTURE(sizeof(T), tokens, choices, width);
  const double allowed = sizeof(T) == 2 ? 0.01 : 2e-5;
  const int64_t count = tokens * choices;
  const Routing routing(tokens, choices, 5);
  const std::vector<T> x = encoded<T>(random_floats(tokens * width, 1)),
                       rows = encoded<T>(random_floats(count * width, 2)),
                       dy = encoded<T>(random_floats(tokens * width, 3));
  const Floats weights = random_floats(count, 4);
  const OnDevice<int64_t> place(routing.place), token(routing.token);
  const OnDevice<T> d_x(x), d_rows(rows), d_dy(dy);
  const OnDevice<float> d_weights(weights);
  const auto at = [&](const std::vector<T>& m, int64_t row, int64_t column) {
    return static_cast<double>(decode(m[static_cast<size_t>(row * width + column)]));
  };

  const OnDevice<T> gathered(nans<T>(count * width));
  cuda::gather_rows(kType<T>, d_x.get(), token.get(), gathered.get(), count, width, nullptr);
  wait_for_gpu();
  const std::vector<T> taken = gathered.host();
  for (int64_t r = 0; r < count; ++r) {
    const int64_t from = routing.token[static_cast<size_t>(r)];
    REQUIRE(same_bits(taken.data() + r * width, x.data() + from * width, width));
  }

  for (const bool weighted : {false, true}) {
    CAPTURE(weighted);
    const auto run = [&] {
      const OnDevice<T> y(nans<T>(tokens * width));
      cuda::sum_rows(kType<T>, d_rows.get(), place.get(), weighted ? d_weights.get() : nullptr,
                     y.get(), tokens, choices, width, nullptr);
      wait_for_gpu();
      return decoded(y.host());
    };
    const Floats y = run();
    std::vector<double> expected;
    for (int64_t t = 0; t < tokens; ++t) {
      for (int64_t c = 0; c < width; ++c) {
        double sum = 0;
        for (int64_t i = t * choices; i < (t + 1) * choices; ++i) {
          const auto choice = static_cast<size_t>(i);
          sum += (weighted ? weights[choice] : 1) * at(rows, routing.place[choice], c);
        }
        expected.push_back(sum);
      }
    }
    REQUIRE(largest_error(y, expected) < allowed);
    REQUIRE(first_difference(run(), y) == -1);
  }

  const OnDevice<T> drows(nans<T>(count * width));
  const OnDevice<float> dweights(nans<float>(count));
  cuda::sum_rows_backward(kType<T>, d_dy.get(), d_rows.get(), place.get(), d_weights.get(),
                          drows.get(), dweights.get(), tokens, choices, width, nullptr);
  wait_for_gpu();
  std::vector<double> expected_rows(static_cast<size_t>(count * width)), expected_weights;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = routing.place[static_cast<size_t>(i)];
    double dot = 0;
    for (int64_t c = 0; c < width; ++c) {
      dot += at(dy, i / choices, c) * at(rows, row, c);
      expected_rows[static_cast<size_t>(row * width + c)] =
          weights[static_cast<size_t>(i)] * at(dy, i / choices, c);
    }
    expected_weights.push_back(dot);
  }
  REQUIRE(largest_error(decoded(drows.host()), expected_rows) < allowed);
  // Products of what both types hold are added in float32.
  REQUIRE(largest_error(dweights.host(), expected_weights) < 1e-4);
}

}  // namespace

TEST_CASE("on the GPU rows go to experts and come back as sums in the order of the choices") {
  skip_without_gpu();
  for (const int64_t width : {1, 7, 8, 36, 300, 1000, 1024, 2048, 4104}) {
    for (const int64_t choices : {1, 2, 6, 8, 11}) {
      for (const int64_t tokens : {1, 5, 33}) {
        check<Half>(tokens, choices, width);
        check<float>(tokens, choices, width);
      }
    }
  }
  cuda::gather_rows(cuda::Type::bf16, nullptr, nullptr, nullptr, 0, 8, nullptr);
  cuda::sum_rows(cuda::Type::bf16, nullptr, nullptr, nullptr, nullptr, 0, 2, 8, nullptr);
  wait_for_gpu();
}

}  // namespace hone::kernels
#endif
