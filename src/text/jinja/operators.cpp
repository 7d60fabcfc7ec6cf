// Python's operators, attribute and item access.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"

namespace hone::jinja {
namespace {

[[noreturn]] void fail_overflow() {
  fail("a number does not fit 64 bits, which is what integers of chat templates have");
}

[[noreturn]] void fail_operands(std::string_view op, const Value& a, const Value& b) {
  if (a.is(Kind::undefined)) fail_undefined(a);
  if (b.is(Kind::undefined)) fail_undefined(b);
  fail(cat("unsupported operand type(s) for ", op, ": '", type_name(a), "' and '", type_name(b),
           "'"));
}

double as_real(const Value& value) {
  return value.is(Kind::real) ? value.real : static_cast<double>(value.as_integer());
}

int64_t power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  // Bounded by overflow for all bases but 0, 1 and -1.
  if (base == 0 || base == 1) return exponent == 0 ? 1 : base;
  if (base == -1) return exponent % 2 == 0 ? 1 : -1;
  for (int64_t i = 0; i < exponent; ++i) result = checked_multiply(result, base);
  return result;
}

Value integer_operation(std::string_view op, int64_t a, int64_t b) {
  if (op == "+") return make_int(checked_add(a, b));
  if (op == "-") {
    int64_t result;
    if (__builtin_sub_overflow(a, b, &result)) fail_overflow();
    return make_int(result);
  }
  if (op == "*") return make_int(checked_multiply(a, b));
  if (op == "**") {
    if (b >= 0) return make_int(power(a, b));
    if (a == 0) fail("0.0 cannot be raised to a negative power");
    return make_real(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
  if (b == 0) fail(op == "/" ? "division by zero" : "integer division or modulo by zero");
  if (op == "/") return make_real(static_cast<double>(a) / static_cast<double>(b));
  if (a == std::numeric_limits<int64_t>::min() && b == -1) fail_overflow();
  const int64_t rest = a % b;
  const bool down = rest != 0 && (rest < 0) != (b < 0);
  if (op == "//") return make_int(a / b - (down ? 1 : 0));
  return make_int(down ? rest + b : rest);
}

Value real_operation(std::string_view op, double a, double b) {
  if (op == "+") return make_real(a + b);
  if (op == "-") return make_real(a - b);
  if (op == "*") return make_real(a * b);
  if (op == "**") {
    if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
    const double result = std::pow(a, b);
    if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) {
      fail("a power of a negative number is complex");
    }
    if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail("the power is too large");
    return make_real(result);
  }
  if (b == 0) fail("float division by zero");
  if (op == "/") return make_real(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return make_real(rest == 0 ? std::copysign(0.0, b) : rest);
  const double quotient = (a - rest) / b;
  double whole = std::floor(quotient);
  if (quotient - whole > 0.5) whole += 1;
  return make_real(quotient == 0 ? std::copysign(0.0, a / b) : whole);
}

Value repeated(Runtime& rt, const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (value.is(Kind::string)) {
    const String& string = *value.string;
    if (!string.text.empty() && count > (size_t{1} << 40) / string.text.size()) {
      fail("the repeated text is too long");
    }
    rt.heap().charge(count * string.text.size());
    std::string text;
    text.reserve(count * string.text.size());
    for (size_t i = 0; i < count && !string.text.empty(); ++i) text += string.text;
    return rt.heap().string(std::move(text), string.markup);
  }
  const std::vector<Value>& items = value.list->items;
  if (!items.empty() && count > (size_t{1} << 36) / items.size()) {
    fail("the repeated list is too long");
  }
  rt.heap().charge(count * items.size() * sizeof(Value));
  std::vector<Value> all;
  for (size_t i = 0; i < count && !items.empty(); ++i) {
    all.insert(all.end(), items.begin(), items.end());
  }
  return rt.heap().list(std::move(all), value.kind);
}

Value joined(Runtime& rt, const Value& a, const Value& b) {
  Heap& heap = rt.heap();
  if (a.is(Kind::string)) {
    const bool markup = a.string->markup || b.string->markup;
    const Value left = markup ? escape(rt, a) : a, right = markup ? escape(rt, b) : b;
    heap.charge(left.string->text.size() + right.string->text.size());
    return heap.string(left.string->text + right.string->text, markup);
  }
  heap.charge((a.list->items.size() + b.list->items.size()) * sizeof(Value));
  std::vector<Value> items = a.list->items;
  items.insert(items.end(), b.list->items.begin(), b.list->items.end());
  return heap.list(std::move(items), a.kind);
}

bool repeatable(const Value& value) {
  return value.is(Kind::string) || value.is(Kind::list) || value.is(Kind::tuple);
}

}  // namespace

int64_t checked_add(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_add_overflow(a, b, &result)) fail_overflow();
  return result;
}

int64_t checked_multiply(int64_t a, int64_t b) {
  int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) fail_overflow();
  return result;
}

