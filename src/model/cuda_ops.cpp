#ifdef HONE_WITH_CUDA
#include "model/cuda_ops.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "kernels/cuda_latents.h"
#include "kernels/cuda_rows.h"
#include "kernels/cuda_training.h"
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

// `item` for each piece of its rows.
void add_items(k::PrefillItem item, int64_t group, std::vector<k::PrefillItem>& items) {
  const auto rows = static_cast<int32_t>(item.query_length * group);
  for (item.first = 0; item.first < rows; item.first += k::kPrefillRows) items.push_back(item);
}

int32_t int32(int64_t n) { return static_cast<int32_t>(n); }

Tensor to_device(const std::vector<int32_t>& values, at::Device device) {
  Tensor host = at::empty({static_cast<int64_t>(values.size())}, at::kInt);
  std::memcpy(host.data_ptr(), values.data(), values.size() * sizeof(int32_t));
  return host.to(device);
}

Tensor to_device(const std::vector<k::PrefillItem>& items, at::Device device) {
  static_assert(sizeof(k::PrefillItem) == 7 * sizeof(int32_t));
  Tensor host = at::empty({static_cast<int64_t>(items.size()), 7}, at::kInt);
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
    add_items({int32(s.query_begin), int32(s.query_length), int32(s.context), int32(int64_t(i)), 0},
              group, items);
  }
  order(items);
  batch.plan->block_tables = tables.to(batch.tokens.device());
  batch.plan->items = to_device(items, batch.tokens.device());
  return *batch.plan;
}

// Flash attention reads a segment's keys as one row of memory: those of a prefix are copied in
// front of the segment's own.
void plan_copies(const ForwardBatch& batch, AttentionPlan& plan) {
  const size_t n = batch.segments.size();
  std::vector<int32_t> rows, ends(n + 1), begin(static_cast<size_t>(batch.tokens.numel()) + 1);
  for (size_t i = 0; i < n; ++i) {
    const AttentionSegment& s = batch.segments[i];
    for (int64_t t = 0; t < s.prefix_length; ++t) rows.push_back(int32(s.prefix_begin + t));
    for (int64_t t = 0; t < s.length; ++t) rows.push_back(int32(s.begin + t));
    ends[i + 1] = int32(static_cast<int64_t>(rows.size()));
    plan.longest_keys = std::max(plan.longest_keys, s.prefix_length + s.length);
  }
  for (const int32_t row : rows) ++begin[static_cast<size_t>(row) + 1];
  for (size_t t = 1; t < begin.size(); ++t) begin[t] += begin[t - 1];
  std::vector<int32_t> places(rows.size()), next(begin.begin(), begin.end() - 1);
  for (size_t i = 0; i < rows.size(); ++i) {
    places[static_cast<size_t>(next[static_cast<size_t>(rows[i])]++)] = int32(int64_t(i));
  }
  const at::Device device = batch.tokens.device();
  plan.copied_keys = to_device(rows, device);
  plan.cumulative_keys = to_device(ends, device);
  plan.place_begin = to_device(begin, device);
  plan.places = to_device(places, device);
}

// `group`: query heads of a key head, for our own kernel; 0: it is not asked.
const AttentionPlan& plan_inside(const ForwardBatch& batch, int64_t group) {
  if (batch.plan) return *batch.plan;
  batch.plan = std::make_shared<AttentionPlan>();
  AttentionPlan& plan = *batch.plan;
  std::vector<k::PrefillItem> items;
  std::vector<int32_t> ends{0};
  bool prefixes = false;
  for (const AttentionSegment& s : batch.segments) {
    HONE_CHECK(s.begin == ends.back());
    prefixes = prefixes || s.prefix_length > 0;
    if (group > 0) {
      add_items({int32(s.begin), int32(s.length), int32(s.prefix_length + s.length), int32(s.begin),
                 0, int32(s.prefix_begin), int32(s.prefix_length)},
                group, items);
    }
    ends.push_back(int32(s.begin + s.length));
    plan.longest = std::max(plan.longest, s.length);
  }
  order(items);
  const at::Device device = batch.tokens.device();
  plan.items = to_device(items, device);
  plan.cumulative = to_device(ends, device);
  if (prefixes) {
    plan_copies(batch, plan);
  } else {
    plan.cumulative_keys = plan.cumulative;
    plan.longest_keys = plan.longest;
  }
  return plan;
}

