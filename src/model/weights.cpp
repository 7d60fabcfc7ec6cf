#include "model/weights.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "kernels/cpu_kernels.h"

namespace hone {
namespace {
// Every parameter begins on a 64-byte boundary of the float32 buffers.
constexpr int64_t kAlign = 32;
}  // namespace

int64_t NamedTensor::numel() const {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

at::Tensor Parameter::part_of(const at::Tensor& tensor, int64_t part) const {
  return part == kWhole ? tensor
                        : tensor.narrow(0, parts[static_cast<size_t>(part)], part_rows(part));
}

Parameter* WeightArena::add_matrix(const std::vector<Piece>& pieces, int64_t columns,
                                   std::vector<int64_t> parts) {
  Parameter& p = parameters_.emplace_back();
  p.name = pieces.front().name;
  p.columns = columns;
  p.arena = this;
  p.offset = numel_;
  for (const Piece& piece : pieces) {
    NamedTensor& t =
        tensors_.emplace_back(NamedTensor{piece.name, &p, p.rows * columns, piece.rows});
    t.shape.push_back(columns);
    p.rows += t.numel() / columns;
  }
  p.parts = parts.empty() ? std::vector<int64_t>{0, p.rows} : std::move(parts);
  numel_ += (p.numel() + kAlign - 1) / kAlign * kAlign;
  return &p;
}

Parameter* WeightArena::add_vector(const std::vector<std::pair<std::string, int64_t>>& pieces) {
  Parameter& p = parameters_.emplace_back();
  p.name = pieces.front().first;
  p.arena = this;
  p.offset = numel_;
  for (const auto& [name, size] : pieces) {
    tensors_.push_back({name, &p, p.columns, {size}});
    p.columns += size;
  }
  numel_ += (p.columns + kAlign - 1) / kAlign * kAlign;
  return &p;
}

Parameter* WeightArena::add_fixed(const std::string& name, int64_t size) {
  Parameter& p = parameters_.emplace_back();
  p.name = name;
  p.columns = size;
  p.arena = this;
  p.learned = false;
  p.offset = fixed_numel_;
  tensors_.push_back({name, &p, 0, {size}});
  fixed_numel_ += size;
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
  fixed_ = at::zeros({fixed_numel_}, options.dtype(at::kFloat));
  for (Parameter& p : parameters_) {
    const auto cut = [&](const at::Tensor& flat) {
      if (!flat.defined()) return at::Tensor();
      const at::Tensor piece = flat.narrow(0, p.offset, p.numel());
      return p.rows ? piece.view({p.rows, p.columns}) : piece;
    };
    p.value = cut(p.learned ? value_ : fixed_);
    p.master = cut(p.learned ? master_ : fixed_);
    if (p.learned) p.grad = cut(grad_);
  }
}

void WeightArena::weights_changed() {
  if (master_.defined() && !master_.is_same(value_)) value_.copy_(master_);
  ++version_;
}

void WeightArena::copy_values(const WeightArena& from) {
  value_.copy_(from.value_);
  fixed_.copy_(from.fixed_);
  ++version_;
}

void WeightArena::mix_values(const WeightArena& from, double share) {
  if (share == 1) return copy_values(from);
  value_.lerp_(from.value_, share);
  fixed_.lerp_(from.fixed_, share);
  ++version_;
}

at::Tensor WeightArena::view(const at::Tensor& buffer, const NamedTensor& t) {
  return buffer.narrow(0, t.parameter->offset + t.begin, t.numel()).view(t.shape);
}

at::Tensor WeightArena::view(const NamedTensor& t) const {
  if (!t.parameter->learned) return view(fixed_, t);
  return view(master_.defined() ? master_ : value_, t);
}

const float* Parameter::packed_form(Packed& form, bool transposed, int64_t part) const {
  if (part == kWhole) {
    HONE_CHECK(part_count() == 1);
    part = 0;
  }
  if (form.version != arena->version()) {
    const auto size = [&](int64_t i) {
      return transposed ? kernels::packed_size(columns, part_rows(i))
                        : kernels::packed_size(part_rows(i), columns);
    };
    if (!form.data) {
      int64_t total = 0;
      for (int64_t i = 0; i < part_count(); ++i) {
        form.offsets.push_back(total);
        total += size(i);
      }
      form.data.reset(new float[static_cast<size_t>(total)]);
    }
    const float* from = value.const_data_ptr<float>();
    for (int64_t i = 0; i < part_count(); ++i) {
      const float* w = from + parts[static_cast<size_t>(i)] * columns;
      float* to = form.data.get() + form.offsets[static_cast<size_t>(i)];
      (transposed ? kernels::pack_weight_transposed : kernels::pack_weight)(w, part_rows(i),
                                                                            columns, to);
    }
    form.version = arena->version();
  }
  return form.data.get() + form.offsets[static_cast<size_t>(part)];
}

const float* Parameter::packed(int64_t part) const { return packed_form(forward_, false, part); }

const float* Parameter::packed_transposed(int64_t part) const {
  return packed_form(transposed_, true, part);
}

}  // namespace hone
