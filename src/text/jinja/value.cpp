#include "text/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"

namespace hone::jinja {
namespace {

// Bounds of one render. A conversation of a megabyte needs some tens of megabytes and about a
// million steps; the levels fit a stack of 8 MB with room to spare.
constexpr size_t kMaxBytes = size_t{512} << 20;
constexpr size_t kMaxSteps = 20'000'000;
constexpr int kMaxLevel = 1500;
constexpr int kMaxDepth = 200;  // of lists in lists

int depth_of(const Value& value) {
  if (value.is_listlike()) return value.list->depth;
  return value.is(Kind::dict) ? value.dict->depth : 0;
}

}  // namespace

void fail(std::string message) { throw TemplateError{std::move(message)}; }

int checked_depth(int inner) {
  if (inner >= kMaxDepth) fail(cat("values nest deeper than ", kMaxDepth, " levels"));
  return inner + 1;
}

// ---- Heap --------------------------------------------------------------------------------------

void Heap::charge(size_t bytes) {
  if (bytes > kMaxBytes - std::min(bytes_, kMaxBytes)) {
    fail(cat("the template needs more than ", kMaxBytes >> 20, " MiB of values"));
  }
  bytes_ += bytes;
}

void Heap::step(size_t steps) {
  steps_ += steps;
  if (steps_ > kMaxSteps) fail(cat("the template takes more than ", kMaxSteps, " steps"));
}

Heap::Level::Level(Heap& heap) : heap_(heap) {
  if (heap.level_ >= kMaxLevel) fail("the template recurses too deep");
  ++heap.level_;
}

Value Heap::string(std::string text, bool markup) {
  charge(text.size() + sizeof(String));
  const int64_t length = count_code_points(text);
  strings_.push_back({std::move(text), length, markup});
  Value v;
  v.kind = Kind::string;
  v.string = &strings_.back();
  return v;
}

Value Heap::list(std::vector<Value> items, Kind kind, std::string name) {
  charge(items.size() * sizeof(Value) + sizeof(List));
  step(items.size() / 8);
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  lists_.push_back({std::move(items), 0, checked_depth(depth), std::move(name)});
  Value v;
  v.kind = kind;
  v.list = &lists_.back();
  return v;
}

Value Heap::dict(std::vector<std::pair<Value, Value>> items) {
  charge(items.size() * 2 * sizeof(Value) + sizeof(Dict));
  int depth = 0;
  for (const auto& [key, value] : items) {
    depth = std::max({depth, depth_of(key), depth_of(value)});
  }
  dicts_.push_back({std::move(items), checked_depth(depth)});
  Value v;
  v.kind = Kind::dict;
  v.dict = &dicts_.back();
  return v;
}

Value Heap::undefined(std::string hint) {
  Value v = string(std::move(hint));
  v.kind = Kind::undefined;
  v.hint = v.string;
  return v;
}

// ---- Types -------------------------------------------------------------------------------------

Value Object::call(Runtime&, const Arguments&) {
  fail(cat("'", type_name(), "' object is not callable"));
}

std::string type_name(const Value& value) {
  switch (value.kind) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return value.string->markup ? "Markup" : "str";
    case Kind::list:
      return "list";
    case Kind::tuple:
      return "tuple";
    case Kind::range:
      return "range";
    case Kind::view:
      return value.list->name;
    case Kind::iterator:
      return "generator";
    case Kind::dict:
      return "dict";
    case Kind::object:
      return value.object->type_name();
  }
  return "";
}

void fail_undefined(const Value& value) {
  fail(value.hint ? value.hint->text : "an undefined value is used");
}

std::optional<int64_t> length_of(Runtime& rt, const Value& value) {
  switch (value.kind) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      return value.string->length;
    case Kind::list:
    case Kind::tuple:
    case Kind::range:
    case Kind::view:
      return static_cast<int64_t>(value.list->items.size());
    case Kind::dict:
      return static_cast<int64_t>(value.dict->items.size());
    case Kind::object:
      return value.object->length(rt);
    default:
      return std::nullopt;
  }
}

bool truthy(Runtime& rt, const Value& value) {
  switch (value.kind) {
    case Kind::none:
      return false;
    case Kind::boolean:
      return value.boolean;
    case Kind::integer:
      return value.integer != 0;
    case Kind::real:
      return value.real != 0;
    default:
      return length_of(rt, value).value_or(1) != 0;
  }
}

