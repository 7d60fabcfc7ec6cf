#include "engine/model_runner.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "engine/device_pages.h"

namespace hone {

static_assert(kCacheBlockTokens == kBlockTokens);

#ifndef HONE_WITH_CUDA
class DevicePages {};
#endif

ModelRunner::ModelRunner(const Transformer& model) : model_(&model) {}
ModelRunner::~ModelRunner() = default;

void ModelRunner::prepare(int64_t blocks, bool record_routing) {
  record_routing_ = record_routing;
  batch_.sequences.clear();
  tenancies_.clear();
  const bool enough = cache_.blocks >= blocks;
  if (!enough) cache_ = {};  // before the new one is made
#ifdef HONE_WITH_CUDA
  if (model_->device().is_cuda()) {
    if (enough) return pages_->take();
    pages_.reset();
    pages_ = std::make_unique<DevicePages>(model_->device(), model_->cache_bytes(blocks));
    cache_ = model_->make_cache(blocks, pages_->bytes());
    return;
  }
#endif
  if (!enough) cache_ = model_->make_cache(blocks);
}

void ModelRunner::release() {
#ifdef HONE_WITH_CUDA
  if (pages_) pages_->give_back();
#endif
}

int64_t ModelRunner::held_bytes() const {
#ifdef HONE_WITH_CUDA
  if (pages_) return pages_->held() ? model_->cache_bytes(cache_.blocks) : 0;
#endif
  return model_->cache_bytes(cache_.blocks);
}

at::Tensor ModelRunner::run(const Step& step, const Scheduler& scheduler) {
  const at::NoGradGuard no_grad;
  copy_blocks(step.copies);
  build_batch(step, scheduler);
  at::Tensor hidden = model_->forward(batch_);  // [T, C]
  if (!step.decode) {
    const int64_t n = static_cast<int64_t>(batch_.sequences.size());
    at::Tensor last = at::empty({n}, at::kLong);
    for (int64_t i = 0; i < n; ++i) {
      const PagedSequence& s = batch_.sequences[static_cast<size_t>(i)];
      last.data_ptr<int64_t>()[i] = s.query_begin + s.query_length - 1;
    }
    hidden = hidden.index_select(0, last.to(hidden.device()));  // [items, C]
  }
  return model_->logits(hidden);
}

// In both layouts of KvCache a block is one contiguous piece of each layer's tensor.
void ModelRunner::copy_blocks(const std::vector<Step::BlockCopy>& copies) {
  const int64_t n = static_cast<int64_t>(copies.size());
  if (n == 0) return;
  at::Tensor index = at::empty({2, n}, at::kLong);
  int64_t* p = index.data_ptr<int64_t>();
  for (int64_t i = 0; i < n; ++i) {
    p[i] = copies[static_cast<size_t>(i)].from;
    p[n + i] = copies[static_cast<size_t>(i)].to;
  }
  index = index.to(model_->device());
  const at::Tensor from = index.select(0, 0), to = index.select(0, 1);
  for (std::vector<at::Tensor>* tensors : {&cache_.keys, &cache_.values}) {
    for (const at::Tensor& layer : *tensors) {
      at::Tensor blocks = layer.view({cache_.blocks, -1});
      blocks.index_copy_(0, to, blocks.index_select(0, from));  // reads all before it writes
    }
  }
}

void ModelRunner::build_batch(const Step& step, const Scheduler& scheduler) {
  const size_t n = step.items.size();
  int64_t rows = 0;
  for (const Step::Item& item : step.items) rows += item.length;
  at::Tensor staging = at::empty({3, rows}, at::kLong);  // one transfer to the device
  int64_t* tokens = staging.data_ptr<int64_t>();
  int64_t *positions = tokens + rows, *slots = positions + rows;
  batch_.sequences.resize(n);
  tenancies_.resize(n, 0);

  int64_t row = 0;
  for (size_t i = 0; i < n; ++i) {
    const Step::Item& item = step.items[i];
    const PromptGroup& group = scheduler.group(item.group);
    const Sequence* sequence = item.sequence >= 0 ? &scheduler.sequence(item.sequence) : nullptr;
    PagedSequence& out = batch_.sequences[i];
    out.query_begin = row;
    out.query_length = item.length;
    out.context = item.begin + item.length;
    if (!sequence) {
      out.blocks = group.blocks;
      if (group.tail >= 0) out.blocks.push_back(group.tail);
      tenancies_[i] = 0;
    } else if (tenancies_[i] != sequence->tenancy) {
      out.blocks = sequence->blocks;
      tenancies_[i] = sequence->tenancy;
    } else {  // the same table, perhaps grown
      for (size_t b = out.blocks.size(); b < sequence->blocks.size(); ++b) {
        out.blocks.push_back(sequence->blocks[b]);
      }
    }
    for (int64_t p = item.begin; p < out.context; ++p, ++row) {
      tokens[row] = sequence ? scheduler.token(*sequence, p) : group.prompt[static_cast<size_t>(p)];
      positions[row] = p;
      slots[row] =
          out.blocks[static_cast<size_t>(p / kBlockTokens)] * kBlockTokens + p % kBlockTokens;
    }
  }
  staging = staging.to(model_->device());
  batch_.tokens = staging.select(0, 0);
  batch_.positions = staging.select(0, 1);
  batch_.slots = staging.select(0, 2);
  batch_.cache = &cache_;
  batch_.plan.reset();
  const ModelConfig& c = model_->config();
  batch_.routes = record_routing_ ? at::empty({rows, c.sparse_layers(), c.experts.per_token},
                                              batch_.tokens.options().dtype(at::kShort))
                                  : at::Tensor();
}

}  // namespace hone
