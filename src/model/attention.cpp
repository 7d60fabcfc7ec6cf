// Attention of a batch: over the paged cache (sampling) or inside the batch (training).
#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "kernels/cpu_kernels.h"
#include "model/attention_plan.h"
#include "model/cuda_ops.h"
#include "model/ops.h"

namespace hone {

using at::Tensor;

namespace ops {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

int64_t blocks_of(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

void plan_training_cpu(const ForwardBatch& batch, AttentionPlan& plan) {
  const size_t n = batch.segments.size();
  plan.tables.resize(n);
  plan.slots.resize(static_cast<size_t>(batch.tokens.numel()));
  std::unordered_map<int64_t, size_t> by_begin;
  for (size_t s = 0; s < n; ++s) {
    const AttentionSegment& segment = batch.segments[s];
    std::vector<int32_t>& table = plan.tables[s];
    const int64_t tail = segment.prefix_length % kBlockTokens;
    if (segment.prefix_length > 0) {
      const auto prefix = by_begin.find(segment.prefix_begin);
      HONE_CHECK(prefix != by_begin.end() &&
                 batch.segments[prefix->second].length == segment.prefix_length);
      const std::vector<int32_t>& shared = plan.tables[prefix->second];
      table.assign(shared.begin(), shared.begin() + segment.prefix_length / kBlockTokens);
    } else {
      by_begin[segment.begin] = s;
    }
    for (int64_t b = blocks_of(tail + segment.length); b > 0; --b) {
      table.push_back(static_cast<int32_t>(plan.blocks++));
    }
    const auto slot_of = [&](int64_t position) {
      return table[static_cast<size_t>(position / kBlockTokens)] * kBlockTokens +
             position % kBlockTokens;
    };
    for (int64_t i = segment.prefix_length - tail; i < segment.prefix_length; ++i) {
      plan.copied_rows.push_back(segment.prefix_begin + i);
      plan.copied_slots.push_back(slot_of(i));
    }
    for (int64_t i = 0; i < segment.length; ++i) {
      plan.slots[static_cast<size_t>(segment.begin + i)] = slot_of(segment.prefix_length + i);
    }
    plan.sequences.push_back(
        {segment.begin, segment.length, segment.prefix_length + segment.length, nullptr});
  }
  for (size_t s = 0; s < n; ++s) plan.sequences[s].blocks = plan.tables[s].data();
}

void plan_cpu(const ForwardBatch& batch, AttentionPlan& plan) {
  if (!batch.cache) return plan_training_cpu(batch, plan);
  for (const PagedSequence& s : batch.sequences) {
    plan.sequences.push_back({s.query_begin, s.query_length, s.context, s.blocks.data()});
  }
}

void plan_cuda(const ForwardBatch& batch, AttentionPlan& plan) {
  struct Row {
    int64_t begin, length, context;
  };
  std::vector<Row> rows;
  if (batch.cache) {
    for (const PagedSequence& s : batch.sequences) {
      rows.push_back({s.query_begin, s.query_length, s.context});
    }
  } else {
    for (const AttentionSegment& s : batch.segments) {
      HONE_CHECK(s.prefix_length == 0);
      rows.push_back({s.begin, s.length, s.length});
    }
  }
  const int64_t n = static_cast<int64_t>(rows.size());
  int64_t q = 0, l = 0;
  for (const Row& r : rows) {
    q = std::max(q, r.length);
    l = std::max(l, r.context);
  }
  const at::Device device = batch.tokens.device();
  Tensor query_rows = at::zeros({n, q}, at::kLong), key_rows = at::zeros({n, l}, at::kLong),
         flat = at::empty({batch.tokens.numel()}, at::kLong),
         lengths = at::empty({n, 2}, at::kLong);
  int64_t* qr = query_rows.data_ptr<int64_t>();
  int64_t* kr = key_rows.data_ptr<int64_t>();
  int64_t* len = lengths.data_ptr<int64_t>();
  for (int64_t s = 0; s < n; ++s) {
    const Row& r = rows[static_cast<size_t>(s)];
    for (int64_t i = 0; i < r.length; ++i) {
      qr[s * q + i] = r.begin + i;
      flat.data_ptr<int64_t>()[r.begin + i] = s * q + i;
    }
    for (int64_t j = 0; j < r.context; ++j) {
      kr[s * l + j] =
          batch.cache
              ? batch.sequences[static_cast<size_t>(s)].blocks[j / kBlockTokens] * kBlockTokens +
                    j % kBlockTokens
              : r.begin + j;
    }
    len[2 * s] = r.length;
    len[2 * s + 1] = r.context;
  }
  plan.query_rows = query_rows.to(device);
  plan.key_rows = key_rows.to(device);
  plan.flat = flat.to(device);
  lengths = lengths.to(device);
  const auto options = at::TensorOptions().device(device).dtype(at::kLong);
  const Tensor offset = (lengths.select(1, 1) - lengths.select(1, 0)).view({n, 1, 1, 1});
  const Tensor query = at::arange(q, options).view({1, 1, q, 1});
  const Tensor key = at::arange(l, options).view({1, 1, 1, l});
  plan.distance = query + offset - key;  // padded query rows see something, too: no NaN
}

const Tensor& mask_of(AttentionPlan& plan, int64_t window) {
  for (const auto& [w, mask] : plan.masks) {
    if (w == window) return mask;
  }
  const Tensor causal = plan.distance.ge(0);
  plan.masks.emplace_back(window, window > 0 ? causal & plan.distance.lt(window) : causal);
  return plan.masks.back().second;
}

const float* data(const Tensor& t) { return t.const_data_ptr<float>(); }

// Training on the CPU: [T, (H + 2G) D] -> [T, H D]; D is a multiple of 16.
struct TrainingAttention : torch::autograd::Function<TrainingAttention> {
  static Tensor forward(AutogradContext* ctx, const Tensor& input, const ForwardBatch* batch,
                        const AttentionShape& shape, const RopeTable* rope) {
    const int64_t h = shape.heads, g = shape.kv_heads, d = shape.head_dim, window = shape.window;
    const double scale = shape.scale;
    const AttentionPlan& plan = *batch->plan;
    const int64_t t = input.size(0), stride = (h + 2 * g) * d;
    const Tensor qkv = rope ? input.clone() : input;  // rotated; kept for the backward pass
    float* q = qkv.data_ptr<float>();
    float *k = q + h * d, *v = k + g * d;
    if (rope) {
      kernels::rope(q, stride, batch->positions.const_data_ptr<int64_t>(), data(rope->cos),
                    data(rope->sin), t, h + g, d, false);
    }
    Tensor keys = at::empty({plan.blocks, g, d, kBlockTokens}, qkv.options());
    Tensor values = at::empty({plan.blocks, g, kBlockTokens, d}, qkv.options());
    kernels::store_kv(k, v, stride, stride, plan.slots.data(), keys.data_ptr<float>(),
                      values.data_ptr<float>(), t, g, d);
    for (size_t i = 0; i < plan.copied_rows.size(); ++i) {
      const int64_t at = plan.copied_rows[i] * stride;
      kernels::store_kv(k + at, v + at, stride, stride, &plan.copied_slots[i],
                        keys.data_ptr<float>(), values.data_ptr<float>(), 1, g, d);
    }
    Tensor out = at::empty({t, h * d}, qkv.options()), lse = at::empty({t, h}, qkv.options());
    kernels::paged_attention(q, stride, plan.sequences.data(),
                             static_cast<int64_t>(plan.sequences.size()), data(keys), data(values),
                             static_cast<float>(scale), out.data_ptr<float>(),
                             lse.data_ptr<float>(), h, g, d, window);
    ctx->save_for_backward({qkv, out, lse});
    ctx->saved_data["batch"] = reinterpret_cast<int64_t>(batch);
    ctx->saved_data["sizes"] = std::vector<int64_t>{h, g, d, window};
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["rope"] = reinterpret_cast<int64_t>(rope);
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &qkv = saved[0], &out = saved[1], &lse = saved[2];
    const auto* batch = reinterpret_cast<const ForwardBatch*>(ctx->saved_data["batch"].toInt());
    const auto* rope = reinterpret_cast<const RopeTable*>(ctx->saved_data["rope"].toInt());
    const std::vector<int64_t> sizes = ctx->saved_data["sizes"].toIntVector();
    const int64_t h = sizes[0], g = sizes[1], d = sizes[2], window = sizes[3];
    const int64_t t = qkv.size(0), stride = (h + 2 * g) * d;
    const Tensor dout = dy[0].contiguous();
    Tensor dqkv = at::empty_like(qkv);
    const float* q = data(qkv);
    float* dq = dqkv.data_ptr<float>();
    kernels::AttentionGrad tensors{
        q,      q + h * d, q + (h + g) * d, data(out),        data(dout), data(lse), stride, stride,
        stride, dq,        dq + h * d,      dq + (h + g) * d, stride,     stride,    stride};
    kernels::attention_backward(
        tensors, batch->segments.data(), static_cast<int64_t>(batch->segments.size()), t,
        static_cast<float>(ctx->saved_data["scale"].toDouble()), h, g, d, window);
    if (rope) {
      kernels::rope(dq, stride, batch->positions.const_data_ptr<int64_t>(), data(rope->cos),
                    data(rope->sin), t, h + g, d, true);
    }
    return {dqkv, Tensor(), Tensor(), Tensor()};
  }
};

// Rotation by itself, on the CPU.
struct Rotate : torch::autograd::Function<Rotate> {
  static Tensor turned(Tensor x, const ForwardBatch& batch, int64_t heads, const RopeTable& rope,
                       bool back) {
    kernels::rope(x.data_ptr<float>(), x.size(1), batch.positions.const_data_ptr<int64_t>(),
                  data(rope.cos), data(rope.sin), x.size(0), heads, x.size(1) / heads, back);
    return x;
  }
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const ForwardBatch* batch,
                        int64_t heads, const RopeTable* rope) {
    ctx->saved_data["batch"] = reinterpret_cast<int64_t>(batch);
    ctx->saved_data["heads"] = heads;
    ctx->saved_data["rope"] = reinterpret_cast<int64_t>(rope);
    return turned(x.clone(at::MemoryFormat::Contiguous), *batch, heads, *rope, false);
  }
  static variable_list backward(AutogradContext* ctx, variable_list dy) {
    const auto* batch = reinterpret_cast<const ForwardBatch*>(ctx->saved_data["batch"].toInt());
    const auto* rope = reinterpret_cast<const RopeTable*>(ctx->saved_data["rope"].toInt());
    return {turned(dy[0].clone(at::MemoryFormat::Contiguous), *batch,
                   ctx->saved_data["heads"].toInt(), *rope, true),
            Tensor(), Tensor(), Tensor()};
  }
};

// Sampling on the CPU; qkv is rotated in place. D is a multiple of 16.
Tensor paged_cpu(Tensor qkv, const ForwardBatch& batch, int64_t layer, const AttentionShape& shape,
                 const RopeTable* rope) {
  const int64_t h = shape.heads, g = shape.kv_heads, d = shape.head_dim, window = shape.window;
  const double scale = shape.scale;
  const AttentionPlan& plan = *batch.plan;
  const int64_t t = qkv.size(0), stride = (h + 2 * g) * d;
  float* q = qkv.data_ptr<float>();
  float *k = q + h * d, *v = k + g * d;
  float* keys = batch.cache->keys[static_cast<size_t>(layer)].data_ptr<float>();
  float* values = batch.cache->values[static_cast<size_t>(layer)].data_ptr<float>();
  if (rope) {
    kernels::rope(q, stride, batch.positions.const_data_ptr<int64_t>(), data(rope->cos),
                  data(rope->sin), t, h + g, d, false);
  }
  kernels::store_kv(k, v, stride, stride, batch.slots.const_data_ptr<int64_t>(), keys, values, t, g,
                    d);
  Tensor out = at::empty({t, h * d}, qkv.options());
  kernels::paged_attention(
      q, stride, plan.sequences.data(), static_cast<int64_t>(plan.sequences.size()), keys, values,
      static_cast<float>(scale), out.data_ptr<float>(), nullptr, h, g, d, window);
  return out;
}

Tensor attention_cpu(const Tensor& qkv, const ForwardBatch& batch, int64_t layer,
                     const AttentionShape& shape, const RopeTable* rope) {
  const int64_t d = shape.head_dim, padded = (d + 15) / 16 * 16,
                rows = shape.heads + 2 * shape.kv_heads;
  if (d == padded) {
    return batch.cache ? paged_cpu(qkv, batch, layer, shape, rope)
                       : TrainingAttention::apply(qkv, &batch, shape, rope);
  }
  // The kernels want heads of a multiple of 16. Zeros change no product.
  const int64_t t = qkv.size(0), turned = (shape.heads + shape.kv_heads) * d;
  Tensor x = qkv;
  if (rope) {
    x = at::cat(
        {ops::rotate(qkv.narrow(1, 0, turned), batch, shape.heads + shape.kv_heads, *rope, false),
         qkv.narrow(1, turned, shape.kv_heads * d)},
        1);
  }
  AttentionShape wide = shape;
  wide.head_dim = padded;
  x = at::constant_pad_nd(x.view({t, rows, d}), {0, padded - d}).reshape({t, rows * padded});
  return attention_cpu(x, batch, layer, wide, nullptr)
      .view({t, shape.heads, padded})
      .narrow(2, 0, d)
      .reshape({t, shape.heads * d});
}

// q [T, H, D], keys and values [S * L, G, .] as the plan's key_rows list them -> [T, H, .]
Tensor padded_attention(const Tensor& q, const Tensor& keys, const Tensor& values,
                        AttentionPlan& plan, double scale, int64_t window) {
  const int64_t s = plan.key_rows.size(0), n = plan.query_rows.size(1);
  const auto by_sequence = [&](const Tensor& x) {
    return x.view({s, x.size(0) / s, x.size(1), x.size(2)}).transpose(1, 2);
  };
  const Tensor out = at::scaled_dot_product_attention(
      by_sequence(q.index_select(0, plan.query_rows.view(-1))), by_sequence(keys),
      by_sequence(values), mask_of(plan, window), 0.0, false, scale,
      q.size(1) != keys.size(1));  // [S, H, Q, D]
  return out.transpose(1, 2).reshape({s * n, q.size(1), values.size(2)}).index_select(0, plan.flat);
}

// Training on CUDA where flash attention does not serve: float32, head sizes that it lacks.
Tensor attention_cuda(const Tensor& qkv, const ForwardBatch& batch, const AttentionShape& shape,
                      const RopeTable* rope) {
  const int64_t h = shape.heads, g = shape.kv_heads, d = shape.head_dim, window = shape.window;
  const double scale = shape.scale;
  const int64_t t = qkv.size(0);
  AttentionPlan& plan = *batch.plan;
  const Tensor rows = qkv.view({t, h + 2 * g, d});
  Tensor qk = rows.narrow(1, 0, h + g);
  if (rope) qk = rotate(qk.reshape({t, -1}), batch, h + g, *rope, false).view({t, h + g, d});
  const Tensor q = qk.narrow(1, 0, h), v = rows.narrow(1, h + g, g);
  const Tensor k = qk.narrow(1, h, g);
  const Tensor index = plan.key_rows.view(-1);
  return padded_attention(q, k.index_select(0, index), v.index_select(0, index), plan, scale,
                          window)
      .reshape({t, h * d});
}

void make_plan(const Tensor& x, const ForwardBatch& batch) {
  if (batch.plan) return;
  batch.plan = std::make_shared<AttentionPlan>();
  if (x.is_cpu()) {
    plan_cpu(batch, *batch.plan);
  } else {
    plan_cuda(batch, *batch.plan);
  }
}

}  // namespace

bool has_flash_attention(at::ScalarType type, int64_t head_dim) {
  return type == at::kBFloat16 && head_dim % 8 == 0 && head_dim <= 256;
}

Tensor rotate(const Tensor& x, const ForwardBatch& batch, int64_t heads, const RopeTable& rope,
              bool interleaved) {
  const int64_t t = x.size(0), d = x.size(1) / heads;
  const Tensor halves =
      interleaved ? x.view({t, heads, d / 2, 2}).transpose(2, 3).reshape({t, heads * d}) : x;
#ifdef HONE_WITH_CUDA
  if (x.is_cuda()) return cuda::rotate(halves, batch, heads, rope);
#endif
  return Rotate::apply(halves, &batch, heads, &rope);
}

#ifdef HONE_WITH_CUDA
Tensor attention_over_latents(const Tensor& q, const Tensor& latents, const Tensor& rotated,
                              const ForwardBatch& batch, int64_t layer, double scale) {
  const int64_t rank = latents.size(1);
  cuda::store_latents(latents, rotated, batch, layer);
  if (batch.decode) return cuda::decode_latents(q, rank, batch, layer, scale);
  make_plan(q, batch);
  const Tensor keys = cuda::load_latents(batch.plan->key_rows.view(-1), rank, batch, layer);
  return padded_attention(q, keys, keys.narrow(2, 0, rank).contiguous(), *batch.plan, scale, 0);
}
#endif

Tensor attention(const Tensor& qkv, const ForwardBatch& batch, int64_t layer,
                 const AttentionShape& shape, const RopeTable* rope) {
#ifdef HONE_WITH_CUDA
  if (qkv.is_cuda() && batch.cache) return cuda::paged_attention(qkv, batch, layer, shape, rope);
  if (has_flash_attention(qkv.scalar_type(), shape.head_dim)) {
    return cuda::training_attention(qkv, batch, shape, rope);
  }
#endif
  make_plan(qkv, batch);
  return qkv.is_cpu() ? attention_cpu(qkv, batch, layer, shape, rope)
                      : attention_cuda(qkv, batch, shape, rope);
}

}  // namespace ops
}  // namespace hone
