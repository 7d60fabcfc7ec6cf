// Common short words for the stories of the corpora. None is a word of the worked questions.
#pragma once

#include <cstdint>

namespace hone {

extern const char* const kWords[];
extern const uint64_t kWordCount;

}  // namespace hone
