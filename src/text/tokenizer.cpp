#include "text/tokenizer.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "text/sentencepiece.h"
#include "text/tokenizer_json.h"
#include "text/utf8.h"

namespace hone {
namespace {

// Holds back the bytes that do not yet form a whole UTF-8 sequence.
class ByteStream : public TokenStream {
 public:
  explicit ByteStream(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::string push(int32_t id) override {
    held_ += tokenizer_.token_bytes(id);
    return take_valid_utf8(held_);
  }
  std::string finish() override {
    const std::string out = valid_utf8(held_);
    held_.clear();
    return out;
  }

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
};

}  // namespace

std::unique_ptr<TokenStream> Tokenizer::stream() const {
  return std::make_unique<ByteStream>(*this);
}

SpecialIdsAround Tokenizer::special_ids_around() const {
  SpecialIdsAround around;
  if (bos()) around.before.push_back(*bos());
  return around;
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code ec;
  const auto has = [&](const char* name) { return fs::exists(directory + "/" + name, ec); };
  if (!fs::is_directory(directory, ec)) {
    throw UserError(cat(directory,
                        ": expected a model directory with tokenizer.json or tokenizer.model; "
                        "there is no such directory"));
  }
  if (has("tokenizer.json")) return load_tokenizer_json(directory);
  if (has("tokenizer.model")) {
    const std::string model = directory + "/tokenizer.model";
    // Models of the Llama line begin texts with it unless they say otherwise.
    const bool no_bos =
        read_tokenizer_config(directory).value("add_bos_token", FileJson()) == false;
    return make_sentencepiece(read_file(model), model, !no_bos);
  }
  if (has("vocab.json") && has("merges.txt")) return load_vocab_and_merges(directory);
  throw UserError(cat(directory,
                      ": no tokenizer found; looked for tokenizer.json, tokenizer.model "
                      "(sentencepiece), and vocab.json with merges.txt"));
}

}  // namespace hone
