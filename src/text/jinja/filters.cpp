// jinja2's filters.
#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>

#include "base/error.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"

namespace hone::jinja {
namespace {

using Filter = Value (*)(Runtime&, const Value&, const Arguments&);

Value iterator_of(Runtime& rt, std::vector<Value> items) {
  return rt.heap().list(std::move(items), Kind::iterator);
}

Value call_method(Runtime& rt, const Value& value, std::string_view name, const Arguments& a) {
  return rt.call(*find_method(rt, value, name), a);
}

// The value as a string, which keeps its being safe.
Value soft_string(Runtime& rt, const Value& value) {
  return value.is(Kind::string) ? value : rt.heap().string(to_text(rt, value));
}

Arguments one(const Value& value) { return {{value}, {}}; }

// ---- attributes of items -----------------------------------------------------------------------

// "a.b.0": the way from an item to what a filter looks at.
std::vector<Value> attribute_path(Runtime& rt, const Value& attribute) {
  if (attribute.is(Kind::none)) return {};
  if (!attribute.is(Kind::string)) return {attribute};
  std::vector<Value> path;
  const std::string& text = attribute.string->text;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find('.', start), text.size());
    const std::string part = text.substr(start, end - start);
    const bool number =
        !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == part.npos;
    path.push_back(number ? make_int(std::stoll(part)) : rt.heap().string(part));
    start = end + 1;
  }
  return path;
}

Value follow(Runtime& rt, Value item, const std::vector<Value>& path,
             const std::optional<Value>& fallback = std::nullopt) {
  for (const Value& part : path) {
    item = get_item(rt, item, part);
    if (fallback && item.is(Kind::undefined)) item = *fallback;
  }
  return item;
}

Value without_case(Runtime& rt, const Value& value) {
  return value.is(Kind::string) ? rt.heap().string(lower(value.string->text)) : value;
}

struct KeyRule {
  bool case_sensitive = false;
  bool listed = false;  // the key is a list, whose items are compared one after the other
  std::vector<std::vector<Value>> paths;  // of the attributes
};

KeyRule key_rule(Runtime& rt, const Value& attribute, bool case_sensitive, bool several) {
  KeyRule rule{case_sensitive, several, {}};
  if (!several || !attribute.is(Kind::string)) {
    rule.paths.push_back(attribute_path(rt, attribute));
    return rule;
  }
  const std::string& text = attribute.string->text;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(',', start), text.size());
    rule.paths.push_back(attribute_path(rt, rt.heap().string(text.substr(start, end - start))));
    start = end + 1;
  }
  return rule;
}

Value key_of(Runtime& rt, const KeyRule& rule, const Value& item) {
  std::vector<Value> keys;
  for (const auto& path : rule.paths) {
    const Value key = follow(rt, item, path);
    keys.push_back(rule.case_sensitive ? key : without_case(rt, key));
  }
  return rule.listed ? rt.heap().list(std::move(keys)) : keys[0];
}

using Keyed = std::vector<std::pair<Value, Value>>;  // key, item

void sort_keyed(Runtime& rt, Keyed& keyed, bool reverse) {
  rt.heap().charge(keyed.size() * sizeof(keyed[0]));
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return (reverse ? compare(rt.heap(), b.first, a.first)
                    : compare(rt.heap(), a.first, b.first)) == -1;
  });
}

// ---- lists -------------------------------------------------------------------------------------

Value sort(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("sort", a, {"reverse", "case_sensitive", "attribute"});
  const KeyRule rule = key_rule(rt, bound.get(2), bound.boolean(rt, 1), true);
  Keyed keyed;
  for (const Value& item : items_of(rt, value)) keyed.emplace_back(key_of(rt, rule, item), item);
  sort_keyed(rt, keyed, bound.boolean(rt, 0));
  std::vector<Value> items;
  for (const auto& pair : keyed) items.push_back(pair.second);
  return rt.heap().list(std::move(items));
}

