// What the memory's speed allows a sampler: the bytes that decoding must read.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"

namespace hone {

struct DecodeWork {
  int64_t prompt = 0;            // tokens of each prompt
  std::vector<int64_t> lengths;  // tokens of each completion
  int64_t batch = 0;             // sequences decoded together at most
};

struct DecodeBytes {
  int64_t steps = 0;   // the fewest: one sequence's tokens come one after the other
  double weights = 0;  // of one step
  double cache = 0;    // of all steps: each token reads the keys and values of those before it
  double total() const { return static_cast<double>(steps) * weights + cache; }
};

// Every weight is read once a step: of the embedding nothing, unless it is the head; of the experts
// those that the tokens of a step choose, at random, in expectation. Every sequence reads its own
// keys and values, a shared prompt's too. What is written is left out. `element` bytes a value.
DecodeBytes decode_bytes(const ModelConfig& config, const DecodeWork& work, double element);

}  // namespace hone
