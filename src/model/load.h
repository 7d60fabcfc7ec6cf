// A model directory from a model directory, without the model in memory. To load and save a
// Transformer: transformer.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace hone {

// Copies weights, configs and tokenizer files of the Hugging Face directory `source` into
// `directory`, which is removed again if that fails. Tensors keep their dtype or become `dtype`;
// files of more than `shard_bytes` are split. Throws UserError for a source that is no model of a
// known family, RunError where writing fails.
void copy_model(const std::string& source, const std::string& directory,
                std::optional<at::ScalarType> dtype, int64_t shard_bytes);

// SHA-256 by file name of the weights of a model directory, for provenance.
std::map<std::string, std::string> weight_hashes(const std::string& directory);

}  // namespace hone