Value unique(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("unique", a, {"case_sensitive", "attribute"});
  const KeyRule rule = key_rule(rt, bound.get(1), bound.boolean(rt, 0), false);
  std::vector<Value> seen, items;
  for (const Value& item : items_of(rt, value)) {
    const Value key = key_of(rt, rule, item);
    check_hashable(key);
    const bool known = std::any_of(seen.begin(), seen.end(),
                                   [&](const Value& k) { return equal(rt.heap(), k, key); });
    if (known) continue;
    seen.push_back(key);
    items.push_back(item);
  }
  return iterator_of(rt, std::move(items));
}

template <int direction>  // -1: the least, 1: the greatest
Value extreme(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("min", a, {"case_sensitive", "attribute"});
  const KeyRule rule = key_rule(rt, bound.get(1), bound.boolean(rt, 0), false);
  const std::vector<Value> items = items_of(rt, value);
  if (items.empty()) return rt.heap().undefined("No aggregated item, sequence was empty.");
  Value best = items[0], best_key = key_of(rt, rule, best);
  for (size_t i = 1; i < items.size(); ++i) {
    const Value key = key_of(rt, rule, items[i]);
    if (compare(rt.heap(), key, best_key, direction < 0 ? "<" : ">") == direction) {
      best = items[i];
      best_key = key;
    }
  }
  return best;
}

Value group_by(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("groupby", a, {"attribute", "default", "case_sensitive"}, 1);
  const bool case_sensitive = bound.boolean(rt, 2);
  const std::vector<Value> path = attribute_path(rt, bound.get(0));
  std::optional<Value> fallback;
  if (bound.has_value(1)) fallback = bound.get(1);
  Keyed keyed;
  for (const Value& item : items_of(rt, value)) {
    const Value key = follow(rt, item, path, fallback);
    keyed.emplace_back(case_sensitive ? key : without_case(rt, key), item);
  }
  sort_keyed(rt, keyed, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < keyed.size();) {
    std::vector<Value> members;
    const size_t first = i;
    for (; i < keyed.size() && equal(rt.heap(), keyed[i].first, keyed[first].first); ++i) {
      members.push_back(keyed[i].second);
    }
    if (members.empty()) members.push_back(keyed[i++].second);  // a NaN equals nothing
    const Value name = case_sensitive ? keyed[first].first : follow(rt, members[0], path, fallback);
    groups.push_back(
        rt.heap().list({name, rt.heap().list(std::move(members))}, Kind::tuple, "group"));
  }
  return rt.heap().list(std::move(groups));
}

Value sum(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("sum", a, {"attribute", "start"});
  const std::vector<Value> path = attribute_path(rt, bound.get(0));
  Value total = bound.get(1, make_int(0));
  if (total.is(Kind::string)) fail("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : items_of(rt, value)) {
    total = binary(rt, "+", total, follow(rt, item, path));
  }
  return total;
}

Value first(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("first", a, {});
  if (value.is(Kind::iterator)) {
    List& list = *value.list;
    if (list.next < list.items.size()) return list.items[list.next++];
  } else {
    const std::vector<Value> items = items_of(rt, value);
    if (!items.empty()) return items[0];
  }
  return rt.heap().undefined("No first item, sequence was empty.");
}

Value last(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("last", a, {});
  if (value.is(Kind::iterator)) fail("'generator' object is not reversible");
  const std::vector<Value> items = items_of(rt, value);
  if (!items.empty()) return items.back();
  return rt.heap().undefined("No last item, sequence was empty.");
}

Value reverse(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("reverse", a, {});
  if (value.is(Kind::string)) return get_slice(rt, value, Value(), Value(), make_int(-1));
  std::vector<Value> items = items_of(rt, value);
  std::reverse(items.begin(), items.end());
  // Python's reversed() does not take these, for which jinja makes a list.
  const bool listed = value.is(Kind::iterator) || value.is(Kind::undefined);
  return rt.heap().list(std::move(items), listed ? Kind::list : Kind::iterator);
}

Value list(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("list", a, {});
  return rt.heap().list(items_of(rt, value));
}

Value length(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("length", a, {});
  const auto size = length_of(rt, value);
  if (!size) fail(cat("object of type '", type_name(value), "' has no len()"));
  return make_int(*size);
}

