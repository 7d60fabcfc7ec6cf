#include "train/activation_bytes.h"

#include <algorithm>

#include "train/stage.h"

namespace hone {
namespace {

constexpr int64_t kFloat = 4, kIndex = 8;  // bytes

// Of all tokens of a micro-batch, in bytes.
struct LayerBytes {
  int64_t attention = 0, feed_forward = 0;  // kept
  // Beside what is kept in the backward pass of each half. The feed-forward's comes first; what it
  // kept is gone when attention's turn comes.
  int64_t attention_temporary = 0, feed_forward_temporary = 0;

  int64_t kept() const { return attention + feed_forward; }
  // The most above what other layers keep.
  int64_t peak() const {
    return std::max(kept() + feed_forward_temporary, attention + attention_temporary);
  }
};

class PassPlanner {
 public:
  PassPlanner(const ModelConfig& c, const StageOptions& s, const Precision& precision,
              const PassShape& p)
      : c_(c),
        precision_(precision),
        value_(precision.value_bytes),
        t_(p.tokens),
        p_(p),
        recompute_(s.recompute) {
    if (s.lora.on()) lora_ = lora_shape(s.lora);
  }

  PassBytes bytes() const {
    std::vector<LayerBytes> layers;
    for (int64_t l = 0; l < c_.layers; ++l) layers.push_back(layer(c_.is_sparse(l)));
    const int64_t width = value_ * t_ * c_.hidden;
    int64_t kept = 0, peak = 0;  // peak: of a layer's backward pass, above what all keep
    for (const LayerBytes& l : layers) {
      if (recompute_ == Recompute::layers) {
        kept += width;
        peak = std::max(peak, l.peak());
      } else {
        kept += l.kept();
        peak = std::max(peak, l.peak() - l.kept());
      }
    }
    // The last norm's input and result, and the rows of it that are asked for.
    const int64_t rows = value_ * p_.targets * c_.hidden, last = 2 * width + rows;
    // Their gradient, a chunk of logits and its gradient (head.cpp, head_rows).
    const int64_t chunk = std::min(p_.targets, std::max<int64_t>(kHeadElements / c_.vocab_size, 1));
    const int64_t logits = chunk * c_.vocab_size * (kFloat + (value_ < kFloat ? value_ : 0));
    const int64_t head = rows + logits + value_ * chunk * c_.hidden;
    // In a layer's turn the head's rows are gone, the result of the last norm and a gradient of the
    // stream are there. The embedding's turn needs less: its gradient is added row by row.
    return {kept + last, std::max(head, peak + 2 * width - last)};
  }

 private:
  static constexpr int64_t kHeadElements = int64_t{256} << 20;
  static constexpr int64_t kProcessors = 132;  // of an H100 or H200

  bool selective() const { return recompute_ == Recompute::selective; }
  // Whether weights, by the last parts of their names, need their input for a gradient.
  bool learned(std::initializer_list<const char*> names) const {
    if (lora_.rank == 0 || lora_.targets.empty()) return true;
    return std::any_of(names.begin(), names.end(), [&](const char* name) {
      return std::find(lora_.targets.begin(), lora_.targets.end(), name) != lora_.targets.end();
    });
  }
  // Elements kept of a norm's or a gate's result, which products read.
  int64_t cheap(int64_t elements, std::initializer_list<const char*> readers) const {
    return selective() || !learned(readers) ? 0 : elements;
  }
  // The same where the product is of `rows` outputs: in 8 bits it keeps a form of its own, a byte
  // an element, whatever is formed again.
  int64_t read(int64_t elements, int64_t rows, std::initializer_list<const char*> readers) const {
    if (!in_8_bits(precision_, rows, elements) || lora_.rank > 0) return cheap(elements, readers);
    return elements / value_;
  }

  LayerBytes layer(bool sparse) const {
    LayerBytes l;
    c_.latent.kv_rank > 0 ? latent_attention(l) : attention(l);
    dense(l, sparse ? c_.experts.shared_intermediate : c_.intermediate);
    if (sparse) experts(l);
    return l;
  }

  // Flash attention over `width` wide heads: it keeps rotated heads, its output, and a logarithm a
  // row; its backward pass has the gradients of output, queries, keys and values, where key heads
  // are shared those of every query head, and adds up the queries' in float32, once for each part
  // that the processors need to be busy (LibTorch, deterministic). Where prompts are shared keys
  // and values are a copy, and with their gradients of as many rows as that.
  void flash(LayerBytes& l, int64_t heads, int64_t kv_heads, int64_t width) const {
    const int64_t q = heads * width, kv = kv_heads * width;
    l.attention += t_ * (value_ * (2 * q + 2 * kv) + kFloat * heads);
    const int64_t tiles = std::max<int64_t>(p_.sequences * heads, 1);
    const int64_t parts = (kProcessors + tiles - 1) / tiles;
    const int64_t padded = width <= 128 ? (width + 31) / 32 * 32 : (width + 63) / 64 * 64;
    const int64_t sums = parts * (t_ + 128 * p_.sequences) * heads * padded * kFloat;
    const int64_t keys = std::max(p_.keys, t_);
    const int64_t of_key = 2 * kv + (kv_heads < heads ? 2 * q : 0) + (p_.keys > 0 ? 2 * kv : 0);
    l.attention_temporary =
        value_ * (t_ * 2 * q + keys * of_key) + std::max(sums, value_ * t_ * (q + 2 * kv));
  }

