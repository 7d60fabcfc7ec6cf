// Memory of a forward and backward pass on a GPU, from what each operation keeps and what the
// backward pass holds beside it.
#pragma once

#include <cstdint>

#include "train/recipe.h"

namespace hone {

struct PassShape {
  int64_t tokens = 0;     // of the micro-batch
  int64_t sequences = 0;  // that it is made of
  int64_t targets = 0;    // tokens whose log-probabilities are asked for
};

struct PassBytes {
  int64_t kept = 0;       // activations, when the backward pass begins
  int64_t temporary = 0;  // the most that is there beside them
};

// `value_bytes`: of an activation. A stage that leaves `recompute` to its plan counts as none.
//
// What each operation keeps is read off its function in src/model (save_for_backward, and what
// autograd keeps for LibTorch's own), counted in elements a token; see the comments in the source.
// Not counted: the allocator's rounding, at most a MiB a tensor. Where flash attention does not
// serve (float32, heads that it lacks) attention's scores are not counted, so that the figure is
// too low.
PassBytes pass_bytes(const ModelConfig& shape, const StageOptions& stage, int64_t value_bytes,
                     const PassShape& pass);

}  // namespace hone
