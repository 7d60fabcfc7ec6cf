#include "engine/scheduling/block_manager.h"

#include <catch2/catch_test_macros.hpp>
#include <set>

#include "base/rng.h"

namespace hone {

TEST_CASE("a block is free again after its last holder released it") {
  BlockManager blocks(2);
  const int32_t a = blocks.allocate();
  blocks.share(a);
  CHECK(blocks.references(a) == 2);
  blocks.release(a);
  CHECK(blocks.free_count() == 1);
  blocks.release(a);
  CHECK(blocks.free_count() == 2);
  CHECK(blocks.references(a) == 0);
}

TEST_CASE("every block is handed out once until all are taken") {
  BlockManager blocks(100);
  std::set<int32_t> taken;
  while (blocks.free_count() > 0) taken.insert(blocks.allocate());
  CHECK(taken.size() == 100);
  CHECK(*taken.begin() == 0);
  CHECK(*taken.rbegin() == 99);
}

TEST_CASE("random allocation, sharing and release keep count") {
  BlockManager blocks(37);
  Rng rng(5);
  std::vector<int32_t> held;  // one entry per holder
  for (int i = 0; i < 20000; ++i) {
    const uint64_t what = rng.below(3);
    if (what == 0 && blocks.free_count() > 0) {
      held.push_back(blocks.allocate());
    } else if (what == 1 && !held.empty() && held.size() < 200) {
      held.push_back(held[rng.below(held.size())]);
      blocks.share(held.back());
    } else if (what == 2 && !held.empty()) {
      std::swap(held[rng.below(held.size())], held.back());
      blocks.release(held.back());
      held.pop_back();
    }
    const std::set<int32_t> distinct(held.begin(), held.end());
    REQUIRE(blocks.free_count() == 37 - static_cast<int64_t>(distinct.size()));
  }
}

}  // namespace hone