Value batch(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("batch", a, {"linecount", "fill_with"}, 1);
  const int64_t size = bound.integer(0);
  std::vector<Value> rows, row;
  for (const Value& item : items_of(rt, value)) {
    if (static_cast<int64_t>(row.size()) == size) {
      rows.push_back(rt.heap().list(std::move(row)));
      row.clear();
    }
    row.push_back(item);
  }
  if (!row.empty()) {
    if (bound.has_value(1) && static_cast<int64_t>(row.size()) < size) {
      rt.heap().charge(static_cast<size_t>(std::min<int64_t>(size, int64_t{1} << 40)) *
                       sizeof(Value));
      row.resize(static_cast<size_t>(size), bound.get(1));
    }
    rows.push_back(rt.heap().list(std::move(row)));
  }
  return iterator_of(rt, std::move(rows));
}

Value slice(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("slice", a, {"slices", "fill_with"}, 1);
  const std::vector<Value> items = items_of(rt, value);
  const int64_t slices = bound.integer(0), size = static_cast<int64_t>(items.size());
  if (slices == 0) fail("integer division or modulo by zero");
  if (slices < 0) return iterator_of(rt, {});
  const int64_t each = size / slices, longer = size % slices;
  std::vector<Value> columns;
  int64_t at = 0;
  for (int64_t i = 0; i < slices; ++i) {
    rt.heap().step();
    const int64_t end = at + each + (i < longer ? 1 : 0);
    std::vector<Value> column(items.begin() + at, items.begin() + end);
    if (bound.has_value(1) && i >= longer) column.push_back(bound.get(1));
    columns.push_back(rt.heap().list(std::move(column)));
    at = end;
  }
  return iterator_of(rt, std::move(columns));
}

Value join(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("join", a, {"d", "attribute"});
  const std::string separator = bound.has(0) ? to_text(rt, bound.get(0)) : "";
  const std::vector<Value> path = attribute_path(rt, bound.get(1));
  std::string out;
  bool first_item = true;
  for (const Value& item : items_of(rt, value)) {
    const std::string text = to_text(rt, follow(rt, item, path));
    rt.heap().charge(separator.size() + text.size());
    if (!first_item) out += separator;
    first_item = false;
    out += text;
  }
  return rt.heap().string(std::move(out));
}

Value map(Runtime& rt, const Value& value, const Arguments& a) {
  std::vector<Value> out;
  if (!truthy(rt, value)) return iterator_of(rt, {});
  if (a.positional.empty()) {
    std::vector<Value> path;
    std::optional<Value> fallback;
    bool given = false;
    for (const auto& [name, argument] : a.named) {
      if (name == "attribute") {
        path = attribute_path(rt, argument);
        given = true;
      } else if (name == "default") {
        if (!argument.is(Kind::none)) fallback = argument;
      } else if (given) {
        fail(cat("Unexpected keyword argument '", name, "'"));
      }
    }
    if (!given) fail("map requires a filter argument");
    for (const Value& item : items_of(rt, value)) {
      rt.heap().step();
      out.push_back(follow(rt, item, path, fallback));
    }
    return iterator_of(rt, std::move(out));
  }
  if (!a.positional[0].is(Kind::string)) fail("map requires the name of a filter");
  const Arguments rest{{a.positional.begin() + 1, a.positional.end()}, a.named};
  for (const Value& item : items_of(rt, value)) {
    rt.heap().step();
    out.push_back(apply_filter(rt, a.positional[0].string->text, item, rest));
  }
  return iterator_of(rt, std::move(out));
}

template <bool wanted, bool by_attribute>
Value choose(Runtime& rt, const Value& value, const Arguments& a) {
  if (!truthy(rt, value)) return iterator_of(rt, {});
  constexpr size_t kTest = by_attribute ? 1 : 0;
  if (a.positional.size() < kTest) fail("Missing parameter for attribute name");
  std::vector<Value> path;
  if (by_attribute) path = attribute_path(rt, a.positional[0]);
  const bool tested = a.positional.size() > kTest;
  Arguments rest;
  if (tested) {
    if (!a.positional[kTest].is(Kind::string)) fail("expected the name of a test");
    rest = {{a.positional.begin() + kTest + 1, a.positional.end()}, a.named};
  }
  std::vector<Value> out;
  for (const Value& item : items_of(rt, value)) {
    rt.heap().step();
    const Value looked = follow(rt, item, path);
    const bool holds = tested ? apply_test(rt, a.positional[kTest].string->text, looked, rest)
                              : truthy(rt, looked);
    if (holds == wanted) out.push_back(item);
  }
  return iterator_of(rt, std::move(out));
}

