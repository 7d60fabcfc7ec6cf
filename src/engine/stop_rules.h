// When a completion ends, and its text.
#pragma once

#include <string>
#include <vector>

#include "engine/scheduling/sequence.h"
#include "rollouts/sampler.h"
#include "text/tokenizer.h"

namespace hone {

class StopRules {
 public:
  // stop_ids: all ids that end a completion, each in [0, vocab_size). A stop string counts if it is
  // complete with token number min_tokens or a later one. The tokenizer may be null if there are no
  // stop strings.
  StopRules(const std::vector<int64_t>& stop_ids, int64_t vocab_size,
            const std::vector<std::string>& stop, int64_t min_tokens, const Tokenizer* tokenizer);

  // Whether the sequence ends with the token just appended to `generated`. Keeps `bytes` where
  // stop strings need it.
  bool ends(Sequence& s) const;

  // Text without the end token and without what begins with the first stop string.
  std::string text(const Sequence& s) const;

 private:
  bool is_end(int32_t id) const { return ends_[static_cast<size_t>(id)] != 0; }
  // Where the first stop string begins that ends beyond the first `after` bytes.
  size_t find_stop(const std::string& bytes, size_t after) const;

  std::vector<char> ends_;  // [V]
  std::vector<std::string> stop_;
  size_t min_tokens_;
  const Tokenizer* tokenizer_;
};

}  // namespace hone
