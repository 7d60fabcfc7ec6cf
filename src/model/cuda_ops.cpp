#ifdef HONE_WITH_CUDA
#include "model/cuda_ops.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/cuda_latents.h"
#include "kernels/cuda_rows.h"
#include "model/attention_plan.h"

namespace hone::ops::cuda {

namespace k = kernels::cuda;
using at::Tensor;

namespace {

cudaStream_t stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

k::HeadShape head_shape(const AttentionShape& s) {
  return {static_cast<int32_t>(s.heads), static_cast<int32_t>(s.kv_heads),
          static_cast<int32_t>(s.head_dim), static_cast<float>(s.scale),
          static_cast<int32_t>(s.window)};
}

void add_items(int64_t query_begin, int64_t length, int64_t context, int64_t source, int64_t group,
               std::vector<k::PrefillItem>& items) {
  for (int64_t first = 0; first < length * group; first += k::kPrefillRows) {
    items.push_back({static_cast<int32_t>(query_begin), static_cast<int32_t>(length),
                     static_cast<int32_t>(context), static_cast<int32_t>(source),
                     static_cast<int32_t>(first)});
  }
}

Tensor to_device(const std::vector<k::PrefillItem>& items, at::Device device) {
  static_assert(sizeof(k::PrefillItem) == 5 * sizeof(int32_t));
  Tensor host = at::empty({static_cast<int64_t>(items.size()), 5}, at::kInt);
  std::memcpy(host.data_ptr(), items.data(), items.size() * sizeof(k::PrefillItem));
  return host.to(device);
}

const k::PrefillItem* items_of(const AttentionPlan& plan) {
  return reinterpret_cast<const k::PrefillItem*>(plan.items.const_data_ptr<int32_t>());
}

// Longer contexts first: they take longest.
void order(std::vector<k::PrefillItem>& items) {
  std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) {
    return a.context - a.query_length + a.first > b.context - b.query_length + b.first;
  });
}

const AttentionPlan& plan_over_cache(const ForwardBatch& batch, int64_t group) {
  if (batch.plan) return *batch.plan;
  batch.plan = std::make_shared<AttentionPlan>();
  size_t stride = 1;
  for (const PagedSequence& s : batch.sequences) {
    stride = std::max(stride, static_cast<size_t>((s.context + kBlockTokens - 1) / kBlockTokens));
  }
  const size_t n = batch.sequences.size();
  Tensor tables = at::zeros({static_cast<int64_t>(n), static_cast<int64_t>(stride)}, at::kInt);
  std::vector<k::PrefillItem> items;
  for (size_t i = 0; i < n; ++i) {
    const PagedSequence& s = batch.sequences[i];
    std::copy_n(s.blocks.begin(), (s.context + kBlockTokens - 1) / kBlockTokens,
                tables.data_ptr<int32_t>() + i * stride);
    add_items(s.query_begin, s.query_length, s.context, static_cast<int64_t>(i), group, items);
  }
  order(items);
  batch.plan->block_tables = tables.to(batch.tokens.device());
  batch.plan->items = to_device(items, batch.tokens.device());
  return *batch.plan;
}

// `group`: query heads of a key head, for our own kernel; 0: it is not asked.
const AttentionPlan& plan_inside(const ForwardBatch& batch, int64_t group) {
  if (batch.plan) return *batch.plan;
  batch.plan = std::make_shared<AttentionPlan>();
  std::vector<k::PrefillItem> items;
  Tensor cumulative = at::zeros({static_cast<int64_t>(batch.segments.size()) + 1}, at::kInt);
  int32_t* ends = cumulative.data_ptr<int32_t>();
  for (const AttentionSegment& s : batch.segments) {
    HONE_CHECK(s.prefix_length == 0 && s.begin == *ends);
    if (group > 0) add_items(s.begin, s.length, s.length, s.begin, group, items);
    *++ends = static_cast<int32_t>(s.begin + s.length);
    batch.plan->longest = std::max(batch.plan->longest, s.length);
  }
  order(items);
  batch.plan->items = to_device(items, batch.tokens.device());
  batch.plan->cumulative = cumulative.to(batch.tokens.device());
  return *batch.plan;
}

const Tensor& cache_of(const ForwardBatch& batch, int64_t layer) {
  return batch.cache->keys[static_cast<size_t>(layer)];
}

k::LatentShape latent_shape(int64_t heads, int64_t rank, const Tensor& cache, double scale) {
  return {static_cast<int32_t>(heads), static_cast<int32_t>(rank),
          static_cast<int32_t>(cache.size(3)), static_cast<float>(scale)};
}

k::PrepareHeads rotation(const Tensor& qkv, const ForwardBatch& batch, const AttentionShape& shape,
                         const RopeTable* rope) {
  k::PrepareHeads call{};
  call.qkv = qkv.data_ptr();
  call.positions = batch.positions.const_data_ptr<int64_t>();
  if (rope) {
    call.cos = rope->cos.const_data_ptr<float>();
    call.sin = rope->sin.const_data_ptr<float>();
  }
  call.shape = head_shape(shape);
  return call;
}

