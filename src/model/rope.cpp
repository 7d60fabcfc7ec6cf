// The tables of the rotary embedding and their stretched forms: Llama 3's, and YaRN (arXiv
// 2309.00071). Arithmetic in float32 where transformers has it, so that long positions agree.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "model/ops.h"

namespace hone::ops {
namespace {

constexpr double kPi = 3.14159265358979323846;

// The dimension whose wave turns `rotations` times within the original length.
double yarn_dimension(double rotations, const RopeOptions& r, int64_t dim) {
  return static_cast<double>(dim) * std::log(r.original_positions / (rotations * 2 * kPi)) /
         (2 * std::log(r.theta));
}

std::vector<float> inverse_frequencies(const RopeOptions& r, int64_t dim) {
  std::vector<float> out;
  double low = 0, high = 0;
  if (r.kind == "yarn") {
    low = yarn_dimension(r.beta_fast, r, dim);
    high = yarn_dimension(r.beta_slow, r, dim);
    if (r.truncate) {
      low = std::floor(low);
      high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(dim - 1));
    if (low == high) high += 0.001;
  }
  for (int64_t i = 0; i < dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    const float frequency =
        static_cast<float>(std::pow(static_cast<float>(r.theta), static_cast<double>(exponent)));
    const float inverse = 1.0f / frequency, factor = static_cast<float>(r.factor);
    if (r.kind == "linear") {
      out.push_back(inverse / factor);
    } else if (r.kind == "llama3") {
      const float wave = static_cast<float>(2 * kPi) / inverse;
      const double low_wave = r.original_positions / r.low_factor;
      const double high_wave = r.original_positions / r.high_factor;
      const float smooth =
          (static_cast<float>(r.original_positions) / wave - static_cast<float>(r.low_factor)) /
          static_cast<float>(r.high_factor - r.low_factor);
      out.push_back(wave > low_wave    ? inverse / factor
                    : wave < high_wave ? inverse
                                       : (1 - smooth) * inverse / factor + smooth * inverse);
    } else if (r.kind == "yarn") {
      const float stretched = 1.0f / (factor * frequency);
      const float ramp = std::clamp(
          (static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low), 0.0f,
          1.0f);
      const float kept = 1 - ramp;
      out.push_back(stretched * (1 - kept) + inverse * kept);
    } else {  // dynamic differs from default only beyond max_positions, where hone does not go
      out.push_back(inverse);
    }
  }
  return out;
}

}  // namespace

RopeTable make_rope_table(const RopeOptions& options, int64_t positions, int64_t dim,
                          at::Device device) {
  const int64_t half = dim / 2;
  const std::vector<float> inverse = inverse_frequencies(options, dim);
  const float scale = static_cast<float>(options.attention_factor);
  RopeTable table{at::empty({positions, half}, at::kFloat),
                  at::empty({positions, half}, at::kFloat)};
  float *c = table.cos.data_ptr<float>(), *s = table.sin.data_ptr<float>();
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<float>(p) * inverse[static_cast<size_t>(i)];
      c[p * half + i] = static_cast<float>(std::cos(angle)) * scale;
      s[p * half + i] = static_cast<float>(std::sin(angle)) * scale;
    }
  }
  return {table.cos.to(device), table.sin.to(device)};
}

}  // namespace hone::ops
