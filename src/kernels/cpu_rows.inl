// Kernels over rows: norms, activations, rotary positions, the cache and the vocabulary.
namespace hone::kernels::HONE_KERNELS_LEVEL {
namespace {

// Tasks of row kernels are fixed blocks of rows: small enough to share out, large enough to be
// worth taking.
template <class Body>
void parallel_rows(int64_t rows, int64_t width, int64_t floats_per_nanosecond, const Body& body) {
  const int64_t block = most(1, 8192 / most(1, width));
  parallel(ceil_div(rows, block), rows * width / floats_per_nanosecond, [&](int64_t task) {
    const int64_t end = least(rows, (task + 1) * block);
    for (int64_t row = task * block; row < end; ++row) body(row);
  });
}

void rms_norm_impl(const float* x, const float* w, float eps, float* y, float* inv_rms, int64_t m,
                   int64_t d) {
  parallel_rows(m, d, 8, [&](int64_t row) {
    const float* in = x + row * d;
    F16 squares = zero();
    for (int64_t i = 0; i < d; i += 16) {
      const F16 v = load_n(in + i, d - i);
      squares = fma(v, v, squares);
    }
    const float mean = sum(squares) / static_cast<float>(d);
    const float inv = 1.0f / __builtin_sqrtf(mean + eps);
    for (int64_t i = 0; i < d; i += 16) {
      store_n(y + row * d + i, load_n(in + i, d - i) * set(inv) * load_n(w + i, d - i), d - i);
    }
    if (inv_rms != nullptr) inv_rms[row] = inv;
  });
}

void rms_norm_backward_impl(const float* dy, const float* x, const float* w, const float* inv_rms,
                            float* dx, float* dw, int64_t m, int64_t d) {
  // Blocks of rows do not depend on the threads, and their partial sums are added in order.
  constexpr int64_t kBlock = 64;
  const int64_t blocks = ceil_div(m, kBlock), padded = ceil_div(d, 16) * 16;
  float* partial = scratch(Scratch::kShared, blocks * padded);
  parallel(blocks, m * d / 4, [&](int64_t block) {
    float* sums = partial + block * padded;
    for (int64_t i = 0; i < padded; i += 16) store(sums + i, zero());
    for (int64_t row = block * kBlock; row < least(m, (block + 1) * kBlock); ++row) {
      const float *g = dy + row * d, *in = x + row * d;
      const F16 inv = set(inv_rms[row]);
      F16 dot = zero();
      for (int64_t i = 0; i < d; i += 16) {
        const F16 normed = load_n(in + i, d - i) * inv, gv = load_n(g + i, d - i);
        dot = fma(gv * load_n(w + i, d - i), normed, dot);
        store(sums + i, fma(gv, normed, load(sums + i)));
      }
      const F16 mean = set(-sum(dot) / static_cast<float>(d));
      for (int64_t i = 0; i < d; i += 16) {
        const F16 normed = load_n(in + i, d - i) * inv;
        const F16 gw = load_n(g + i, d - i) * load_n(w + i, d - i);
        store_n(dx + row * d + i, fma(normed, mean, gw) * inv, d - i);
      }
    }
  });
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t i = 0; i < d; i += 16) {
      store_n(dw + i, load_n(dw + i, d - i) + load(partial + block * padded + i), d - i);
    }
  }
}

void swiglu_impl(const float* gate_up, float* y, int64_t m, int64_t f) {
  parallel_rows(m, f, 2, [&](int64_t row) {
    const float *gate = gate_up + row * 2 * f, *up = gate + f;
    for (int64_t i = 0; i < f; i += 16) {
      const F16 g = load_n(gate + i, f - i);
      store_n(y + row * f + i, g / (set(1.0f) + exp(-g)) * load_n(up + i, f - i), f - i);
    }
  });
}

void swiglu_backward_impl(const float* dy, const float* gate_up, float* dgate_up, int64_t m,
                          int64_t f) {
  parallel_rows(m, f, 1, [&](int64_t row) {
    const float *gate = gate_up + row * 2 * f, *up = gate + f;
    float *dgate = dgate_up + row * 2 * f, *dup = dgate + f;
    const F16 one = set(1.0f);
    for (int64_t i = 0; i < f; i += 16) {
      const F16 g = load_n(gate + i, f - i), u = load_n(up + i, f - i);
      const F16 d = load_n(dy + row * f + i, f - i);
      const F16 sigmoid = one / (one + exp(-g));
      store_n(dup + i, d * (g * sigmoid), f - i);
      store_n(dgate + i, d * u * (sigmoid * fma(g, one - sigmoid, one)), f - i);
    }
  });
}

void rope_impl(float* x, int64_t ldx, const int64_t* positions, const float* cos, const float* sin,
               int64_t t, int64_t heads, int64_t d, bool inverse) {
  const int64_t half = d / 2;
  parallel_rows(t, heads * d, 4, [&](int64_t row) {
    const float *c = cos + positions[row] * half, *s = sin + positions[row] * half;
    for (int64_t i = 0; i < half; i += 16) {
      const int64_t n = half - i;
      const F16 cv = load_n(c + i, n);
      const F16 sv = inverse ? -load_n(s + i, n) : load_n(s + i, n);
      for (int64_t head = 0; head < heads; ++head) {
        float* p = x + row * ldx + head * d + i;
        const F16 a = load_n(p, n), b = load_n(p + half, n);
        store_n(p, fma(a, cv, -(b * sv)), n);
        store_n(p + half, fma(b, cv, a * sv), n);
      }
    }
  });
}