// ---- dicts -------------------------------------------------------------------------------------

Value items(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("items", a, {});
  if (value.is(Kind::undefined)) return iterator_of(rt, {});
  if (!value.is(Kind::dict)) fail("Can only get item pairs from a mapping.");
  Value view = call_method(rt, value, "items", {});
  view.kind = Kind::iterator;
  return view;
}

Value dict_sort(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("dictsort", a, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.text(1, "key");
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (!value.is(Kind::dict)) fail(cat("'", type_name(value), "' object has no attribute 'items'"));
  Keyed keyed;
  for (const auto& [key, item] : value.dict->items) {
    const Value& chosen = by == "key" ? key : item;
    keyed.emplace_back(bound.boolean(rt, 0) ? chosen : without_case(rt, chosen),
                       rt.heap().list({key, item}, Kind::tuple));
  }
  sort_keyed(rt, keyed, bound.boolean(rt, 2));
  std::vector<Value> pairs;
  for (const auto& pair : keyed) pairs.push_back(pair.second);
  return rt.heap().list(std::move(pairs));
}

Value attr(Runtime& rt, const Value& value, const Arguments& a) {
  const std::string name = Bound("attr", a, {"name"}, 1).text(0);
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (!value.is(Kind::dict)) return get_attribute(rt, value, name);
  const auto method = refused_method(value, name) ? std::nullopt : find_method(rt, value, name);
  return method ? *method
                : rt.heap().undefined(cat("'dict object' has no attribute ", string_repr(name)));
}

// ---- numbers -----------------------------------------------------------------------------------

Value absolute(Runtime&, const Value& value, const Arguments& a) {
  Bound("abs", a, {});
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (value.is(Kind::real)) return make_real(std::fabs(value.real));
  if (!value.is_integral()) fail(cat("bad operand type for abs(): '", type_name(value), "'"));
  return value.as_integer() < 0 ? negative(value) : positive(value);
}

// Python's int() of a text; nothing where that is a ValueError.
std::optional<int64_t> parse_integer(std::string_view text, int64_t base) {
  text = strip_right(strip_left(text));
  const bool minus = text.starts_with('-');
  if (minus || text.starts_with('+')) text.remove_prefix(1);
  const auto prefixed = [&](char letter) {
    return text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == letter;
  };
  const int64_t given = base;
  for (const auto& [letter, value] : {std::pair('x', 16), {'o', 8}, {'b', 2}}) {
    if ((base == value || given == 0) && prefixed(letter)) {
      base = value;
      text.remove_prefix(2);
      if (text.starts_with('_')) text.remove_prefix(1);
      break;
    }
  }
  if (base == 0) {
    base = 10;
    if (text.size() > 1 && text[0] == '0' && text.find_first_not_of("0_") != text.npos) return {};
  }
  if (base < 2 || base > 36) return {};
  if (text.empty() || text.front() == '_' || text.back() == '_' || text.find("__") != text.npos) {
    return {};
  }
  int64_t result = 0;
  for (const char c : text) {
    if (c == '_') continue;
    const int digit = c >= '0' && c <= '9'                     ? c - '0'
                      : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10
                                                               : 99;
    if (digit >= base) return {};
    result = checked_add(checked_multiply(result, base), minus ? -digit : digit);
  }
  return result;
}

// Python's float() of a text.
std::optional<double> parse_real(std::string_view text) {
  text = strip_right(strip_left(text));
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto digit = [&](size_t k) {
      return k < text.size() && text[k] >= '0' && text[k] <= '9';
    };
    if (text[i] == '_' && i > 0 && digit(i - 1) && digit(i + 1)) continue;
    plain += text[i];
  }
  std::string_view body = plain;
  if (body.starts_with('-') || body.starts_with('+')) body.remove_prefix(1);
  const std::string word = lower(body);
  const double sign = plain.starts_with('-') ? -1 : 1;
  if (word == "inf" || word == "infinity") return sign * std::numeric_limits<double>::infinity();
  if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (body.empty() || body.find_first_not_of("0123456789.eE+-") != body.npos) return {};
  if (!(body[0] == '.' || (body[0] >= '0' && body[0] <= '9'))) return {};
  char* end = nullptr;
  const double value = std::strtod(plain.c_str(), &end);
  if (*end != '\0') return {};
  return value;
}

