#include "kernels/cpu_reference.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cpu_table.h"

namespace hone::kernels::reference {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float tree_sum(float* lanes) {
  for (int step = 8; step > 0; step /= 2) {
    for (int i = 0; i < step; ++i) lanes[i] = lanes[i] + lanes[i + step];
  }
  return lanes[0];
}

float dot(const float* x, const float* w, int64_t w_step, int64_t k) {
  float s = 0;
  for (int64_t i = 0; i < k; ++i) s = std::fma(x[i], w[i * w_step], s);
  return s;
}

}  // namespace

float exp(float x) {
  if (x < -87.33f) return 0.0f;
  const float c = x > 88.3f ? 88.3f : x;
  const float magic = 12582912.0f, t = std::fma(c, 1.44269504f, magic), n = t - magic;
  const float r = std::fma(n, 2.12194440e-4f, std::fma(n, -0.693359375f, c));
  float p = 1.9875691500e-4f;
  for (float coefficient :
       {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f}) {
    p = std::fma(p, r, coefficient);
  }
  const float y = std::fma(p, r * r, r) + 1.0f;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(y) + (std::bit_cast<uint32_t>(t) << 23));
}

void linear(const float* x, int64_t ldx, const float* w, float* y, int64_t ldy, int64_t m,
            int64_t n, int64_t k) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) y[i * ldy + j] = dot(x + i * ldx, w + j * k, 1, k);
  }
}

void rms_norm(const float* x, const float* w, float eps, float* y, float* inv_rms, int64_t m,
              int64_t d) {
  for (int64_t row = 0; row < m; ++row) {
    const float* in = x + row * d;
    float lanes[16] = {};
    for (int64_t i = 0; i < d; ++i) lanes[i % 16] = std::fma(in[i], in[i], lanes[i % 16]);
    const float inv = 1.0f / std::sqrt(tree_sum(lanes) / static_cast<float>(d) + eps);
    for (int64_t i = 0; i < d; ++i) y[row * d + i] = in[i] * inv * w[i];
    if (inv_rms != nullptr) inv_rms[row] = inv;
  }
}

void swiglu(const float* gate_up, float* y, int64_t m, int64_t f) {
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t i = 0; i < f; ++i) {
      const float g = gate_up[row * 2 * f + i];
      y[row * f + i] = g / (1.0f + exp(-g)) * gate_up[row * 2 * f + f + i];
    }
  }
}

void rope(float* x, int64_t ldx, const int64_t* positions, const float* cos, const float* sin,
          int64_t t, int64_t heads, int64_t d, bool inverse) {
  const int64_t half = d / 2;
  for (int64_t row = 0; row < t; ++row) {
    for (int64_t head = 0; head < heads; ++head) {
      float* p = x + row * ldx + head * d;
      for (int64_t i = 0; i < half; ++i) {
        const float c = cos[positions[row] * half + i];
        const float s = inverse ? -sin[positions[row] * half + i] : sin[positions[row] * half + i];
        const float a = p[i], b = p[i + half];
        p[i] = std::fma(a, c, -(b * s));
        p[i + half] = std::fma(b, c, a * s);
      }
    }
  }
}

void paged_attention(const float* q, int64_t ldq, const AttentionSequence* sequences,
                     int64_t sequence_count, const float* key_cache, const float* value_cache,
                     float scale, float* out, float* lse, int64_t heads, int64_t kv_heads,
                     int64_t d, int64_t window) {
  std::vector<float> p;
  for (int64_t s = 0; s < sequence_count; ++s) {
    const AttentionSequence& sequence = sequences[s];
    for (int64_t i = 0; i < sequence.query_length; ++i) {
      const int64_t row = sequence.query_begin + i;
      const int64_t keys = sequence.context - sequence.query_length + i + 1;
      const int64_t lowest = window > 0 ? std::max<int64_t>(0, keys - window) : 0;
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t g = head / (heads / kv_heads);
        const auto block = [&](int64_t j) {
          return (sequence.blocks[j / kBlockTokens] * kv_heads + g) * d * kBlockTokens;
        };
        p.assign(keys, 0.0f);
        float best = -kInfinity;
        for (int64_t j = lowest; j < keys; ++j) {
          p[j] = dot(q + row * ldq + head * d, key_cache + block(j) + j % kBlockTokens,
                     kBlockTokens, d);
          best = std::max(best, p[j] * scale);
        }
        float lanes[16] = {};
        for (int64_t j = lowest; j < keys; ++j) {
          p[j] = exp(std::fma(p[j], scale, -best));
          lanes[j % 16] += p[j];
        }
        const float total = tree_sum(lanes);
        for (int64_t c = 0; c < d; ++c) {
          float sum = 0;
          for (int64_t j = lowest; j < keys; ++j) {
            sum = std::fma(p[j], value_cache[block(j) + j % kBlockTokens * d + c], sum);
          }
          out[(row * heads + head) * d + c] = sum / total;
        }
        if (lse != nullptr) lse[row * heads + head] = log_sum_exp(best, total);
      }
    }
  }
}

void log_prob(const float* logits, const int64_t* targets, float inv_temperature, float* logp,
              float* entropy, float* lse, int64_t m, int64_t v) {
  for (int64_t row = 0; row < m; ++row) {
    const float* x = logits + row * v;
    const float best = *std::max_element(x, x + v) * inv_temperature;
    float lanes[16] = {}, weighted[16] = {};
    for (int64_t i = 0; i < v; ++i) {
      const float z = std::fma(x[i], inv_temperature, -best), p = exp(z);
      lanes[i % 16] += p;
      weighted[i % 16] = std::fma(p, std::max(z, -87.33f), weighted[i % 16]);
    }
    const float total = tree_sum(lanes), log_sum = log_sum_exp(best, total);
    logp[row] = std::fma(x[targets[row]], inv_temperature, -log_sum);
    if (lse != nullptr) lse[row] = log_sum;
    if (entropy != nullptr) entropy[row] = log_sum_exp(0.0f, total) - tree_sum(weighted) / total;
  }
}

