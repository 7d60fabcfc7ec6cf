// Attention over the paged cache. One kernel serves prefill, decode and training: a tile is kRows
// pairs (query row, head of the group), all of one key/value head.
namespace hone::kernels::HONE_KERNELS_LEVEL {
namespace {

// c[r][16 * v + lane] = chain over keys j of fma(p[r][j], value[j][16 * v + lane]). `values` points
// at the wanted columns in block 0; blocks are `block_stride` floats apart, keys d.
template <int R, int V>
void weigh_values(const float* p, int64_t ldp, const float* values, const int32_t* blocks,
                  int64_t block_stride, int64_t keys, int64_t d, float* c, int64_t ldc) {
  F16 acc[R][V];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) acc[r][v] = zero();
  }
  for (int64_t first = 0; first < keys; first += kBlockTokens) {
    const float* value = values + blocks[first / kBlockTokens] * block_stride;
    const int64_t end = least(kBlockTokens, keys - first);
    for (int64_t j = 0; j < end; ++j, value += d) {
      F16 bv[V];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) bv[v] = load(value + 16 * v);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const F16 av = set(p[r * ldp + first + j]);
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) acc[r][v] = fma(av, bv[v], acc[r][v]);
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(c + r * ldc + 16 * v, acc[r][v]);
  }
}

using WeighFunction = void (*)(const float*, int64_t, const float*, const int32_t*, int64_t,
                               int64_t, int64_t, float*, int64_t);
template <int R>
WeighFunction weigh_of(int strips) {
  if constexpr (widest(R) >= 8) {
    if (strips == 8) return weigh_values<R, 8>;
  }
  if constexpr (widest(R) >= 4) {
    if (strips == 4) return weigh_values<R, 4>;
  }
  if constexpr (widest(R) >= 2) {
    if (strips == 2) return weigh_values<R, 2>;
  }
  return weigh_values<R, 1>;
}
WeighFunction weigh_of(int64_t rows, int strips) {
  switch (rows) {
    case 1:
      return weigh_of<1>(strips);
    case 2:
      return weigh_of<2>(strips);
    case 3:
      return weigh_of<3>(strips);
    case 4:
      return weigh_of<4>(strips);
    case 5:
      return weigh_of<5>(strips);
    case 6:
      return weigh_of<6>(strips);
#if defined(__AVX512F__)
    case 7:
      return weigh_of<7>(strips);
    case 8:
      return weigh_of<8>(strips);
    case 9:
      return weigh_of<9>(strips);
    case 10:
      return weigh_of<10>(strips);
    case 11:
      return weigh_of<11>(strips);
    case 12:
      return weigh_of<12>(strips);
#endif
    default:
      __builtin_trap();
  }
}

// Turns the scores of `keys` visible keys into p, with zeros up to `padded` (a multiple of 16).
// Lanes behind the visible keys may hold anything, NaN too.
HONE_INLINE float softmax(float* scores, int64_t keys, int64_t padded, float scale, float* total) {
  const F16 lowest = set(-infinity());
  const int64_t whole = keys / 16 * 16;
  F16 best16 = lowest;
  for (int64_t j = 0; j < whole; j += 16) best16 = max(best16, load(scores + j));
  if (whole < keys) best16 = max(best16, first_n(keys - whole, load(scores + whole), lowest));
  const float best = maximum(best16) * scale;
  const F16 shift = set(-best), scale16 = set(scale);
  F16 sum16 = zero();
  int64_t j = 0;
  for (; j < whole; j += 16) {
    const F16 p = exp(fma(load(scores + j), scale16, shift));
    store(scores + j, p);
    sum16 = sum16 + p;
  }
  if (j < keys) {
    const F16 p = first_n(keys - j, exp(fma(load(scores + j), scale16, shift)), zero());
    store(scores + j, p);
    sum16 = sum16 + p;
    j += 16;
  }
  for (; j < padded; j += 16) store(scores + j, zero());
  *total = sum(sum16);
  return best;
}

