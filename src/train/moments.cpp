#include "train/moments.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "base/error.h"

#ifdef HONE_WITH_CUDA
#include <cuda_runtime_api.h>
#endif

namespace hone {

using at::Tensor;

namespace {

int64_t blocks_of(int64_t numel) { return (numel + Moments::kBlock - 1) / Moments::kBlock; }

// A hash of (key, place): 32 bits for each of n elements, the same on every device. The mixing is
// Wellons' lowbias32, with half of the key before and half of it between its rounds.
Tensor random_bits(int64_t n, uint64_t key, at::Device device) {
  Tensor h = at::arange(n, at::TensorOptions().dtype(at::kInt).device(device));
  const auto fold = [&](int64_t shift) {  // int32 shifts in copies of the sign
    h.bitwise_xor_(h.__rshift__(shift).bitwise_and_((int64_t{1} << (32 - shift)) - 1));
  };
  h.bitwise_xor_(static_cast<int32_t>(key));
  fold(16);
  h.mul_(0x7feb352d);
  h.bitwise_xor_(static_cast<int32_t>(key >> 32));
  fold(15);
  h.mul_(static_cast<int32_t>(0x846ca68b));
  fold(16);
  return h;
}

Tensor low_bits(const Tensor& bits) { return bits.bitwise_and(0xffff); }
Tensor high_bits(const Tensor& bits) { return bits.__rshift__(16).bitwise_and_(0xffff); }

// x float32 -> bfloat16: one of the two neighbours, by 16 random bits.
Tensor to_bfloat16(const Tensor& x, const Tensor& bits) {
  const Tensor sum = x.view(at::kInt) + bits;
  return sum.bitwise_and(-0x10000).view(at::kFloat).to(at::kBFloat16);
}

Tensor cube(const Tensor& x) { return x * x * x; }

// x in [-1, 1] -> the code on the cubic scale, one of the two neighbours, by 16 random bits.
Tensor to_code(const Tensor& x, double levels, const Tensor& bits) {
  const Tensor below = x.abs().pow_(1.0 / 3).mul_(x.sign()).mul_(levels).floor_();
  const Tensor low = cube(below / levels), high = cube((below + 1) / levels);
  const Tensor up = (x - low).mul_(65536.0).gt(bits * (high - low));
  return below.add_(up);
}

constexpr double kSignedLevels = 127, kUnsignedLevels = 255;

// x [n] float32 in blocks, padded with zeros -> [blocks, 256].
Tensor in_blocks(const Tensor& x) {
  const int64_t blocks = blocks_of(x.numel());
  return at::constant_pad_nd(x, {0, blocks * Moments::kBlock - x.numel()})
      .view({blocks, Moments::kBlock});
}

// x divided by the largest magnitude of each block, which goes to `scale`.
Tensor normalised(const Tensor& x, Tensor scale) {
  scale.copy_(x.abs().amax(1, /*keepdim=*/true));
  return x / scale.clamp_min(1e-38);
}

}  // namespace

int64_t moment_bytes(MomentForm form, int64_t numel) {
  switch (form) {
    case MomentForm::float32:
      return 8 * numel;
    case MomentForm::bfloat16:
      return 4 * numel;
    case MomentForm::int8:
      return 2 * blocks_of(numel) * (Moments::kBlock + 4);
  }
  return 0;
}

namespace {

// Locked, so that copies do not wait. Not from LibTorch's allocator, which takes powers of two.
Tensor locked_on_host(at::IntArrayRef shape, at::ScalarType type) {
#ifdef HONE_WITH_CUDA
  const int64_t bytes = c10::multiply_integers(shape) * static_cast<int64_t>(elementSize(type));
  void* memory = nullptr;
  if (cudaHostAlloc(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1)),
                    cudaHostAllocDefault) != cudaSuccess) {
    (void)cudaGetLastError();
    throw RunError(
        cat("optimizer.offload: the host has no ", bytes >> 20,
            " MiB of memory to lock for moments; optimizer.moments=int8 needs a quarter"));
  }
  return at::from_blob(
      memory, shape, [](void* p) { (void)cudaFreeHost(p); }, at::TensorOptions(type));
#else
  return at::empty(shape, at::TensorOptions(type));
#endif
}

}  // namespace