const Tensor& cache_of(const ForwardBatch& batch, int64_t layer) {
  return batch.cache->keys[static_cast<size_t>(layer)];
}

k::LatentShape latent_shape(int64_t heads, int64_t rank, const Tensor& cache, double scale) {
  return {static_cast<int32_t>(heads), static_cast<int32_t>(rank),
          static_cast<int32_t>(cache.size(3)), static_cast<float>(scale)};
}

template <class Call>
void set_rope(Call& call, const RopeTable* rope) {
  if (!rope) return;
  call.cos = rope->cos.const_data_ptr<float>();
  call.sin = rope->sin.const_data_ptr<float>();
}

// LibTorch's flash attention counts a window by what lies to the left and to the right of a token.
struct FlashWindow {
  std::optional<int64_t> left, right;
  explicit FlashWindow(int64_t window) {
    if (window > 0) left = window - 1, right = 0;
  }
};

// Queries [T, H, D], keys and values [K, G, D] as flash attention reads them.
struct FlashHeads {
  Tensor q, k, v;
  FlashHeads(const Tensor& qkv, const AttentionPlan& plan, int64_t h, int64_t g, int64_t d) {
    const Tensor rows = qkv.view({qkv.size(0), h + 2 * g, d});
    q = rows.narrow(1, 0, h);
    Tensor kv = rows.narrow(1, h, 2 * g);
    if (plan.copied_keys.defined()) kv = kv.index_select(0, plan.copied_keys);
    k = kv.narrow(1, 0, g);
    v = kv.narrow(1, g, g);
  }
};

// While it lives, LibTorch's flash attention adds up the gradient of the queries in one order.
class OneOrder {
 public:
  OneOrder() {
    context_.setDeterministicFillUninitializedMemory(false);  // costs time, changes no result
    context_.setDeterministicAlgorithms(true, /*warn_only=*/false);
  }
  OneOrder(const OneOrder&) = delete;
  ~OneOrder() {
    context_.setDeterministicAlgorithms(on_, warn_only_);
    context_.setDeterministicFillUninitializedMemory(fills_);
  }

 private:
  at::Context& context_ = at::globalContext();
  const bool on_ = context_.deterministicAlgorithms(),
             warn_only_ = context_.deterministicAlgorithmsWarnOnly(),
             fills_ = context_.deterministicFillUninitializedMemory();
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
    const Tensor qkv = at::empty_like(input, at::MemoryFormat::Contiguous);
    k::RotateHeads rotate{input.const_data_ptr(),
                          qkv.data_ptr(),
                          batch->positions.const_data_ptr<int64_t>(),
                          nullptr,
                          nullptr,
                          head_shape(*shape)};
    set_rope(rotate, rope);
    k::rotate_heads(type_of(qkv), rotate, t, stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
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
      const FlashHeads heads(qkv, plan, h, g, d);
      const FlashWindow window(shape->window);
      const auto result = at::_flash_attention_forward(
          heads.q, heads.k, heads.v, plan.cumulative, plan.cumulative_keys, plan.longest,
          plan.longest_keys, 0.0, true, false, std::optional<double>(shape->scale), window.left,
          window.right);
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
    const int64_t h = sizes[0], g = sizes[1], d = sizes[2], t = qkv.size(0);
    const AttentionShape shape{h, g, d, ctx->saved_data["scale"].toDouble(), sizes[3]};
    const AttentionPlan& plan = *batch->plan;
    const FlashHeads heads(qkv, plan, h, g, d);
    const FlashWindow window(shape.window);
    const Tensor unused = at::empty({2}, qkv.options().dtype(at::kUInt64));
    const OneOrder one_order;
    const auto [dq, dk, dv] = at::_flash_attention_backward(
        dy[0].contiguous().view({t, h, d}), heads.q, heads.k, heads.v, out.view({t, h, d}), lse,
        plan.cumulative, plan.cumulative_keys, plan.longest, plan.longest_keys, 0.0, true, unused,
        unused, std::optional<double>(shape.scale), window.left, window.right);
    const Tensor dqkv = at::empty_like(qkv);
    k::HeadGradients call{dq.const_data_ptr(),
                          dk.const_data_ptr(),
                          dv.const_data_ptr(),
                          dqkv.data_ptr(),
                          batch->positions.const_data_ptr<int64_t>(),
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr,
                          head_shape(shape)};
    set_rope(call, rope);
    if (plan.places.defined()) {
      call.place_begin = plan.place_begin.const_data_ptr<int32_t>();
      call.places = plan.places.const_data_ptr<int32_t>();
    }
    HONE_CHECK(dq.is_contiguous() && dk.is_contiguous() && dv.is_contiguous());
    k::head_gradients(type_of(dqkv), call, t, stream());
    C10_CUDA_KERNEL_LAUNCH_CHECK();
    return {dqkv, Tensor(), Tensor(), Tensor()};
  }
};

