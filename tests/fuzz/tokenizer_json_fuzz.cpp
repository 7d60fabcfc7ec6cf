// libFuzzer target for the reader of tokenizer.json and for encoding with what it describes.
//
// Beyond "no crash": ids are in range, streaming gives what decoding gives, and no result is broken
// UTF-8.

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "text/tokenizer_json.h"

using namespace hone;

namespace {

void check(bool condition) {
  if (!condition) __builtin_trap();
}

// A little of everything: words, spaces, digits, two scripts, marks, a sign, bytes that are no
// UTF-8.
constexpr char kText[] =
    " ab  Abc's 1234\n\n\t<s>x</s> <|end|>  \xE4\xB8\xAD\xE6\x96\x87\xE3\x80\x82 e\xCC\x81 "
    "\xE2\x96\x81y \xF0\x9F\x99\x82 \xFF\xC3 --a-b,;c";

void check_tokenizer(const Tokenizer& tokenizer) {
  std::vector<int32_t> ids = tokenizer.encode(kText);
  for (const int32_t id : ids) check(id >= 0 && id < tokenizer.vocab_size());
  for (int32_t id = -1; id < 12; ++id) ids.push_back(id);
  const std::string text = tokenizer.decode(ids);
  check(valid_utf8(text) == text);
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const int32_t id : ids) {
    const std::string part = decoder.push(id);
    check(valid_utf8(part) == part);
    streamed += part;
  }
  check(streamed + decoder.finish() == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (nested_deeper(text, 64)) return 0;
  const FileJson file = FileJson::parse(text, nullptr, false);
  if (file.is_discarded()) return 0;
  try {
    // The file stands for the configuration too, whose keys are others.
    check_tokenizer(*make_tokenizer_json(file, file, file, ""));
  } catch (const UserError&) {
  }
  return 0;
}
