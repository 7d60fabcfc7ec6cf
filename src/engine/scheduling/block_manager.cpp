#include "engine/scheduling/block_manager.h"

#include "base/error.h"

namespace hone {

BlockManager::BlockManager(int64_t blocks) : references_(static_cast<size_t>(blocks), 0) {
  free_.reserve(references_.size());
  for (int64_t block = blocks - 1; block >= 0; --block) {
    free_.push_back(static_cast<int32_t>(block));
  }
}

int32_t BlockManager::allocate() {
  HONE_CHECK(!free_.empty());
  const int32_t block = free_.back();
  free_.pop_back();
  references_[static_cast<size_t>(block)] = 1;
  return block;
}

void BlockManager::share(int32_t block) {
  HONE_CHECK(references(block) > 0);
  ++references_[static_cast<size_t>(block)];
}

void BlockManager::release(int32_t block) {
  HONE_CHECK(references(block) > 0);
  if (--references_[static_cast<size_t>(block)] == 0) free_.push_back(block);
}

}  // namespace hone
