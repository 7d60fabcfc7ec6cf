// A decode step of few sequences: the same model as Transformer::forward, in fewer and larger
// kernels (kernels/cuda_small_batch.h), six a layer.
#ifdef HONE_WITH_CUDA
#include <ATen/ATen.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda_small_batch.h"
#include "model/transformer.h"

namespace hone {

namespace k = kernels::cuda;

// Exact models have one order of sums for all batches, which is not this one.
bool Transformer::takes_small_batch(const ForwardBatch& batch) const {
  const ModelConfig& c = config_;
  const int64_t rows = batch.tokens.size(0), mixed = c.heads * c.head_dim;
  return batch.decode && rows <= k::kSmallBatchRows && dtype() == at::kBFloat16 && !exact() &&
         !fp8_ && !adapters() && c.experts.count == 0 && c.latent.kv_rank == 0 &&
         c.activation == Activation::silu && !c.mlp_bias && c.embedding_scale == 1 &&
         c.residual_scale == 1 && c.logit_scale == 1 && c.hidden % 32 == 0 && mixed % 32 == 0 &&
         c.intermediate % 32 == 0 &&
         k::small_batch_holds(static_cast<int32_t>(rows), static_cast<int32_t>(c.hidden));
}

at::Tensor Transformer::small_batch_logits(const ForwardBatch& batch) const {
  const ModelConfig& c = config_;
  const int64_t rows = batch.tokens.size(0);
  const auto m = static_cast<int32_t>(rows), hidden = static_cast<int32_t>(c.hidden);
  const auto stream = c10::cuda::getCurrentCUDAStream().stream();
  const auto options = at::TensorOptions().device(device()).dtype(dtype());
  const at::Tensor x = at::empty({rows, c.hidden}, options);  // the residual stream
  const int32_t parts = (hidden + k::kSquareColumns - 1) / k::kSquareColumns;
  const at::Tensor squares = at::empty({parts, rows}, options.dtype(at::kFloat));
  int32_t square_parts = 1;
  const auto normed = [&](const Parameter& norm, const Parameter& w, const Parameter* bias) {
    return k::NormedProduct{x.const_data_ptr(),
                            norm.value.const_data_ptr(),
                            squares.const_data_ptr<float>(),
                            square_parts,
                            static_cast<float>(c.rms_eps),
                            w.value.const_data_ptr(),
                            bias ? bias->value.const_data_ptr() : nullptr,
                            m,
                            static_cast<int32_t>(w.value.size(0)),
                            hidden};
  };
  const auto add = [&](const at::Tensor& from, const Parameter& w, const Parameter* bias) {
    k::product_onto({from.const_data_ptr(), w.value.const_data_ptr(),
                     bias ? bias->value.const_data_ptr() : nullptr, x.data_ptr(),
                     squares.data_ptr<float>(), m, hidden, static_cast<int32_t>(w.value.size(1))},
                    stream);
    square_parts = parts;
  };

  k::small_embedding(batch.tokens.const_data_ptr<int64_t>(), embedding_->value.const_data_ptr(),
                     x.data_ptr(), squares.data_ptr<float>(), m, hidden, stream);
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const Block& b = blocks_[static_cast<size_t>(layer)];
    const at::Tensor qkv = at::empty({rows, b.qkv->value.size(0)}, options);
    k::normed_product(normed(*b.attention_norm, *b.qkv, b.qkv_bias), k::Type::bf16, qkv.data_ptr(),
                      stream);
    add(attend_heads(qkv, b, batch, layer), *b.output, b.output_bias);
    const at::Tensor active = at::empty({rows, c.intermediate}, options);
    k::normed_product_gated(normed(*b.mlp_norm, *b.mlp.gate_up, nullptr), active.data_ptr(),
                            stream);
    add(active, *b.mlp.down, nullptr);
  }
  at::Tensor logits = at::empty({rows, c.vocab_size}, options.dtype(at::kFloat));
  k::normed_product(normed(*final_norm_, *head_, nullptr), k::Type::float32, logits.data_ptr(),
                    stream);
  return logits;
}

}  // namespace hone
#endif
