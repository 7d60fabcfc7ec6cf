// Rewriting of trees: what is short for several answers is written out, sums and products of
// matrices are carried out.
#pragma once

#include "rewards/math/identity.h"

namespace hone::math {

// Copies a subtree of another tree; returns its index in `to`.
int copy_into(Tree& to, Ref from);

// 1 \pm \sqrt 2 becomes the list of both, in lists and sets too; matrix arithmetic becomes a
// matrix. False if that is not possible or too large.
bool rewrite(Tree& tree);

}  // namespace hone::math
