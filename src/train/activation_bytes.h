// Memory of a forward and backward pass on a GPU, from what each operation keeps and what the
// backward pass holds beside it.
#pragma once

#include <cstdint>

#include "train/recipe.h"

namespace hone {

// How a stage computes.
struct Precision {
  int64_t value_bytes = 4;  // of a weight and an activation: 2 in bfloat16
  bool fp8 = false;         // ModelPlace::fp8
};

// Whether a dense linear layer of these sides is multiplied in 8 bits.
inline bool in_8_bits(const Precision& p, int64_t rows, int64_t columns) {
  return p.fp8 && fits_8_bits(rows, columns);
}

struct PassShape {
  int64_t tokens = 0;     // of the micro-batch
  int64_t sequences = 0;  // that it is made of
  int64_t targets = 0;    // tokens whose log-probabilities are asked for
  // Of shared prompts: the keys of all sequences together, each with its prompt, which attention
  // copies there. 0: none is shared, and it reads them where they are.
  int64_t keys = 0;
};

struct PassBytes {
  int64_t kept = 0;       // activations, when the backward pass begins
  int64_t temporary = 0;  // the most that is there beside them
};

// A stage that leaves `recompute` to its plan counts as none.
//
// What each operation keeps is read off its function in src/model (save_for_backward, and what
// autograd keeps for LibTorch's own), counted in elements a token; see the comments in the source.
// Not counted: the allocator's rounding, at most a MiB a tensor. Where flash attention does not
// serve (float32, heads that it lacks) attention's scores are not counted, so that the figure is
// too low.
PassBytes pass_bytes(const ModelConfig& shape, const StageOptions& stage,
                     const Precision& precision, const PassShape& pass);

}  // namespace hone
