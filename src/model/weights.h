// The weight arena: one copy of the weights for sampling and training.
//
// Parameters are views into flat buffers at fixed addresses, so that the optimizer walks them in
// one go, a checkpoint writes them whole, and nothing is copied between sampler and trainer.
//
//   master  float32, what the optimizer updates
//   value   what the forward pass reads: on the CPU the master itself, on the GPU a bfloat16 (or
//           float32) buffer refreshed by `weights_changed`
//   grad    float32, added to by the backward pass
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "model/config.h"

namespace hone {

class WeightArena;

// A matrix [rows, columns] or a vector [columns]. Several tensors of a checkpoint file may lie in
// one parameter, one below the other (q, k and v; gate and up).
struct Parameter {
  std::string name;
  int64_t rows = 0;  // 0: a vector
  int64_t columns = 0;
  at::Tensor value, master, grad;
  int64_t offset = 0;  // in the flat buffers, in elements

  int64_t numel() const { return (rows ? rows : 1) * columns; }
  // Forms of `value` packed for the CPU kernels, rebuilt when the weights changed.
  const float* packed() const;             // for y = x W^T
  const float* packed_transposed() const;  // for dx = dy W

 private:
  friend class WeightArena;
  const WeightArena* arena = nullptr;
  struct Packed {
    std::unique_ptr<float[]> data;
    uint64_t version = 0;
  };
  mutable Packed forward_, transposed_;
};

// One tensor of a safetensors file: `rows` rows of a parameter from `row_begin` on.
struct NamedTensor {
  std::string name;
  Parameter* parameter = nullptr;
  int64_t row_begin = 0, rows = 0;  // rows 0: a vector
};

class WeightArena {
 public:
  WeightArena() = default;
  WeightArena(const WeightArena&) = delete;
  WeightArena& operator=(const WeightArena&) = delete;

  // Declares a parameter made of the named tensors stacked by rows. Before `allocate` only.
  Parameter* add_matrix(const std::vector<std::pair<std::string, int64_t>>& tensors,
                        int64_t columns);
  Parameter* add_vector(const std::string& name, int64_t size);

  // Makes the buffers, zeroed. With `trainable` false there is no master beside a bfloat16 value
  // and no gradient.
  void allocate(at::Device device, at::ScalarType dtype, bool trainable);

  // Call after writing to master (or to value where there is no master): refreshes what is derived.
  void weights_changed();
  uint64_t version() const { return version_; }

  std::deque<Parameter>& parameters() { return parameters_; }
  const std::vector<NamedTensor>& tensors() const { return tensors_; }
  at::Tensor master() const { return master_; }  // [numel] float32
  at::Tensor value() const { return value_; }    // [numel]
  at::Tensor grad() const { return grad_; }      // [numel] float32
  int64_t numel() const { return numel_; }
  bool trainable() const { return grad_.defined(); }
  at::Device device() const { return value_.device(); }

  // The view of one tensor in `buffer`, one of the flat buffers.
  static at::Tensor view(const at::Tensor& buffer, const NamedTensor& tensor);

 private:
  std::deque<Parameter> parameters_;  // addresses are kept by the model
  std::vector<NamedTensor> tensors_;
  at::Tensor master_, value_, grad_;
  int64_t numel_ = 0;
  uint64_t version_ = 1;
};

}  // namespace hone
