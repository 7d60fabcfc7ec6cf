#include "train/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "base/error.h"
#include "base/rng.h"
#include "train/choice.h"

#ifdef HONE_WITH_CUDA
#include <ATen/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda_training.h"
#endif

namespace hone {

using at::Tensor;

// AdamW goes in pieces: each intermediate of all weights at once would be one more copy of them.
constexpr int64_t kPiece = int64_t{1} << 24;

void describe(OptionVisitor& v, OptimizerOptions& o) {
  v.value("name", o.name, "adamw, or muon (matrices; AdamW for embedding and norms)");
  v.value("lr", o.lr, "learning rate after warm-up");
  v.value("betas", o.betas, "decay of AdamW's two moments");
  v.value("eps", o.eps, "AdamW's epsilon");
  v.value("weight_decay", o.weight_decay, "decoupled weight decay");
  v.value("momentum", o.momentum, "Muon's momentum");
  choice(v, "moments", o.moments, kMomentWords,
         "how AdamW's moments are kept, in 8, 4 or 2.03 bytes a parameter");
  v.value("offload", o.offload,
          "GPU, adamw: the moments lie in the host's memory and come to the device piece by piece");
  v.value("clip_norm", o.clip_norm, "largest norm of the gradient; 0: no clipping");
  v.section("schedule", o.schedule, "learning rate over the steps");
  if (o.name != "adamw" && o.name != "muon") {
    throw UserError(cat("optimizer.name: expected adamw or muon, found '", o.name, "'"));
  }
  if (o.name == "muon" && o.moments != MomentForm::float32) {
    throw UserError(
        "optimizer.moments: expected float32 with muon, whose buffer is orthogonalised as it is; "
        "narrow moments are AdamW's");
  }
  if (o.name == "muon" && o.offload) {
    throw UserError("optimizer.offload: expected false with muon; offload is AdamW's");
  }
  if (o.betas.size() != 2) throw UserError("optimizer.betas: expected two numbers");
  const auto check = [](const char* key, double value, bool fits, const char* expected) {
    if (!fits) throw UserError(cat("optimizer.", key, ": expected ", expected, ", found ", value));
  };
  for (const double beta : o.betas) {
    check("betas", beta, beta >= 0 && beta < 1, "numbers from 0 to below 1");
  }
  check("lr", o.lr, o.lr >= 0, "at least 0");
  check("eps", o.eps, o.eps > 0, "a number above 0");
  check("weight_decay", o.weight_decay, o.weight_decay >= 0, "at least 0");
  check("momentum", o.momentum, o.momentum >= 0 && o.momentum < 1, "a number from 0 to below 1");
  check("clip_norm", o.clip_norm, o.clip_norm >= 0, "at least 0");
}

void check_for_cpu(const OptimizerOptions& o) {
  if (o.offload) {
    throw UserError(
        "optimizer.offload: expected device cuda; it keeps a GPU's moments in the host's memory, "
        "where the CPU's are anyway");
  }
}

Optimizer::Optimizer(const OptimizerOptions& options, WeightArena& weights)
    : options_(options),
      weights_(weights),
      moments_(options.moments, weights.master(), options.offload) {
  int64_t covered = 0;  // AdamW takes everything between the matrices
  for (const NamedTensor& t : weights.tensors()) {
    const bool in_block = t.name.find(".layers.") != std::string::npos && t.shape.size() > 1;
    if (options_.name != "muon" || !in_block) continue;
    NamedTensor matrix = t;  // of a stack, one after the other
    matrix.shape.assign(t.shape.end() - 2, t.shape.end());
    for (; matrix.begin < t.begin + t.numel(); matrix.begin += matrix.numel()) {
      matrices_.push_back(matrix);
    }
    const int64_t begin = t.parameter->offset + t.begin;
    if (begin > covered) adam_ranges_.emplace_back(covered, begin);
    covered = begin + t.numel();
  }
  if (covered < weights.numel()) adam_ranges_.emplace_back(covered, weights.numel());
}

double Optimizer::step(double lr) {
  const at::NoGradGuard no_grad;
  Tensor grad = weights_.grad();
  constexpr int64_t kMost = int64_t{1} << 30;  // elements that cuBLAS takes at once
  Tensor squares = at::zeros({}, grad.options().dtype(at::kDouble));
  for (int64_t begin = 0; begin < grad.numel(); begin += kMost) {
    const Tensor part = grad.narrow(0, begin, std::min(kMost, grad.numel() - begin));
    squares += part.dot(part).to(at::kDouble);
  }
  ++updates_;
#ifdef HONE_WITH_CUDA
  if (grad.is_cuda() && matrices_.empty()) return step_fused(lr, squares.sqrt());
#endif
  const double norm = squares.sqrt().item<double>();
  if (std::isfinite(norm)) {
    if (options_.clip_norm > 0 && norm > options_.clip_norm) {
      grad.mul_(options_.clip_norm / (norm + 1e-6));
    }
    step_muon(lr);
    for (const auto& [begin, end] : adam_ranges_) step_adamw(lr, begin, end);
  }
  grad.zero_();
  weights_.weights_changed();
  return norm;
}

#ifdef HONE_WITH_CUDA
double Optimizer::step_fused(double lr, const Tensor& norm) {
  const c10::cuda::CUDAGuard guard(norm.device());
  Tensor scale = at::ones_like(norm);
  if (options_.clip_norm > 0) {
    scale = at::where(norm > options_.clip_norm, options_.clip_norm / (norm + 1e-6), scale);
  }
  scale = at::where(norm.isfinite(), scale, norm).to(at::kFloat);
  const double b1 = options_.betas[0], b2 = options_.betas[1];
  const double t = static_cast<double>(updates_);
  const auto update = [&](int64_t at, int64_t n, const Moments::Stored& m) {
    const auto scales = [&](const Tensor& s) {
      return s.defined() ? s.data_ptr<float>() : nullptr;
    };
    kernels::cuda::adamw(
        {weights_.master().data_ptr<float>() + at, weights_.grad().data_ptr<float>() + at,
         static_cast<kernels::cuda::AdamW::Form>(moments_.form()), m.first.data_ptr(),
         m.second.data_ptr(), scales(m.first_scale), scales(m.second_scale),
         make_key(hash64("moments"), updates_, at), n, scale.const_data_ptr<float>(),
         static_cast<float>(b2), static_cast<float>(1 - b1), static_cast<float>(1 - b2),
         static_cast<float>(options_.eps), static_cast<float>(1 - lr * options_.weight_decay),
         static_cast<float>(lr / (1 - std::pow(b1, t))),
         static_cast<float>(1 / std::sqrt(1 - std::pow(b2, t)))},
        c10::cuda::getCurrentCUDAStream().stream());
  };
  // With moments on the host two streams take turns, so that one piece is copied while the other is
  // updated. What a piece allocates belongs to its stream, which uses it again in order.
  std::vector<c10::cuda::CUDAStream> streams;
  if (options_.offload) {
    at::cuda::CUDAEvent gradients;
    gradients.record();
    for (int i = 0; i < 2; ++i) {
      streams.push_back(c10::cuda::getStreamFromPool(false, norm.device().index()));
      gradients.block(streams.back());
    }
  }
  for (int64_t at = 0; at < weights_.numel(); at += kPiece) {
    const int64_t n = std::min(kPiece, weights_.numel() - at);
    if (streams.empty()) {
      update(at, n, moments_.stored(at, n));
      continue;
    }
    const c10::cuda::CUDAStreamGuard turn(streams[static_cast<size_t>(at / kPiece % 2)]);
    const Moments copy = moments_.copy_to(norm.device(), at, n);
    update(at, n, copy.stored(0, n));
    moments_.take_back(copy, at);
  }
  for (const c10::cuda::CUDAStream& stream : streams) stream.synchronize();  // the host reads them
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  weights_.weights_changed();
  return norm.item<double>();
}
#endif

void Optimizer::step_adamw(double lr, int64_t begin, int64_t end) {
  const double b1 = options_.betas[0], b2 = options_.betas[1];
  const double t = static_cast<double>(updates_);
  const double correction1 = 1 - std::pow(b1, t), correction2 = 1 - std::pow(b2, t);
  for (int64_t at = begin; at < end; at += kPiece) {
    const int64_t n = std::min(kPiece, end - at);
    Tensor w = weights_.master().narrow(0, at, n);
    const Tensor g = weights_.grad().narrow(0, at, n);
    const Moments::Piece piece = moments_.load(at, n);
    Tensor m = piece.first, v = piece.second;
    m.lerp_(g, 1 - b1);
    v.mul_(b2).addcmul_(g, g, 1 - b2);
    if (options_.weight_decay > 0) w.mul_(1 - lr * options_.weight_decay);
    const Tensor denominator = v.sqrt().div_(std::sqrt(correction2)).add_(options_.eps);
    w.addcdiv_(m, denominator, -lr / correction1);
    moments_.store(piece, at, make_key(hash64("moments"), updates_, at));
  }
}

namespace {

// The nearest semi-orthogonal matrix, roughly: singular values end between 0.7 and 1.2.
Tensor orthogonalise(const Tensor& g) {  // [R, C]
  const bool tall = g.size(0) > g.size(1);
  Tensor x = tall ? g.t().contiguous() : g.clone();
  if (x.is_cuda()) x = x.to(at::kBFloat16);
  x.div_(x.norm() + 1e-7);
  for (int i = 0; i < 5; ++i) {
    const Tensor a = at::mm(x, x.t());
    const Tensor b = at::addmm(a, a, a, /*beta=*/-4.7750, /*alpha=*/2.0315);
    x = at::addmm(x, b, x, /*beta=*/3.4445, /*alpha=*/1.0);
  }
  return (tall ? x.t() : x).to(at::kFloat);
}

}  // namespace

void Optimizer::step_muon(double lr) {
  const Tensor buffers = moments_.load(0, weights_.numel()).first;
  for (const NamedTensor& t : matrices_) {
    Tensor w = WeightArena::view(weights_.master(), t);
    const Tensor g = WeightArena::view(weights_.grad(), t);
    Tensor buffer = WeightArena::view(buffers, t);
    buffer.mul_(options_.momentum).add_(g);
    const Tensor update = orthogonalise(g.add(buffer, options_.momentum));
    const double scale = 0.2 * std::sqrt(static_cast<double>(std::max(w.size(0), w.size(1))));
    if (options_.weight_decay > 0) w.mul_(1 - lr * options_.weight_decay);
    w.add_(update, -lr * scale);
  }
}

std::vector<std::pair<std::string, Tensor>> Optimizer::state() { return moments_.state(); }

}  // namespace hone
