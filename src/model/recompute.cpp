#include "model/recompute.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace hone {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Recomputed : torch::autograd::Function<Recomputed> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const ForwardPart& part) {
    ctx->save_for_backward({x});
    ctx->saved_data["part"] = at::IValue::make_capsule(c10::make_intrusive<Holder>(part));
    ctx->set_materialize_grads(false);
    return part(x);  // the mode is off here
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const at::AutoGradMode with_grad(true);
    const auto holder =
        c10::static_intrusive_pointer_cast<Holder>(ctx->saved_data["part"].toCapsule());
    Tensor x = ctx->get_saved_variables()[0].detach();
    x.set_requires_grad(true);
    const variable_list outputs = holder->part(x);
    variable_list roots, gradients;
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!dy[i].defined()) continue;
      roots.push_back(outputs[i]);
      gradients.push_back(dy[i]);
    }
    return {torch::autograd::grad(roots, {x}, gradients)[0], Tensor()};
  }

 private:
  struct Holder : torch::CustomClassHolder {
    explicit Holder(ForwardPart p) : part(std::move(p)) {}
    ForwardPart part;
  };
};

}  // namespace

std::vector<Tensor> recomputed(const Tensor& x, const ForwardPart& part) {
  return Recomputed::apply(x, part);
}

}  // namespace hone