  void attention(LayerBytes& l) const {
    const int64_t heads = (c_.heads + c_.kv_heads) * c_.head_dim;
    const int64_t mixed = c_.heads * c_.head_dim;
    int64_t elements = c_.hidden + read(c_.hidden, heads + c_.kv_heads * c_.head_dim,
                                        {"q_proj", "k_proj", "v_proj"});
    if (c_.head_norms) elements += heads;  // queries and keys before their norms
    if (in_8_bits(precision_, c_.hidden, mixed) && lora_.rank == 0) elements += mixed / value_;
    l.attention = t_ * (value_ * elements + kFloat);
    flash(l, c_.heads, c_.kv_heads, c_.head_dim);
  }

  void latent_attention(LayerBytes& l) const {
    const LatentOptions& o = c_.latent;
    const int64_t width = std::max(o.plain + o.rotary, o.value);
    int64_t elements = c_.hidden + cheap(c_.hidden, {"q_proj", "q_a_proj", "kv_a_proj_with_mqa"});
    elements += o.q_rank + cheap(o.q_rank, {"q_b_proj"});
    elements += o.kv_rank + (lora_.rank == 0 ? cheap(o.kv_rank, {"kv_b_proj"}) : 0);
    if (width != o.value) elements += c_.heads * o.value;  // cut out of the wide output
    // Cosines and sines of the two rotations, and the factors of three norms.
    l.attention = t_ * (value_ * elements + kFloat * (2 * o.rotary + 3));
    flash(l, c_.heads, c_.heads, width);
  }

  // Also the experts that every token takes; the norm before it.
  void dense(LayerBytes& l, int64_t inner) const {
    int64_t elements = c_.hidden + read(c_.hidden, 2 * inner, {"gate_proj", "up_proj"}) + 2 * inner;
    if (c_.activation != Activation::silu) elements += inner;
    const int64_t mixed = read(inner, c_.hidden, {"down_proj"});
    l.feed_forward = t_ * (value_ * (elements + mixed) + kFloat);
    // The gradients of the gate's result and of its inputs, while that result is gone.
    l.feed_forward_temporary = value_ * t_ * (3 * inner - mixed);
    // Its 8-bit forms, along both sides.
    if (in_8_bits(precision_, 2 * inner, c_.hidden)) l.feed_forward_temporary += 4 * t_ * inner;
  }

  void experts(LayerBytes& l) const {
    const ExpertOptions& e = c_.experts;
    const bool frozen = lora_.rank > 0;
    const int64_t k = e.per_token, f = e.intermediate, c = c_.hidden;
    const bool kept = !selective() && !frozen;
    const int64_t rows = kept ? k * c : 0, mixed = kept ? k * f : 0;
    // Rows of the chosen experts, their gates, their results.
    l.feed_forward += t_ * value_ * (rows + 2 * k * f + mixed + k * c);
    // Scores, twice for the balance loss with shares; choices, and where they went.
    l.feed_forward += t_ * (kFloat * (4 * e.count + 4 * k) + kIndex * 3 * k);
    const int64_t one = frozen ? 0 : value_ * e.count * c * f;  // gradient of `down`, not yet added
    const int64_t t = value_ * t_;
    const int64_t combine = 2 * t * k * c;
    const int64_t down = std::max(one, t * k * f) + (selective() ? t * k * f : 0);
    const int64_t gate = t * (3 * k * f - mixed - k * c);
    const int64_t up = -t * (2 * k * f + mixed + k * c) + 2 * t * k * f +
                       std::max(2 * one + (selective() ? t * k * c : 0), t * k * c);
    l.feed_forward_temporary = std::max({l.feed_forward_temporary, combine, down, gate, up});
  }

  const ModelConfig& c_;
  Precision precision_;
  int64_t value_, t_;
  PassShape p_;
  Recompute recompute_;
  LoraShape lora_;  // rank 0: none
};

}  // namespace

PassBytes pass_bytes(const ModelConfig& shape, const StageOptions& stage,
                     const Precision& precision, const PassShape& pass) {
  return PassPlanner(shape, stage, precision, pass).bytes();
}

}  // namespace hone
