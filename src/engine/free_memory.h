// Memory that can still be allocated.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace hone {

// Bytes free on the device, counting what LibTorch's allocator holds but does not use.
int64_t free_memory(const c10::Device& device);

// The most bytes that were in use at once so far: of the device's tensors, or of the process.
int64_t peak_memory(const c10::Device& device);

// Bytes now: in use, and held by LibTorch's allocator, in use or not. 0 on the CPU.
struct MemoryUse {
  int64_t used = 0, reserved = 0;
};
MemoryUse memory_use(const c10::Device& device);

// Tells `peak_memory` of memory beside LibTorch's: `bytes` more, or fewer, from now on.
void count_pages(const c10::Device& device, int64_t bytes);

}  // namespace hone