// Rotation by itself: heads of queries alone.
struct Rotate : torch::autograd::Function<Rotate> {
  using Context = torch::autograd::AutogradContext;
  using Variables = torch::autograd::variable_list;

  static k::HeadShape heads_of(const Tensor& x, int64_t heads) {
    return {static_cast<int32_t>(heads), 0, static_cast<int32_t>(x.size(1) / heads), 1, 0};
  }
  static Tensor forward(Context* ctx, const Tensor& x, const ForwardBatch* batch, int64_t heads,
                        const RopeTable* rope) {
    const Tensor from = x.contiguous(), to = at::empty_like(from);
    k::RotateHeads call{from.const_data_ptr(),
                        to.data_ptr(),
                        batch->positions.const_data_ptr<int64_t>(),
                        nullptr,
                        nullptr,
                        heads_of(x, heads)};
    set_rope(call, rope);
    k::rotate_heads(type_of(to), call, to.size(0), stream());
    ctx->saved_data["batch"] = reinterpret_cast<int64_t>(batch);
    ctx->saved_data["rope"] = reinterpret_cast<int64_t>(rope);
    ctx->saved_data["heads"] = heads;
    return to;
  }
  static Variables backward(Context* ctx, Variables dy) {
    const auto* batch = reinterpret_cast<const ForwardBatch*>(ctx->saved_data["batch"].toInt());
    const auto* rope = reinterpret_cast<const RopeTable*>(ctx->saved_data["rope"].toInt());
    const Tensor d = dy[0].contiguous(), dx = at::empty_like(d);
    k::HeadGradients call{};
    call.dq = d.const_data_ptr();
    call.dqkv = dx.data_ptr();
    call.positions = batch->positions.const_data_ptr<int64_t>();
    call.shape = heads_of(d, ctx->saved_data["heads"].toInt());
    set_rope(call, rope);
    k::head_gradients(type_of(dx), call, dx.size(0), stream());
    return {dx, Tensor(), Tensor(), Tensor()};
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

Tensor norm_backward(const Tensor& dnormed, const Tensor& dsum, const Tensor& sum,
                     const Tensor& inv_rms, const Tensor& weight, const Tensor& dweight) {
  const c10::cuda::CUDAGuard guard(sum.device());
  const int64_t t = sum.size(0), c = sum.size(1);
  const Tensor dy = dnormed.contiguous(), more = dsum.defined() ? dsum.contiguous() : dsum;
  const Tensor dx = at::empty_like(sum);
  const k::Type type = type_of(sum);
  const Tensor workspace =
      at::empty({k::norm_backward_floats(type, t, c)}, sum.options().dtype(at::kFloat));
  k::norm_backward(
      type,
      {dy.const_data_ptr(), sum.const_data_ptr(), more.defined() ? more.const_data_ptr() : nullptr,
       weight.const_data_ptr(), inv_rms.const_data_ptr<float>(), dx.data_ptr(),
       dweight.defined() ? dweight.data_ptr<float>() : nullptr, c},
      t, workspace.data_ptr<float>(), stream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return dx;
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
  k::PrepareHeads call{};
  call.qkv = qkv.data_ptr();
  call.positions = batch.positions.const_data_ptr<int64_t>();
  call.shape = heads;
  set_rope(call, rope);
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

Tensor rotate(const Tensor& x, const ForwardBatch& batch, int64_t heads, const RopeTable& rope) {
  const c10::cuda::CUDAGuard guard(x.device());
  return Rotate::apply(x, &batch, heads, &rope);
}

Tensor training_attention(const Tensor& qkv, const ForwardBatch& batch, const AttentionShape& shape,
                          const RopeTable* rope) {
  const c10::cuda::CUDAGuard guard(qkv.device());
  return TrainingAttention::apply(qkv, &batch, &shape, rope);
}

}  // namespace hone::ops::cuda
#endif