Moments::Moments(MomentForm form, const Tensor& like, bool on_host) : form_(form) {
  const auto full = [&](at::IntArrayRef shape, at::ScalarType type, int64_t value) {
    Tensor t = on_host ? locked_on_host(shape, type) : at::empty(shape, like.options().dtype(type));
    return t.fill_(value);
  };
  if (form == MomentForm::int8) {
    const int64_t blocks = blocks_of(like.numel());
    first_ = full({blocks, kBlock}, at::kByte, 128);
    second_ = full({blocks, kBlock}, at::kByte, 0);
    first_scale_ = full({blocks, 1}, at::kFloat, 0);
    second_scale_ = full({blocks, 1}, at::kFloat, 0);
    return;
  }
  const auto type = form == MomentForm::bfloat16 ? at::kBFloat16 : at::kFloat;
  first_ = full({like.numel()}, type, 0);
  second_ = full({like.numel()}, type, 0);
}

Moments Moments::copy_to(at::Device device, int64_t begin, int64_t n) const {
  const auto copied = [&](const Tensor& t) {
    return t.defined() ? t.to(t.options().device(device), /*non_blocking=*/true, /*copy=*/true) : t;
  };
  const Stored from = stored(begin, n);
  Moments m;
  m.form_ = form_;
  m.first_ = copied(from.first);
  m.second_ = copied(from.second);
  m.first_scale_ = copied(from.first_scale);
  m.second_scale_ = copied(from.second_scale);
  return m;
}

void Moments::take_back(const Moments& copy, int64_t begin) {
  const int64_t n = copy.first_.numel();  // of int8 to the end of the last block
  const Stored to = stored(begin, n), from = copy.stored(0, n);
  to.first.copy_(from.first, /*non_blocking=*/true);
  to.second.copy_(from.second, true);
  if (form_ != MomentForm::int8) return;
  to.first_scale.copy_(from.first_scale, true);
  to.second_scale.copy_(from.second_scale, true);
}

Moments::Piece Moments::load(int64_t begin, int64_t n) const {
  if (form_ != MomentForm::int8) {
    return {first_.narrow(0, begin, n).to(at::kFloat), second_.narrow(0, begin, n).to(at::kFloat)};
  }
  const auto rows = [&](const Tensor& t) { return t.narrow(0, begin / kBlock, blocks_of(n)); };
  const Tensor first = cube((rows(first_).to(at::kFloat) - 128) / kSignedLevels);
  const Tensor root = cube(rows(second_).to(at::kFloat) / kUnsignedLevels) * rows(second_scale_);
  return {(first * rows(first_scale_)).view({-1}).narrow(0, 0, n),
          (root * root).view({-1}).narrow(0, 0, n)};
}

void Moments::store(const Piece& piece, int64_t begin, uint64_t key) {
  if (form_ == MomentForm::float32) return;
  const int64_t n = piece.first.numel();
  if (form_ == MomentForm::bfloat16) {
    const Tensor bits = random_bits(n, key, piece.first.device());
    first_.narrow(0, begin, n).copy_(to_bfloat16(piece.first, low_bits(bits)));
    second_.narrow(0, begin, n).copy_(to_bfloat16(piece.second, high_bits(bits)));
    return;
  }
  const auto rows = [&](const Tensor& t) { return t.narrow(0, begin / kBlock, blocks_of(n)); };
  const Tensor bits =
      random_bits(blocks_of(n) * kBlock, key, piece.first.device()).view({-1, kBlock});
  const Tensor first = normalised(in_blocks(piece.first), rows(first_scale_));
  rows(first_).copy_(to_code(first, kSignedLevels, low_bits(bits))
                         .clamp_(-kSignedLevels, kSignedLevels)
                         .add_(128));
  // Never 0, however small: the update divides by the root.
  const Tensor root = normalised(in_blocks(piece.second.sqrt()), rows(second_scale_));
  rows(second_).copy_(to_code(root, kUnsignedLevels, high_bits(bits)).clamp_(1, kUnsignedLevels));
}

Moments::Stored Moments::stored(int64_t begin, int64_t n) const {
  if (form_ != MomentForm::int8)
    return {first_.narrow(0, begin, n), second_.narrow(0, begin, n), {}, {}};
  const auto rows = [&](const Tensor& t) { return t.narrow(0, begin / kBlock, blocks_of(n)); };
  return {rows(first_), rows(second_), rows(first_scale_), rows(second_scale_)};
}

std::vector<std::pair<std::string, Tensor>> Moments::state() const {
  std::vector<std::pair<std::string, Tensor>> state = {{"optimizer.first", first_},
                                                       {"optimizer.second", second_}};
  if (form_ == MomentForm::int8) {
    state.emplace_back("optimizer.first_scale", first_scale_);
    state.emplace_back("optimizer.second_scale", second_scale_);
  }
  return state;
}

}  // namespace hone
