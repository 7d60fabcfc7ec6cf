#ifdef HONE_WITH_CUDA
#include "engine/device_pages.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda.h>

#include "base/error.h"
#include "engine/free_memory.h"

namespace hone {
namespace {

// The driver's calls, found at run time: nothing links against the driver.
template <class F>
F* driver_call(const char* name) {
  void* call = nullptr;
  cudaDriverEntryPointQueryResult found{};
  C10_CUDA_CHECK(cudaGetDriverEntryPointByVersion(name, &call, 12000, cudaEnableDefault, &found));
  HONE_CHECK(found == cudaDriverEntryPointSuccess);
  return reinterpret_cast<F*>(call);
}

#define HONE_DRIVER_CALL(name) static const auto call_##name = driver_call<decltype(::name)>(#name)

void check(CUresult result, const char* what) {
  if (result != CUDA_SUCCESS) {
    throw RunError(cat("pages of the key-value cache: ", what, " failed with CUDA's error ",
                       static_cast<int>(result)));
  }
}

CUmemAllocationProp properties(c10::Device device) {
  CUmemAllocationProp p{};
  p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  p.location = {CU_MEM_LOCATION_TYPE_DEVICE, device.index()};
  return p;
}

}  // namespace

DevicePages::DevicePages(c10::Device device, int64_t bytes) : device_(device) {
  const c10::cuda::CUDAGuard guard(device);
  HONE_DRIVER_CALL(cuMemGetAllocationGranularity);
  HONE_DRIVER_CALL(cuMemAddressReserve);
  const CUmemAllocationProp wanted = properties(device);
  size_t page = 0;
  check(call_cuMemGetAllocationGranularity(&page, &wanted, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED),
        "asking for the size of a page");
  size_ = static_cast<int64_t>((static_cast<size_t>(bytes) + page - 1) / page * page);
  CUdeviceptr address = 0;
  check(call_cuMemAddressReserve(&address, static_cast<size_t>(size_), 0, 0, 0),
        "reserving addresses");
  address_ = address;
  bytes_ = at::for_blob(reinterpret_cast<void*>(address), {size_})
               .options(at::TensorOptions().device(device).dtype(at::kByte))
               .target_device(device)  // not asked of the pointer, which has no page yet
               .make_tensor();
  take();
}

DevicePages::~DevicePages() {
  HONE_DRIVER_CALL(cuMemAddressFree);
  give_back();
  call_cuMemAddressFree(address_, static_cast<size_t>(size_));
}

void DevicePages::take() {
  if (held_) return;
  const c10::cuda::CUDAGuard guard(device_);
  HONE_DRIVER_CALL(cuMemCreate);
  HONE_DRIVER_CALL(cuMemMap);
  HONE_DRIVER_CALL(cuMemSetAccess);
  const CUmemAllocationProp wanted = properties(device_);
  const auto size = static_cast<size_t>(size_);
  CUmemGenericAllocationHandle handle = 0;
  CUresult made = call_cuMemCreate(&handle, size, &wanted, 0);
  if (made == CUDA_ERROR_OUT_OF_MEMORY) {
    c10::cuda::CUDACachingAllocator::emptyCache();
    made = call_cuMemCreate(&handle, size, &wanted, 0);
  }
  if (made == CUDA_ERROR_OUT_OF_MEMORY) {
    throw RunError(
        cat("the key-value cache needs ", size_ >> 20, " MiB, but ", free_memory(device_) >> 20,
            " MiB of the GPU are free; lower prompts_per_step, group_size or max_tokens"));
  }
  check(made, "taking pages");
  handle_ = handle;
  check(call_cuMemMap(address_, size, 0, handle_, 0), "mapping pages");
  CUmemAccessDesc access{};
  access.location = wanted.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  check(call_cuMemSetAccess(address_, size, &access, 1), "opening pages");
  held_ = true;
  count_pages(device_, size_);
  bytes_.zero_();
}

void DevicePages::give_back() {
  if (!held_) return;
  const c10::cuda::CUDAGuard guard(device_);
  HONE_DRIVER_CALL(cuMemUnmap);
  HONE_DRIVER_CALL(cuMemRelease);
  C10_CUDA_CHECK(cudaDeviceSynchronize());  // kernels may still read them
  check(call_cuMemUnmap(address_, static_cast<size_t>(size_)), "unmapping pages");
  check(call_cuMemRelease(handle_), "giving pages back");
  held_ = false;
  count_pages(device_, -size_);
}

}  // namespace hone
#endif