// LibTorch's flash attention counts a window by what lies to the left and to the right of a token.
struct FlashWindow {
  std::optional<int64_t> left, right;
  explicit FlashWindow(int64_t window) {
    if (window > 0) left = window - 1, right = 0;
  }
};

// Training: rotation, then flash attention, or for an exact model our own in the sampler's order.
// The backward pass is flash attention's, which wants the output and the logarithms of the sums.
struct TrainingAttention : torch::autograd::Function<TrainingAttention> {
  using Context = torch::autograd::AutogradContext;
  using Variables = torch::autograd::variable_list;

  static Tensor forward(Context* ctx, const Tensor& input, const ForwardBatch* batch,
                        const AttentionShape* shape, const RopeTable* rope) {
    const int64_t t = input.size(0), h = shape->heads, g = shape->kv_heads, d = shape->head_dim;
    const AttentionPlan& plan = plan_inside(*batch, shape->exact ? h / g : 0);
    const Tensor qkv = input.clone(at::MemoryFormat::Contiguous);
    if (rope) k::prepare_heads(type_of(qkv), rotation(qkv, *batch, *shape, rope), t, stream());
    Tensor out, lse;  // [T, H D], [H, T]
    if (shape->exact) {
      out = at::empty({t, h * d}, qkv.options());
      const Tensor by_row = at::empty({t, h}, qkv.options().dtype(at::kFloat));
      k::prefill_attention(type_of(qkv), head_shape(*shape), items_of(plan),
                           static_cast<int32_t>(plan.items.size(0)), nullptr, 0,
                           qkv.const_data_ptr(), nullptr, nullptr, out.data_ptr(),
                           by_row.data_ptr<float>(), stream());
      lse = by_row.t().contiguous();
    } else {
      const Tensor rows = qkv.view({t, h + 2 * g, d});
      const FlashWindow window(shape->window);
      const auto result = at::_flash_attention_forward(
          rows.narrow(1, 0, h), rows.narrow(1, h, g), rows.narrow(1, h + g, g), plan.cumulative,
          plan.cumulative, plan.longest, plan.longest, 0.0, true, false,
          std::optional<double>(shape->scale), window.left, window.right);
      out = std::get<0>(result).reshape({t, h * d});
      lse = std::get<1>(result);
    }
    ctx->save_for_backward({qkv, out, lse});
    ctx->saved_data["batch"] = reinterpret_cast<int64_t>(batch);
    ctx->saved_data["rope"] = reinterpret_cast<int64_t>(rope);
    ctx->saved_data["sizes"] =
        std::vector<int64_t>{shape->heads, shape->kv_heads, shape->head_dim, shape->window};
    ctx->saved_data["scale"] = shape->scale;
    return out;
  }

