// Checkpoints: the whole state of a stage between two steps, complete or absent.
//
// A checkpoint is a directory step-000100/ with model/, which other tools load (float32 masters,
// config, tokenizer), or with lora adapter/ in PEFT's layout instead; optimizer.safetensors
// (moments and further tensors) and state.json (counters, sizes of the logs, SHA-256 of the files).
// It is written beside its place and renamed into it, so that a kill leaves the one before.
#pragma once

#include <future>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "model/safetensors.h"
#include "model/transformer.h"
#include "train/optimizer.h"

namespace hone {

// Writes checkpoints beside the training: save() copies the state into host memory and returns; a
// thread writes the copy. (Where host memory has no room for a copy, save() writes before it
// returns.)
class CheckpointWriter {
 public:
  // `keep`: of the newest, the older ones are removed.
  CheckpointWriter(std::string directory, int64_t keep);
  ~CheckpointWriter();

  // Makes directory/step-NNNNNN, once the one before is written. `more` are tensors beside weights
  // and moments (a refreshed reference). One that cannot be written (a full disk) leaves a warning
  // and the earlier ones; training goes on.
  void save(int64_t step, const Transformer& model, Optimizer& optimizer, const NamedTensors& more,
            const Json& state, const std::string& tokenizer_directory);

  // Until the last one is written or given up.
  void settle();
  // The same; throws RunError if it was given up.
  void wait();

 private:
  std::string directory_;
  int64_t keep_;
  std::future<void> writing_;
};

struct LoadedCheckpoint {
  std::string path;
  Json state;
};
// Restores the newest checkpoint that is whole; a damaged one is passed over with a warning that
// names it. nullopt: there is none. `more` must have the shapes that were saved.
std::optional<LoadedCheckpoint> load_checkpoint(const std::string& directory, Transformer& model,
                                                Optimizer& optimizer, const NamedTensors& more);

// The directories step-NNNNNN of `directory`, oldest first.
std::vector<std::string> list_checkpoints(const std::string& directory);

// Moves the finished directory `from` to `to`, replacing what is there.
void publish_directory(const std::string& from, const std::string& to);

}  // namespace hone
