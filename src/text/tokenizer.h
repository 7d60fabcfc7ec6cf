// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hone {

// What every tokenizer kind does. Thread-safe: all members are const.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Special tokens written in the text are recognised; none is added.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  // Ids of special tokens decode to their text; ids out of range to U+FFFD. Invalid bytes become
  // U+FFFD.
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  // The bytes that one id contributes inside a text; what stop strings and streaming build on.
  // decode(ids) is the concatenation of these with broken UTF-8 replaced.
  virtual std::string_view token_bytes(int32_t id) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos() const = 0;
  virtual std::optional<int32_t> eos() const = 0;
  virtual std::optional<int32_t> pad() const = 0;
  virtual std::optional<int32_t> unk() const = 0;
};

// Loads the tokenizer of a Hugging Face directory (tokenizer.model). Throws UserError naming what
// was looked for.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& directory);

// Decodes token by token and never emits half a character: bytes that do not yet form a whole
// UTF-8 sequence are held back.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(&tokenizer) {}
  std::string push(int32_t id);  // the text that became complete
  std::string finish();          // what is left, broken bytes as U+FFFD
 private:
  const Tokenizer* tokenizer_;
  std::string held_;
};

// Replaces what is not valid UTF-8 by U+FFFD (one per maximal broken part).
std::string valid_utf8(std::string_view bytes);

struct SentencePieceTraining {
  int vocab_size = 512;
  std::vector<std::string> user_pieces;  // always one token each, e.g. "\n", "<think>"
};

// Trains a sentencepiece BPE model with byte fallback on `texts` and writes `directory`/
// tokenizer.model and tokenizer_config.json.
void train_sentencepiece(const std::vector<std::string>& texts,
                         const SentencePieceTraining& options, const std::string& directory);

}  // namespace hone
