// The weight arena: one copy of the weights for sampling and training.
//
// Parameters are views into flat buffers at fixed addresses, so that the optimizer walks them in
// one go, a checkpoint writes them whole, and nothing is copied between sampler and trainer.
//
//   master  float32, what the optimizer updates
//   value   what the forward pass reads: on the CPU the master itself, on the GPU a bfloat16 (or
//           float32) buffer refreshed by `weights_changed`
//   grad    float32, added to by the backward pass
//   fixed   float32, beside these three: what is not learned by gradient
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "model/config.h"

namespace hone {

class WeightArena;
struct Parameter;

// What a matrix W [N, K] is added to without being changed (LoRA, arXiv 2106.09685): of its rows
// from `row` on, scale * b a' with b [n, r] and a' the rows of `a` from `rank_row` on, [r, K].
struct LowRankTerm {
  const Parameter* b = nullptr;
  int64_t row = 0, rank_row = 0;
};
// The terms of a matrix, disjoint; their a' lie one below the other in one matrix.
struct Adapter {
  const Parameter* a = nullptr;
  std::vector<LowRankTerm> terms;
  double scale = 1;
};

// A matrix [rows, columns] or a vector [columns]. Several tensors of a checkpoint file may lie in
// one parameter, one below the other (q, k and v; gate and up; the experts of a layer).
struct Parameter {
  static constexpr int64_t kWhole = -1;  // as a part: the whole matrix

  std::string name;
  int64_t rows = 0;  // 0: a vector
  int64_t columns = 0;
  at::Tensor value, master, grad;
  int64_t offset = 0;   // in the flat buffers, in elements
  bool learned = true;  // false: float32 everywhere, no gradient (a router's selection bias)
  // Where the parts begin that are multiplied apart (experts; heads of latent attention), in rows,
  // and the end: {0, rows} for an ordinary matrix.
  std::vector<int64_t> parts;
  Adapter adapter;  // none: without `a`
  // CUDA: products with it, and their gradients, run in 8 bits (kernels/cuda_fp8.h).
  bool fp8 = false;
  struct Fp8Form {  // of `value` at a version
    at::Tensor q, factors, qt, factors_t;
    uint64_t version = 0;
  };
  mutable Fp8Form fp8_form;  // of cuda_fp8.cpp

  int64_t numel() const { return (rows ? rows : 1) * columns; }
  int64_t part_count() const { return static_cast<int64_t>(parts.size()) - 1; }
  int64_t part_rows(int64_t part) const {
    if (part == kWhole) return rows;
    return parts[static_cast<size_t>(part) + 1] - parts[static_cast<size_t>(part)];
  }
  // The rows of a part in `tensor`, which is value, master or grad; kWhole: all of them.
  at::Tensor part_of(const at::Tensor& tensor, int64_t part) const;
  // Forms of a part of `value` packed for the CPU kernels, rebuilt when the weights changed. Of the
  // whole only if it has one part.
  const float* packed(int64_t part = kWhole) const;             // for y = x W^T
  const float* packed_transposed(int64_t part = kWhole) const;  // for dx = dy W
  bool exact() const;                                           // WeightArena::exact
  bool adapted() const;      // has an adapter, and WeightArena::adapting
  uint64_t version() const;  // WeightArena::version

 private:
  friend class WeightArena;
  const WeightArena* arena = nullptr;
  struct Packed {
    std::unique_ptr<float[]> data;
    std::vector<int64_t> offsets;  // of the parts
    uint64_t version = 0;
  };
  const float* packed_form(Packed& form, bool transposed, int64_t part) const;
  mutable Packed forward_, transposed_;
};

// One tensor of a safetensors file: a contiguous piece of a parameter.
struct NamedTensor {
  std::string name;
  Parameter* parameter = nullptr;
  int64_t begin = 0;           // in the parameter, in elements
  std::vector<int64_t> shape;  // in the file

  int64_t numel() const;
};

class WeightArena {
 public:
  WeightArena() = default;
  WeightArena(const WeightArena&) = delete;
  WeightArena& operator=(const WeightArena&) = delete;

  // A tensor by its name in the file. Its leading dimensions are rows: {"w", {3, 4}} of columns 5
  // is [3, 4, 5] in the file, twelve rows here.
  struct Piece {
    std::string name;
    std::vector<int64_t> rows;
  };
  // Declares a parameter made of the named tensors stacked by rows. Before `allocate` only. `parts`
  // as in Parameter; empty: one.
  Parameter* add_matrix(const std::vector<Piece>& pieces, int64_t columns,
                        std::vector<int64_t> parts = {});
  // Vectors one behind the other: {name, size}.
  Parameter* add_vector(const std::vector<std::pair<std::string, int64_t>>& pieces);
  // A float32 vector that no gradient changes.
  Parameter* add_fixed(const std::string& name, int64_t size);

  // Makes the buffers, zeroed. With `trainable` false there is no master beside a bfloat16 value
  // and no gradient.
  void allocate(at::Device device, at::ScalarType dtype, bool trainable);

  // Call after writing to master (or to value where there is no master): refreshes what is derived.
  void weights_changed();
  // Takes the values of another arena of the same parameters. REQUIRES: no master beside the value.
  void copy_values(const WeightArena& from);
  // value = share from.value + (1 - share) value; 1 copies.
  void mix_values(const WeightArena& from, double share);
  uint64_t version() const { return version_; }
  // CUDA: products whose rows do not depend on how many rows there are.
  bool exact() const { return exact_; }
  void set_exact(bool exact) { exact_ = exact; }
  // Whether products take the adapters in.
  bool adapting() const { return adapting_; }
  void set_adapting(bool adapting) { adapting_ = adapting; }

  std::deque<Parameter>& parameters() { return parameters_; }
  const std::vector<NamedTensor>& tensors() const { return tensors_; }
  at::Tensor master() const { return master_; }  // [numel] float32
  at::Tensor value() const { return value_; }    // [numel]
  at::Tensor grad() const { return grad_; }      // [numel] float32
  at::Tensor fixed() const { return fixed_; }    // [parameters that are not learned] float32
  int64_t numel() const { return numel_; }
  bool trainable() const { return grad_.defined(); }
  at::Device device() const { return value_.device(); }

  // The view of one tensor, in its shape in the file, of what is saved and loaded: the master, or
  // the value where there is none.
  at::Tensor view(const NamedTensor& tensor) const;
  // The same of `buffer`, one of the flat buffers. REQUIRES: the tensor is learned.
  static at::Tensor view(const at::Tensor& buffer, const NamedTensor& tensor);

 private:
  std::deque<Parameter> parameters_;  // addresses are kept by the model
  std::vector<NamedTensor> tensors_;
  at::Tensor master_, value_, grad_, fixed_;
  int64_t numel_ = 0, fixed_numel_ = 0;
  uint64_t version_ = 1;
  bool exact_ = false, adapting_ = true;
};

inline bool Parameter::exact() const { return arena->exact(); }
inline uint64_t Parameter::version() const { return arena->version(); }
inline bool Parameter::adapted() const { return adapter.a && arena->adapting(); }

}  // namespace hone
