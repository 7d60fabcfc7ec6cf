// Hugging Face's tokenizer.json: byte-level BPE and sentencepiece-style BPE.
#pragma once

#include <memory>
#include <string>

#include "text/json_field.h"
#include "text/tokenizer.h"

namespace hone {

// tokenizer.json of the directory, with what tokenizer_config.json and special_tokens_map.json add.
// Throws UserError naming the file and the place in it.
std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& directory);

// The same for the older vocab.json + merges.txt: GPT-2's way to split, or Qwen2's where
// tokenizer_config.json says Qwen2Tokenizer.
std::unique_ptr<Tokenizer> load_vocab_and_merges(const std::string& directory);

// tokenizer_config.json of the directory; an empty object where there is none.
FileJson read_tokenizer_config(const std::string& directory);

// From the parsed files; `config` and `special_map` are objects, empty where there is no such file.
// `where` begins the errors.
std::unique_ptr<Tokenizer> make_tokenizer_json(const FileJson& file, const FileJson& config,
                                               const FileJson& special_map,
                                               const std::string& where);

}  // namespace hone
