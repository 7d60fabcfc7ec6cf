// The `pre_tokenizer` of a tokenizer.json: how the text is split into words for the model.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/json_field.h"
#include "text/pattern.h"

namespace hone {

enum class SplitBehavior { isolated, removed, merged_with_previous, merged_with_next, contiguous };

struct SplitStep {
  Pattern pattern;
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;
};
struct PrefixSpace {};     // before a word that does not begin with one
struct ByteCharacters {};  // byte_level.h's way to write bytes
enum class PrependScheme { first, never, always };
struct SpaceSign {  // sentencepiece's way to write spaces
  std::string sign;
  PrependScheme prepend;
};

using PreTokenizerStep = std::variant<SplitStep, PrefixSpace, ByteCharacters, SpaceSign>;

// Appends what `field` describes. Throws UserError naming a kind that is not known.
void read_pre_tokenizer(const JsonField& field, std::vector<PreTokenizerStep>& out);

// A text and the words in it. Steps may rewrite the text; then it is in `rewritten`.
struct Words {
  std::string_view text;
  std::vector<Span> spans;  // none is empty
  bool at_start = false;    // the text begins where the whole input does
  std::string rewritten;

  std::string_view word(size_t i) const {
    return text.substr(spans[i].begin, spans[i].end - spans[i].begin);
  }
};

// REQUIRES: words.text is UTF-8, words.spans are parts of it.
void pre_tokenize(const std::vector<PreTokenizerStep>& steps, Words& words);

}  // namespace hone
