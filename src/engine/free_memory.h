// Memory that can still be allocated.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace hone {

// Bytes free on the device, counting what LibTorch's allocator holds but does not use.
int64_t free_memory(const c10::Device& device);

}  // namespace hone
