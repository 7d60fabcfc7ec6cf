// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hone {

// Decodes token by token and never emits half a character. All that push() and finish() gave is
// decode() of the ids.
class TokenStream {
 public:
  virtual ~TokenStream() = default;
  virtual std::string push(int32_t id) = 0;  // the text that became certain
  virtual std::string finish() = 0;          // what is left, broken bytes as U+FFFD
};

// The ids that Hugging Face's add_special_tokens=True puts around a text.
struct SpecialIdsAround {
  std::vector<int32_t> before, after;
};

// What every tokenizer kind does. Thread-safe: all members are const.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Special tokens written in the text are recognised; none is added.
  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  // Ids of special tokens decode to their text; ids out of range to U+FFFD. Invalid bytes become
  // U+FFFD.
  virtual std::string decode(const std::vector<int32_t>& ids) const = 0;
  // The bytes that one id contributes inside a text; what stop strings build on. decode(ids) is the
  // concatenation of these with broken UTF-8 replaced, but for the ends of the text: where the
  // tokenizer puts a space before every text, decode() takes one away.
  virtual std::string_view token_bytes(int32_t id) const = 0;
  // For decoding token by token; it borrows the tokenizer. Built on token_bytes unless overridden.
  virtual std::unique_ptr<TokenStream> stream() const;
  // Built on bos() unless overridden.
  virtual SpecialIdsAround special_ids_around() const;

  virtual int32_t vocab_size() const = 0;
  virtual std::optional<int32_t> bos() const = 0;
  virtual std::optional<int32_t> eos() const = 0;
  virtual std::optional<int32_t> pad() const = 0;
  virtual std::optional<int32_t> unk() const = 0;
};

// Loads the tokenizer of a Hugging Face directory: tokenizer.json, else tokenizer.model, else
// vocab.json with merges.txt. Throws UserError naming what was looked for.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& directory);

// A tokenizer's stream() as a value.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : stream_(tokenizer.stream()) {}
  std::string push(int32_t id) { return stream_->push(id); }
  std::string finish() { return stream_->finish(); }

 private:
  std::unique_ptr<TokenStream> stream_;
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