void paged_attention_impl(const float* q, int64_t ldq, const AttentionSequence* sequences,
                          int64_t sequence_count, const float* key_cache, const float* value_cache,
                          float scale, float* out, float* lse, int64_t heads, int64_t kv_heads,
                          int64_t d, int64_t window) {
  const int64_t group = heads / kv_heads, block_stride = kv_heads * d * kBlockTokens;
  const int64_t task_queries = most(1, 4 * kRows / group);
  // Tasks: (sequence, key/value head, run of queries). first_task[s] is the first of sequence s.
  auto* first_task = reinterpret_cast<int64_t*>(
      scratch(Scratch::kShared, (sequence_count + 1) * sizeof(int64_t) / sizeof(float)));
  int64_t tasks = 0, pairs = 0;
  for (int64_t s = 0; s < sequence_count; ++s) {
    first_task[s] = tasks;
    tasks += ceil_div(sequences[s].query_length, task_queries) * kv_heads;
    pairs += sequences[s].query_length * sequences[s].context;
  }
  first_task[sequence_count] = tasks;

  const auto run = [&](int64_t task) {
    int64_t low = 0, high = sequence_count;  // first_task[low] <= task < first_task[high]
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (first_task[middle] <= task ? low : high) = middle;
    }
    while (first_task[low + 1] <= task) ++low;  // sequences without rows have no task
    const AttentionSequence& sequence = sequences[low];
    // Heads run fastest: they share the pages of q and out.
    const int64_t g = (task - first_task[low]) % kv_heads, i = (task - first_task[low]) / kv_heads;
    const int64_t begin = i * task_queries * group;  // rows count (query, head) pairs
    const int64_t rows = least(task_queries, sequence.query_length - i * task_queries) * group;
    const int64_t hidden = sequence.context - sequence.query_length + 1;
    const auto visible = [&](int64_t row) { return hidden + row / group; };
    const auto lowest = [&](int64_t row) { return window > 0 ? most(0, visible(row) - window) : 0; };

    const int64_t ld = ceil_div(visible(begin + rows - 1), 16) * 16;
    float* scores = scratch(Scratch::kTask, kRows * (ld + 2 * d));
    float *queries = scores + kRows * ld, *mixed = queries + kRows * d;
    const int64_t tiles = ceil_div(rows, kRows);
    for (int64_t t = 0; t < tiles; ++t) {
      const int64_t r0 = begin + t * rows / tiles, r1 = begin + (t + 1) * rows / tiles;
      // Whole blocks that no row sees are passed over: lanes go by key index mod 16.
      const int64_t first = lowest(r0) / kBlockTokens * kBlockTokens;
      const int32_t* table = sequence.blocks + first / kBlockTokens;
      const int64_t keys = visible(r1 - 1) - first, blocks = ceil_div(keys, kBlockTokens);
      const auto at = [&](int64_t row) {
        return (sequence.query_begin + row / group) * heads + g * group + row % group;
      };
      for (int64_t r = r0; r < r1; ++r) {
        const float* src =
            q + (sequence.query_begin + r / group) * ldq + (g * group + r % group) * d;
        for (int64_t c = 0; c < d; c += 16) store(queries + (r - r0) * d + c, load(src + c));
      }
      if (rows < kRows) {
        // Decoding reads every key and value once, from memory, in pieces too short for the
        // hardware to see them coming.
        for (int64_t b = 0; b < blocks; ++b) {
          const float* block = value_cache + table[b] * block_stride + g * d * kBlockTokens;
          const int64_t used = least(kBlockTokens, keys - b * kBlockTokens) * d;
          for (int64_t c = 0; c < used; c += 16) __builtin_prefetch(block + c);
        }
      }
      gemm<false>(
          queries, d, r1 - r0,
          [&](int64_t b) {
            return key_cache + table[b] * block_stride + g * d * kBlockTokens;
          },
          kBlockTokens, d, scores, ld, blocks * kBlockTokens, false);
      float best[kRows], total[kRows];
      for (int64_t r = r0; r < r1; ++r) {
        float* row = scores + (r - r0) * ld;
        for (int64_t j = 0; j < lowest(r) - first; ++j) row[j] = -infinity();
        best[r - r0] =
            softmax(row, visible(r) - first, blocks * kBlockTokens, scale, &total[r - r0]);
      }
      int width;
      for (int64_t c = 0; c < d; c += 16 * width) {
        width = widest(static_cast<int>(r1 - r0));
        while (c + 16 * width > d) width /= 2;
        weigh_of(r1 - r0, width)(scores, ld, value_cache + g * kBlockTokens * d + c, table,
                                 block_stride, keys, d, mixed + c, d);
      }
      for (int64_t r = r0; r < r1; ++r) {
        const F16 divisor = set(total[r - r0]);
        float* dst = out + at(r) * d;
        for (int64_t c = 0; c < d; c += 16) {
          store(dst + c, load(mixed + (r - r0) * d + c) / divisor);
        }
        if (lse != nullptr) lse[at(r)] = log_sum_exp(best[r - r0], total[r - r0]);
      }
    }
  };
  parallel(tasks, pairs * heads * d / 20, run);
}

}  // namespace
}  // namespace hone::kernels::HONE_KERNELS_LEVEL
