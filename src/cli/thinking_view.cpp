#include "cli/thinking_view.h"

#include <algorithm>
#include <string_view>

#include "train/display.h"

namespace hone {
namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";

// Length of the longest end of `text` with which `tag` begins.
size_t begun(std::string_view text, std::string_view tag) {
  for (size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
    if (text.ends_with(tag.substr(0, n))) return n;
  }
  return 0;
}

}  // namespace

ThinkingView::ThinkingView(bool colors, bool thinking) : colors_(colors), thinking_(thinking) {}

std::string ThinkingView::shown(const std::string& text) {
  if (text.empty()) return "";
  std::string out;
  if (colors_ && dimmed_ != thinking_) {
    out += thinking_ ? "\x1b[2m" : "\x1b[0m";
    dimmed_ = thinking_;
  }
  return out + visible_text(text);
}

std::string ThinkingView::push(const std::string& text) {
  held_ += text;
  std::string out;
  for (;;) {
    const std::string_view tag = thinking_ ? kClose : kOpen;
    const size_t at = held_.find(tag);
    if (at == std::string::npos) {
      const size_t keep = begun(held_, tag);
      out += shown(held_.substr(0, held_.size() - keep));
      held_.erase(0, held_.size() - keep);
      return out;
    }
    // Tags belong to the thinking.
    const size_t end = at + tag.size();
    if (thinking_) {
      out += shown(held_.substr(0, end));
      thinking_ = false;
    } else {
      out += shown(held_.substr(0, at));
      thinking_ = true;
      out += shown(std::string(tag));
    }
    held_.erase(0, end);
  }
}

std::string ThinkingView::finish() {
  std::string out = shown(held_);
  held_.clear();
  if (dimmed_) out += "\x1b[0m";
  dimmed_ = false;
  return out;
}

}  // namespace hone
