// Blocks of the key/value cache: who holds them is counted, a block with no holder is free.
// Bookkeeping only; the tensors lie elsewhere. One thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hone {

class BlockManager {
 public:
  explicit BlockManager(int64_t blocks);

  // A free block, held once. REQUIRES: free_count() > 0.
  int32_t allocate();
  // One more holder. REQUIRES: the block is held.
  void share(int32_t block);
  // One holder less; the last one frees the block. REQUIRES: the block is held.
  void release(int32_t block);

  int64_t free_count() const { return static_cast<int64_t>(free_.size()); }
  int64_t total() const { return static_cast<int64_t>(references_.size()); }
  int32_t references(int32_t block) const { return references_[static_cast<size_t>(block)]; }

 private:
  std::vector<int32_t> free_;  // a stack: the block freed last is warm in the processor's cache
  std::vector<int32_t> references_;
};

}  // namespace hone
