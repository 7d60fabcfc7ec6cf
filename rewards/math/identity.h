// Whether two expressions are the same number or the same function.
#pragma once

#include <vector>

#include "rewards/math/evaluate.h"
#include "rewards/math/syntax.h"

namespace hone::math {

// A node in its tree.
struct Ref {
  const Tree* tree = nullptr;
  int index = -1;
  const Node& operator*() const { return (*tree)[index]; }
  const Node* operator->() const { return &(*tree)[index]; }
  Ref child(int k) const { return {tree, tree->child(index, k)}; }
};

// The names of the variables, sorted, without repetition.
std::vector<uint64_t> symbols_of(Ref a);

bool same_structure(Ref a, Ref b);

// Numbers: equal if exact arithmetic says so, or if the enclosures of their difference still
// contain zero at about 300 digits; unequal as soon as enclosures are apart. What cannot be
// evaluated equals only what is written the same.
bool same_number(Ref a, Ref b);
// -1, 0 or 1 by enclosures; none if either cannot be evaluated.
std::optional<int> order_of(Ref a, Ref b);

// Expressions with variables: identical as rational functions over a prime field, or numerically at
// several points where both are real.
bool same_expression(Ref a, Ref b);

// a = b and c = d say the same: a - b is c - d times a constant; its sign, 0 if there is none.
int same_relation(Ref a, Ref b, Ref c, Ref d);

}  // namespace hone::math
