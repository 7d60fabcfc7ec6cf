#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <limits>
#include <numeric>

#include "kernels/cpu_reference.h"
#include "tests/kernels/kernel_testing.h"

namespace hone::kernels {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

struct Heads {
  int64_t heads, kv_heads, d;
};
// Groups of 1, 2 and 7 heads; head sizes that fill the widest tiles and that do not.
const Heads kHeads[] = {{3, 3, 16}, {4, 2, 64}, {7, 1, 48}, {2, 1, 128}};

// Sequences of these context lengths in a paged cache whose blocks are shuffled and whose unused
// slots hold NaN.
struct Paged {
  Heads shape;
  std::vector<int64_t> contexts, first_row;  // in q, k, v: one row a token
  Floats q, k, v, keys, values;
  std::vector<std::vector<int32_t>> tables;

  Paged(Heads h, std::vector<int64_t> lengths, uint64_t key) : shape(h), contexts(lengths) {
    int64_t rows = 0, blocks = 0;
    for (int64_t n : contexts) {
      first_row.push_back(rows);
      rows += n;
      blocks += (n + kBlockTokens - 1) / kBlockTokens;
    }
    const int64_t d = shape.d, g = shape.kv_heads;
    q = random_floats(rows * shape.heads * d, key, 2.0);
    k = random_floats(rows * g * d, key + 1, 2.0);
    v = random_floats(rows * g * d, key + 2);
    keys.assign(blocks * g * d * kBlockTokens, kNan);
    values = keys;
    std::vector<int32_t> free(blocks);
    std::iota(free.begin(), free.end(), 0);
    Rng rng(key + 3);
    for (int64_t i = blocks - 1; i > 0; --i) std::swap(free[i], free[rng.below(i + 1)]);
    std::vector<int64_t> slots;
    size_t next = 0;
    for (int64_t n : contexts) {
      auto& table = tables.emplace_back();
      for (int64_t i = 0; i < n; ++i) {
        if (i % kBlockTokens == 0) table.push_back(free[next++]);
        slots.push_back(table.back() * kBlockTokens + i % kBlockTokens);
      }
    }
    store_kv(k.data(), v.data(), g * d, g * d, slots.data(), keys.data(), values.data(), rows, g,
             d);
  }

  float scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.d)); }
  int64_t rows() const { return first_row.back() + contexts.back(); }
  int64_t row_floats() const { return shape.heads * shape.d; }

  AttentionSequence sequence(size_t s, int64_t begin, int64_t length) const {
    return {first_row[s] + begin, length, begin + length, tables[s].data()};
  }
  std::vector<AttentionSequence> prefill() const {
    std::vector<AttentionSequence> all;
    for (size_t s = 0; s < contexts.size(); ++s) all.push_back(sequence(s, 0, contexts[s]));
    return all;
  }
  // Output and logsumexp, side by side.
  Floats run(const std::vector<AttentionSequence>& sequences, bool twin = false,
             int64_t window = 0) const {
    Floats out(rows() * row_floats(), 5.0f), lse(rows() * shape.heads, 5.0f);
    (twin ? reference::paged_attention : paged_attention)(
        q.data(), row_floats(), sequences.data(), static_cast<int64_t>(sequences.size()),
        keys.data(), values.data(), scale(), out.data(), lse.data(), shape.heads, shape.kv_heads,
        shape.d, window);
    out.insert(out.end(), lse.begin(), lse.end());
    return out;
  }
};

TEST_CASE("paged attention gives the bits of its scalar twin and ignores unused cache slots") {
  for (Heads heads : kHeads) {
    const Paged paged(heads, {1, 2, 15, 16, 17, 33, 70, 5}, 1);
    const Floats expected = paged.run(paged.prefill(), true);
    REQUIRE(std::none_of(expected.begin(), expected.end(), [](float x) { return std::isnan(x); }));
    for_each_setting(
        [&] { REQUIRE(first_difference(paged.run(paged.prefill()), expected) == -1); });
  }
}

TEST_CASE("a window hides what is further away than its length, with the bits of the twin") {
  for (Heads heads : kHeads) {
    const Paged paged(heads, {1, 2, 15, 16, 17, 33, 70, 5}, 1);
    for (const int64_t window : {1, 3, 15, 16, 17, 40, 69, 70, 200}) {
      const Floats expected = paged.run(paged.prefill(), true, window);
      for_each_setting([&] {
        REQUIRE(first_difference(paged.run(paged.prefill(), false, window), expected) == -1);
      });
      std::vector<AttentionSequence> decode;
      for (size_t s = 0; s < paged.contexts.size(); ++s) {
        for (int64_t i = 0; i < paged.contexts[s]; ++i) decode.push_back(paged.sequence(s, i, 1));
      }
      REQUIRE(first_difference(paged.run(decode, false, window), expected) == -1);
      REQUIRE((first_difference(expected, paged.run(paged.prefill())) == -1) == (window >= 70));
    }
  }
}