int64_t truncated(double value) {
  if (std::isnan(value)) fail("cannot convert float NaN to integer");
  if (std::isinf(value)) fail("cannot convert float infinity to integer");
  if (std::fabs(value) >= 9.2e18) fail("a number does not fit 64 bits");
  return static_cast<int64_t>(value);
}

Value to_int(Runtime&, const Value& value, const Arguments& a) {
  const Bound bound("int", a, {"default", "base"});
  const Value fallback = bound.get(0, make_int(0));
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (value.is_integral()) return make_int(value.as_integer());
  if (value.is(Kind::real)) {
    return std::isnan(value.real) ? fallback : make_int(truncated(value.real));
  }
  if (!value.is(Kind::string)) return fallback;
  if (const auto integer = parse_integer(value.string->text, bound.integer(1, 10))) {
    return make_int(*integer);
  }
  const auto real = parse_real(value.string->text);
  return real && std::isfinite(*real) ? make_int(truncated(*real)) : fallback;
}

Value to_float(Runtime&, const Value& value, const Arguments& a) {
  const Bound bound("float", a, {"default"});
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (value.is(Kind::real)) return value;
  if (value.is_integral()) return make_real(static_cast<double>(value.as_integer()));
  const auto real = value.is(Kind::string) ? parse_real(value.string->text) : std::nullopt;
  return real ? make_real(*real) : bound.get(0, make_real(0));
}

