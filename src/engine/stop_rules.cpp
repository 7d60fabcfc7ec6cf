#include "engine/stop_rules.h"

#include <algorithm>

namespace hone {

StopRules::StopRules(const std::vector<int64_t>& stop_ids, int64_t vocab_size,
                     const std::vector<std::string>& stop, int64_t min_tokens,
                     const Tokenizer* tokenizer)
    : ends_(static_cast<size_t>(vocab_size), 0),
      stop_(stop),
      min_tokens_(static_cast<size_t>(min_tokens)),
      tokenizer_(tokenizer) {
  for (int64_t id : stop_ids) ends_[static_cast<size_t>(id)] = 1;
}

bool StopRules::ends(Sequence& s) const {
  const int32_t id = s.generated.back();
  if (is_end(id)) return true;
  if (stop_.empty()) return false;
  const size_t before = s.bytes.size();
  s.bytes += tokenizer_->token_bytes(id);
  return s.generated.size() >= min_tokens_ && find_stop(s.bytes, before) != std::string::npos;
}

std::string StopRules::text(const Sequence& s) const {
  if (!tokenizer_) return "";
  std::string bytes;
  size_t early = 0;  // bytes of the tokens with which no stop string counts
  for (size_t i = 0; i < s.generated.size() && !is_end(s.generated[i]); ++i) {
    bytes += tokenizer_->token_bytes(s.generated[i]);
    if (i + 1 < min_tokens_) early = bytes.size();
  }
  if (!stop_.empty()) bytes.resize(std::min(bytes.size(), find_stop(bytes, early)));
  return valid_utf8(bytes);
}

size_t StopRules::find_stop(const std::string& bytes, size_t after) const {
  size_t first = std::string::npos;
  for (const std::string& text : stop_) {
    first = std::min(first, bytes.find(text, after - std::min(after, text.size() - 1)));
  }
  return first;
}

}  // namespace hone
