// UTF-8 as the Unicode standard's table 3-7 has it; a broken part is a "maximal subpart".
#include "text/utf8.h"

#include "text/tokenizer.h"

namespace hone {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";

}  // namespace

Utf8Step utf8_step(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, Utf8Step::whole};
  size_t length;
  unsigned char low = 0x80, high = 0xBF;  // allowed range of the second byte
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;   // no overlong forms
    if (lead == 0xED) high = 0x9F;  // no surrogates
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;  // nothing above U+10FFFF
  } else {
    return {1, Utf8Step::broken};
  }
  for (size_t i = 1; i < length; ++i) {
    if (i == s.size()) return {i, Utf8Step::unfinished};
    if (byte(i) < low || byte(i) > high) return {i, Utf8Step::broken};
    low = 0x80, high = 0xBF;
  }
  return {length, Utf8Step::whole};
}

std::string valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const Utf8Step step = utf8_step(bytes);
    if (step.kind == Utf8Step::whole) {
      out += bytes.substr(0, step.length);
    } else {
      out += kReplacement;
    }
    bytes.remove_prefix(step.length);
  }
  return out;
}

std::string take_valid_utf8(std::string& held) {
  std::string_view rest = held;
  std::string out;
  while (!rest.empty()) {
    const Utf8Step step = utf8_step(rest);
    if (step.kind == Utf8Step::unfinished) break;
    out += step.kind == Utf8Step::whole ? rest.substr(0, step.length) : kReplacement;
    rest.remove_prefix(step.length);
  }
  held = std::string(rest);
  return out;
}

}  // namespace hone