Value escape(Runtime& rt, const Value& value) {
  if (value.is(Kind::string) && value.string->markup) return value;
  std::string out;
  for (const char c : to_text(rt, value)) {
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
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return rt.heap().string(std::move(out), true);
}

Value binary(Runtime& rt, std::string_view op, const Value& a, const Value& b) {
  if (op == "%" && a.is(Kind::string)) {
    return rt.heap().string(percent_format(rt, a.string->text, b), a.string->markup);
  }
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) {
      return integer_operation(op, a.as_integer(), b.as_integer());
    }
    return real_operation(op, as_real(a), as_real(b));
  }
  if (op == "+" && a.kind == b.kind && repeatable(a)) return joined(rt, a, b);
  if (op == "*" && repeatable(a) && b.is_integral()) return repeated(rt, a, b.as_integer());
  if (op == "*" && repeatable(b) && a.is_integral()) return repeated(rt, b, a.as_integer());
  fail_operands(op, a, b);
}

Value negative(const Value& value) {
  if (value.is(Kind::real)) return make_real(-value.real);
  if (!value.is_integral()) {
    if (value.is(Kind::undefined)) fail_undefined(value);
    fail(cat("bad operand type for unary -: '", type_name(value), "'"));
  }
  return integer_operation("-", 0, value.as_integer());
}

Value positive(const Value& value) {
  if (value.is(Kind::real)) return value;
  if (!value.is_integral()) {
    if (value.is(Kind::undefined)) fail_undefined(value);
    fail(cat("bad operand type for unary +: '", type_name(value), "'"));
  }
  return make_int(value.as_integer());
}

bool contains(Runtime& rt, const Value& container, const Value& item) {
  switch (container.kind) {
    case Kind::undefined:
      return false;
    case Kind::string:
      if (!item.is(Kind::string)) {
        fail(cat("'in <string>' requires string as left operand, not ", type_name(item)));
      }
      rt.heap().step(container.string->text.size() / 64);
      return container.string->text.find(item.string->text) != std::string::npos;
    case Kind::dict:
      check_hashable(item);
      return find(rt.heap(), *container.dict, item) != nullptr;
    case Kind::iterator: {
      List& list = *container.list;
      while (list.next < list.items.size()) {
        if (equal(rt.heap(), list.items[list.next++], item)) return true;
      }
      return false;
    }
    default:
      if (!container.is_listlike()) {
        fail(cat("argument of type '", type_name(container), "' is not iterable"));
      }
      return std::any_of(container.list->items.begin(), container.list->items.end(),
                         [&](const Value& v) { return equal(rt.heap(), v, item); });
  }
}

// ---- attributes and items ----------------------------------------------------------------------

namespace {

// Of an undefined value: what jinja calls the object that lacks something.
std::string object_name(const Value& value) {
  if (value.is(Kind::none)) return "None";
  if (value.is(Kind::object)) {
    const std::string name = value.object->type_name();
    const bool builtin = name.starts_with("builtin");
    return (builtin                                    ? ""
            : name == "Macro" || name == "LoopContext" ? "jinja2.runtime."
                                                       : "jinja2.utils.") +
           name + " object";
  }
  return type_name(value) + " object";
}

bool system_name(std::string_view name) { return name.starts_with("__") && name.ends_with("__"); }

// What Python's getattr gives; nothing if it raises AttributeError.
std::optional<Value> python_attribute(Runtime& rt, const Value& value, std::string_view name) {
  const bool refused = system_name(name) || refused_method(value, name) ||
                       (value.is(Kind::object) && name.starts_with("_"));
  if (refused) {
    return rt.heap().undefined(cat("access to attribute ", string_repr(name), " of '",
                                   type_name(value), "' object is unsafe."));
  }
  if (value.is(Kind::object)) return value.object->attribute(rt, name);
  if (value.is(Kind::tuple) && value.list->name == "group") {
    if (name == "grouper") return value.list->items[0];
    if (name == "list") return value.list->items[1];
  }
  return find_method(rt, value, name);
}

// Python's value[key]; nothing if it raises TypeError or LookupError.
std::optional<Value> python_item(Runtime& rt, const Value& value, const Value& key) {
  if (value.is(Kind::dict)) {
    if (key.is(Kind::list) || key.is(Kind::dict)) return std::nullopt;
    if (const Value* found = find(rt.heap(), *value.dict, key)) return *found;
    return std::nullopt;
  }
  if (!key.is_integral()) return std::nullopt;
  int64_t index = key.as_integer();
  if (value.is(Kind::list) || value.is(Kind::tuple) || value.is(Kind::range)) {
    const auto size = static_cast<int64_t>(value.list->items.size());
    if (index < 0) index += size;
    if (index < 0 || index >= size) return std::nullopt;
    return value.list->items[static_cast<size_t>(index)];
  }
  if (value.is(Kind::string)) {
    const String& string = *value.string;
    if (index < 0) index += string.length;
    if (index < 0 || index >= string.length) return std::nullopt;
    rt.heap().step(string.text.size() / 64);
    const size_t begin = byte_of(string.text, index);
    size_t end = begin;
    next_code_point(string.text, end);
    return rt.heap().string(string.text.substr(begin, end - begin));
  }
  return std::nullopt;
}

}  // namespace

