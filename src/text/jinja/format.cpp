// Python's three ways to format: %, str.format, strftime; and round().
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "base/error.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"

namespace hone::jinja {
namespace {

constexpr int64_t kMaxWidth = 1 << 20;

// What stands between "%" or ":" and the type.
struct Spec {
  std::string fill = " ";
  char align = 0;  // < > = ^, or 0
  char sign = 0;   // + or space
  bool alternate = false;
  char grouping = 0;  // , or _
  int64_t width = 0;
  int64_t precision = -1;
  char type = 0;
};

int64_t read_count(std::string_view text, size_t& at) {
  int64_t count = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    count = count * 10 + (text[at] - '0');
    if (count > kMaxWidth) fail("a width or precision in a format is too large");
  }
  return count;
}

std::string pad(const Spec& spec, const std::string& prefix, const std::string& body,
                char default_align) {
  const int64_t room = spec.width - count_code_points(prefix) - count_code_points(body);
  if (room <= 0) return prefix + body;
  const auto fill = [&](int64_t count) {
    std::string out;
    for (int64_t i = 0; i < count; ++i) out += spec.fill;
    return out;
  };
  switch (spec.align ? spec.align : default_align) {
    case '<':
      return prefix + body + fill(room);
    case '=':
      return prefix + fill(room) + body;
    case '^':
      return fill(room / 2) + prefix + body + fill(room - room / 2);
    default:
      return fill(room) + prefix + body;
  }
}

std::string digits_of(uint64_t value, unsigned base, bool upper) {
  std::string out;
  do {
    out += (upper ? "0123456789ABCDEF" : "0123456789abcdef")[value % base];
    value /= base;
  } while (value);
  std::reverse(out.begin(), out.end());
  return out;
}

std::string grouped(const std::string& digits, char separator, size_t group) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % group == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string sign_of(const Spec& spec, bool negative) {
  return negative ? "-" : spec.sign ? std::string(1, spec.sign) : "";
}

// %x of C for one double; `format` has one '*' for the precision.
std::string c_format(const char* format, int64_t precision, double value) {
  const int size = std::snprintf(nullptr, 0, format, static_cast<int>(precision), value);
  std::string out(static_cast<size_t>(size) + 1, '\0');
  std::snprintf(out.data(), out.size(), format, static_cast<int>(precision), value);
  out.pop_back();
  return out;
}

// The digits of |value| as the type asks for them.
std::string real_digits(const Spec& spec, double value) {
  value = std::fabs(value);
  const int64_t precision = spec.precision < 0 ? 6 : spec.precision;
  std::string out;
  switch (spec.type) {
    case 'e':
      out = c_format("%.*e", precision, value);
      break;
    case 'E':
      out = c_format("%.*E", precision, value);
      break;
    case 'f':
      out = c_format("%.*f", precision, value);
      break;
    case 'F':
      out = c_format("%.*F", precision, value);
      break;
    case '%':
      return (std::isfinite(value) ? c_format("%.*f", precision, value * 100)
                                   : c_format("%.*f", 0, value)) +
             "%";
    case 'g':
    case 'n':
      out = c_format(spec.alternate ? "%#.*g" : "%.*g", precision, value);
      break;
    case 'G':
      out = c_format(spec.alternate ? "%#.*G" : "%.*G", precision, value);
      break;
    default:  // no type: as repr, or with a precision as g that keeps one decimal
      if (spec.precision < 0) return float_repr(value);
      // Exponents begin one digit earlier than with g, since a decimal always stays.
      out = c_format("%.*g", std::max<int64_t>(precision, 1), value);
      if (std::isfinite(value) && out.find_first_of("e.") == out.npos) {
        if (static_cast<int64_t>(out.size()) >= precision) {
          out = c_format("%.*e", std::max<int64_t>(precision - 1, 0), value);
          const size_t e = out.find('e');
          size_t kept = e;
          if (out.find('.') < e) {
            while (out[kept - 1] == '0') --kept;
            if (out[kept - 1] == '.') --kept;
          }
          out.erase(kept, e - kept);
        } else {
          out += ".0";
        }
      }
  }
  return out;
}

std::string format_real(const Spec& spec, double value) {
  std::string digits = real_digits(spec, value);
  if (spec.grouping) {
    const size_t end = std::min(digits.find_first_not_of("0123456789"), digits.size());
    digits = grouped(digits.substr(0, end), spec.grouping, 3) + digits.substr(end);
  }
  return pad(spec, sign_of(spec, std::signbit(value) && !std::isnan(value)), digits, '>');
}

std::string format_integer(const Spec& spec, int64_t value) {
  const uint64_t size = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  std::string prefix = sign_of(spec, value < 0), digits;
  switch (spec.type) {
    case 'x':
    case 'X':
      digits = digits_of(size, 16, spec.type == 'X');
      if (spec.alternate) prefix += spec.type == 'x' ? "0x" : "0X";
      break;
    case 'o':
      digits = digits_of(size, 8, false);
      if (spec.alternate) prefix += "0o";
      break;
    case 'b':
      digits = digits_of(size, 2, false);
      if (spec.alternate) prefix += "0b";
      break;
    default:
      digits = digits_of(size, 10, false);
  }
  if (spec.grouping) digits = grouped(digits, spec.grouping, spec.type && spec.type != 'd' ? 4 : 3);
  return pad(spec, prefix, digits, '>');
}

std::string first_code_points(const std::string& text, int64_t count) {
  return count < 0 ? text : text.substr(0, byte_of(text, count));
}

double real_of(const Value& value) {
  return value.is(Kind::real) ? value.real : static_cast<double>(value.as_integer());
}

bool real_type(char type) {
  return std::string_view("eEfFgG%").find(type) != std::string_view::npos;
}

// ---- % -----------------------------------------------------------------------------------------

class PercentFormat {
 public:
  PercentFormat(Runtime& rt, const std::string& format, const Value& values)
      : rt_(rt), format_(format), values_(values) {}

