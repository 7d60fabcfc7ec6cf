// Regular expressions as tokenizer.json has them, matched by PCRE2.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hone {

// False where hone was built without PCRE2.
bool has_regex_library();

// What \w is in Rust's regex crate, which Hugging Face uses in some places, as items of a class.
inline constexpr char kRustWordItems[] = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200C\u200D)";

struct Span {
  size_t begin, end;  // bytes
};

// Immutable after construction and shared by copies; matching is thread-safe.
class Regex {
 public:
  // `pattern` in Oniguruma's Ruby syntax. Throws UserError, which begins with `where`, if it cannot
  // be read, and if hone was built without PCRE2.
  Regex(const std::string& pattern, const std::string& where);

  // Appends the matches in `text` from left to right, none overlapping. REQUIRES: text is UTF-8.
  // Throws UserError if the pattern needs too much time or memory on this text.
  void find_all(std::string_view text, std::vector<Span>& matches) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

}  // namespace hone
