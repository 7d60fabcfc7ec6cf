// Device memory whose addresses outlive its pages: while nothing samples, an update may have the
// pages, and what holds addresses (captured graphs) stays valid.
#pragma once

#ifdef HONE_WITH_CUDA
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hone {

class DevicePages {
 public:
  // Reserves addresses and takes pages for them. Throws RunError: no memory.
  DevicePages(c10::Device device, int64_t bytes);
  ~DevicePages();
  DevicePages(const DevicePages&) = delete;

  // Gives the pages back to the device; what they held is lost.
  void give_back();
  // Takes pages again, all zero, at the same addresses. Nothing if they are held.
  void take();
  bool held() const { return held_; }
  // [bytes] of uint8; to be touched only while the pages are held.
  const at::Tensor& bytes() const { return bytes_; }

 private:
  c10::Device device_;
  uint64_t address_ = 0, handle_ = 0;
  int64_t size_ = 0;  // bytes, whole pages
  bool held_ = false;
  at::Tensor bytes_;
};

}  // namespace hone
#endif