Value get_attribute(Runtime& rt, const Value& value, std::string_view name) {
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (const auto found = python_attribute(rt, value, name)) return *found;
  if (value.is(Kind::dict)) {
    rt.heap().step(1 + value.dict->items.size() / 16);
    if (const Value* found = find(*value.dict, name)) return *found;
  }
  return rt.heap().undefined(
      cat("'", object_name(value), "' has no attribute ", string_repr(name)));
}

Value get_item(Runtime& rt, const Value& value, const Value& key) {
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (const auto found = python_item(rt, value, key)) return *found;
  if (key.is(Kind::string)) {
    if (const auto found = python_attribute(rt, value, key.string->text)) return *found;
    return rt.heap().undefined(
        cat("'", object_name(value), "' has no attribute ", string_repr(key.string->text)));
  }
  return rt.heap().undefined(cat(object_name(value), " has no element ", repr(rt, key)));
}

Value get_slice(Runtime& rt, const Value& value, const Value& start, const Value& stop,
                const Value& step) {
  if (value.is(Kind::undefined)) fail_undefined(value);
  const bool listed = value.is(Kind::list) || value.is(Kind::tuple) || value.is(Kind::range);
  if (!listed && !value.is(Kind::string)) {
    fail(cat("'", type_name(value), "' object cannot be sliced"));
  }
  for (const Value* part : {&start, &stop, &step}) {
    if (!part->is(Kind::none) && !part->is_integral()) fail("slice indices must be integers");
  }
  const int64_t stride = step.is(Kind::none) ? 1 : step.as_integer();
  if (stride == 0) fail("slice step cannot be zero");
  const int64_t size = *length_of(rt, value);
  const int64_t low = stride > 0 ? 0 : -1, high = stride > 0 ? size : size - 1;
  const auto place = [&](const Value& part, int64_t fallback) {
    if (part.is(Kind::none)) return fallback;
    const int64_t i = part.as_integer();
    return std::clamp(i < 0 ? std::max(i, -size - 1) + size : i, low, high);
  };
  const int64_t from = place(start, stride > 0 ? low : high);
  const int64_t to = place(stop, stride > 0 ? high : low);
  const int64_t distance = stride > 0 ? to - from : from - to;
  // In steps of `jump`, which is no longer than the whole, so that nothing overflows.
  const int64_t jump = std::clamp(stride, -size - 1, size + 1);
  const int64_t jump_size = jump > 0 ? jump : -jump;
  const int64_t count = distance <= 0 ? 0 : (distance - 1) / jump_size + 1;
  Heap& heap = rt.heap();
  if (value.is(Kind::string)) {
    const String& string = *value.string;
    heap.step(string.text.size() / 64);
    if (jump == 1) {
      const size_t begin = byte_of(string.text, from);
      const size_t bytes = count ? byte_of(std::string_view(string.text).substr(begin), count) : 0;
      return heap.string(string.text.substr(begin, bytes), string.markup);
    }
    std::vector<size_t> begins;
    heap.charge(string.text.size() * sizeof(size_t));
    for (size_t at = 0; at < string.text.size(); next_code_point(string.text, at)) {
      begins.push_back(at);
    }
    begins.push_back(string.text.size());
    std::string text;
    for (int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(from + i * jump);
      text += string.text.substr(begins[at], begins[at + 1] - begins[at]);
    }
    return heap.string(std::move(text), string.markup);
  }
  heap.charge(static_cast<size_t>(count) * sizeof(Value));
  const std::vector<Value>& all = value.list->items;
  std::vector<Value> items;
  for (int64_t i = 0; i < count; ++i) items.push_back(all[static_cast<size_t>(from + i * jump)]);
  std::string name;
  if (value.is(Kind::range) && !all.empty()) {
    const int64_t first = all[0].integer, each = all.size() > 1 ? all[1].integer - first : 1;
    name = range_name(first + from * each, first + to * each, each * jump);
  }
  return heap.list(std::move(items), value.kind, std::move(name));
}

}  // namespace hone::jinja