  std::string run() {
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      out_.append(format_, at_, percent - at_);
      at_ = percent;
      if (at_ < format_.size()) conversion();
    }
    const bool all_used = values_.is(Kind::tuple) ? next_ == values_.list->items.size()
                                                  : next_ == 1 || mapping_like();
    if (!all_used) fail("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  // Python lets values that could be looked into by name go unused.
  bool mapping_like() const {
    return values_.is(Kind::dict) || values_.is(Kind::list) || values_.is(Kind::range) ||
           values_.is(Kind::undefined);
  }

  Value next_value() {
    if (!values_.is(Kind::tuple)) {
      if (next_++ > 0) fail("not enough arguments for format string");
      return values_;
    }
    if (next_ >= values_.list->items.size()) fail("not enough arguments for format string");
    return values_.list->items[next_++];
  }

  int64_t star() {
    ++at_;
    const Value value = next_value();
    if (!value.is_integral()) fail("* wants int");
    if (std::llabs(value.as_integer()) > kMaxWidth) fail("a width in a format is too large");
    return value.as_integer();
  }

  char peek() const { return at_ < format_.size() ? format_[at_] : '\0'; }

  void conversion() {
    ++at_;
    std::optional<Value> keyed;
    if (peek() == '(') {
      const size_t close = format_.find(')', at_);
      if (close == format_.npos) fail("incomplete format key");
      if (!values_.is(Kind::dict)) fail("format requires a mapping");
      const std::string key = format_.substr(at_ + 1, close - at_ - 1);
      const Value* found = find(*values_.dict, key);
      if (!found) fail(cat("KeyError: ", string_repr(key)));
      keyed = *found;
      at_ = close + 1;
    }
    Spec spec;
    bool left = false, zero = false;
    for (;; ++at_) {
      const char c = peek();
      if (c == '-') {
        left = true;
      } else if (c == '0') {
        zero = true;
      } else if (c == '+' || (c == ' ' && spec.sign != '+')) {
        spec.sign = c;
      } else if (c == '#') {
        spec.alternate = true;
      } else if (c != ' ') {
        break;
      }
    }
    spec.width = peek() == '*' ? star() : read_count(format_, at_);
    if (spec.width < 0) {
      left = true;
      spec.width = -spec.width;
    }
    if (peek() == '.') {
      ++at_;
      spec.precision = peek() == '*' ? std::max<int64_t>(star(), 0) : read_count(format_, at_);
    }
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    if (at_ >= format_.size()) fail("incomplete format");
    const char type = format_[at_++];
    if (type == '%') {
      out_ += '%';
      return;
    }
    const Value value = keyed ? *keyed : next_value();
    const bool text_type = type == 's' || type == 'r' || type == 'a' || type == 'c';
    spec.align = left ? '<' : zero && !text_type ? '=' : '>';
    if (zero && !left && !text_type) spec.fill = "0";
    rt_.heap().charge(static_cast<size_t>(spec.width + std::max<int64_t>(spec.precision, 0)));
    out_ += converted(spec, type, value);
  }

  std::string converted(Spec& spec, char type, const Value& value) {
    switch (type) {
      case 's':
      case 'r':
      case 'a': {
        const std::string text = type == 's' ? to_text(rt_, value) : repr(rt_, value);
        return pad(spec, "", first_code_points(text, spec.precision), '>');
      }
      case 'c': {
        std::string text;
        if (value.is(Kind::string) && value.string->length == 1) {
          text = value.string->text;
        } else if (value.is_integral() && value.as_integer() >= 0 && value.as_integer() < 0xD800) {
          append_code_point(text, static_cast<char32_t>(value.as_integer()));
        } else {
          fail("%c requires int or char");
        }
        return pad(spec, "", text, '>');
      }
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        return integer(spec, type, value);
      default:
        if (!real_type(type) || type == '%') {
          fail(cat("unsupported format character '", type, "'"));
        }
        if (value.is(Kind::undefined)) fail_undefined(value);
        if (!value.is_number()) fail(cat("must be real number, not ", type_name(value)));
        spec.type = type;
        return format_real(spec, real_of(value));
    }
  }

  static std::string integer(Spec& spec, char type, const Value& value) {
    if (value.is(Kind::undefined)) fail_undefined(value);
    const bool decimal = type == 'd' || type == 'i' || type == 'u';
    if (!value.is_integral() && !(decimal && value.is(Kind::real))) {
      fail(cat("%", type, " format: an integer is required, not ", type_name(value)));
    }
    spec.type = decimal ? 'd' : type;
    if (value.is(Kind::real) && !(std::fabs(value.real) < 9.2e18)) {
      if (!std::isfinite(value.real)) fail("cannot convert float infinity or NaN to integer");
      return pad(spec, sign_of(spec, value.real < 0), c_format("%.*f", 0, std::fabs(value.real)),
                 '>');
    }
    const int64_t number =
        value.is(Kind::real) ? static_cast<int64_t>(value.real) : value.as_integer();
    if (spec.precision < 0) return format_integer(spec, number);
    Spec bare = spec;
    bare.width = 0;
    bare.sign = 0;
    bare.alternate = false;
    std::string digits = format_integer(bare, number);
    if (number < 0) digits.erase(0, 1);
    const auto least = static_cast<size_t>(spec.precision);
    if (digits.size() < least) digits.insert(0, least - digits.size(), '0');
    return pad(spec, sign_of(spec, number < 0), digits, '>');
  }

  Runtime& rt_;
  const std::string& format_;
  const Value& values_;
  size_t at_ = 0, next_ = 0;
  std::string out_;
};

// ---- str.format --------------------------------------------------------------------------------

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  const auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  const auto peek = [&](size_t i = 0) { return at + i < text.size() ? text[at + i] : '\0'; };
  bool filled = false;
  if (!text.empty()) {
    size_t after = 0;
    next_code_point(text, after);
    if (after < text.size() && is_align(text[after])) {
      spec.fill = text.substr(0, after);
      spec.align = text[after];
      at = after + 1;
      filled = true;
    } else if (is_align(text[0])) {
      spec.align = text[0];
      at = 1;
    }
  }
  if (peek() == '+' || peek() == '-' || peek() == ' ') {
    spec.sign = peek() == '-' ? '\0' : peek();
    ++at;
  }
  if (peek() == '#') {
    spec.alternate = true;
    ++at;
  }
  if (peek() == '0') {
    if (!filled) spec.fill = "0";
    if (!spec.align) spec.align = '=';
    ++at;
  }
  spec.width = read_count(text, at);
  if (peek() == ',' || peek() == '_') spec.grouping = text[at++];
  if (peek() == '.') {
    ++at;
    if (peek() < '0' || peek() > '9') fail("Format specifier missing precision");
    spec.precision = read_count(text, at);
  }
  if (at < text.size()) spec.type = text[at++];
  if (at < text.size()) fail("Invalid format specifier");
  return spec;
}

std::string format_value(Runtime& rt, const Value& value, const std::string& text) {
  if (text.empty()) return to_text(rt, value);
  if (!value.is(Kind::string) && !value.is_number()) {
    fail(cat("unsupported format string passed to ", type_name(value), ".__format__"));
  }
  const Spec spec = parse_spec(text);
  rt.heap().charge(static_cast<size_t>(spec.width + std::max<int64_t>(spec.precision, 0)));
  const auto unknown = [&] {
    fail(cat("Unknown format code '", spec.type, "' for object of type '", type_name(value), "'"));
  };
  if (value.is(Kind::string)) {
    if (spec.type && spec.type != 's') unknown();
    if (spec.sign || spec.alternate) fail("Sign not allowed in string format specifier");
    if (spec.grouping) fail(cat("Cannot specify '", spec.grouping, "' with 's'."));
    if (spec.align == '=' && spec.fill != "0") {
      fail("'=' alignment not allowed in string format specifier");
    }
    Spec placed = spec;
    if (placed.align == '=') placed.align = '<';
    return pad(placed, "", first_code_points(value.string->text, spec.precision), '<');
  }
  if (value.is(Kind::real)) {
    if (spec.type && !real_type(spec.type) && spec.type != 'n') unknown();
    return format_real(spec, value.real);
  }
  if (real_type(spec.type)) return format_real(spec, real_of(value));
  if (spec.type == 'c') {
    std::string character;
    const int64_t code = value.as_integer();
    if (code < 0 || code >= 0xD800) fail("%c arg not in range");
    append_code_point(character, static_cast<char32_t>(code));
    return pad(spec, "", character, '<');
  }
  if (spec.type && std::string_view("dboxXn").find(spec.type) == std::string_view::npos) unknown();
  if (spec.precision >= 0) fail("Precision not allowed in integer format specifier");
  return format_integer(spec, value.as_integer());
}

class BraceFormat {
 public:
  BraceFormat(Runtime& rt, const Arguments& arguments) : rt_(rt), arguments_(arguments) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) fail("Max string recursion exceeded");
    std::string out;
    for (size_t i = 0; i < format.size(); ++i) {
      const char c = format[i];
      const char next = i + 1 < format.size() ? format[i + 1] : '\0';
      if ((c == '{' || c == '}') && next == c) {
        out += c;
        ++i;
      } else if (c == '}') {
        fail("Single '}' encountered in format string");
      } else if (c == '{') {
        const size_t close = closing(format, i);
        const std::string text = field(format.substr(i + 1, close - i - 1), depth);
        rt_.heap().charge(text.size());
        out += text;
        i = close;
      } else {
        out += c;
      }
    }
    return out;
  }

 private:
  static size_t closing(std::string_view format, size_t open) {
    int depth = 0;
    for (size_t i = open; i < format.size(); ++i) {
      if (format[i] == '{') ++depth;
      if (format[i] == '}' && --depth == 0) return i;
    }
    fail("expected '}' before end of string");
  }

  std::string field(std::string_view text, int depth) {
    size_t end = 0;
    for (int brackets = 0; end < text.size(); ++end) {
      if (text[end] == '[') ++brackets;
      if (text[end] == ']') --brackets;
      if (brackets == 0 && (text[end] == '!' || text[end] == ':')) break;
    }
    Value value = look_up(text.substr(0, end));
    text.remove_prefix(end);
    if (text.starts_with('!')) {
      const char conversion = text.size() > 1 ? text[1] : '\0';
      if (conversion == 'r' || conversion == 'a') {
        value = rt_.heap().string(repr(rt_, value));
      } else if (conversion == 's') {
        value = rt_.heap().string(to_text(rt_, value));
      } else {
        fail("Unknown conversion specifier in a format");
      }
      text.remove_prefix(2);
      if (!text.empty() && text[0] != ':') fail("expected ':' after conversion specifier");
    }
    const std::string spec = text.starts_with(':') ? run(text.substr(1), depth + 1) : std::string();
    return format_value(rt_, value, spec);
  }

  Value look_up(std::string_view name) {
    const size_t end = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, end));
    name.remove_prefix(end);
    while (!name.empty()) {
      if (name[0] == '.') {
        const size_t stop = std::min(name.find_first_of(".[", 1), name.size());
        value = get_attribute(rt_, value, name.substr(1, stop - 1));
        name.remove_prefix(stop);
      } else if (name[0] == '[') {
        const size_t stop = name.find(']');
        if (stop == name.npos) fail("Missing ']' in format string");
        const std::string key(name.substr(1, stop - 1));
        const bool number =
            !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == key.npos;
        value = get_item(rt_, value, number ? make_int(std::stoll(key)) : rt_.heap().string(key));
        name.remove_prefix(stop + 1);
      } else {
        fail("Only '.' or '[' may follow ']' in format field specifier");
      }
    }
    return value;
  }

  Value argument(std::string_view name) {
    const bool number = name.size() < 10 && name.find_first_not_of("0123456789") == name.npos;
    if (number) {
      const size_t index = name.empty() ? next_++ : std::stoul(std::string(name));
      if (index >= arguments_.positional.size()) {
        fail(cat("Replacement index ", index, " out of range for positional args tuple"));
      }
      return arguments_.positional[index];
    }
    for (const auto& [known, value] : arguments_.named) {
      if (known == name) return value;
    }
    fail(cat("KeyError: ", string_repr(name)));
  }

  Runtime& rt_;
  const Arguments& arguments_;
  size_t next_ = 0;
};

}  // namespace

