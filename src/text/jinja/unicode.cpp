#include "text/jinja/unicode.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "text/utf8.h"

namespace hone::jinja {
namespace {

struct CaseRun {
  char32_t first, last;
  int stride;
  int difference;
};

#include "text/jinja/case_table.inc"

template <size_t N>
char32_t convert(const CaseRun (&runs)[N], char32_t c) {
  // Ordered by their first character, but a run with gaps may enclose the next ones.
  const auto end = std::upper_bound(std::begin(runs), std::end(runs), c,
                                    [](char32_t x, const CaseRun& run) { return x < run.first; });
  for (auto run = end; run != std::begin(runs) && end - run < 8;) {
    --run;
    if (c <= run->last && (c - run->first) % run->stride == 0) {
      return static_cast<char32_t>(static_cast<int64_t>(c) + run->difference);
    }
  }
  return c;
}

struct Range {
  char32_t first, last;
};

// Letters without case, in the blocks that text is written in.
constexpr Range kLetters[] = {
    {0xAA, 0xAA},     {0xBA, 0xBA},     {0x1BB, 0x1BB},     {0x1C0, 0x1C3},     {0x294, 0x2C1},
    {0x370, 0x373},   {0x376, 0x377},   {0x37B, 0x37D},     {0x561, 0x587},     {0x5D0, 0x5EA},
    {0x620, 0x64A},   {0x66E, 0x66F},   {0x671, 0x6D3},     {0x904, 0x939},     {0x985, 0x9B9},
    {0xA05, 0xA39},   {0xA85, 0xAB9},   {0xB05, 0xB39},     {0xB83, 0xBB9},     {0xC05, 0xC39},
    {0xC85, 0xCB9},   {0xD05, 0xD3A},   {0xE01, 0xE30},     {0xE40, 0xE46},     {0xE81, 0xEB0},
    {0xF40, 0xF6C},   {0x1000, 0x102A}, {0x10D0, 0x10FA},   {0x1100, 0x1248},   {0x1780, 0x17B3},
    {0x3005, 0x3006}, {0x3031, 0x3035}, {0x3041, 0x3096},   {0x309D, 0x309F},   {0x30A1, 0x30FA},
    {0x30FC, 0x30FF}, {0x3105, 0x312F}, {0x3131, 0x318E},   {0x3400, 0x4DBF},   {0x4E00, 0xA48C},
    {0xAC00, 0xD7A3}, {0xF900, 0xFA6D}, {0x20000, 0x2A6DF}, {0x2A700, 0x2EBE0},
};

// The zeros of the decimal digits in use; nine more follow each.
constexpr char32_t kZeros[] = {0x30,   0x660,  0x6F0,  0x7C0,  0x966,  0x9E6,  0xA66,  0xAE6,
                               0xB66,  0xBE6,  0xC66,  0xCE6,  0xD66,  0xDE6,  0xE50,  0xED0,
                               0xF20,  0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80,
                               0x1A90, 0x1B50, 0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900,
                               0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10};

// What repr escapes beside white space: controls, formats, surrogates, private use, non-characters.
constexpr Range kUnprintable[] = {
    {0x00, 0x1F},       {0x7F, 0xA0},        {0xAD, 0xAD},       {0x600, 0x605},
    {0x61C, 0x61C},     {0x6DD, 0x6DD},      {0x70F, 0x70F},     {0x890, 0x891},
    {0x8E2, 0x8E2},     {0x1680, 0x1680},    {0x180E, 0x180E},   {0x2000, 0x200F},
    {0x2028, 0x202F},   {0x205F, 0x206F},    {0x3000, 0x3000},   {0xD800, 0xF8FF},
    {0xFEFF, 0xFEFF},   {0xFFF0, 0xFFFB},    {0xFFFE, 0xFFFF},   {0x110BD, 0x110BD},
    {0x110CD, 0x110CD}, {0x1BCA0, 0x1BCA3},  {0x1D173, 0x1D17A}, {0x1FFFE, 0x1FFFF},
    {0xE0000, 0xE00FF}, {0xE01F0, 0x10FFFF},
};

template <size_t N>
bool within(const Range (&ranges)[N], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const Range& r) { return c >= r.first && c <= r.last; });
}

}  // namespace

char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) {
    ++at;
    return lead;
  }
  const Utf8Step step = utf8_step(text.substr(at));
  const size_t start = at;
  if (step.kind != Utf8Step::whole) {
    ++at;
    return 0xFFFD;
  }
  at += step.length;
  char32_t c = step.length == 2 ? lead & 0x1F : step.length == 3 ? lead & 0x0F : lead & 0x07;
  for (size_t i = start + 1; i < at; ++i) c = c << 6 | (byte(i) & 0x3F);
  return c;
}

void append_code_point(std::string& text, char32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | c >> 12);
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | c >> 18);
    text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  }
}

void append_escape(std::string& text, char32_t c) {
  const char* form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
  char code[12];
  std::snprintf(code, sizeof code, form, static_cast<unsigned>(c));
  text += code;
}

int64_t count_code_points(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return count;
}

size_t byte_of(std::string_view text, int64_t index) {
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80 && index-- == 0) return i;
  }
  return text.size();
}

bool is_space(char32_t c) {
  if (c < 0x80) return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20);
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_line_break(char32_t c) {
  return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

bool is_printable(char32_t c) { return !within(kUnprintable, c); }

bool is_upper(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return to_lower(c) != c;
}

bool is_lower(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return to_upper(c) != c || c == 0xDF || c == 0xAA || c == 0xBA;
}

bool is_alpha(char32_t c) { return is_upper(c) || is_lower(c) || within(kLetters, c); }

bool is_digit(char32_t c) {
  return std::any_of(std::begin(kZeros), std::end(kZeros),
                     [c](char32_t zero) { return c >= zero && c < zero + 10; });
}

char32_t to_upper(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
  return convert(kUpper, c);
}

char32_t to_lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  return convert(kLower, c);
}

std::string upper(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == 0xDF) {
      out += "SS";
    } else {
      append_code_point(out, to_upper(c));
    }
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();)
    append_code_point(out, to_lower(next_code_point(text, at)));
  return out;
}

std::string_view strip_left(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (!is_space(next_code_point(text, next))) break;
    at = next;
  }
  return text.substr(at);
}

std::string_view strip_right(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t start = end - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    size_t next = start;
    if (!is_space(next_code_point(text, next)) || next != end) break;
    end = start;
  }
  return text.substr(0, end);
}

}  // namespace hone::jinja
