#include "rewards/code/compare.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "rewards/extraction.h"

namespace hone {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

bool near(double actual, double expected, double tolerance) {
  return std::abs(actual - expected) <= tolerance * std::max(1.0, std::abs(expected));
}

// digits * 10^exponent, without leading and trailing zeros in the digits; zero has none.
struct Decimal {
  bool minus = false, infinite = false;
  bool as_float = false;  // written with a point or an exponent
  std::string digits;
  int64_t exponent = 0;

  bool operator==(const Decimal& other) const {
    return minus == other.minus && infinite == other.infinite && digits == other.digits &&
           exponent == other.exponent;
  }
};

bool is_infinity(std::string_view word) {
  std::string lower(word.substr(0, 9));
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return lower == "inf" || lower == "infinity";
}

// A word in the grammar of Python's decimal.Decimal, in ASCII and without underscores or NaN.
bool parse_decimal(std::string_view word, Decimal& out) {
  out = Decimal();
  if (word.starts_with('-') || word.starts_with('+')) {
    out.minus = word[0] == '-';
    word.remove_prefix(1);
  }
  if (word.size() <= 9 && is_infinity(word)) return out.infinite = true;
  size_t i = 0, after_point = 0;
  bool any = false;
  for (; i < word.size() && (digit(word[i]) || (word[i] == '.' && !out.as_float)); ++i) {
    if (word[i] == '.') {
      out.as_float = true;
      continue;
    }
    any = true;
    after_point += out.as_float;
    if (word[i] != '0' || !out.digits.empty()) out.digits += word[i];
  }
  if (!any) return false;
  if (i < word.size()) {
    if (word[i] != 'e' && word[i] != 'E') return false;
    const char* begin = word.data() + i + 1;
    const char* end = word.data() + word.size();
    if (begin != end && *begin == '+' && begin + 1 != end && digit(begin[1])) ++begin;
    const auto read = std::from_chars(begin, end, out.exponent);
    constexpr int64_t kLimit = int64_t{1} << 60;  // Decimal's own is about 10^18
    if (read.ec != std::errc() || read.ptr != end || out.exponent > kLimit ||
        out.exponent < -kLimit) {
      return false;
    }
    out.as_float = true;
  }
  out.exponent -= static_cast<int64_t>(after_point);
  while (out.digits.ends_with('0')) {
    out.digits.pop_back();
    ++out.exponent;
  }
  if (out.digits.empty()) {
    out.exponent = 0;
    out.minus = false;
  }
  return true;
}

// REQUIRES: `word` is a decimal. from_chars has no leading plus.
std::optional<double> to_double(std::string_view word) {
  if (word.starts_with('+')) word.remove_prefix(1);
  return parse_float(word);
}

std::string_view next_part(std::string_view& rest, bool (*ends)(char)) {
  size_t end = 0;
  while (end < rest.size() && !ends(rest[end])) ++end;
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return part;
}

std::string_view next_word(std::string_view& rest) {
  while (!rest.empty() && space(rest.front())) rest.remove_prefix(1);
  return next_part(rest, space);
}

bool equal_numbers(std::string_view actual, std::string_view expected, double tolerance) {
  Decimal a, b;
  while (true) {
    const std::string_view word_a = next_word(actual), word_b = next_word(expected);
    if (word_a.empty() || word_b.empty()) return word_a.empty() && word_b.empty();
    if (!parse_decimal(word_a, a) || !parse_decimal(word_b, b)) return false;
    if (a == b) continue;
    if (tolerance <= 0 || !b.as_float || a.infinite || b.infinite) return false;
    const std::optional<double> x = to_double(word_a), y = to_double(word_b);
    if (!x || !y || !near(*x, *y, tolerance)) return false;
  }
}

// The value of a number, bool included, as text that is the same for equal values: an integer's
// digits, or the shortest text of a float that is not whole. "" for what is no number.
std::string number_text(const Json& value) {
  if (value.is_boolean()) return value.get<bool>() ? "1" : "0";
  if (value.is_number()) return value.dump();
  const char tag = tag_of(value);
  if (tag == 'i') return untagged(value).get<std::string>();
  if (tag != 'f') return "";
  const double number = *parse_float(untagged(value).get_ref<const std::string&>());
  if (number == 0) return "0";
  char text[400];  // the greatest double has 309 digits
  if (std::isfinite(number) && number == std::trunc(number)) {
    return std::string(text, static_cast<size_t>(std::snprintf(text, sizeof text, "%.0f", number)));
  }
  if (std::isnan(number)) return "nan";
  return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
}

double to_double(const Json& value, const std::string& text) {
  if (tag_of(value) == 'f') return *parse_float(untagged(value).get_ref<const std::string&>());
  return parse_float(text).value_or(0);
}

bool equal_number_values(const Json& actual, const std::string& text, const Json& expected,
                         double tolerance) {
  const std::string expected_text = number_text(expected);
  if (text == expected_text) return true;
  if (tag_of(expected) != 'f' || expected_text.empty()) return false;
  const double x = to_double(actual, text), y = to_double(expected, expected_text);
  if (!std::isfinite(x) || !std::isfinite(y)) return false;
  if (tag_of(actual) == 'i' && std::abs(y) >= 0x1.0p64 && x == y) return true;
  return tolerance > 0 && near(x, y, tolerance);
}

char kind_of(const Json& value) {  // equal values have equal kinds
  const char tag = tag_of(value);
  if (value.is_boolean() || value.is_number() || tag == 'i' || tag == 'f') return 'n';
  if (value.is_null()) return '0';
  if (value.is_string()) return '"';
  if (value.is_array() || tag == 't') return '[';
  return tag == 'z' ? 's' : tag;
}

const Json& items_of(const Json& value) { return value.is_array() ? value : untagged(value); }

// Appends text that is the same for equal values and for no others; for members of sets and for
// keys. False once there is more than `limit` of it: sets within sets copy their text level by
// level, and a solution may return anything.
bool append_canonical(const Json& value, size_t limit, std::string& out) {
  const char kind = kind_of(value);
  out += kind;
  const auto append = [&out](const std::string& text) {
    out += std::to_string(text.size()) + ':' + text;
  };
  if (kind == 'n') {
    append(number_text(value));
  } else if (kind == '"') {
    append(value.get_ref<const std::string&>());
  } else if (kind == 'b') {
    append(untagged(value).get_ref<const std::string&>());
  } else if (kind == 'c') {
    for (const Json& part : untagged(value)) {
      Json number;
      number["f"] = part;
      append(number_text(number));
    }
  } else if (kind == '[') {
    for (const Json& item : items_of(value)) {
      if (!append_canonical(item, limit, out)) return false;
    }
    out += ']';
  } else if (kind == 's' || kind == 'd') {
    std::vector<std::string> parts;
    for (const Json& item : untagged(value)) {
      if (!append_canonical(item, limit, parts.emplace_back())) return false;
    }
    std::sort(parts.begin(), parts.end());
    for (const std::string& part : parts) out += part;
    out += ']';
  }
  return out.size() <= limit;
}

constexpr size_t kNoLimit = SIZE_MAX;

// A key as the text that JSON has for it, where it has one.
bool append_key(const Json& key, size_t limit, std::string& out) {
  if (key.is_boolean() || key.is_null()) return append_canonical(key.dump(), limit, out);
  if (tag_of(key) == 'f') return append_canonical(untagged(key), limit, out);
  if (kind_of(key) == 'n') return append_canonical(Json(number_text(key)), limit, out);
  return append_canonical(key, limit, out);
}

bool equal_canonical(const Json& actual, const Json& expected) {
  std::string a, b;
  append_canonical(expected, kNoLimit, b);
  return append_canonical(actual, b.size(), a) && a == b;
}

using Entry = std::pair<std::string, const Json*>;

bool sorted_entries(const Json& dict, size_t limit, std::vector<Entry>& entries) {
  for (const Json& pair : untagged(dict)) {
    entries.emplace_back("", &pair[1]);
    if (!append_key(pair[0], limit, entries.back().first)) return false;
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.first < b.first; });
  return true;
}

