// The backward pass of causal attention with shared prefixes. p is computed again from the
// logsumexp. One task owns a group of segments with a common prefix and one key/value head, so
// every sum has its order whatever the threads.
namespace hone::kernels::HONE_KERNELS_LEVEL {
namespace {

constexpr int64_t kBackwardRows = 192;  // (query, head) pairs taken together

// A run of keys and values packed for the three ways they are read.
struct PackedKeys {
  int64_t begin, count, strips;
  float *keys_by_strip, *values_by_strip;  // [strips][D][16], zeros behind count
  float* keys;                             // [count][D]
};

HONE_INLINE int64_t packed_keys_size(int64_t count, int64_t d) {
  return ceil_div(count, 16) * 16 * d * 3;
}

// Leading dimension of a [rows][count] matrix: an odd number of cache lines, so that a column
// does not fall into few sets of the cache.
HONE_INLINE int64_t padded_columns(int64_t count) { return ceil_div(count, 16) / 2 * 32 + 16; }

void pack_keys(const AttentionGrad& t, int64_t begin, int64_t count, int64_t g, int64_t d,
               float* memory, PackedKeys& packed) {
  packed.begin = begin;
  packed.count = count;
  packed.strips = ceil_div(count, 16);
  packed.keys_by_strip = memory;
  packed.values_by_strip = memory + packed.strips * 16 * d;
  packed.keys = memory + packed.strips * 32 * d;
  for (int64_t s = 0; s < packed.strips; ++s) {
    const int64_t row = begin + 16 * s, rows = least(16, count - 16 * s);
    transpose(t.k + row * t.ldk + g * d, t.ldk, rows, d, packed.keys_by_strip + s * 16 * d, 16, 16);
    transpose(t.v + row * t.ldv + g * d, t.ldv, rows, d, packed.values_by_strip + s * 16 * d, 16,
              16);
    for (int64_t j = 0; j < rows; ++j) {
      const float* src = t.k + (row + j) * t.ldk + g * d;
      for (int64_t c = 0; c < d; c += 16) {
        store(packed.keys + (16 * s + j) * d + c, load(src + c));
      }
    }
  }
}

struct BackwardChunk {
  int64_t rows, group, d, window;
  float scale;
  float *queries, *douts, *dqueries;  // [rows][D]
  float *lse, *delta;                 // [rows]
  float *p, *ds;                      // [rows][padded_columns]
};

// Adds what the chunk's rows owe to and give to these keys. Row r sees the first
// first_visible + r / group of them, or all; of these, with a window, the ones from
// first_visible + r / group - window on. first_visible may lie beyond the keys: a prefix.
void backward_keys(const BackwardChunk& chunk, const PackedKeys& keys, int64_t first_visible,
                   float* dk, int64_t lddk, float* dv, int64_t lddv) {
  const int64_t d = chunk.d, rows = chunk.rows;
  const auto visible = [&](int64_t r) {
    return least(keys.count, first_visible + r / chunk.group);
  };
  const int64_t most_keys = visible(rows - 1), ld = padded_columns(most_keys);
  const int64_t tiles = ceil_div(rows, kRows);
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t r0 = t * rows / tiles, r1 = (t + 1) * rows / tiles;
    const int64_t tile_keys = visible(r1 - 1), columns = ceil_div(tile_keys, 16) * 16;
    gemm<false>(
        chunk.queries + r0 * d, d, r1 - r0,
        [&](int64_t s) { return keys.keys_by_strip + s * 16 * d; }, 16, d, chunk.p + r0 * ld, ld,
        columns, false);
    gemm<false>(
        chunk.douts + r0 * d, d, r1 - r0,
        [&](int64_t s) { return keys.values_by_strip + s * 16 * d; }, 16, d, chunk.ds + r0 * ld, ld,
        columns, false);
    for (int64_t r = r0; r < r1; ++r) {
      float *p = chunk.p + r * ld, *ds = chunk.ds + r * ld;
      const F16 scale = set(chunk.scale), shift = set(-chunk.lse[r]), delta = set(chunk.delta[r]);
      const int64_t n = visible(r);
      for (int64_t j = 0; j < columns; j += 16) {
        const F16 e = first_n(n - j, exp(fma(load(p + j), scale, shift)), zero());
        store(p + j, e);
        store(ds + j, first_n(n - j, e * (load(ds + j) - delta) * scale, zero()));
      }
      if (chunk.window > 0) {
        const int64_t lowest = least(n, first_visible + r / chunk.group - chunk.window);
        for (int64_t j = 0; j < lowest; ++j) p[j] = ds[j] = 0.0f;
      }
      for (int64_t j = columns; j < ld; j += 16) {
        store(p + j, zero());
        store(ds + j, zero());
      }
    }
    gemm<false>(
        chunk.ds + r0 * ld, ld, r1 - r0, [&](int64_t s) { return keys.keys + 16 * s; }, d,
        tile_keys, chunk.dqueries + r0 * d, d, d, true);
  }
  for (int64_t j0 = 0; j0 < most_keys; j0 += kRows) {
    const int64_t count = least(kRows, most_keys - j0);
    const int64_t r0 = most(0, (j0 + 1 - first_visible) * chunk.group);  // the first that sees j0
    const auto product = [&](const float* weights, const float* operand, float* c, int64_t ldc) {
      gemm<true>(
          weights + r0 * ld + j0, ld, count, [&](int64_t s) { return operand + r0 * d + 16 * s; },
          d, rows - r0, c + j0 * ldc, ldc, d, true);
    };
    product(chunk.ds, chunk.queries, dk, lddk);
    product(chunk.p, chunk.douts, dv, lddv);
  }
}

// Segments [first, last) share a prefix, which is the first of them if there are more.
struct SegmentGroup {
  int64_t first, last;
};

void backward_group(const AttentionGrad& t, const AttentionSegment* segments, SegmentGroup members,
                    int64_t row_begin, int64_t row_end, float scale, int64_t heads,
                    int64_t kv_heads, int64_t g, int64_t d, int64_t window) {
  const int64_t group = heads / kv_heads, queries_at_once = most(1, kBackwardRows / group);
  const int64_t most_rows = queries_at_once * group;
  for (int64_t row = row_begin; row < row_end; ++row) {
    for (int64_t c = 0; c < d; c += 16) {
      store(t.dk + row * t.lddk + g * d + c, zero());
      store(t.dv + row * t.lddv + g * d + c, zero());
    }
    for (int64_t c = 0; c < group * d; c += 16) {
      store(t.dq + row * t.lddq + g * group * d + c, zero());
    }
  }
  int64_t longest = 0, longest_prefix = 0;
  for (int64_t s = members.first; s < members.last; ++s) {
    longest = most(longest, segments[s].length);
    longest_prefix = most(longest_prefix, segments[s].prefix_length);
  }
  const int64_t score_floats = most_rows * padded_columns(most(longest, longest_prefix));
  const int64_t row_floats = ceil_div(most_rows, 16) * 16;
  float* memory =
      scratch(Scratch::kTask, packed_keys_size(longest, d) + packed_keys_size(longest_prefix, d) +
                                  3 * most_rows * d + 2 * row_floats + 2 * score_floats);
  const auto take = [&memory](int64_t floats) {
    float* taken = memory;
    memory += floats;
    return taken;
  };
  float* own_memory = take(packed_keys_size(longest, d));
  float* prefix_memory = take(packed_keys_size(longest_prefix, d));
  BackwardChunk chunk;
  chunk.group = group;
  chunk.d = d;
  chunk.window = window;
  chunk.scale = scale;
  chunk.queries = take(most_rows * d);
  chunk.douts = take(most_rows * d);
  chunk.dqueries = take(most_rows * d);
  chunk.lse = take(row_floats);
  chunk.delta = take(row_floats);
  chunk.p = take(score_floats);
  chunk.ds = take(score_floats);

  PackedKeys own, prefix{-1, 0, 0, nullptr, nullptr, nullptr};
  const auto add_keys = [&](const PackedKeys& keys, int64_t first_visible) {
    backward_keys(chunk, keys, first_visible, t.dk + keys.begin * t.lddk + g * d, t.lddk,
                  t.dv + keys.begin * t.lddv + g * d, t.lddv);
  };
  for (int64_t s = members.first; s < members.last; ++s) {
    const AttentionSegment& segment = segments[s];
    if (segment.length == 0) continue;
    pack_keys(t, segment.begin, segment.length, g, d, own_memory, own);
    if (segment.prefix_length > 0 &&
        (prefix.begin != segment.prefix_begin || prefix.count != segment.prefix_length)) {
      pack_keys(t, segment.prefix_begin, segment.prefix_length, g, d, prefix_memory, prefix);
    }
    for (int64_t i0 = 0; i0 < segment.length; i0 += queries_at_once) {
      chunk.rows = least(queries_at_once, segment.length - i0) * group;
      for (int64_t r = 0; r < chunk.rows; ++r) {
        const int64_t row = segment.begin + i0 + r / group, head = g * group + r % group;
        const float* query = t.q + row * t.ldq + head * d;
        const float *out = t.out + (row * heads + head) * d,
                    *dout = t.dout + (row * heads + head) * d;
        F16 dot = zero();
        for (int64_t c = 0; c < d; c += 16) {
          const F16 dv = load(dout + c);
          store(chunk.queries + r * d + c, load(query + c));
          store(chunk.douts + r * d + c, dv);
          store(chunk.dqueries + r * d + c, zero());
          dot = fma(dv, load(out + c), dot);
        }
        chunk.delta[r] = sum(dot);
        chunk.lse[r] = t.lse[row * heads + head];
      }
      // Its keys come before the segment's, all of them visible.
      if (segment.prefix_length > 0) add_keys(prefix, prefix.count + i0 + 1);
      add_keys(own, i0 + 1);
      for (int64_t r = 0; r < chunk.rows; ++r) {
        float* dq = t.dq + (segment.begin + i0 + r / group) * t.lddq + (g * group + r % group) * d;
        for (int64_t c = 0; c < d; c += 16) store(dq + c, load(chunk.dqueries + r * d + c));
      }
    }
  }
}

void attention_backward_impl(const AttentionGrad& tensors, const AttentionSegment* segments,
                             int64_t segment_count, int64_t total_rows, float scale, int64_t heads,
                             int64_t kv_heads, int64_t d, int64_t window) {
  if (segment_count == 0) return;
  auto* groups = reinterpret_cast<SegmentGroup*>(
      scratch(Scratch::kShared, segment_count * sizeof(SegmentGroup) / sizeof(float)));
  int64_t group_count = 0, pairs = 0;
  for (int64_t s = 0; s < segment_count; ++s) {
    if (s == 0 || segments[s].prefix_length == 0) groups[group_count++].first = s;
    groups[group_count - 1].last = s + 1;
    pairs += segments[s].length * (segments[s].prefix_length + segments[s].length / 2);
  }
  parallel(group_count * kv_heads, pairs * heads * d / 15, [&](int64_t task) {
    const int64_t i = task / kv_heads, g = task % kv_heads;
    // Rows between segments get zeros, too.
    const int64_t begin = i == 0 ? 0 : segments[groups[i].first].begin;
    const int64_t end = i + 1 == group_count ? total_rows : segments[groups[i + 1].first].begin;
    backward_group(tensors, segments, groups[i], begin, end, scale, heads, kv_heads, g, d, window);
  });
}

}  // namespace
}  // namespace hone::kernels::HONE_KERNELS_LEVEL
