// Decode steps on the GPU without the host: a step is one CUDA graph (model, draw, what comes
// next), captured once for each batch size and repeated; tokens, positions, block tables and ends
// stay on the device for a chunk of steps. With drafts a step is one of the same graphs, whose rows
// are the tokens of all items: the host looks after each.
#pragma once

#include <cstdint>

namespace hone {
constexpr int64_t kDecodeChunk = 8;  // steps between two looks of the host, at most
}  // namespace hone

#ifdef HONE_WITH_CUDA
#include <ATen/core/Tensor.h>
#include <c10/core/Allocator.h>

#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "engine/scheduling/scheduler.h"
#include "engine/token_sampling.h"
#include "model/transformer.h"
#include "rollouts/sampler.h"

namespace hone {

constexpr int64_t kMostStopIds = 64;  // that the device looks for

class DecodeGraphs {
 public:
  explicit DecodeGraphs(const Transformer& model);
  ~DecodeGraphs();
  DecodeGraphs(const DecodeGraphs&) = delete;

  // Whether the model can run so: experts whose products wait for the host cannot.
  static bool serves(const Transformer& model);

  // The most that the steps of a scheduler will ask for.
  struct Extent {
    int64_t rows;     // sequences running together; or of a step with drafts
    int64_t longest;  // tokens of a sequence
    int64_t keys;     // tokens of all rows, those that several rows see counted for each
  };
  // Call before the steps of a new scheduler, with the options of all draws. Graphs are kept where
  // nothing that they hold addresses of has moved. REQUIRES: at most kMostStopIds stop ids.
  void prepare(const KvCache& cache, const SamplingOptions& options,
               const std::vector<int64_t>& stop_ids, const Extent& extent);
  // Draws for each of the step's items up to step.tokens tokens, or one behind each of its tokens.
  void run(const Step& step, const Scheduler& scheduler, std::vector<DrawnTokens>& drawn);

 private:
  struct Graph;
  struct Buffers;
  void allocate(const Extent& extent);
  void allocate_routes();
  void forget();
  void upload(const Step& step, const Scheduler& scheduler, int64_t rows);
  void launch(int64_t rows);
  Graph& graph(int64_t rows);

  const Transformer* model_;
  const KvCache* cache_ = nullptr;
  SamplingOptions options_;
  std::vector<int64_t> stop_ids_;
  bool filtered_ = false;
  std::unique_ptr<Buffers> buffers_;
  // What captured graphs hold addresses of beside the weights: the rotary table, the cache.
  std::vector<const void*> captured_with_;
  // By rows, filtered, with recorded routing.
  std::map<std::tuple<int64_t, bool, bool>, std::unique_ptr<Graph>> graphs_;
  c10::MempoolId_t pool_;  // of all graphs: they run one after the other
};

}  // namespace hone
#else
namespace hone {
class DecodeGraphs {};
}  // namespace hone
#endif
