// What objective.cpp and token_selection.cpp read of a row.
#pragma once

#include <cmath>

#include "train/objective.h"

namespace hone {

inline bool counts(const ObjectiveRow& row, size_t t) {
  return row.mask.empty() || row.mask[t] != 0;
}

inline double old_of(const ObjectiveRow& row, size_t t) {
  return row.old_logp.empty() ? row.logp[t] : row.old_logp[t];
}

inline double advantage_of(const ObjectiveRow& row, size_t t) {
  return row.token_advantages.empty() ? row.advantage : row.token_advantages[t];
}

inline double ratio_of(const ObjectiveRow& row, size_t t) {
  return row.old_logp.empty() ? 1.0 : std::exp(row.logp[t] - row.old_logp[t]);
}

}  // namespace hone
