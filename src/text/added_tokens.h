// Tokens that are found in the text before anything else splits it: special tokens and others that
// were added to a vocabulary.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace hone {

struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it too
  bool rstrip = false;       // and behind it
  bool normalized = false;   // looked for in the normalized text, in its normalized form
  bool special = false;
  bool operator==(const AddedToken&) const = default;
};

// A part of a text: an added token, or text between them (id -1).
struct TextPart {
  int32_t id;
  Span span;
};

// Finds added tokens: from left to right, at each place the longest.
class AddedTokenMatcher {
 public:
  // Throws UserError if a single_word token is added and there is no PCRE2; `where` begins it.
  void add(const std::string& pattern, int32_t id, const AddedToken& token,
           const std::string& where);
  bool empty() const { return nodes_.size() == 1; }
  // Appends the parts of `text`, which together are the text. REQUIRES: text is UTF-8.
  void split(std::string_view text, std::vector<TextPart>& parts) const;

 private:
  struct Token {
    int32_t id;
    bool single_word, lstrip, rstrip;
  };
  struct Node {
    std::vector<std::pair<char, uint32_t>> children;
    int32_t token = -1;  // index into tokens_ of the pattern that ends here
  };
  bool touches_word(std::string_view text, Span match) const;

  std::vector<Token> tokens_;
  std::vector<Node> nodes_{1};
  std::array<bool, 256> starts_{};  // bytes with which a pattern begins
  std::optional<Regex> word_;       // one word character
};

}  // namespace hone