bool iterable(const Value& value) {
  return value.is(Kind::undefined) || value.is(Kind::string) || value.is_listlike() ||
         value.is(Kind::dict);
}

std::vector<Value> items_of(Runtime& rt, const Value& value) {
  Heap& heap = rt.heap();
  std::vector<Value> items;
  switch (value.kind) {
    case Kind::undefined:
      return items;
    case Kind::string: {
      const std::string& text = value.string->text;
      heap.step(text.size() / 8);
      for (size_t at = 0; at < text.size();) {
        const size_t start = at;
        next_code_point(text, at);
        items.push_back(heap.string(text.substr(start, at - start)));
      }
      return items;
    }
    case Kind::dict:
      heap.charge(value.dict->items.size() * sizeof(Value));
      for (const auto& [key, item] : value.dict->items) items.push_back(key);
      return items;
    case Kind::iterator:
      items.assign(value.list->items.begin() + static_cast<ptrdiff_t>(value.list->next),
                   value.list->items.end());
      value.list->next = value.list->items.size();
      return items;
    default:
      if (!value.is_listlike()) fail(cat("'", type_name(value), "' object is not iterable"));
      heap.step(value.list->items.size() / 8);
      return value.list->items;
  }
}

// ---- Comparison --------------------------------------------------------------------------------

bool equal(Heap& heap, const Value& a, const Value& b) {
  heap.step();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_integer() == b.as_integer();
    const auto wide = [](const Value& v) -> long double {
      return v.is(Kind::real) ? v.real : static_cast<long double>(v.as_integer());
    };
    return wide(a) == wide(b);
  }
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::undefined:
    case Kind::none:
      return true;
    case Kind::string:
      if (a.string->text.size() != b.string->text.size()) return false;
      heap.step(a.string->text.size() / 256);
      return a.string->text == b.string->text;
    case Kind::iterator:
      return a.list == b.list;
    case Kind::object:
      return a.object == b.object;
    case Kind::dict: {
      if (a.dict == b.dict) return true;
      if (a.dict->items.size() != b.dict->items.size()) return false;
      const Heap::Level level(heap);
      for (const auto& [key, value] : a.dict->items) {
        const Value* other = find(heap, *b.dict, key);
        if (!other || !equal(heap, value, *other)) return false;
      }
      return true;
    }
    default: {
      if (a.list == b.list) return true;
      const auto &x = a.list->items, &y = b.list->items;
      if (x.size() != y.size()) return false;
      const Heap::Level level(heap);
      for (size_t i = 0; i < x.size(); ++i) {
        if (!equal(heap, x[i], y[i])) return false;
      }
      return true;
    }
  }
}

int compare(Heap& heap, const Value& a, const Value& b, const char* op) {
  heap.step();
  if (a.is(Kind::undefined)) fail_undefined(a);
  if (b.is(Kind::undefined)) fail_undefined(b);
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return order(a.as_integer(), b.as_integer());
    const auto wide = [](const Value& v) -> long double {
      return v.is(Kind::real) ? v.real : static_cast<long double>(v.as_integer());
    };
    // NaN is neither below nor above: 2 makes every comparison false.
    if (std::isnan(wide(a)) || std::isnan(wide(b))) return 2;
    return order(wide(a), wide(b));
  }
  if (a.is(Kind::string) && b.is(Kind::string)) {
    return order(a.string->text, b.string->text);  // UTF-8 keeps the order of code points
  }
  if (a.kind == b.kind && (a.is(Kind::list) || a.is(Kind::tuple))) {
    const auto &x = a.list->items, &y = b.list->items;
    const Heap::Level level(heap);
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!equal(heap, x[i], y[i])) return compare(heap, x[i], y[i], op);
    }
    return order(x.size(), y.size());
  }
  fail(cat("'", op, "' not supported between instances of '", type_name(a), "' and '", type_name(b),
           "'"));
}

void check_hashable(const Value& value) {
  if (value.is(Kind::list) || value.is(Kind::dict) || value.is(Kind::view)) {
    fail(cat("unhashable type: '", type_name(value), "'"));
  }
  if (value.is(Kind::tuple)) {
    for (const Value& item : value.list->items) check_hashable(item);
  }
}

