// GPT-2's way to write bytes as printable characters, which byte-level BPE files use.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "text/unicode.h"
#include "text/utf8.h"

namespace hone {

// Printable Latin-1 bytes stand for themselves, the others for U+0100 on, in order.
inline const std::array<uint32_t, 256>& byte_characters() {
  static const auto table = [] {
    std::array<uint32_t, 256> out{};
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool itself = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      out[b] = itself ? b : next++;
    }
    return out;
  }();
  return table;
}

inline std::string bytes_as_characters(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, byte_characters()[static_cast<unsigned char>(b)]);
  return out;
}

// The bytes that `text` stands for, or none if one of its characters stands for no byte.
// REQUIRES: text is UTF-8.
inline std::optional<std::string> characters_as_bytes(std::string_view text) {
  static const auto table = [] {
    std::array<int, 0x144> out;
    out.fill(-1);
    for (int b = 0; b < 256; ++b) out[byte_characters()[static_cast<size_t>(b)]] = b;
    return out;
  }();
  std::string out;
  while (!text.empty()) {
    const uint32_t c = first_code_point(text);
    if (c >= table.size() || table[c] < 0) return std::nullopt;
    out += static_cast<char>(table[c]);
    text.remove_prefix(utf8_step(text).length);
  }
  return out;
}

}  // namespace hone
