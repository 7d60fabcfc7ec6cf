// Fuzzes the reader of answers and their comparison: reference and answer, split at the first NUL
// or in the middle. Beyond crashes it checks what must always hold.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "rewards/math/compare.h"

using namespace hone::math;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  size_t split = text.find('\0');
  if (split == std::string_view::npos) split = size / 2;
  const Answer reference = read_answer(text.substr(0, split));
  const Answer answer = read_answer(text.substr(std::min(split + 1, size)));
  MathOptions options;
  if (size > 0) {
    const uint8_t bits = data[size - 1];
    options.percent = (bits & 1) != 0 ? Percent::value : Percent::either;
    options.units = static_cast<Units>((bits >> 1) % 3);
    options.order = (bits & 8) != 0 ? Order::given : Order::any;
    options.tolerance = (bits & 16) != 0 ? 1e-6 : 0;
  }
  const bool first = same_answer(reference, answer, options);
  if (first != same_answer(reference, answer, options)) std::abort();  // the same verdict twice
  if (first && (!reference.readable() || !answer.readable())) std::abort();
  usable(reference);
  return 0;
}