Value round(Runtime&, const Value& value, const Arguments& a) {
  const Bound bound("round", a, {"precision", "method"});
  const int64_t digits = bound.integer(0);
  const std::string method = bound.text(1, "common");
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (!value.is_number()) fail(cat("type ", type_name(value), " doesn't define __round__ method"));
  if (method == "common") {
    if (value.is(Kind::real)) return make_real(round_decimal(value.real, digits));
    if (digits >= 0) return make_int(value.as_integer());
    return make_int(truncated(round_decimal(static_cast<double>(value.as_integer()), digits)));
  }
  if (method != "ceil" && method != "floor") fail("method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled =
      (value.is(Kind::real) ? value.real : static_cast<double>(value.as_integer())) * scale;
  return make_real(
      static_cast<double>(truncated(method == "ceil" ? std::ceil(scaled) : std::floor(scaled))) /
      scale);
}

// ---- text --------------------------------------------------------------------------------------

Value default_value(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("default", a, {"default_value", "boolean"});
  const bool missing = value.is(Kind::undefined) || (bound.boolean(rt, 1) && !truthy(rt, value));
  return missing ? bound.get(0, rt.heap().string("")) : value;
}

Value string(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("string", a, {});
  return soft_string(rt, value);
}

Value upper_case(Runtime& rt, const Value& value, const Arguments& a) {
  return call_method(rt, soft_string(rt, value), "upper", a);
}

Value lower_case(Runtime& rt, const Value& value, const Arguments& a) {
  return call_method(rt, soft_string(rt, value), "lower", a);
}

Value capitalize(Runtime& rt, const Value& value, const Arguments& a) {
  return call_method(rt, soft_string(rt, value), "capitalize", a);
}

// Words begin after white space and opening brackets, not after other signs as str.title has it.
Value title(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("title", a, {});
  const Value text = soft_string(rt, value);
  std::string out;
  bool begins = true;
  for (size_t at = 0; at < text.string->text.size();) {
    const size_t start = at;
    const char32_t c = next_code_point(text.string->text, at);
    const std::string_view character(text.string->text.data() + start, at - start);
    const bool separator =
        is_space(c) || (c < 0x80 && std::string_view("-({[<").find(static_cast<char>(c)) !=
                                        std::string_view::npos);
    out += begins ? upper(character) : lower(character);
    begins = separator;
  }
  return rt.heap().string(std::move(out));
}

Value trim(Runtime& rt, const Value& value, const Arguments& a) {
  return call_method(rt, soft_string(rt, value), "strip", a);
}

Value center(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("center", a, {"width"});
  return call_method(rt, soft_string(rt, value), "center", one(make_int(bound.integer(0, 80))));
}

Value replace(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("replace", a, {"old", "new", "count"}, 2);
  Arguments arguments{
      {rt.heap().string(to_text(rt, bound.get(0))), rt.heap().string(to_text(rt, bound.get(1)))},
      {}};
  if (bound.has_value(2)) arguments.positional.push_back(bound.get(2));
  return call_method(rt, rt.heap().string(to_text(rt, value)), "replace", arguments);
}

Value indent(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("indent", a, {"width", "first", "blank"});
  if (value.is(Kind::undefined)) fail_undefined(value);
  if (!value.is(Kind::string)) fail("indent takes a text");
  const Value width = bound.get(0, make_int(4));
  if (!width.is(Kind::string) && !width.is_integral()) fail("indent: width is a number or a text");
  std::string indention;
  if (width.is(Kind::string)) {
    indention = width.string->text;
  } else {
    const auto spaces = static_cast<size_t>(std::clamp<int64_t>(width.as_integer(), 0, 1 << 20));
    rt.heap().charge(spaces);
    indention.assign(spaces, ' ');
  }
  const Value whole = rt.heap().string(value.string->text + "\n");
  const Value lines = call_method(rt, whole, "splitlines", {});
  std::string out;
  const bool blank = bound.boolean(rt, 2);
  for (size_t i = 0; i < lines.list->items.size(); ++i) {
    const std::string& line = lines.list->items[i].string->text;
    rt.heap().charge(indention.size() + line.size());
    if (i > 0) out += '\n';
    if (i > 0 ? blank || !line.empty() : bound.boolean(rt, 1)) out += indention;
    out += line;
  }
  return rt.heap().string(std::move(out), value.string->markup);
}

Value truncate(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("truncate", a, {"length", "killwords", "end", "leeway"});
  const int64_t most = bound.integer(0, 255), leeway = bound.has_value(3) ? bound.integer(3) : 5;
  const std::string end = bound.text(2, "...");
  const int64_t kept = most - count_code_points(end);
  if (kept < 0) fail(cat("expected length >= ", count_code_points(end), ", got ", most));
  if (leeway < 0) fail(cat("expected leeway >= 0, got ", leeway));
  if (length(rt, value, {}).integer <= checked_add(most, leeway)) return value;
  if (!value.is(Kind::string)) fail(cat("a ", type_name(value), " cannot be truncated"));
  std::string text = value.string->text.substr(0, byte_of(value.string->text, kept));
  if (!bound.boolean(rt, 1)) text = text.substr(0, text.rfind(' '));
  return rt.heap().string(text + end);
}

Value word_count(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("wordcount", a, {});
  const std::string text = to_text(rt, value);
  int64_t count = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const bool word = c == '_' || is_alpha(c) || is_digit(c);
    count += word && !inside;
    inside = word;
  }
  return make_int(count);
}

Value format(Runtime& rt, const Value& value, const Arguments& a) {
  if (!a.positional.empty() && !a.named.empty()) {
    fail("can't handle positional and keyword arguments at the same time");
  }
  Value values;
  if (a.named.empty()) {
    values = rt.heap().list(a.positional, Kind::tuple);
  } else {
    values = rt.heap().dict({});
    for (const auto& [name, item] : a.named) {
      set_item(rt.heap(), *values.dict, rt.heap().string(name), item);
    }
  }
  return rt.heap().string(percent_format(rt, to_text(rt, value), values));
}

