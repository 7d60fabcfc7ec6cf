// Sets of real numbers: intervals, unions, points, and the inequalities that describe them.
#pragma once

#include <optional>
#include <vector>

#include "rewards/math/identity.h"

namespace hone::math {

struct End {
  int infinite = 0;  // -1 or 1; else the number at `at`
  Ref at;
  bool minus = false;  // or its negative
};
struct Piece {  // an interval; a point has equal ends, both closed
  End low, high;
  bool low_closed = false, high_closed = false;
};
using RealSet = std::vector<Piece>;  // in order, apart from each other

// None if it is not a set of real numbers whose ends can be put in order.
std::optional<RealSet> real_set(Ref a);

bool same_set(const RealSet& a, const RealSet& b);

}  // namespace hone::math
