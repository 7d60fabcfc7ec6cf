// The tokenizer of the tiny base: 512 pieces for the corpora of the tasks.
#pragma once

#include <cstdint>
#include <string>

namespace hone {

// Trains it on documents of all tasks and writes it to `directory`. Same seed, same bytes.
void make_tiny_tokenizer(const std::string& directory, uint64_t seed);

}  // namespace hone