std::string quoted(std::string_view text, bool form) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos ||
                       (c == '/' && !form);
    if (plain) {
      out += c;
    } else if (c == ' ' && form) {
      out += '+';
    } else {
      char code[4];
      std::snprintf(code, sizeof code, "%%%02X", static_cast<unsigned char>(c));
      out += code;
    }
  }
  return out;
}

Value url_encode(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("urlencode", a, {});
  if (value.is(Kind::string) || !iterable(value)) {
    return rt.heap().string(quoted(to_text(rt, value), false));
  }
  const Value pairs = value.is(Kind::dict) ? call_method(rt, value, "items", {}) : value;
  std::string out;
  for (const Value& pair : items_of(rt, pairs)) {
    const std::vector<Value> parts = items_of(rt, pair);
    if (parts.size() != 2) fail("urlencode takes pairs of a key and a value");
    if (!out.empty()) out += '&';
    out += quoted(to_text(rt, parts[0]), true) + "=" + quoted(to_text(rt, parts[1]), true);
  }
  return rt.heap().string(std::move(out));
}

Value safe(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("safe", a, {});
  return rt.heap().string(to_text(rt, value), true);
}

Value escape_text(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("escape", a, {});
  return escape(rt, value);
}

Value force_escape(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("forceescape", a, {});
  return escape(rt, rt.heap().string(to_text(rt, value)));
}

Value to_json_text(Runtime& rt, const Value& value, const Arguments& a) {
  const Bound bound("tojson", a, {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = bound.boolean(rt, 0);
  style.sort_keys = bound.boolean(rt, 3);
  if (bound.has_value(1)) {
    const Value indention = bound.get(1);
    style.indent =
        indention.is(Kind::string)
            ? indention.string->text
            : std::string(static_cast<size_t>(std::clamp<int64_t>(bound.integer(1), 0, 1000)), ' ');
    style.item_separator = ",";
  }
  if (bound.has_value(2)) {
    const std::vector<Value> separators = items_of(rt, bound.get(2));
    if (separators.size() != 2 || !separators[0].is(Kind::string) ||
        !separators[1].is(Kind::string)) {
      fail("tojson: separators are two texts");
    }
    style.item_separator = separators[0].string->text;
    style.key_separator = separators[1].string->text;
  }
  return rt.heap().string(to_json(rt.heap(), value, style));
}

const std::unordered_map<std::string_view, Filter>& filters() {
  static const std::unordered_map<std::string_view, Filter> kFilters = {
      {"abs", absolute},
      {"attr", attr},
      {"batch", batch},
      {"capitalize", capitalize},
      {"center", center},
      {"count", length},
      {"d", default_value},
      {"default", default_value},
      {"dictsort", dict_sort},
      {"e", escape_text},
      {"escape", escape_text},
      {"first", first},
      {"float", to_float},
      {"forceescape", force_escape},
      {"format", format},
      {"groupby", group_by},
      {"indent", indent},
      {"int", to_int},
      {"items", items},
      {"join", join},
      {"last", last},
      {"length", length},
      {"list", list},
      {"lower", lower_case},
      {"map", map},
      {"max", extreme<1>},
      {"min", extreme<-1>},
      {"reject", choose<false, false>},
      {"rejectattr", choose<false, true>},
      {"replace", replace},
      {"reverse", reverse},
      {"round", round},
      {"safe", safe},
      {"select", choose<true, false>},
      {"selectattr", choose<true, true>},
      {"slice", slice},
      {"sort", sort},
      {"string", string},
      {"sum", sum},
      {"title", title},
      {"tojson", to_json_text},
      {"trim", trim},
      {"truncate", truncate},
      {"unique", unique},
      {"upper", upper_case},
      {"urlencode", url_encode},
      {"wordcount", word_count},
  };
  return kFilters;
}

}  // namespace

bool is_filter(std::string_view name) { return filters().count(name) > 0; }

Value apply_filter(Runtime& rt, std::string_view name, const Value& value,
                   const Arguments& arguments) {
  const auto found = filters().find(name);
  if (found == filters().end()) fail(cat("No filter named '", name, "'."));
  const Heap::Level level(rt.heap());
  return found->second(rt, value, arguments);
}

}  // namespace hone::jinja
