// The tokens of a tokenizer.json by id: the model's and the added ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/json_field.h"

namespace hone {

struct Vocabulary {
  Bpe::Vocab model;                                    // text -> id
  std::unordered_map<std::string, int32_t> added_ids;  // text -> id
  std::unordered_map<int32_t, AddedToken> added;       // by id

  std::optional<int32_t> find(const std::string& text) const;
  // Gives a token the id that its text has, else the next free one; of two with one text the last
  // counts. As Hugging Face's add_tokens does.
  void add(const AddedToken& token);

 private:
  int32_t largest_added_ = -1;
};

// Which of the tokens begins a text, ends it, fills it, stands for the unknown.
struct NamedTokens {
  std::optional<int32_t> bos, eos, pad, unk;
};

// Reads `model.vocab` and the file's `added_tokens`.
Vocabulary read_vocabulary(const JsonField& file);

// Adds what tokenizer_config.json and special_tokens_map.json declare, as transformers'
// AutoTokenizer does, and says which tokens they name.
NamedTokens add_configured_tokens(const JsonField& config, const JsonField& special_map,
                                  Vocabulary& vocabulary);

}  // namespace hone
