// Decode steps on the GPU without the host: a step is one CUDA graph (model, draw, what comes
// next), captured once for each batch size and repeated; tokens, positions, block tables and ends
// stay on the device for a chunk of steps.
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
#include "model/transformer.h"
#include "rollouts/sampler.h"

namespace hone {

constexpr int64_t kMostStopIds = 64;  // that the device looks for

// Tokens that a chunk of steps drew: of each row of the step those up to its end.
struct DecodedRow {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs, sampled_logprobs;
  std::vector<int16_t> routes;  // of the token that each was drawn behind; where they are recorded
};

class DecodeGraphs {
 public:
  explicit DecodeGraphs(const Transformer& model);
  ~DecodeGraphs();
  DecodeGraphs(const DecodeGraphs&) = delete;

  // Whether the model can run so: experts whose products wait for the host cannot.
  static bool serves(const Transformer& model);

  // The most that the steps of a scheduler will ask for.
  struct Extent {
    int64_t rows;     // sequences running together
    int64_t longest;  // tokens of a sequence
    int64_t keys;     // tokens of all running sequences, a shared prompt counted for each
  };
  // Call before the steps of a new scheduler, with the options of all draws. Graphs are kept where
  // nothing that they hold addresses of has moved. REQUIRES: at most kMostStopIds stop ids.
  void prepare(const KvCache& cache, const SamplingOptions& options,
               const std::vector<int64_t>& stop_ids, const Extent& extent);
  // Draws up to step.tokens tokens for each of the step's rows.
  const std::vector<DecodedRow>& run(const Step& step, const Scheduler& scheduler);

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
  std::vector<DecodedRow> decoded_;
};

}  // namespace hone
#else
namespace hone {
class DecodeGraphs {};
}  // namespace hone
#endif