void store_kv_impl(const float* k, const float* v, int64_t ldk, int64_t ldv, const int64_t* slots,
                   float* key_cache, float* value_cache, int64_t t, int64_t kv_heads, int64_t d) {
  constexpr int64_t kRun = 64;
  const auto store_run = [&](int64_t run) {
    const int64_t end = least(t, (run + 1) * kRun);
    int64_t row = run * kRun;
    while (row < end) {
      const int64_t block = slots[row] / kBlockTokens, offset = slots[row] % kBlockTokens;
      int64_t rows = 1;  // that stand next to each other in the same block
      while (row + rows < end && offset + rows < kBlockTokens &&
             slots[row + rows] == slots[row] + rows) {
        ++rows;
      }
      for (int64_t g = 0; g < kv_heads; ++g) {
        transpose(k + row * ldk + g * d, ldk, rows, d,
                  key_cache + (block * kv_heads + g) * d * kBlockTokens + offset, kBlockTokens,
                  rows);
        float* values = value_cache + ((block * kv_heads + g) * kBlockTokens + offset) * d;
        for (int64_t j = 0; j < rows; ++j) {
          const float* value = v + (row + j) * ldv + g * d;
          for (int64_t i = 0; i < d; i += 16) store(values + j * d + i, load(value + i));
        }
      }
      row += rows;
    }
  };
  parallel(ceil_div(t, kRun), t * kv_heads * d / 2, store_run);
}

// max of x * inv_temperature: scaling keeps the order, so one product is enough.
HONE_INLINE float row_maximum(const float* x, float inv_temperature, int64_t v) {
  F16 best = set(-infinity());
  int64_t i = 0;
  for (; i + 16 <= v; i += 16) best = max(best, load(x + i));
  if (i < v) best = max(best, first_n(v - i, load_n(x + i, v - i), set(-infinity())));
  return maximum(best) * inv_temperature;
}

void log_prob_impl(const float* logits, const int64_t* targets, float inv_temperature, float* logp,
                   float* entropy, float* lse, int64_t m, int64_t v) {
  parallel_rows(m, v, entropy != nullptr ? 1 : 2, [&](int64_t row) {
    const float* x = logits + row * v;
    const float best = row_maximum(x, inv_temperature, v);
    const F16 scale = set(inv_temperature), shift = set(-best);
    F16 total = zero(), weighted = zero();
    for (int64_t i = 0; i < v; i += 16) {
      const F16 z = fma(load_n(x + i, v - i), scale, shift);
      const F16 p = first_n(v - i, exp(z), zero());
      total = total + p;
      // Below kExpLow p is 0; the maximum keeps 0 * -inf away.
      if (entropy != nullptr) weighted = fma(p, max(set(kExpLow), z), weighted);
    }
    const float all = sum(total), log_sum = log_sum_exp(best, all);
    logp[row] = __builtin_fmaf(x[targets[row]], inv_temperature, -log_sum);
    if (lse != nullptr) lse[row] = log_sum;
    // -sum p log p = log(sum) - E[z].
    if (entropy != nullptr) entropy[row] = log_sum_exp(0.0f, all) - sum(weighted) / all;
  });
}

void log_prob_backward_impl(const float* logits, const int64_t* targets, float inv_temperature,
                            const float* lse, const float* entropy, const float* dlogp,
                            const float* dentropy, float* dlogits, int64_t m, int64_t v) {
  parallel_rows(m, v, 1, [&](int64_t row) {
    const float* x = logits + row * v;
    float* dx = dlogits + row * v;
    const int64_t target = targets[row];
    const F16 scale = set(inv_temperature), shift = set(-lse[row]), dl = set(-dlogp[row]);
    const bool with_entropy = dentropy != nullptr;
    const F16 de = set(with_entropy ? -dentropy[row] : 0.0f);
    const F16 h = set(with_entropy ? entropy[row] : 0.0f);
    for (int64_t i = 0; i < v; i += 16) {
      const F16 logp = fma(load_n(x + i, v - i), scale, shift);
      F16 factor = dl;
      if (with_entropy) factor = fma(de, max(set(kExpLow), logp) + h, dl);
      store_n(dx + i, exp(logp) * factor * scale, v - i);
    }
    dx[target] = __builtin_fmaf(inv_temperature, dlogp[row], dx[target]);
  });
}

float softmax_row_impl(const float* x, float inv_temperature, int64_t v, float* p,
                       float* chunk_sums) {
  const float best = row_maximum(x, inv_temperature, v);
  const F16 scale = set(inv_temperature), shift = set(-best);
  F16 total = zero();
  for (int64_t chunk = 0; chunk * kChunk < v; ++chunk) {
    F16 partial = zero();
    for (int64_t i = chunk * kChunk; i < least(v, (chunk + 1) * kChunk); i += 16) {
      const F16 e = first_n(v - i, exp(fma(load_n(x + i, v - i), scale, shift)), zero());
      store_n(p + i, e, v - i);
      total = total + e;
      partial = partial + e;
    }
    chunk_sums[chunk] = sum(partial);
  }
  return log_sum_exp(best, sum(total));
}

}  // namespace
}  // namespace hone::kernels::HONE_KERNELS_LEVEL