bool equal_dicts(const Json& actual, const Json& expected, const CompareOptions& options) {
  if (untagged(actual).size() != untagged(expected).size()) return false;
  std::vector<Entry> a, b;
  sorted_entries(expected, kNoLimit, b);
  size_t longest = 0;
  for (const Entry& entry : b) longest = std::max(longest, entry.first.size());
  if (!sorted_entries(actual, longest, a)) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].first != b[i].first || !equal_values(*a[i].second, *b[i].second, options)) {
      return false;
    }
  }
  return true;
}

}  // namespace

bool equal_stdout(std::string_view actual, std::string_view expected,
                  const CompareOptions& options) {
  actual = trimmed(actual);
  expected = trimmed(expected);
  const auto newline = [](char c) { return c == '\n'; };
  while (true) {
    const bool last_a = actual.find('\n') == std::string_view::npos;
    const bool last_b = expected.find('\n') == std::string_view::npos;
    const std::string_view line_a = trimmed(next_part(actual, newline));
    const std::string_view line_b = trimmed(next_part(expected, newline));
    if (last_a != last_b) return false;
    if (line_a != line_b && !equal_numbers(line_a, line_b, options.tolerance)) return false;
    if (last_a) return true;
  }
}

bool equal_values(const Json& actual, const Json& expected, const CompareOptions& options) {
  const char kind = kind_of(actual);
  if (kind != kind_of(expected)) return false;
  switch (kind) {
    case '0':
      return true;
    case 'n':
      return equal_number_values(actual, number_text(actual), expected, options.tolerance);
    case '"':
      return actual.get_ref<const std::string&>() == expected.get_ref<const std::string&>();
    case '[': {
      const Json &a = items_of(actual), &b = items_of(expected);
      if (a.size() != b.size()) return false;
      for (size_t i = 0; i < a.size(); ++i) {
        if (!equal_values(a[i], b[i], options)) return false;
      }
      return true;
    }
    case 'd':
      return equal_dicts(actual, expected, options);
    default:  // sets, bytes, complex
      return equal_canonical(actual, expected);
  }
}

}  // namespace hone
