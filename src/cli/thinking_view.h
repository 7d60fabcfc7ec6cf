// A completion on the terminal as it comes: model text made visible, its thinking dimmed.
#pragma once

#include <string>

namespace hone {

class ThinkingView {
 public:
  // `thinking`: the prompt already opened the block.
  explicit ThinkingView(bool colors, bool thinking = false);

  // What to print for this further piece of text. Text that may become a tag is held back.
  std::string push(const std::string& text);
  std::string finish();  // the rest, and the colours as they were

 private:
  std::string shown(const std::string& text);

  bool colors_, thinking_;
  bool dimmed_ = false;
  std::string held_;
};

}  // namespace hone