std::string percent_format(Runtime& rt, const std::string& format, const Value& values) {
  rt.heap().charge(format.size());
  return PercentFormat(rt, format, values).run();
}

std::string brace_format(Runtime& rt, const std::string& format, const Arguments& arguments) {
  rt.heap().charge(format.size());
  return BraceFormat(rt, arguments).run(format, 0);
}

std::string format_date(int64_t seconds, const std::string& format) {
  if (format.size() > 4096) fail("strftime_now: the format is too long");
  // A date without a time zone prints neither its name nor its offset; %f is C's unknown.
  std::string plain;
  for (size_t i = 0; i < format.size(); ++i) {
    const char next = format[i] == '%' && i + 1 < format.size() ? format[i + 1] : '\0';
    if (next == '\0') {
      plain += format[i];
      continue;
    }
    if (next == 'f') {
      plain += "000000";
    } else if (next != 'z' && next != 'Z') {
      plain += {'%', next};
    }
    ++i;
  }
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  localtime_r(&time, &parts);
  // A mark at the end tells an empty result from a buffer that is too small.
  plain += '.';
  std::string out(plain.size() * 64 + 64, '\0');
  const size_t size = std::strftime(out.data(), out.size(), plain.c_str(), &parts);
  if (size == 0) fail("strftime_now: the date is too long");
  return out.substr(0, size - 1);
}

double round_decimal(double value, int64_t digits) {
  if (!std::isfinite(value)) return value;
  if (digits > 320) return value;
  if (digits < -308) return std::copysign(0.0, value);
  if (digits >= 0) return std::strtod(c_format("%.*f", digits, value).c_str(), nullptr);
  // Half to even on the tens, hundreds, ...
  const double scale = std::pow(10.0, static_cast<double>(-digits));
  return std::nearbyint(value / scale) * scale;
}

}  // namespace hone::jinja
