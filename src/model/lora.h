// Low-rank adapters (LoRA, arXiv 2106.09685) of a Transformer's linear layers, in PEFT's layout:
//   y = x W^T + (alpha / rank) (x A^T) B^T,   W [N, K] frozen, A [rank, K], B [N, rank]
// Matrices that lie in one parameter (q, k and v; gate and up) have an adapter each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/safetensors.h"
#include "model/weights.h"

namespace hone {

class Transformer;

struct LoraShape {
  int64_t rank = 0;
  double alpha = 0;
  std::vector<std::string> targets;  // last parts of names, "q_proj"; empty: all that can have one
};

// What a Transformer holds of its adapters.
struct LoraAdapters {
  LoraShape shape;      // with the targets that an empty list stood for
  WeightArena weights;  // A and B, by PEFT's names
  std::string base;     // the model that they are of, as a recipe names it
};

// A uniform in +-1/sqrt(K), as PEFT begins, and B zero; a function of the seed alone.
// REQUIRES, here and below where a model is taken: it has adapters.
void initialize_adapters(Transformer& model, uint64_t seed);

// A PEFT directory: adapter_config.json and adapter_model.safetensors. Throws UserError for what
// is missing, damaged, of another shape, or of a kind of adapter that hone does not have.
LoraShape read_adapter_shape(const std::string& directory);
// The model that it says it belongs to, as it is written there.
std::string base_of_adapter(const std::string& directory);
void load_adapter(Transformer& model, const std::string& directory);
// Makes such a directory in float32. `base` goes into the config as the model that it belongs to.
void save_adapter(const LoraShape& shape, const NamedTensors& tensors, const std::string& base,
                  const std::string& directory);
// A and B, as a directory holds them.
NamedTensors adapter_tensors(const Transformer& model);
inline constexpr const char* kAdapterFile = "/adapter_model.safetensors";
inline constexpr const char* kAdapterConfig = "/adapter_config.json";

// All tensors of the model, the adapters added to those that have one: these in host memory and of
// `dtype`, the others as they are.
NamedTensors merged_tensors(const Transformer& model, at::ScalarType dtype);

// While it lives, the model is the one without adapters.
class WithoutAdapters {
 public:
  explicit WithoutAdapters(Transformer& model);
  WithoutAdapters(const WithoutAdapters&) = delete;
  ~WithoutAdapters();

 private:
  WeightArena& weights_;
};

}  // namespace hone
