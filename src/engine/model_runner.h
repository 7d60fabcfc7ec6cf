// From a scheduler's step to logits: builds the batch, copies the blocks, runs the model.
// Knows tensors and blocks, not requests. One thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "engine/scheduling/scheduler.h"
#include "model/transformer.h"

namespace hone {

class DevicePages;

class ModelRunner {
 public:
  explicit ModelRunner(const Transformer& model);
  ~ModelRunner();

  // Call before the steps of a new scheduler. Makes a cache of at least `blocks` blocks; one that
  // is large enough is kept.
  void prepare(int64_t blocks, bool record_routing);
  // On CUDA gives the cache's memory back until the next `prepare`; its addresses stay.
  void release();
  const KvCache& cache() const { return cache_; }
  int64_t cache_blocks() const { return cache_.blocks; }
  // Bytes of one block in all layers.
  int64_t block_bytes() const { return model_->cache_bytes(1); }
  // Bytes of the cache that are held now.
  int64_t held_bytes() const;

  // Computes the step. Logits of each item's last token, of a decode step's items of all their
  // tokens: [rows, V] float32 on the model's device.
  at::Tensor run(const Step& step, const Scheduler& scheduler);
  // Of the last step, where routing is recorded: ForwardBatch::routes on the CPU.
  at::Tensor routes() const { return batch_.routes.cpu(); }
  // A step's copies, where the rest of it is not run here.
  void copy_blocks(const std::vector<Step::BlockCopy>& copies);

 private:
  void build_batch(const Step& step, const Scheduler& scheduler);

  const Transformer* model_;
  std::unique_ptr<DevicePages> pages_;  // that the cache lies in; CUDA
  KvCache cache_;
  bool record_routing_ = false;
  ForwardBatch batch_;               // reused: its tables keep their memory
  std::vector<uint64_t> tenancies_;  // whose table batch_.sequences[i] holds; 0: a prompt's
};

}  // namespace hone
