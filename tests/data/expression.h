// A calculator of its own for the tests: + - * / and brackets, whole numbers, exact division.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace hone::test {

class Calculator {
 public:
  // The value, or nothing if `text` is not one whole expression.
  static std::optional<int64_t> value(const std::string& text) {
    Calculator c(text);
    const int64_t v = c.sum();
    if (c.broken_ || c.at_ != text.size()) return std::nullopt;
    return v;
  }

 private:
  explicit Calculator(const std::string& text) : text_(text) {}
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  int64_t sum() {
    int64_t v = product();
    while (peek() == '+' || peek() == '-') v = text_[at_++] == '+' ? v + product() : v - product();
    return v;
  }
  int64_t product() {
    int64_t v = atom();
    while (peek() == '*' || peek() == '/') {
      const bool times = text_[at_++] == '*';
      const int64_t w = atom();
      if (!times && (w == 0 || v % w != 0)) broken_ = true;
      v = times ? v * w : (w == 0 ? 0 : v / w);
    }
    return v;
  }
  int64_t atom() {
    if (peek() == '(') {
      ++at_;
      const int64_t v = sum();
      if (peek() != ')') broken_ = true;
      ++at_;
      return v;
    }
    if (peek() < '0' || peek() > '9') broken_ = true;
    int64_t v = 0;
    while (peek() >= '0' && peek() <= '9') v = v * 10 + (text_[at_++] - '0');
    return v;
  }
  const std::string& text_;
  size_t at_ = 0;
  bool broken_ = false;
};

}  // namespace hone::test
