// The `decoder` of a tokenizer.json: tokens back to text.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/json_field.h"
#include "text/pattern.h"

namespace hone {

struct BytesFromCharacters {};  // byte_level.h; broken UTF-8 becomes U+FFFD
struct ReplaceInTokens {
  Pattern pattern;
  std::string content;
};
struct SpaceFromSign {
  std::string sign;
  bool drop_first;  // the first token has no spaces
};
// A run of <0x00> to <0xFF> becomes the text of its bytes, or a U+FFFD for each where they are
// none.
struct BytesFromNames {};
struct Fuse {};  // all tokens so far become one
struct StripEnds {
  std::string content;  // one character
  int32_t start, stop;  // at most so many of it
};
struct SpaceFromSuffix {
  std::string suffix;
};
struct JoinBySpaces {};  // where a file has no decoder

using DecoderStep = std::variant<BytesFromCharacters, ReplaceInTokens, SpaceFromSign,
                                 BytesFromNames, Fuse, StripEnds, SpaceFromSuffix, JoinBySpaces>;

// Appends what `field` describes. Throws UserError naming a kind that is not known.
void read_decoder(const JsonField& field, std::vector<DecoderStep>& out);

// What a token in the middle of a text becomes.
std::string bytes_inside_text(const std::vector<DecoderStep>& steps, const std::string& token);

// Decodes token by token. What later tokens may change is held back, so that all that push() and
// finish() gave is the text of the tokens.
class TokenDecoder {
 public:
  explicit TokenDecoder(const std::vector<DecoderStep>& steps);  // borrowed
  std::string push(const std::string& token);
  std::string finish();

 private:
  struct Stage {
    const DecoderStep* step;
    bool fragments = false;  // what comes in are fragments of one token
    bool collects = false;   // a Fuse whose token must be whole for what follows
    bool first = true;
    int32_t to_strip = 0;
    std::string held;
  };
  void feed(size_t stage, const std::string& piece, std::string& out);
  void end(size_t stage, std::string& out);

  std::vector<Stage> stages_;
};

}  // namespace hone
