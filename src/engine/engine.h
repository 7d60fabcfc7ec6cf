// Engine: the Sampler on this process's own weights.
//
// Exact on the CPU, and on the GPU for an exact model (ModelPlace::exact): a completion and its
// log-probabilities do not depend on what it was batched with, on max_running, on prefill_tokens,
// on the size of the cache, on drafts or on the number of threads, and the log-probabilities are
// bit for bit those that the training forward pass gives.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/model_runner.h"
#include "model/transformer.h"
#include "rollouts/sampler.h"
#include "text/tokenizer.h"

namespace hone {

class DecodeGraphs;

// With its newest token a draft lies in two blocks of the cache, which the GPU's attention relies
// on (decode_attention.cu).
constexpr int64_t kLongestDraft = kCacheBlockTokens - 1;

struct EngineOptions {
  int64_t max_running = 0;     // sequences decoded together; 0: 256 on the CPU, 1024 on CUDA
  int64_t kv_blocks = 0;       // cache blocks of 16 tokens; 0: what a call needs, within memory
  double kv_memory = 0.5;      // share of the free memory that a cache sized by need may take
  int64_t prefill_tokens = 0;  // in a prefill pass at most; 0: 4096 on the CPU, 16384 on CUDA
  int64_t prefill_seats = 0;   // free seats worth a prefill pass; 0: 1 on the CPU, 8 on CUDA
  // Where few sequences run, tokens that are guessed for each and computed beside its newest (see
  // speculation.h), at most kLongestDraft; 0: none. It pays where the text repeats itself or its
  // group's and the step is far from full; a large rollout has few such steps.
  int64_t speculate = 0;
  int64_t speculate_rows = 0;  // of a step with guesses, at most; 0: 8 on the CPU, 16 on CUDA
  const std::atomic<bool>* abort = nullptr;  // when set, sampling ends with FinishReason::abort
};

// What the calls of one engine did, in all.
struct EngineStats {
  int64_t prefill_steps = 0, prefill_tokens = 0;  // tokens computed, including again
  int64_t decode_steps = 0, decode_tokens = 0;
  int64_t drafted = 0, accepted = 0;  // tokens that were guessed and computed; that came true
  int64_t preemptions = 0;
  double seconds = 0;                              // inside `sample`
  double prefill_seconds = 0, decode_seconds = 0;  // of these in the model and in drawing tokens
};

class Engine : public Sampler {
 public:
  // Model and tokenizer must outlive the engine. The weights may change between calls. Without a
  // tokenizer completions have no text.
  Engine(const Transformer& model, const Tokenizer* tokenizer, const EngineOptions& options = {});
  ~Engine() override;

  // Throws UserError: options out of range, a prompt that is empty, too long for the model or the
  // cache, or has ids outside the vocabulary; stop strings without a tokenizer.
  std::vector<std::vector<Completion>> sample(const std::vector<SampleRequest>& requests,
                                              const SamplingOptions& options,
                                              const SampleProgress& progress = {}) override;

  int64_t cache_blocks() const { return runner_.cache_blocks(); }
  // On CUDA gives the memory of the key-value cache back until the next call of `sample`. Its
  // addresses stay, and with them the captured decode steps.
  void release_cache() { runner_.release(); }
  const EngineStats& stats() const { return stats_; }

 private:
  int64_t choose_blocks(const std::vector<SampleRequest>& requests,
                        const SamplingOptions& options) const;
  bool prepare_graphs(const std::vector<SampleRequest>& requests, const SamplingOptions& options,
                      const std::vector<int64_t>& stop_ids);
  std::vector<int64_t> limits(const SampleRequest& request, const SamplingOptions& options) const;
  void check(const std::vector<SampleRequest>& requests, const SamplingOptions& options) const;

  const Transformer* model_;
  const Tokenizer* tokenizer_;
  EngineOptions options_;
  ModelRunner runner_;
  std::unique_ptr<DecodeGraphs> graphs_;  // where the device decodes by itself
  EngineStats stats_;
};

}  // namespace hone