void linear_weight_grad(const float* dy, int64_t lddy, const float* x, int64_t ldx, double* dw,
                        int64_t m, int64_t n, int64_t k) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t c = 0; c < k; ++c) dw[j * k + c] += double{dy[i * lddy + j]} * x[i * ldx + c];
    }
  }
}

void rms_norm_backward(const float* dy, const float* x, const float* w, float eps, double* dx,
                       double* dw, int64_t m, int64_t d) {
  for (int64_t row = 0; row < m; ++row) {
    const float *g = dy + row * d, *in = x + row * d;
    double squares = 0, inner = 0;
    for (int64_t i = 0; i < d; ++i) {
      squares += double{in[i]} * in[i];
      inner += double{g[i]} * w[i] * in[i];
    }
    const double n = static_cast<double>(d), inv = 1 / std::sqrt(squares / n + double{eps});
    for (int64_t i = 0; i < d; ++i) {
      dx[row * d + i] = inv * (double{g[i]} * w[i] - in[i] * inv * inv * inner / n);
      dw[i] += double{g[i]} * in[i] * inv;
    }
  }
}

void swiglu_backward(const float* dy, const float* gate_up, double* dgate_up, int64_t m,
                     int64_t f) {
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t i = 0; i < f; ++i) {
      const int64_t at = row * 2 * f + i;
      const double g = gate_up[at], u = gate_up[at + f], d = dy[row * f + i];
      const double sigmoid = 1 / (1 + std::exp(-g));
      dgate_up[at] = d * u * sigmoid * (1 + g * (1 - sigmoid));
      dgate_up[at + f] = d * g * sigmoid;
    }
  }
}

void attention_backward(const AttentionGrad& t, const AttentionSegment* segments,
                        int64_t segment_count, int64_t total_rows, float scale, int64_t heads,
                        int64_t kv_heads, int64_t d, int64_t window, double* dq, double* dk,
                        double* dv) {
  std::fill(dq, dq + total_rows * heads * d, 0.0);
  std::fill(dk, dk + total_rows * kv_heads * d, 0.0);
  std::fill(dv, dv + total_rows * kv_heads * d, 0.0);
  for (int64_t s = 0; s < segment_count; ++s) {
    const AttentionSegment& segment = segments[s];
    for (int64_t i = 0; i < segment.length * heads; ++i) {
      const int64_t row = segment.begin + i / heads, head = i % heads;
      const int64_t g = head / (heads / kv_heads);
      const int64_t keys = segment.prefix_length + i / heads + 1;
      const int64_t lowest = window > 0 ? std::max<int64_t>(0, keys - window) : 0;
      const auto key_row = [&](int64_t j) {
        return j < segment.prefix_length ? segment.prefix_begin + j
                                         : segment.begin + j - segment.prefix_length;
      };
      const float* q = t.q + row * t.ldq + head * d;
      const float* dout = t.dout + (row * heads + head) * d;
      std::vector<double> p(keys), dp(keys);
      double best = -std::numeric_limits<double>::infinity(), total = 0, mean = 0;
      for (int64_t j = lowest; j < keys; ++j) {
        for (int64_t c = 0; c < d; ++c) {
          p[j] += double{q[c]} * t.k[key_row(j) * t.ldk + g * d + c] * scale;
          dp[j] += double{dout[c]} * t.v[key_row(j) * t.ldv + g * d + c];
        }
        best = std::max(best, p[j]);
      }
      for (int64_t j = lowest; j < keys; ++j) total += p[j] = std::exp(p[j] - best);
      for (int64_t j = lowest; j < keys; ++j) mean += (p[j] /= total) * dp[j];
      for (int64_t j = lowest; j < keys; ++j) {
        const double ds = p[j] * (dp[j] - mean) * scale;
        for (int64_t c = 0; c < d; ++c) {
          const int64_t at = (key_row(j) * kv_heads + g) * d + c;
          dq[(row * heads + head) * d + c] += ds * t.k[key_row(j) * t.ldk + g * d + c];
          dk[at] += ds * q[c];
          dv[at] += p[j] * dout[c];
        }
      }
    }
  }
}

void log_prob_backward(const float* logits, const int64_t* targets, double inv_temperature,
                       const float* dlogp, const float* dentropy, double* logp, double* entropy,
                       double* dlogits, int64_t m, int64_t v) {
  for (int64_t row = 0; row < m; ++row) {
    std::vector<double> z(logits + row * v, logits + (row + 1) * v);
    for (double& x : z) x *= inv_temperature;
    const double best = *std::max_element(z.begin(), z.end());
    double total = 0;
    for (double x : z) total += std::exp(x - best);
    const double lse = best + std::log(total);
    entropy[row] = 0;
    for (double x : z) {
      if (std::isfinite(x)) entropy[row] -= std::exp(x - lse) * (x - lse);
    }
    logp[row] = z[targets[row]] - lse;
    for (int64_t i = 0; i < v; ++i) {
      const double p = std::exp(z[i] - lse);
      double gradient = dlogp[row] * ((i == targets[row] ? 1.0 : 0.0) - p);
      if (dentropy != nullptr && p > 0) gradient -= dentropy[row] * p * (z[i] - lse + entropy[row]);
      dlogits[row * v + i] = inv_temperature * gradient;
    }
  }
}

}  // namespace hone::kernels::reference
