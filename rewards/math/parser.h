// Reads an answer into a tree. What is not understood to the last sign is not read at all.
#pragma once

#include <optional>
#include <string_view>

#include "rewards/math/syntax.h"

namespace hone::math {

constexpr int kMaxDepth = 60;  // nested groups, fractions, exponents

// `text` as `cleaned` left it.
std::optional<Tree> parse(std::string_view text);

}  // namespace hone::math
