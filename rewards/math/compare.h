// Whether an answer says what the reference says.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "rewards/math/options.h"
#include "rewards/math/syntax.h"

namespace hone::math {

// An answer as it was read. Nothing of it is guessed: what is not understood is neither.
struct Answer {
  std::optional<Tree> tree;     // as mathematics
  std::string words;            // as text, by normal_words; "" if it is not text
  char choice = 0;              // as the letter of a multiple choice
  std::optional<Tree> decimal;  // "1,5" as one and a half

  bool readable() const { return tree || !words.empty() || choice != 0; }
};

Answer read_answer(std::string_view text);

// Whether a reference can be compared with: it is readable, and no number that does not exist.
bool usable(const Answer& reference);

bool same_answer(const Answer& reference, const Answer& answer, const MathOptions& options);

}  // namespace hone::math
