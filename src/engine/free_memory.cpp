#include "engine/free_memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <string>

#ifdef HONE_WITH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#endif

namespace hone {

int64_t free_memory(const c10::Device& device) {
#ifdef HONE_WITH_CUDA
  if (device.is_cuda()) {
    const c10::cuda::CUDAGuard guard(device);
    c10::cuda::CUDACachingAllocator::emptyCache();
    size_t free = 0, total = 0;
    C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
    return static_cast<int64_t>(free);
  }
#endif
  (void)device;
  std::ifstream meminfo("/proc/meminfo");
  std::string word;
  while (meminfo >> word) {
    int64_t kilobytes = 0;
    if (word == "MemAvailable:" && meminfo >> kilobytes) return kilobytes * 1024;
  }
  return int64_t{4} << 30;  // no such file: a modest guess
}

#ifdef HONE_WITH_CUDA
namespace {

int64_t peak_of_tensors(c10::DeviceIndex device) {
  const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device);
  return stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
      .peak;
}

// Pages held now, and the peak up to where their number last changed.
struct Pages {
  int64_t held = 0, peak = 0;
};
Pages& pages_of(c10::DeviceIndex device) {
  static std::map<c10::DeviceIndex, Pages> all;  // one thread samples and trains
  return all[device];
}

}  // namespace

void count_pages(const c10::Device& device, int64_t bytes) {
  Pages& pages = pages_of(device.index());
  pages.peak = std::max(pages.peak, peak_of_tensors(device.index()) + pages.held);
  c10::cuda::CUDACachingAllocator::resetPeakStats(device.index());
  pages.held += bytes;
}
#endif

MemoryUse memory_use(const c10::Device& device) {
#ifdef HONE_WITH_CUDA
  if (device.is_cuda()) {
    const auto stats = c10::cuda::CUDACachingAllocator::getDeviceStats(device.index());
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    const int64_t pages = pages_of(device.index()).held;
    return {stats.allocated_bytes[all].current + pages, stats.reserved_bytes[all].current + pages};
  }
#endif
  (void)device;
  return {};
}

int64_t peak_memory(const c10::Device& device) {
#ifdef HONE_WITH_CUDA
  if (device.is_cuda()) {
    const Pages& pages = pages_of(device.index());
    return std::max(pages.peak, peak_of_tensors(device.index()) + pages.held);
  }
#endif
  (void)device;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace hone