const Value* find(Heap& heap, const Dict& dict, const Value& key) {
  if (key.is(Kind::string)) {
    heap.step(1 + dict.items.size() / 16);
    return find(dict, key.string->text);
  }
  for (const auto& [k, v] : dict.items) {
    if (equal(heap, k, key)) return &v;
  }
  return nullptr;
}

const Value* find(const Dict& dict, std::string_view key) {
  for (const auto& [k, v] : dict.items) {
    if (k.is(Kind::string) && k.string->text == key) return &v;
  }
  return nullptr;
}

void set_item(Heap& heap, Dict& dict, const Value& key, const Value& value) {
  check_hashable(key);
  dict.depth = std::max(dict.depth, checked_depth(std::max(depth_of(key), depth_of(value))));
  if (const Value* found = find(heap, dict, key)) {
    *const_cast<Value*>(found) = value;
    return;
  }
  heap.charge(2 * sizeof(Value));
  dict.items.emplace_back(key, value);
}

// ---- Text --------------------------------------------------------------------------------------

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const char* end =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  // d.ddde+xx: the shortest digits that read back as the same number.
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const bool negative = text.front() == '-';
  if (negative) text.remove_prefix(1);
  const size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  std::string out = negative ? "-" : "";
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (count > 1) out += "." + digits.substr(1);
    const int size = std::abs(exponent);
    out += cat("e", exponent < 0 ? "-" : "+", size < 10 ? "0" : "", size);
  } else if (exponent < 0) {
    out += "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else if (count <= exponent + 1) {
    out += digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  } else {
    const auto point = static_cast<size_t>(exponent + 1);
    out += digits.substr(0, point) + "." + digits.substr(point);
  }
  return out;
}

std::string string_repr(std::string_view text) {
  const bool single = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = single ? '"' : '\'';
  std::string out(1, quote);
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_code_point(out, c);
    } else {
      append_escape(out, c);
    }
  }
  return out + quote;
}

std::string to_text(Runtime& rt, const Value& value) {
  if (value.is(Kind::string)) return value.string->text;
  if (value.is(Kind::undefined)) return "";
  return repr(rt, value);
}

namespace {

void append_repr(Runtime& rt, std::string& out, const Value& value);

void append_items(Runtime& rt, std::string& out, const std::vector<Value>& items) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) out += ", ";
    append_repr(rt, out, items[i]);
  }
}

void append_repr(Runtime& rt, std::string& out, const Value& value) {
  rt.heap().step();
  const Heap::Level level(rt.heap());
  const size_t before = out.size();
  switch (value.kind) {
    case Kind::undefined:
      out += "Undefined";
      break;
    case Kind::none:
      out += "None";
      break;
    case Kind::boolean:
      out += value.boolean ? "True" : "False";
      break;
    case Kind::integer:
      out += std::to_string(value.integer);
      break;
    case Kind::real:
      out += float_repr(value.real);
      break;
    case Kind::string:
      out += value.string->markup ? "Markup(" + string_repr(value.string->text) + ")"
                                  : string_repr(value.string->text);
      break;
    case Kind::list:
      out += "[";
      append_items(rt, out, value.list->items);
      out += "]";
      break;
    case Kind::tuple:
      out += "(";
      append_items(rt, out, value.list->items);
      out += value.list->items.size() == 1 ? ",)" : ")";
      break;
    case Kind::range:
      out += value.list->name;
      break;
    case Kind::view:
      out += value.list->name + "([";
      append_items(rt, out, value.list->items);
      out += "])";
      break;
    case Kind::iterator:
      out += "<generator object>";
      break;
    case Kind::dict: {
      out += "{";
      bool first = true;
      for (const auto& [key, item] : value.dict->items) {
        if (!first) out += ", ";
        first = false;
        append_repr(rt, out, key);
        out += ": ";
        append_repr(rt, out, item);
      }
      out += "}";
      break;
    }
    case Kind::object:
      out += value.object->repr(rt);
      break;
  }
  if (!value.is_listlike() && !value.is(Kind::dict)) rt.heap().charge(out.size() - before);
}

}  // namespace

std::string repr(Runtime& rt, const Value& value) {
  std::string out;
  append_repr(rt, out, value);
  return out;
}

}  // namespace hone::jinja