  static Variables backward(Context* ctx, Variables dy) {
    const Variables saved = ctx->get_saved_variables();
    const Tensor &qkv = saved[0], &out = saved[1], &lse = saved[2];
    const auto* batch = reinterpret_cast<const ForwardBatch*>(ctx->saved_data["batch"].toInt());
    const auto* rope = reinterpret_cast<const RopeTable*>(ctx->saved_data["rope"].toInt());
    const std::vector<int64_t> sizes = ctx->saved_data["sizes"].toIntVector();
    const int64_t h = sizes[0], g = sizes[1], d = sizes[2], window = sizes[3], t = qkv.size(0);
    const double scale = ctx->saved_data["scale"].toDouble();
    const AttentionPlan& plan = *batch->plan;
    const Tensor rows = qkv.view({t, h + 2 * g, d});
    const FlashWindow seen(window);
    const Tensor unused = at::empty({2}, qkv.options().dtype(at::kUInt64));
    const auto [dq, dk, dv] = at::_flash_attention_backward(
        dy[0].contiguous().view({t, h, d}), rows.narrow(1, 0, h), rows.narrow(1, h, g),
        rows.narrow(1, h + g, g), out.view({t, h, d}), lse, plan.cumulative, plan.cumulative,
        plan.longest, plan.longest, 0.0, true, unused, unused, std::optional<double>(scale),
        seen.left, seen.right);
    const Tensor dqkv = at::cat({dq, dk, dv}, 1).view({t, (h + 2 * g) * d});
    if (rope) {
      k::PrepareHeads call = rotation(dqkv, *batch, {h, g, d, scale, window}, rope);
      call.back = true;
      k::prepare_heads(type_of(dqkv), call, t, stream());
    }
    return {dqkv, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace

k::Type type_of(const Tensor& x) {
  HONE_CHECK(x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kFloat);
  return x.scalar_type() == at::kBFloat16 ? k::Type::bf16 : k::Type::float32;
}

Norm add_rms_norm(const Tensor& x, const Tensor& delta, const Tensor& weight, double eps) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor from = x.contiguous(), added = delta.defined() ? delta.contiguous() : delta;
  Norm norm{delta.defined() ? at::empty_like(from) : from, at::empty_like(from),
            at::empty({x.size(0)}, x.options().dtype(at::kFloat))};
  k::add_rms_norm(type_of(x), from.const_data_ptr(),
                  delta.defined() ? added.const_data_ptr() : nullptr, weight.const_data_ptr(),
                  static_cast<float>(eps), delta.defined() ? norm.sum.data_ptr() : nullptr,
                  norm.normed.data_ptr(), norm.inv_rms.data_ptr<float>(), x.size(0), x.size(1),
                  stream());
  return norm;
}

Tensor swiglu(const Tensor& gate_up) {
  const c10::cuda::CUDAGuard guard(gate_up.device());
  const int64_t t = gate_up.size(0), f = gate_up.size(1) / 2;
  Tensor y = at::empty({t, f}, gate_up.options());
  k::swiglu(type_of(y), gate_up.contiguous().const_data_ptr(), y.data_ptr(), t, f, stream());
  return y;
}

Tensor swiglu_backward(const Tensor& dy, const Tensor& gate_up) {
  const c10::cuda::CUDAGuard guard(gate_up.device());
  const Tensor from = gate_up.contiguous();
  Tensor dx = at::empty_like(from);
  k::swiglu_backward(type_of(dx), dy.const_data_ptr(), from.const_data_ptr(), dx.data_ptr(),
                     from.size(0), from.size(1) / 2, stream());
  return dx;
}

Tensor paged_attention(const Tensor& qkv, const ForwardBatch& batch, int64_t layer,
                       const AttentionShape& shape, const RopeTable* rope) {
  const c10::cuda::CUDAGuard guard(qkv.device());
  const int64_t t = qkv.size(0);
  const k::HeadShape heads = head_shape(shape);
  const Tensor keys = batch.cache->keys[static_cast<size_t>(layer)],
               values = batch.cache->values[static_cast<size_t>(layer)];
  k::PrepareHeads call = rotation(qkv, batch, shape, rope);
  call.slots = batch.slots.const_data_ptr<int64_t>();
  if (shape.query_norm) {
    call.query_norm = shape.query_norm->value.const_data_ptr();
    call.key_norm = shape.key_norm->value.const_data_ptr();
    call.eps = static_cast<float>(shape.eps);
  }
  call.keys = keys.data_ptr();
  call.values = values.data_ptr();
  k::prepare_heads(type_of(qkv), call, t, stream());
  Tensor out = at::empty({t, shape.heads * shape.head_dim}, qkv.options());
  if (batch.decode) {
    k::decode_attention(type_of(qkv), heads, batch.decode->rows, batch.decode->work,
                        qkv.const_data_ptr(), keys.const_data_ptr(), values.const_data_ptr(),
                        out.data_ptr(), stream());
    return out;
  }
  const AttentionPlan& plan = plan_over_cache(batch, shape.heads / shape.kv_heads);
  k::prefill_attention(
      type_of(qkv), heads, items_of(plan), static_cast<int32_t>(plan.items.size(0)),
      plan.block_tables.const_data_ptr<int32_t>(), static_cast<int32_t>(plan.block_tables.size(1)),
      qkv.const_data_ptr(), keys.const_data_ptr(), values.const_data_ptr(), out.data_ptr(), nullptr,
      stream());
  return out;
}

void store_latents(const Tensor& latents, const Tensor& rotated, const ForwardBatch& batch,
                   int64_t layer) {
  const c10::cuda::CUDAGuard guard(latents.device());
  const Tensor cache = cache_of(batch, layer);
  k::store_latents(type_of(cache), latent_shape(1, latents.size(1), cache, 1),
                   latents.contiguous().const_data_ptr(), rotated.contiguous().const_data_ptr(),
                   batch.slots.const_data_ptr<int64_t>(), cache.data_ptr(), latents.size(0),
                   stream());
}

Tensor decode_latents(const Tensor& q, int64_t rank, const ForwardBatch& batch, int64_t layer,
                      double scale) {
  const c10::cuda::CUDAGuard guard(q.device());
  const Tensor cache = cache_of(batch, layer), from = q.contiguous();
  Tensor out = at::empty({q.size(0), q.size(1), rank}, q.options());
  k::decode_latents(type_of(cache), latent_shape(q.size(1), rank, cache, scale), batch.decode->rows,
                    batch.decode->work, from.const_data_ptr(), cache.const_data_ptr(),
                    out.data_ptr(), stream());
  return out;
}

Tensor load_latents(const Tensor& slots, int64_t rank, const ForwardBatch& batch, int64_t layer) {
  const c10::cuda::CUDAGuard guard(slots.device());
  const Tensor cache = cache_of(batch, layer), from = slots.contiguous();
  Tensor out = at::empty({slots.size(0), 1, cache.size(3)}, cache.options());
  k::load_latents(type_of(cache), latent_shape(1, rank, cache, 1), cache.const_data_ptr(),
                  from.const_data_ptr<int64_t>(), out.data_ptr(), slots.size(0), stream());
  return out;
}

Tensor training_attention(const Tensor& qkv, const ForwardBatch& batch, const AttentionShape& shape,
                          const RopeTable* rope) {
  const c10::cuda::CUDAGuard guard(qkv.device());
  return TrainingAttention::apply(qkv, &batch, &shape, rope);
}

}  // namespace hone::ops::cuda
#endif
