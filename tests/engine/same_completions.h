// Equality of completions in every bit.
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <vector>

#include "base/types.h"

namespace hone::testing {

using Results = std::vector<std::vector<Completion>>;

inline void check_same(const Results& a, const Results& b) {
  REQUIRE(a.size() == b.size());
  for (size_t r = 0; r < a.size(); ++r) {
    REQUIRE(a[r].size() == b[r].size());
    for (size_t i = 0; i < a[r].size(); ++i) {
      CAPTURE(r, i);
      REQUIRE(a[r][i].tokens == b[r][i].tokens);
      REQUIRE(a[r][i].logprobs == b[r][i].logprobs);  // equal floats: no tolerance
      REQUIRE(a[r][i].sampled_logprobs == b[r][i].sampled_logprobs);
      REQUIRE(a[r][i].finish_reason == b[r][i].finish_reason);
      REQUIRE(a[r][i].text == b[r][i].text);
    }
  }
}

}  // namespace hone::testing
