#include "rewards/unicode.h"

#include <algorithm>
#include <iterator>

namespace hone {
namespace {

struct Range {
  char32_t first, last;
  Script script;
};

// By Unicode 15's blocks; unassigned places inside a block do not matter. Sorted.
constexpr Range kRanges[] = {
    {0x41, 0x5A, Script::latin},        {0x61, 0x7A, Script::latin},
    {0xAA, 0xAA, Script::latin},        {0xBA, 0xBA, Script::latin},
    {0xC0, 0xD6, Script::latin},        {0xD8, 0xF6, Script::latin},
    {0xF8, 0x24F, Script::latin},       {0x250, 0x2AF, Script::latin},
    {0x370, 0x373, Script::greek},      {0x376, 0x377, Script::greek},
    {0x37B, 0x37D, Script::greek},      {0x37F, 0x37F, Script::greek},
    {0x386, 0x386, Script::greek},      {0x388, 0x3FF, Script::greek},
    {0x400, 0x481, Script::cyrillic},   {0x48A, 0x52F, Script::cyrillic},
    {0x531, 0x556, Script::other},      {0x561, 0x587, Script::other},  // Armenian
    {0x5D0, 0x5F2, Script::hebrew},     {0x620, 0x63F, Script::arabic},
    {0x641, 0x64A, Script::arabic},     {0x66E, 0x66F, Script::arabic},
    {0x671, 0x6D3, Script::arabic},     {0x6D5, 0x6D5, Script::arabic},
    {0x6EE, 0x6EF, Script::arabic},     {0x6FA, 0x6FC, Script::arabic},
    {0x6FF, 0x6FF, Script::arabic},     {0x750, 0x77F, Script::arabic},
    {0x8A0, 0x8C9, Script::arabic},     {0x904, 0x939, Script::devanagari},
    {0x93D, 0x93D, Script::devanagari}, {0x950, 0x950, Script::devanagari},
    {0x958, 0x961, Script::devanagari}, {0x971, 0x97F, Script::devanagari},
    {0x980, 0x9E5, Script::other},      {0x9F0, 0xA65, Script::other},  // Bengali to Malayalam
    {0xA70, 0xAE5, Script::other},      {0xAF0, 0xB65, Script::other},
    {0xB70, 0xBE5, Script::other},      {0xBF0, 0xC65, Script::other},
    {0xC70, 0xCE5, Script::other},      {0xCF0, 0xD65, Script::other},
    {0xD70, 0xDE5, Script::other},      {0xDF0, 0xDFF, Script::other},
    {0xE01, 0xE30, Script::thai},       {0xE32, 0xE33, Script::thai},
    {0xE40, 0xE46, Script::thai},       {0xE81, 0xEC6, Script::other},     // Lao
    {0xF40, 0xFBC, Script::other},      {0x1000, 0x103F, Script::other},   // Tibetan, Burmese
    {0x10A0, 0x10FF, Script::other},    {0x1100, 0x11FF, Script::hangul},  // Georgian
    {0x1200, 0x139F, Script::other},    {0x1780, 0x17D3, Script::other},   // Ethiopic, Khmer
    {0x1820, 0x18AA, Script::other},    {0x1C80, 0x1C88, Script::cyrillic},
    {0x1E00, 0x1EFF, Script::latin},    {0x1F00, 0x1FFC, Script::greek},
    {0x2E80, 0x2FD5, Script::han},      {0x3005, 0x3005, Script::han},
    {0x3007, 0x3007, Script::han},      {0x3041, 0x3096, Script::kana},
    {0x309D, 0x309F, Script::kana},     {0x30A1, 0x30FA, Script::kana},
    {0x30FC, 0x30FF, Script::kana},     {0x3131, 0x318E, Script::hangul},
    {0x31F0, 0x31FF, Script::kana},     {0x3400, 0x4DBF, Script::han},
    {0x4E00, 0x9FFF, Script::han},      {0xA000, 0xA48C, Script::other},  // Yi
    {0xA640, 0xA69D, Script::cyrillic}, {0xA720, 0xA7FF, Script::latin},
    {0xA960, 0xA97C, Script::hangul},   {0xAC00, 0xD7FB, Script::hangul},
    {0xF900, 0xFAFF, Script::han},      {0xFB00, 0xFB06, Script::latin},
    {0xFB1D, 0xFB4F, Script::hebrew},   {0xFB50, 0xFDFF, Script::arabic},
    {0xFE70, 0xFEFC, Script::arabic},   {0xFF21, 0xFF3A, Script::latin},
    {0xFF41, 0xFF5A, Script::latin},    {0xFF66, 0xFF9D, Script::kana},
    {0xFFA0, 0xFFDC, Script::hangul},   {0x20000, 0x3FFFF, Script::han},
};

}  // namespace

char32_t next_character(std::string_view text, size_t& i) {
  const auto byte = [&](size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char first = byte(i);
  if (first < 0x80) return static_cast<char32_t>(text[i++]);
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || i + length > text.size()) {
    ++i;
    return 0xFFFD;
  }
  char32_t c = first & (0xFF >> (length + 1));
  for (size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) {
      ++i;
      return 0xFFFD;
    }
    c = c << 6 | (byte(i + k) & 0x3F);
  }
  i += length;
  return c;
}

Script script_of(char32_t c) {
  const Range* range = std::upper_bound(std::begin(kRanges), std::end(kRanges), c,
                                        [](char32_t x, const Range& r) { return x < r.first; });
  if (range == std::begin(kRanges)) return Script::none;
  --range;
  return c <= range->last ? range->script : Script::none;
}

bool is_space(char32_t c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

bool is_mark(char32_t c) {
  return (c >= 0x300 && c <= 0x36F) || (c >= 0x483 && c <= 0x489) || (c >= 0x591 && c <= 0x5C7) ||
         (c >= 0x610 && c <= 0x61A) || c == 0x640 || (c >= 0x64B && c <= 0x65F) || c == 0x670 ||
         (c >= 0x6D6 && c <= 0x6ED) || (c >= 0x900 && c <= 0x903) || (c >= 0x93A && c <= 0x94F) ||
         (c >= 0x962 && c <= 0x963) || c == 0xE31 || (c >= 0xE34 && c <= 0xE3A) ||
         (c >= 0xE47 && c <= 0xE4E) || (c >= 0x1DC0 && c <= 0x1DFF) ||
         (c >= 0x200B && c <= 0x200D) || (c >= 0x3099 && c <= 0x309A) ||
         (c >= 0xFE00 && c <= 0xFE0F) || (c >= 0xFE20 && c <= 0xFE2F);
}

char32_t lower_case(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if (c >= 0xC0 && c <= 0xDE) return c == 0xD7 ? c : c + 32;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return c % 2 == 1 ? c + 1 : c;
  if (c == 0x178) return 0xFF;
  if (c >= 0x100 && c <= 0x17F && c != 0x138 && c != 0x149) return c % 2 == 0 ? c + 1 : c;
  if (c >= 0x391 && c <= 0x3A9) return c + 32;
  if (c >= 0x410 && c <= 0x42F) return c + 32;
  if (c >= 0x400 && c <= 0x40F) return c + 80;
  return c;
}

bool is_upper(char32_t c) { return lower_case(c) != c; }

}  // namespace hone
