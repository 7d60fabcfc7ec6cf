#include "rewards/code/value.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

namespace hone {
namespace {

constexpr int64_t kExact = int64_t{1} << 53;  // integers up to here are numbers in any JSON reader

bool digit(char c) { return c >= '0' && c <= '9'; }

// JSON's nesting, at most: a level of a dict is three levels of its JSON.
constexpr int kMaxJsonDepth = 3 * kMaxValueDepth;

bool is_integer_text(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  if (text.empty() || (text[0] == '0' && text.size() > 1)) return false;
  for (char c : text) {
    if (!digit(c)) return false;
  }
  return true;
}

bool is_hex(std::string_view text) {
  for (char c : text) {
    if (!digit(c) && (c < 'a' || c > 'f')) return false;
  }
  return text.size() % 2 == 0;
}

bool is_float_text(const Json& value) {
  return value.is_string() && parse_float(value.get_ref<const std::string&>());
}

bool is_value(const Json& value, int depth) {
  const auto all_values = [depth](const Json& list) {
    if (!list.is_array()) return false;
    for (const Json& item : list) {
      if (!is_value(item, depth + 1)) return false;
    }
    return true;
  };
  if (depth > kMaxValueDepth) return false;
  if (value.is_number()) {
    return value.is_number_unsigned() ? value.get<uint64_t>() <= uint64_t{kExact}
                                      : value.is_number_integer() && value >= -kExact;
  }
  if (value.is_array()) return all_values(value);
  if (!value.is_object()) return true;
  const char tag = tag_of(value);
  if (tag == 0) return false;
  const Json& content = untagged(value);
  switch (tag) {
    case 'i':
      return content.is_string() && is_integer_text(content.get_ref<const std::string&>());
    case 'f':
      return is_float_text(content);
    case 'b':
      return content.is_string() && is_hex(content.get_ref<const std::string&>());
    case 'c':
      return content.is_array() && content.size() == 2 && is_float_text(content[0]) &&
             is_float_text(content[1]);
    case 't':
    case 's':
    case 'z':
      return all_values(content);
    case 'd':
      if (!content.is_array()) return false;
      for (const Json& pair : content) {
        if (!pair.is_array() || pair.size() != 2 || !all_values(pair)) return false;
      }
      return true;
    default:
      return false;
  }
}

Json tagged_at(const Json& plain, int depth) {
  if (depth > kMaxValueDepth) throw std::invalid_argument("nested too deep");
  switch (plain.type()) {
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return tagged_integer(plain.dump());
    case Json::value_t::number_float:
      return tagged_float(plain.get<double>());
    case Json::value_t::array: {
      Json list = Json::array();
      for (const Json& item : plain) list.push_back(tagged_at(item, depth + 1));
      return list;
    }
    case Json::value_t::object: {
      Json pairs = Json::array();
      for (const auto& [key, value] : plain.items()) {
        Json pair = Json::array();
        pair.push_back(key);
        pair.push_back(tagged_at(value, depth + 1));
        pairs.push_back(std::move(pair));
      }
      Json dict;
      dict["d"] = std::move(pairs);
      return dict;
    }
    default:
      return plain;
  }
}

}  // namespace

std::optional<Json> read_value(std::string_view text) {
  if (text.size() > kMaxValueBytes || nested_deeper(text, kMaxJsonDepth)) return std::nullopt;
  Json value = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (value.is_discarded() || !is_value(value, 0)) return std::nullopt;
  return value;
}

Json tagged(const Json& plain) { return tagged_at(plain, 0); }

Json tagged_integer(std::string digits) {
  const bool minus = digits.starts_with('-');
  size_t start = minus;
  while (start + 1 < digits.size() && digits[start] == '0') ++start;
  digits = digits.substr(start);
  int64_t small = 0;
  const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), small);
  if (end.ec == std::errc() && small <= kExact) return minus ? -small : small;
  Json value;
  value["i"] = minus ? "-" + digits : digits;
  return value;
}

Json tagged_float(double number) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, number);
  Json value;
  value["f"] = std::isnan(number) ? std::string("nan") : std::string(text, end.ptr);
  return value;
}

const Json* dict_entry(const Json& value, std::string_view key) {
  if (tag_of(value) != 'd') return nullptr;
  for (const Json& pair : untagged(value)) {
    if (pair[0].is_string() && pair[0].get_ref<const std::string&>() == key) return &pair[1];
  }
  return nullptr;
}

char tag_of(const Json& value) {
  if (!value.is_object() || value.size() != 1) return 0;
  const std::string& key = value.begin().key();
  return key.size() == 1 ? key[0] : 0;
}

const Json& untagged(const Json& value) { return value.begin().value(); }

std::optional<double> parse_float(std::string_view text) {
  const bool minus = text.starts_with('-');
  const std::string_view rest = text.substr(minus);
  if (rest == "inf" || rest == "Infinity") return minus ? -HUGE_VAL : HUGE_VAL;
  if (rest == "nan" || rest == "NaN") return std::nan("");
  if (rest.empty() || !(digit(rest[0]) || rest[0] == '.')) return std::nullopt;
  double value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ptr != text.data() + text.size()) return std::nullopt;
  if (end.ec == std::errc::result_out_of_range) {  // infinite or zero: strtod tells which
    return std::strtod(std::string(text).c_str(), nullptr);
  }
  return end.ec == std::errc() ? std::optional(value) : std::nullopt;
}

}  // namespace hone
