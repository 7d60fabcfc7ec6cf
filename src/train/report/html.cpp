#include "train/report/html.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace hone {
namespace {

void escape_into(std::string& out, char c) {
  switch (c) {
    case '&':
      out += "&amp;";
      break;
    case '<':
      out += "&lt;";
      break;
    case '>':
      out += "&gt;";
      break;
    case '"':
      out += "&quot;";
      break;
    case '\'':
      out += "&#39;";
      break;
    default:
      out += c;
  }
}

// The code point that starts at `at` and its length in bytes; length 0 if it is not UTF-8
// (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
uint32_t decode(std::string_view s, size_t at, size_t& length) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = byte(at);
  length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
  if (length == 1) return first;
  if (length == 0 || at + length > s.size()) {
    length = 0;
    return 0;
  }
  uint32_t c = first & (0xFF >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0) != 0x80) {
      length = 0;
      return 0;
    }
    c = c << 6 | (byte(at + i) & 0x3F);
  }
  const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < least[length] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) length = 0;
  return c;
}

// Characters that show nothing, or change the order in which others are shown.
bool invisible(uint32_t c) {
  return (c >= 0x80 && c <= 0x9F) || c == 0xAD || c == 0x61C || (c >= 0x200B && c <= 0x200F) ||
         (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
         (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE0FFF);
}

std::string visible(std::string_view s) {
  std::string out;
  for (size_t at = 0; at < s.size();) {
    size_t length = 0;
    const uint32_t c = decode(s, at, length);
    if (length == 0) {
      out += "<span class=\"cc\">\xEF\xBF\xBD</span>";
      ++at;
    } else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7F) {
      // U+2400 + c is the picture of control character c; U+2421 that of DEL
      const uint32_t picture = c == 0x7F ? 0x21 : c;
      out += "<span class=\"cc\">\xE2\x90";
      out += static_cast<char>(0x80 + picture);
      out += "</span>";
      at += length;
    } else if (invisible(c)) {
      char name[48];
      std::snprintf(name, sizeof name, "<span class=\"cc\">U+%04X</span>", c);
      out += name;
      at += length;
    } else {
      for (size_t i = 0; i < length; ++i) escape_into(out, s[at + i]);
      at += length;
    }
  }
  return out;
}

}  // namespace

std::string html_escape(std::string_view text) {
  std::string out;
  for (char c : text) escape_into(out, c);
  return out;
}

std::string html_visible(std::string_view text, size_t limit) {
  if (text.size() <= limit) return visible(text);
  const auto continues = [&](size_t i) {
    return i < text.size() && (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80;
  };
  size_t head = limit * 2 / 3, tail = text.size() - limit / 3;
  while (continues(head)) ++head;
  while (continues(tail)) ++tail;
  return visible(text.substr(0, head)) + "<span class=\"cut\">\xE2\x80\xA6 " +
         format_count(static_cast<int64_t>(tail - head)) + " bytes left out \xE2\x80\xA6</span>" +
         visible(text.substr(tail));
}

std::string html_completion(std::string_view text, std::string_view prompt) {
  const std::string_view open = "<think>", close = "</think>";
  if (text.starts_with(' ')) text.remove_prefix(1);  // the space after the prompt's last word
  const size_t prompt_open = prompt.rfind(open);
  const bool prefilled = prompt_open != std::string_view::npos &&
                         prompt.find(close, prompt_open) == std::string_view::npos;
  const size_t opened = text.find(open);
  const size_t closed = text.find(close, opened == std::string_view::npos ? 0 : opened);
  if (opened == std::string_view::npos && closed == std::string_view::npos && !prefilled) {
    return "<div class=\"text\">" + html_visible(text) + "</div>";
  }
  // A closing tag alone ends a block that began with the text.
  const bool starts_inside = opened == std::string_view::npos;
  const size_t from = starts_inside ? 0 : opened + open.size();
  const std::string_view thinking =
      text.substr(from, closed == std::string_view::npos ? std::string_view::npos : closed - from);
  std::string out;
  const std::string_view before = starts_inside ? "" : text.substr(0, opened);
  if (before.find_first_not_of(" \n\t") != std::string_view::npos) {
    out += "<div class=\"text\">" + html_visible(before) + "</div>";
  }
  const bool is_short = thinking.size() <= 320;
  out += std::string("<details class=\"think\"") + (is_short ? " open" : "") + "><summary>thinking";
  if (!is_short) out += ", " + format_count(static_cast<int64_t>(thinking.size())) + " characters";
  if (closed == std::string_view::npos) out += ", never closed";
  out += "</summary><div class=\"text\">";
  const size_t begin = thinking.find_first_not_of("\n");
  const size_t end = thinking.find_last_not_of("\n ");
  if (begin != std::string_view::npos && end != std::string_view::npos && end >= begin) {
    out += html_visible(thinking.substr(begin, end - begin + 1));
  }
  out += "</div></details>";
  if (closed != std::string_view::npos) {
    std::string_view rest = text.substr(closed + close.size());
    const size_t start = rest.find_first_not_of("\n");
    rest = start == std::string_view::npos ? std::string_view() : rest.substr(start);
    out += "<div class=\"text\">" + html_visible(rest) + "</div>";
  }
  return out;
}

std::string format_count(int64_t n) {
  std::string digits = std::to_string(n < 0 ? -n : n);
  for (int64_t at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<size_t>(at), ",");
  }
  return (n < 0 ? "-" : "") + digits;
}

std::string format_number(double x) {
  if (!std::isfinite(x)) return std::isnan(x) ? "NaN" : x < 0 ? "-inf" : "inf";
  if (x == std::floor(x) && std::fabs(x) < 1e15) return format_count(static_cast<int64_t>(x));
  char buffer[32];
  const double size = std::fabs(x);
  const char* form = size >= 1000 ? "%.0f" : size >= 100 ? "%.1f" : size >= 0.001 ? "%.3g" : "%.2g";
  std::snprintf(buffer, sizeof buffer, form, x);
  return buffer;
}

std::string format_percent(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.1f%%", 100 * x);
  return buffer;
}

std::string format_seconds(double seconds) {
  char buffer[48];
  if (seconds < 60) {
    std::snprintf(buffer, sizeof buffer, "%.1f s", seconds);
  } else if (seconds < 3600) {
    std::snprintf(buffer, sizeof buffer, "%d min %02d s", static_cast<int>(seconds) / 60,
                  static_cast<int>(seconds) % 60);
  } else {
    std::snprintf(buffer, sizeof buffer, "%d h %02d min", static_cast<int>(seconds / 3600),
                  static_cast<int>(std::fmod(seconds, 3600) / 60));
  }
  return buffer;
}

}  // namespace hone
