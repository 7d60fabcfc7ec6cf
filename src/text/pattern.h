// What a Replace or Split looks for: a string or a regular expression.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/json_field.h"
#include "text/regex.h"

namespace hone {

class Pattern {
 public:
  // {"String": ...} or {"Regex": ...}
  explicit Pattern(const JsonField& field);
  explicit Pattern(Regex regex) : regex_(std::move(regex)) {}

  // Appends the matches from left to right, none overlapping.
  void find_all(std::string_view text, std::vector<Span>& matches) const;
  std::string replaced(std::string_view text, std::string_view content) const;

 private:
  std::string literal_;
  std::optional<Regex> regex_;
};

}  // namespace hone
