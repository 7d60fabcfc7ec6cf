#include "model/weights.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "kernels/cpu_kernels.h"

namespace hone {
namespace {
// Every parameter begins on a 64-byte boundary of the float32 buffers.
constexpr int64_t kAlign = 32;
}  // namespace

Parameter* WeightArena::add_matrix(const std::vector<std::pair<std::string, int64_t>>& tensors,
                                   int64_t columns) {
  Parameter& p = parameters_.emplace_back();
  p.name = tensors.front().first;
  p.columns = columns;
  p.arena = this;
  p.offset = numel_;
  for (const auto& [name, rows] : tensors) {
    tensors_.push_back({name, &p, p.rows, rows});
    p.rows += rows;
  }
  numel_ += (p.numel() + kAlign - 1) / kAlign * kAlign;
  return &p;
}

Parameter* WeightArena::add_vector(const std::string& name, int64_t size) {
  Parameter& p = parameters_.emplace_back();
  p.name = name;
  p.columns = size;
  p.arena = this;
  p.offset = numel_;
  tensors_.push_back({name, &p, 0, 0});
  numel_ += (size + kAlign - 1) / kAlign * kAlign;
  return &p;
}

void WeightArena::allocate(at::Device device, at::ScalarType dtype, bool trainable) {
  const auto options = at::TensorOptions().device(device);
  value_ = at::zeros({numel_}, options.dtype(dtype));
  if (dtype == at::kFloat) {
    master_ = value_;
  } else if (trainable) {
    master_ = at::zeros({numel_}, options.dtype(at::kFloat));
  }
  if (trainable) grad_ = at::zeros({numel_}, options.dtype(at::kFloat));
  for (Parameter& p : parameters_) {
    const auto cut = [&](const at::Tensor& flat) {
      if (!flat.defined()) return at::Tensor();
      const at::Tensor piece = flat.narrow(0, p.offset, p.numel());
      return p.rows ? piece.view({p.rows, p.columns}) : piece;
    };
    p.value = cut(value_);
    p.master = cut(master_);
    p.grad = cut(grad_);
  }
}

void WeightArena::weights_changed() {
  if (master_.defined() && !master_.is_same(value_)) value_.copy_(master_);
  ++version_;
}

at::Tensor WeightArena::view(const at::Tensor& buffer, const NamedTensor& t) {
  const Parameter& p = *t.parameter;
  const at::Tensor piece = buffer.narrow(0, p.offset, p.numel());
  return t.rows ? piece.view({p.rows, p.columns}).narrow(0, t.row_begin, t.rows) : piece;
}

const float* Parameter::packed() const {
  if (forward_.version != arena->version()) {
    if (!forward_.data) forward_.data.reset(new float[kernels::packed_size(rows, columns)]);
    kernels::pack_weight(value.data_ptr<float>(), rows, columns, forward_.data.get());
    forward_.version = arena->version();
  }
  return forward_.data.get();
}

const float* Parameter::packed_transposed() const {
  if (transposed_.version != arena->version()) {
    if (!transposed_.data) transposed_.data.reset(new float[kernels::packed_size(columns, rows)]);
    kernels::pack_weight_transposed(value.data_ptr<float>(), rows, columns, transposed_.data.get());
    transposed_.version = arena->version();
  }
  return transposed_.data.get();
}

}  // namespace hone
