// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): of a token only a short
// latent vector and one rotated key are kept; keys and values of all heads come from the latent.
//
// The absorbed form moves the up-projection of the keys to the query and that of the values behind
// the attention, so that attention runs on the latents themselves, as if they were the one key and
// value head of all queries. The CPU always computes it, so that sampling and training agree bit
// for bit. On CUDA it serves sampling, and training computes the keys and values of each head.
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/matmul.h"
#include "model/ops.h"

namespace hone::ops {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum class Side { keys, values };  // which parts of the up-projection

int64_t part_of_head(int64_t head, Side side) { return 2 * head + (side == Side::values); }

// x [T, H, K] times a part of the weight for each head: W_h of the keys (K rows), or the transpose
// of that of the values.
struct HeadProduct : torch::autograd::Function<HeadProduct> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Parameter* w, Side side) {
    ctx->save_for_backward({x});
    save_parameter(ctx, w);
    ctx->saved_data["side"] = static_cast<int64_t>(side);
    const int64_t heads = x.size(1);
    const int64_t width = side == Side::keys ? w->columns : w->part_rows(1);
    const Tensor y = at::empty({x.size(0), heads, width}, x.options());
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t part = part_of_head(h, side);
      if (side == Side::keys) {
        product_transposed_into(y.select(1, h), x.select(1, h), *w, part);
      } else {
        product_into(y.select(1, h), x.select(1, h), *w, part);
      }
    }
    return y;
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const Tensor x = ctx->get_saved_variables()[0], d = dy[0].contiguous();
    const Parameter& w = saved_parameter(ctx);
    const auto side = static_cast<Side>(ctx->saved_data["side"].toInt());
    const Tensor dx = at::empty_like(x, at::MemoryFormat::Contiguous);
    for (int64_t h = 0; h < x.size(1); ++h) {
      const int64_t part = part_of_head(h, side);
      const Tensor xh = x.select(1, h), dh = d.select(1, h);
      if (side == Side::keys) {
        product_into(dx.select(1, h), dh, w, part);
        add_weight_gradient(xh, dh, w, part);
      } else {
        product_transposed_into(dx.select(1, h), dh, w, part);
        add_weight_gradient(dh, xh, w, part);
      }
    }
    return {dx, Tensor(), Tensor()};
  }
};

#ifdef HONE_WITH_CUDA
// The same without gradients on CUDA, all heads at once.
Tensor head_product_cuda(const Tensor& x, const Parameter& w, int64_t plain, Side side) {
  const int64_t heads = x.size(1);
  const Tensor all = w.value.view({heads, w.rows / heads, w.columns});
  const Tensor part = side == Side::keys
                          ? all.narrow(1, 0, plain)
                          : all.narrow(1, plain, all.size(1) - plain).transpose(1, 2);
  return at::bmm(x.transpose(0, 1), part).transpose(0, 1);
}
#endif

}  // namespace

Tensor latent_attention(const Input& input, const LatentWeights& w, const ModelConfig& c,
                        const ForwardBatch& batch, int64_t layer, const RopeTable& rope) {
  constexpr double kEps = 1e-6;  // of these two norms, whatever the model's is
  const LatentOptions& l = c.latent;
  const Tensor& x = input.value;
  const bool again = static_cast<bool>(input.again);
  const int64_t t = x.size(0), h = c.heads;
  Input down = input;
  if (l.q_rank > 0) {
    down = rms_norm(linear(input, *w.query_down, w.query_bias), *w.query_norm, kEps, again);
  }
  const Tensor q = linear(down, *w.query).view({t, h, l.plain + l.rotary});
  const Tensor q_plain = q.narrow(2, 0, l.plain);
  const Tensor q_rotary = rotate(q.narrow(2, l.plain, l.rotary).reshape({t, h * l.rotary}), batch,
                                 h, rope, c.rope.interleaved)
                              .view({t, h, l.rotary});
  const Tensor kv = linear(input, *w.down, w.down_bias);
  const Input normed = rms_norm(kv.narrow(1, 0, l.kv_rank), *w.norm, kEps, again);
  const Tensor& latent = normed.value;  // [T, kv_rank]
  const Tensor k_rotary =
      rotate(kv.narrow(1, l.kv_rank, l.rotary).contiguous(), batch, 1, rope, c.rope.interleaved);
  const double scale = c.softmax_scale();

  if (x.is_cpu()) {
    const int64_t width = l.kv_rank + l.rotary;
    const Tensor queries = at::cat({HeadProduct::apply(q_plain, w.up, Side::keys), q_rotary}, 2);
    const Tensor keys = at::cat({latent, k_rotary}, 1);
    const Tensor mixed = attention(at::cat({queries.view({t, h * width}), keys, keys}, 1), batch,
                                   layer, {h, 1, width, scale, 0}, nullptr);
    const Tensor values = mixed.view({t, h, width}).narrow(2, 0, l.kv_rank);
    return HeadProduct::apply(values, w.up, Side::values).view({t, h * l.value});
  }
#ifdef HONE_WITH_CUDA
  if (batch.cache) {
    const Tensor queries =
        at::cat({head_product_cuda(q_plain, *w.up, l.plain, Side::keys), q_rotary}, 2);
    const Tensor mixed = attention_over_latents(queries, latent, k_rotary, batch, layer, scale);
    return head_product_cuda(mixed, *w.up, l.plain, Side::values).reshape({t, h * l.value});
  }
#endif
  const Tensor expanded = linear(normed, *w.up).view({t, h, l.plain + l.value});
  const int64_t width = std::max(l.plain + l.rotary, l.value);
  const auto wide = [&](const Tensor& head) {  // attention wants heads of one width
    return at::constant_pad_nd(head, {0, width - head.size(2)});
  };
  const Tensor keys =
      at::cat({expanded.narrow(2, 0, l.plain), k_rotary.unsqueeze(1).expand({t, h, l.rotary})}, 2);
  const Tensor qkv = at::cat({wide(at::cat({q_plain, q_rotary}, 2)), wide(keys),
                              wide(expanded.narrow(2, l.plain, l.value))},
                             1);
  return attention(qkv.reshape({t, 3 * h * width}), batch, layer, {h, h, width, scale, 0}, nullptr)
      .view({t, h, width})
      .narrow(2, 0, l.value)
      .reshape({t, h * l.value});
}

}  // namespace hone::ops
