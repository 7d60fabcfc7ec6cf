#include "text/unicode.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <stdexcept>

#include "base/error.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

#ifdef HONE_WITH_UTF8PROC
#include <utf8proc.h>
#endif

namespace hone {

void append_utf8(std::string& out, uint32_t c) {
  const auto byte = [&](uint32_t b) { out += static_cast<char>(b); };
  if (c < 0x80) {
    byte(c);
  } else if (c < 0x800) {
    byte(0xC0 | c >> 6);
    byte(0x80 | (c & 63));
  } else if (c < 0x10000) {
    byte(0xE0 | c >> 12);
    byte(0x80 | (c >> 6 & 63));
    byte(0x80 | (c & 63));
  } else {
    byte(0xF0 | c >> 18);
    byte(0x80 | (c >> 12 & 63));
    byte(0x80 | (c >> 6 & 63));
    byte(0x80 | (c & 63));
  }
}

uint32_t first_code_point(std::string_view s) {
  const auto byte = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<unsigned char>(s[i]));
  };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return lead;
  if (lead < 0xE0) return (lead & 31) << 6 | (byte(1) & 63);
  if (lead < 0xF0) return (lead & 15) << 12 | (byte(1) & 63) << 6 | (byte(2) & 63);
  return (lead & 7) << 18 | (byte(1) & 63) << 12 | (byte(2) & 63) << 6 | (byte(3) & 63);
}

bool is_white_space(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

#ifdef HONE_WITH_UTF8PROC

namespace {

// Below this no character changes in the composed form (compatibility forms: U+00A0 on).
constexpr uint32_t kFirstComposing = 0x300;

bool newer_than_normalizers(uint32_t c) {
  const auto after = std::upper_bound(
      std::begin(kNewerThanNormalizers), std::end(kNewerThanNormalizers), c,
      [](uint32_t value, const CodePointRange& range) { return value < range.first; });
  return after != std::begin(kNewerThanNormalizers) && c <= std::prev(after)->last;
}

// Whether `form` may change a text because of this character.
bool may_change(uint32_t c, NormalForm form) {
  if (c < 0x80) return false;
  if (form == NormalForm::nfc) {
    // Ideographs and what lies between them and the kana compose with nothing.
    return c >= kFirstComposing && !(c >= 0x4E00 && c <= 0x9FFF) && !(c >= 0x2010 && c <= 0x2027);
  }
  return true;
}

void append_normalized(std::string& out, std::string_view text, int options) {
  if (text.empty()) return;
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                             static_cast<utf8proc_ssize_t>(text.size()), &result,
                                             static_cast<utf8proc_option_t>(options));
  if (size < 0) throw std::bad_alloc();  // the text is UTF-8, so nothing else can be wrong
  out.append(reinterpret_cast<const char*>(result), static_cast<size_t>(size));
  std::free(result);
}

template <class F>
void for_each_character(std::string_view text, F f) {
  while (!text.empty()) {
    const std::string_view c = text.substr(0, utf8_step(text).length);
    f(c, first_code_point(c));
    text.remove_prefix(c.size());
  }
}

}  // namespace

bool has_unicode_library() { return true; }

std::string normalized(std::string_view text, NormalForm form) {
  bool change = false;
  for (size_t i = 0; i < text.size() && !change;) {
    if (static_cast<signed char>(text[i]) >= 0) {
      ++i;
      continue;
    }
    change = may_change(first_code_point(text.substr(i)), form);
    i += utf8_step(text.substr(i)).length;
  }
  if (!change) return std::string(text);
  const bool composes = form == NormalForm::nfc || form == NormalForm::nfkc;
  const bool compatible = form == NormalForm::nfkc || form == NormalForm::nfkd;
  const int options = UTF8PROC_STABLE | (composes ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) |
                      (compatible ? UTF8PROC_COMPAT : 0);
  std::string out;
  size_t begin = 0, at = 0;
  for_each_character(text, [&](std::string_view bytes, uint32_t c) {
    if (newer_than_normalizers(c)) {  // copied, and nothing moves or composes across it
      append_normalized(out, text.substr(begin, at - begin), options);
      out += bytes;
      begin = at + bytes.size();
    }
    at += bytes.size();
  });
  append_normalized(out, text.substr(begin), options);
  return out;
}

namespace {
uint32_t lower_case_of(uint32_t c) {
  for (const LowerCaseRange& r : kNewerCapitals) {
    if (c >= r.first && c <= r.last) return c - r.first + r.lower;
  }
  return static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
}
}  // namespace

std::string lower_case(std::string_view text) {
  std::string out;
  for_each_character(text, [&](std::string_view, uint32_t c) {
    append_utf8(out, lower_case_of(c));
    if (c == 0x130) append_utf8(out, 0x307);  // the one character whose lower case is two
  });
  return out;
}

std::string without_marks(std::string_view text) {
  std::string out;
  for_each_character(text, [&](std::string_view bytes, uint32_t c) {
    const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
    const bool mark = category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
                      category == UTF8PROC_CATEGORY_ME;
    if (!mark || newer_than_normalizers(c)) out += bytes;
  });
  return out;
}

#else

bool has_unicode_library() { return false; }
std::string normalized(std::string_view text, NormalForm) { return std::string(text); }
std::string lower_case(std::string_view text) { return std::string(text); }
std::string without_marks(std::string_view text) { return std::string(text); }

#endif

}  // namespace hone
