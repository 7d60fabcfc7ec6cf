#include "engine/stop_rules.h"

#include <algorithm>

namespace hone {

StopRules::StopRules(const std::vector<int64_t>& stop_ids, int64_t vocab_size,
                     const std::vector<std::string>& stop, const Tokenizer* tokenizer)
    : ends_(static_cast<size_t>(vocab_size), 0), stop_(stop), tokenizer_(tokenizer) {
  for (int64_t id : stop_ids) ends_[static_cast<size_t>(id)] = 1;
  for (const std::string& text : stop_) longest_ = std::max(longest_, text.size());
}

bool StopRules::ends(Sequence& s) const {
  const int32_t id = s.generated.back();
  if (is_end(id)) return true;
  if (stop_.empty()) return false;
  // A stop string that was not there before ends inside the new bytes.
  const size_t before = s.bytes.size();
  s.bytes += tokenizer_->token_bytes(id);
  return find_stop(s.bytes, before - std::min(before, longest_ - 1)) != std::string::npos;
}

std::string StopRules::text(const Sequence& s) const {
  if (!tokenizer_) return "";
  std::string bytes;
  for (int32_t id : s.generated) {
    if (is_end(id)) break;
    bytes += tokenizer_->token_bytes(id);
  }
  if (!stop_.empty()) bytes.resize(std::min(bytes.size(), find_stop(bytes, 0)));
  return valid_utf8(bytes);
}

size_t StopRules::find_stop(const std::string& bytes, size_t begin) const {
  size_t first = std::string::npos;
  for (const std::string& text : stop_) first = std::min(first, bytes.find(text, begin));
  return first;
}

}  // namespace hone
