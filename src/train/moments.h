// AdamW's two moments in the form in which the optimizer keeps them between steps.
//
//   float32   8 bytes a parameter
//   bfloat16  4 bytes
//   int8      2 bytes and two float32 for each block of 256: the block's largest magnitude, and
//             codes of what is left, in [-1, 1], on a cubic scale: x = (code / levels)^3. It
//             reaches over seven decades, as the dynamic code of 8-bit Adam (arXiv 2110.02861)
//             does. Of the second moment its root is coded, so that it does not vanish before the
//             first.
//
// Both narrow forms are rounded at random to one of the two neighbours, so that the mean is kept:
// with beta2 = 0.999 a second moment moves by a thousandth a step, which is less than half the
// distance between two neighbours, and to the nearest it would never move at all.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace hone {

enum class MomentForm { float32, bfloat16, int8 };
inline const std::vector<std::string> kMomentWords = {"float32", "bfloat16", "int8"};

// Of both moments of `numel` parameters.
int64_t moment_bytes(MomentForm form, int64_t numel);

class Moments {
 public:
  static constexpr int64_t kBlock = 256;  // of int8

  Moments() = default;
  // Zero, one for each element of `like`, on its device; with `on_host` in locked memory of the
  // host, for a GPU. Throws RunError: the host has no room.
  Moments(MomentForm form, const at::Tensor& like, bool on_host = false);

  // float32 [n]. In the float32 form these are views, which `store` need not write back.
  struct Piece {
    at::Tensor first, second;
  };
  // Of the elements [begin, begin + n). REQUIRES: of int8, begin is a multiple of kBlock.
  Piece load(int64_t begin, int64_t n) const;
  // `key`, of make_key, decides how elements are rounded; another one each time.
  void store(const Piece& piece, int64_t begin, uint64_t key);

  // As they lie in memory, of the same elements; scales only of int8. REQUIRES: as `load`.
  struct Stored {
    at::Tensor first, second, first_scale, second_scale;
  };
  Stored stored(int64_t begin, int64_t n) const;
  MomentForm form() const { return form_; }

  // Of the elements [begin, begin + n), a copy on `device`; and its way back. From and to locked
  // memory neither waits: both run on the current stream. REQUIRES: as `load`.
  Moments copy_to(at::Device device, int64_t begin, int64_t n) const;
  void take_back(const Moments& copy, int64_t begin);

  // (name, tensor) of everything that a checkpoint must keep.
  std::vector<std::pair<std::string, at::Tensor>> state() const;

 private:
  MomentForm form_ = MomentForm::float32;
  // [numel], or of int8 uint8 [blocks, 256]: first: code + 128; second: code of the root.
  at::Tensor first_, second_;
  at::Tensor first_scale_, second_scale_;  // int8: [blocks, 1] float32
};

}  // namespace hone
