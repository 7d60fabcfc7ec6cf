#include "rollouts/sampler.h"

#include <string_view>

#include "base/rng.h"

namespace hone {

uint64_t request_key(uint64_t seed, uint64_t stage, uint64_t step,
                     const std::vector<int32_t>& prompt, uint64_t occurrence) {
  const std::string_view bytes(reinterpret_cast<const char*>(prompt.data()),
                               prompt.size() * sizeof(int32_t));
  // The constant first: make_key mixes its first two arguments symmetrically.
  return make_key(hash64("rollouts"), seed, stage, step, hash64(bytes), occurrence);
}

}  // namespace hone
