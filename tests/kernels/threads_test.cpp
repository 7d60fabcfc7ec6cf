#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <thread>
#include <vector>

#include "kernels/cpu_kernels.h"
#include "kernels/cpu_table.h"

namespace hone::kernels {
namespace {

constexpr int64_t kLong = 1'000'000'000;  // nanoseconds: always worth sharing

TEST_CASE("every task runs once, with any number of threads and several callers at once") {
  const auto call_often = [](std::atomic<bool>& right) {
    for (int64_t round = 0; round < 300; ++round) {
      std::vector<std::atomic<int>> counts(1 + round % 40);
      parallel_tasks(
          static_cast<int64_t>(counts.size()), kLong,
          [](void* context, int64_t i) {
            ++(*static_cast<std::vector<std::atomic<int>>*>(context))[i];
          },
          &counts);
      for (const auto& count : counts) {
        if (count != 1) right = false;
      }
    }
  };
  for (int threads : {1, 2, 3, 8, 2}) {
    set_num_threads(threads);
    std::atomic<bool> right = true;
    std::thread other([&] { call_often(right); });
    call_often(right);
    other.join();
    REQUIRE(right);
  }
  set_num_threads(1);
}

TEST_CASE("a task may share out tasks of its own") {
  set_num_threads(3);
  std::atomic<int> count = 0;
  parallel_tasks(
      5, kLong,
      [](void* context, int64_t) {
        parallel_tasks(
            7, kLong, [](void* inner, int64_t) { ++*static_cast<std::atomic<int>*>(inner); },
            context);
      },
      &count);
  REQUIRE(count == 35);
  set_num_threads(1);
}

}  // namespace
}  // namespace hone::kernels