TEST_CASE("a row decoded alone, in a batch or within a prefill has the same bits") {
  for (Heads heads : kHeads) {
    const Paged paged(heads, {40, 65, 9, 130}, 10);
    const Floats whole = paged.run(paged.prefill());
    for_each_setting([&] {
      // Every row of every sequence decoded alone, all in one batch.
      std::vector<AttentionSequence> decode, chunks;
      for (size_t s = 0; s < paged.contexts.size(); ++s) {
        for (int64_t i = 0; i < paged.contexts[s]; ++i) decode.push_back(paged.sequence(s, i, 1));
        for (int64_t i = 0; i < paged.contexts[s]; i += 7) {
          chunks.push_back(paged.sequence(s, i, std::min<int64_t>(7, paged.contexts[s] - i)));
        }
      }
      REQUIRE(first_difference(paged.run(decode), whole) == -1);
      REQUIRE(first_difference(paged.run(chunks), whole) == -1);
      const Floats alone = paged.run({paged.sequence(3, 129, 1)});
      const int64_t at = (paged.first_row[3] + 129) * paged.row_floats();
      for (int64_t c = 0; c < paged.row_floats(); ++c) REQUIRE(alone[at + c] == whole[at + c]);
    });
  }
}

TEST_CASE("sequences without rows are passed over") {
  const Paged paged({4, 2, 16}, {20, 30}, 20);
  std::vector<AttentionSequence> sequences = paged.prefill();
  const Floats expected = paged.run(sequences);
  AttentionSequence none = sequences[0];
  none.query_length = 0;
  sequences.insert(sequences.begin(), none);
  sequences.insert(sequences.begin() + 2, none);
  sequences.push_back(none);
  for_each_setting([&] { REQUIRE(first_difference(paged.run(sequences), expected) == -1); });
}

template <class List>
std::vector<std::pair<Heads, int64_t>> with_windows(const List& heads) {
  std::vector<std::pair<Heads, int64_t>> all;
  for (Heads h : heads) all.emplace_back(h, 0);
  for (const int64_t window : {1, 6, 16, 50}) all.emplace_back(*std::begin(heads), window);
  return all;
}

struct Batch {
  std::vector<AttentionSegment> segments;
  int64_t rows = 0;

  int64_t add(int64_t length, int64_t prefix_begin = 0, int64_t prefix_length = 0) {
    segments.push_back({rows, length, prefix_begin, prefix_length});
    rows += length;
    return rows - length;
  }
};

TEST_CASE("attention_backward agrees with doubles, with shared prefixes and long segments") {
  Batch batch;
  batch.add(5);
  int64_t prompt = batch.add(33);
  for (int64_t n : {17, 1, 64, 40}) batch.add(n, prompt, 33);
  prompt = batch.add(16);
  for (int64_t n : {100, 3}) batch.add(n, prompt, 16);
  batch.rows += 3;  // padding between segments
  batch.add(230);
  batch.rows += 2;
  for (const auto& [h, window] : with_windows(kHeads)) {
    const int64_t t = batch.rows, d = h.d, wide = h.heads * d + 16, narrow = h.kv_heads * d + 16;
    const float scale = 1.0f / std::sqrt(static_cast<float>(d));
    const Floats q = random_floats(t * wide, 31, 2.0), k = random_floats(t * narrow, 32, 2.0);
    const Floats v = random_floats(t * narrow, 33), dout = random_floats(t * h.heads * d, 34);

    // The forward pass: every segment sees copies of its prefix in its own blocks.
    Floats out(t * h.heads * d), lse(t * h.heads);
    for (const AttentionSegment& s : batch.segments) {
      const int64_t context = s.prefix_length + s.length, blocks = (context + 15) / 16;
      Floats keys(blocks * h.kv_heads * d * 16), values = keys;
      std::vector<int32_t> table(blocks);
      std::iota(table.begin(), table.end(), 0);
      std::vector<int64_t> slots(context);
      std::iota(slots.begin(), slots.end(), 0);
      store_kv(k.data() + s.prefix_begin * narrow, v.data() + s.prefix_begin * narrow, narrow,
               narrow, slots.data(), keys.data(), values.data(), s.prefix_length, h.kv_heads, d);
      store_kv(k.data() + s.begin * narrow, v.data() + s.begin * narrow, narrow, narrow,
               slots.data() + s.prefix_length, keys.data(), values.data(), s.length, h.kv_heads, d);
      const AttentionSequence sequence{s.begin, s.length, context, table.data()};
      paged_attention(q.data(), wide, &sequence, 1, keys.data(), values.data(), scale, out.data(),
                      lse.data(), h.heads, h.kv_heads, d, window);
    }

    Floats dq(t * h.heads * d), dk(t * h.kv_heads * d), dv(t * h.kv_heads * d);
    AttentionGrad tensors{q.data(),   k.data(),  v.data(),    out.data(),     dout.data(),
                          lse.data(), wide,      narrow,      narrow,         dq.data(),
                          dk.data(),  dv.data(), h.heads * d, h.kv_heads * d, h.kv_heads * d};
    std::vector<double> edq(dq.size()), edk(dk.size()), edv(dv.size());
    reference::attention_backward(tensors, batch.segments.data(),
                                  static_cast<int64_t>(batch.segments.size()), t, scale, h.heads,
                                  h.kv_heads, d, window, edq.data(), edk.data(), edv.data());
    Floats first;
    for_each_setting([&] {
      for (Floats* x : {&dq, &dk, &dv}) std::fill(x->begin(), x->end(), kNan);
      attention_backward(tensors, batch.segments.data(),
                         static_cast<int64_t>(batch.segments.size()), t, scale, h.heads, h.kv_heads,
                         d, window);
      REQUIRE(largest_error(dq, edq) < 2e-5);
      REQUIRE(largest_error(dk, edk) < 2e-5);
      REQUIRE(largest_error(dv, edv) < 2e-5);
      if (first.empty()) first = dk;
      REQUIRE(first_difference(dk, first) == -1);
    });
  }
}

}  // namespace
}  // namespace hone::kernels
