// What the tests of gradients share: a batch with its loss, and how far two tensors are apart.
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include "small_models.h"

namespace hone::testing {

// Sequences of odd lengths, side by side; with prefixes some share what stands in front of them.
struct GradientTask {
  ForwardBatch batch;
  at::Tensor rows, targets, dlogp, dentropy;

  GradientTask(int64_t vocab, at::Device device, bool prefixes) {
    at::manual_seed(3);
    using Segments = std::vector<AttentionSegment>;
    batch.segments =
        prefixes ? Segments{{0, 37, 0, 0},   {37, 1, 0, 37},     {38, 64, 0, 37}, {102, 5, 0, 37},
                            {107, 16, 0, 0}, {123, 40, 107, 16}, {163, 9, 0, 0}}
                 : Segments{{0, 1, 0, 0},   {1, 3, 0, 0},   {4, 17, 0, 0},
                            {21, 64, 0, 0}, {85, 65, 0, 0}, {150, 130, 0, 0}};
    std::vector<at::Tensor> positions, hidden_rows;
    int64_t t = 0;
    for (const AttentionSegment& s : batch.segments) {
      positions.push_back(at::arange(s.prefix_length, s.prefix_length + s.length, at::kLong));
      // The prefix's last row stands for the first token of each that shares it.
      if (s.prefix_length > 0) {
        hidden_rows.push_back(at::tensor({s.prefix_begin + s.prefix_length - 1}, at::kLong));
      }
      hidden_rows.push_back(at::arange(s.begin, s.begin + s.length, at::kLong));
      t += s.length;
    }
    batch.tokens = at::randint(vocab, {t}, at::kLong).to(device);
    batch.positions = at::cat(positions).to(device);
    rows = at::cat(hidden_rows).to(device);
    const int64_t m = rows.numel();
    targets = at::randint(vocab, {m}, at::kLong).to(device);
    dlogp = at::randn({m}).to(device);
    dentropy = (at::randn({m}) * 0.3).to(device);
  }
  ops::LogProbs backward(const ops::LogProbs& out) const {
    torch::autograd::backward({out.logp, out.entropy}, {dlogp, dentropy});
    return out;
  }
  ops::LogProbs backward(const Transformer& model) const {
    const at::Tensor hidden = ops::select_rows(model.forward(batch), rows);
    return backward(model.log_probs(hidden, targets, 1 / 0.9));
  }
};

// |a - b| / |b|, wherever they lie.
inline double distance(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.detach().to(at::kCPU, at::kDouble),
                   y = b.detach().to(at::kCPU, at::kDouble);
  return (x - y).norm().item<double>() / (1e-12 + y.norm().item<double>());
}

}  // namespace hone::testing
