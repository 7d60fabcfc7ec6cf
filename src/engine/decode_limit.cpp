#include "engine/decode_limit.h"

#include <algorithm>
#include <cmath>

namespace hone {
namespace {

// Values of the weights that a step of `live` sequences reads.
double weight_values(const ModelConfig& c, double live) {
  double values = static_cast<double>(c.parameter_count());
  if (!c.tied_head) values -= static_cast<double>(c.vocab_size * c.hidden);
  const ExpertOptions& e = c.experts;
  if (e.count == 0) return values;
  const double untouched =
      std::pow(1 - static_cast<double>(e.per_token) / static_cast<double>(e.count), live);
  const double experts = static_cast<double>(e.count * 3 * c.hidden * e.intermediate);
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    if (c.is_sparse(layer)) values -= untouched * experts;
  }
  return values;
}

}  // namespace

DecodeBytes decode_bytes(const ModelConfig& c, const DecodeWork& work, double element) {
  DecodeBytes bytes;
  double tokens = 0, contexts = 0;
  for (const int64_t length : work.lengths) {
    const double n = static_cast<double>(length);
    tokens += n;
    contexts += n * static_cast<double>(work.prompt) + n * (n - 1) / 2;
    bytes.steps = std::max(bytes.steps, length);
  }
  bytes.steps = std::max(bytes.steps,
                         static_cast<int64_t>(std::ceil(tokens / static_cast<double>(work.batch))));
  bytes.weights = element * weight_values(c, tokens / static_cast<double>(bytes.steps));
  const int64_t parts = c.latent.kv_rank > 0 ? 1 : 2;  // latent attention reads one row for both
  bytes.cache = element * contexts *
                static_cast<double>(parts * c.layers * c.cache_heads() * c.cache_width());
  return bytes;
}

}  // namespace hone
