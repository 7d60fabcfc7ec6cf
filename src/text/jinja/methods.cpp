// Methods of Python's str, list, tuple and dict.
#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "text/jinja/runtime.h"
#include "text/jinja/unicode.h"

namespace hone::jinja {
namespace {

using Method = Value (*)(Runtime&, const Value&, const Arguments&);

Value text_value(Runtime& rt, std::string text) { return rt.heap().string(std::move(text)); }

// ---- str: trimming -----------------------------------------------------------------------------

// The ends without the characters of `set`; white space without a set.
std::string stripped(std::string_view text, const Bound& bound, bool left, bool right) {
  if (!bound.has_value(0)) {
    if (left) text = strip_left(text);
    if (right) text = strip_right(text);
    return std::string(text);
  }
  const std::string set = bound.text(0);
  std::u32string members;
  for (size_t at = 0; at < set.size();) members += next_code_point(set, at);
  const auto member = [&](char32_t c) { return members.find(c) != members.npos; };
  while (left && !text.empty()) {
    size_t next = 0;
    if (!member(next_code_point(text, next))) break;
    text.remove_prefix(next);
  }
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0) == 0x80) --start;
    size_t at = start;
    if (!member(next_code_point(text, at))) break;
    text = text.substr(0, start);
  }
  return std::string(text);
}

template <bool left, bool right>
Value strip(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("strip", a, {"chars"});
  return rt.heap().string(stripped(self.string->text, bound, left, right), self.string->markup);
}

Value remove_prefix(Runtime& rt, const Value& self, const Arguments& a) {
  const std::string& text = self.string->text;
  const std::string prefix = Bound("removeprefix", a, {"prefix"}, 1).text(0);
  return text_value(rt, text.starts_with(prefix) ? text.substr(prefix.size()) : text);
}

Value remove_suffix(Runtime& rt, const Value& self, const Arguments& a) {
  const std::string& text = self.string->text;
  const std::string suffix = Bound("removesuffix", a, {"suffix"}, 1).text(0);
  return text_value(rt,
                    text.ends_with(suffix) ? text.substr(0, text.size() - suffix.size()) : text);
}

// ---- str: splitting ----------------------------------------------------------------------------

Value list_of(Runtime& rt, const std::vector<std::string>& parts) {
  std::vector<Value> items;
  for (const std::string& part : parts) items.push_back(text_value(rt, part));
  return rt.heap().list(std::move(items));
}

// Words between white space; after `most` cuts the rest as it stands, with its far end's space.
std::vector<std::string> split_words(std::string_view text, int64_t most, bool from_right) {
  std::vector<std::string> parts;
  if (!from_right) {
    text = strip_left(text);
    while (!text.empty()) {
      if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) {
        parts.emplace_back(text);
        break;
      }
      size_t end = 0;
      while (end < text.size()) {
        size_t next = end;
        if (is_space(next_code_point(text, next))) break;
        end = next;
      }
      parts.emplace_back(text.substr(0, end));
      text = strip_left(text.substr(end));
    }
    return parts;
  }
  text = strip_right(text);
  while (!text.empty()) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) >= most) {
      parts.emplace_back(text);
      break;
    }
    size_t start = 0;
    for (size_t at = 0; at < text.size();) {
      if (is_space(next_code_point(text, at))) start = at;
    }
    parts.emplace_back(text.substr(start));
    text = strip_right(text.substr(0, start));
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool from_right>
Value split(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("split", a, {"sep", "maxsplit"});
  const std::string& text = self.string->text;
  const int64_t most = bound.integer(1, -1);
  rt.heap().charge(text.size());
  rt.heap().step(text.size() / 16);
  if (!bound.has_value(0)) {
    if (from_right && most < 0) return list_of(rt, split_words(text, most, false));
    rt.heap().step(
        from_right ? static_cast<size_t>(std::min<int64_t>(most, 1000)) * text.size() / 64 : 0);
    return list_of(rt, split_words(text, most, from_right));
  }
  const std::string separator = bound.text(0);
  if (separator.empty()) fail("empty separator");
  std::vector<std::string> parts;
  const auto more = [&] { return most < 0 || static_cast<int64_t>(parts.size()) < most; };
  if (from_right) {
    size_t end = text.size();
    while (more() && end >= separator.size()) {
      const size_t found = text.rfind(separator, end - separator.size());
      if (found == text.npos) break;
      parts.push_back(text.substr(found + separator.size(), end - found - separator.size()));
      end = found;
    }
    parts.push_back(text.substr(0, end));
    std::reverse(parts.begin(), parts.end());
  } else {
    size_t start = 0;
    for (size_t found; more() && (found = text.find(separator, start)) != text.npos;) {
      parts.push_back(text.substr(start, found - start));
      start = found + separator.size();
    }
    parts.push_back(text.substr(start));
  }
  return list_of(rt, parts);
}

Value split_lines(Runtime& rt, const Value& self, const Arguments& a) {
  const bool keep = Bound("splitlines", a, {"keepends"}).boolean(rt, 0);
  const std::string& text = self.string->text;
  std::vector<std::string> lines;
  for (size_t start = 0, at = 0; start < text.size();) {
    const size_t end = at;
    const bool last = at >= text.size();
    if (!last) {
      if (!is_line_break(next_code_point(text, at))) continue;
      if (text[end] == '\r' && at < text.size() && text[at] == '\n') ++at;
    }
    lines.push_back(text.substr(start, (keep ? at : end) - start));
    start = at;
  }
  return list_of(rt, lines);
}

template <bool from_right>
Value partition(Runtime& rt, const Value& self, const Arguments& a) {
  const std::string& text = self.string->text;
  const std::string separator = Bound("partition", a, {"sep"}, 1).text(0);
  if (separator.empty()) fail("empty separator");
  const size_t found = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<std::string> parts;
  if (found == text.npos) {
    parts = from_right ? std::vector<std::string>{"", "", text}
                       : std::vector<std::string>{text, "", ""};
  } else {
    parts = {text.substr(0, found), separator, text.substr(found + separator.size())};
  }
  Value list = list_of(rt, parts);
  list.kind = Kind::tuple;
  return list;
}

// ---- str: searching ----------------------------------------------------------------------------

// Code points start and stop of a search, as bytes; nothing if there is no such part.
struct Part {
  std::string_view text;
  int64_t begin = 0;  // code points
  bool valid = true;
};

Part part_of(const Value& self, const Bound& bound) {
  const String& string = *self.string;
  const auto place = [&](size_t i, int64_t fallback) {
    if (!bound.has_value(i)) return fallback;
    const int64_t at = bound.integer(i);
    return at < 0 ? std::max<int64_t>(at + string.length, 0) : at;
  };
  const int64_t begin = place(1, 0), end = std::min(place(2, string.length), string.length);
  if (begin > string.length || begin > end) return {"", begin, false};
  const size_t first = byte_of(string.text, begin), last = byte_of(string.text, end);
  return {std::string_view(string.text).substr(first, last - first), begin, true};
}

template <bool from_right, bool must>
Value find_text(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("find", a, {"sub", "start", "end"}, 1);
  const std::string sub = bound.text(0);
  const Part part = part_of(self, bound);
  rt.heap().step(self.string->text.size() / 64);
  const size_t found = !part.valid  ? part.text.npos
                       : from_right ? part.text.rfind(sub)
                                    : part.text.find(sub);
  if (found == part.text.npos) {
    if (must) fail("substring not found");
    return make_int(-1);
  }
  return make_int(part.begin + count_code_points(part.text.substr(0, found)));
}

int64_t occurrences(std::string_view text, std::string_view sub) {
  int64_t count = 0;
  for (size_t at = 0; (at = text.find(sub, at)) != text.npos; at += sub.size()) ++count;
  return count;
}

Value count_text(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("count", a, {"sub", "start", "end"}, 1);
  const std::string sub = bound.text(0);
  const Part part = part_of(self, bound);
  rt.heap().step(self.string->text.size() / 64);
  if (!part.valid) return make_int(0);
  return make_int(sub.empty() ? count_code_points(part.text) + 1 : occurrences(part.text, sub));
}

template <bool end>
Value begins_or_ends(Runtime&, const Value& self, const Arguments& a) {
  const Bound bound(end ? "endswith" : "startswith", a, {"prefix", "start", "end"}, 1);
  const Part part = part_of(self, bound);
  const auto holds = [&](const Value& affix) {
    if (!affix.is(Kind::string)) {
      fail(cat(end ? "endswith" : "startswith", " first arg must be str or a tuple of str, not ",
               type_name(affix)));
    }
    const std::string& text = affix.string->text;
    return part.valid && (end ? part.text.ends_with(text) : part.text.starts_with(text));
  };
  const Value affix = bound.get(0);
  if (!affix.is(Kind::tuple)) return make_bool(holds(affix));
  const auto& items = affix.list->items;
  return make_bool(std::any_of(items.begin(), items.end(), holds));
}

// ---- str: changing -----------------------------------------------------------------------------

Value replace(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("replace", a, {"old", "new", "count"}, 2);
  const std::string old = bound.text(0), with = bound.text(1);
  const int64_t most = bound.integer(2, -1);
  const std::string& text = self.string->text;
  Heap& heap = rt.heap();
  heap.step(text.size() / 32);
  std::string out;
  int64_t done = 0;
  const auto more = [&] { return most < 0 || done < most; };
  if (old.empty()) {
    heap.charge((text.size() + 1) * (with.size() + 1));
    for (size_t at = 0; at < text.size();) {
      if (more()) {
        out += with;
        ++done;
      }
      const size_t start = at;
      next_code_point(text, at);
      out += text.substr(start, at - start);
    }
    if (more()) out += with;
    return heap.string(std::move(out), self.string->markup);
  }
  if (with.size() > old.size()) {
    heap.charge(static_cast<size_t>(occurrences(text, old)) * with.size());
  }
  size_t start = 0;
  for (size_t found; more() && (found = text.find(old, start)) != text.npos; ++done) {
    out.append(text, start, found - start);
    out += with;
    start = found + old.size();
  }
  out.append(text, start);
  return heap.string(std::move(out), self.string->markup);
}

Value to_upper_case(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("upper", a, {});
  return rt.heap().string(upper(self.string->text), self.string->markup);
}

Value to_lower_case(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("lower", a, {});
  return rt.heap().string(lower(self.string->text), self.string->markup);
}

Value fold_case(Runtime& rt, const Value& self, const Arguments& a) {
  const Value lowered = to_lower_case(rt, self, a);
  const Value sharp = rt.heap().string("ß"), folded = rt.heap().string("ss");
  return replace(rt, lowered, {{sharp, folded}, {}});
}

Value capitalize(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("capitalize", a, {});
  const std::string& text = self.string->text;
  if (text.empty()) return self;
  size_t first = 0;
  next_code_point(text, first);
  return rt.heap().string(upper(text.substr(0, first)) + lower(text.substr(first)),
                          self.string->markup);
}

Value title(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("title", a, {});
  const std::string& text = self.string->text;
  std::string out;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == 0xDF && !inside) {
      out += "Ss";
    } else {
      append_code_point(out, inside ? to_lower(c) : to_upper(c));
    }
    inside = is_upper(c) || is_lower(c);
  }
  return text_value(rt, out);
}

Value swap_case(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("swapcase", a, {});
  const std::string& text = self.string->text;
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    append_code_point(out, is_upper(c) ? to_lower(c) : to_upper(c));
  }
  return text_value(rt, out);
}

std::string filled(Runtime& rt, const std::string& fill, int64_t count) {
  if (count <= 0) return "";
  rt.heap().charge(static_cast<size_t>(std::min<int64_t>(count, int64_t{1} << 40)) * fill.size());
  std::string out;
  for (int64_t i = 0; i < count; ++i) out += fill;
  return out;
}

// side: -1 text at the left, 0 in the middle, 1 at the right.
template <int side>
Value justify(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("center", a, {"width", "fillchar"}, 1);
  const int64_t width = bound.integer(0), room = width - self.string->length;
  const std::string fill = bound.text(1, " ");
  if (count_code_points(fill) != 1) fail("the fill character must be exactly one character long");
  if (room <= 0) return self;
  const int64_t before = side < 0 ? 0 : side > 0 ? room : room / 2 + (room & width & 1);
  return text_value(rt,
                    filled(rt, fill, before) + self.string->text + filled(rt, fill, room - before));
}

Value zero_fill(Runtime& rt, const Value& self, const Arguments& a) {
  const int64_t room = Bound("zfill", a, {"width"}, 1).integer(0) - self.string->length;
  const std::string& text = self.string->text;
  const bool sign = text.starts_with('-') || text.starts_with('+');
  return text_value(
      rt, text.substr(0, sign ? 1 : 0) + filled(rt, "0", room) + text.substr(sign ? 1 : 0));
}

Value expand_tabs(Runtime& rt, const Value& self, const Arguments& a) {
  const int64_t size = Bound("expandtabs", a, {"tabsize"}).integer(0, 8);
  std::string out;
  int64_t column = 0;
  for (const char c : self.string->text) {
    if (c == '\t') {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      out += filled(rt, " ", spaces);
      column += spaces;
      continue;
    }
    out += c;
    const bool continues = (static_cast<unsigned char>(c) & 0xC0) == 0x80;
    column = c == '\n' || c == '\r' ? 0 : column + (continues ? 0 : 1);
  }
  return text_value(rt, out);
}

Value join(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("join", a, {"iterable"}, 1);
  std::string out;
  bool first = true;
  int64_t index = 0;
  for (const Value& item : items_of(rt, bound.get(0))) {
    if (!item.is(Kind::string)) {
      fail(cat("sequence item ", index, ": expected str instance, ", type_name(item), " found"));
    }
    rt.heap().charge(self.string->text.size() + item.string->text.size());
    if (!first) out += self.string->text;
    first = false;
    out += item.string->text;
    ++index;
  }
  return text_value(rt, out);
}

Value format(Runtime& rt, const Value& self, const Arguments& a) {
  return text_value(rt, brace_format(rt, self.string->text, a));
}

Value format_map(Runtime& rt, const Value& self, const Arguments& a) {
  const Value map = Bound("format_map", a, {"mapping"}, 1).get(0);
  if (!map.is(Kind::dict)) fail("format_map() takes a mapping");
  Arguments named;
  for (const auto& [key, value] : map.dict->items) {
    if (key.is(Kind::string)) named.named.emplace_back(key.string->text, value);
  }
  return text_value(rt, brace_format(rt, self.string->text, named));
}

// ---- str: asking -------------------------------------------------------------------------------

template <bool (*holds)(char32_t)>
Value all_are(Runtime&, const Value& self, const Arguments& a) {
  Bound("is...", a, {});
  const std::string& text = self.string->text;
  for (size_t at = 0; at < text.size();) {
    if (!holds(next_code_point(text, at))) return make_bool(false);
  }
  return make_bool(!text.empty());
}

bool is_alphanumeric(char32_t c) { return is_alpha(c) || is_digit(c); }
bool is_ascii(char32_t c) { return c < 0x80; }

Value is_ascii_text(Runtime& rt, const Value& self, const Arguments& a) {
  if (self.string->text.empty()) return make_bool(true);
  return all_are<is_ascii>(rt, self, a);
}

Value is_printable_text(Runtime& rt, const Value& self, const Arguments& a) {
  if (self.string->text.empty()) return make_bool(true);
  return all_are<is_printable>(rt, self, a);
}

// Whether all letters with case are of the case that `is` tells, and there is one.
template <bool (*is)(char32_t), bool (*is_not)(char32_t)>
Value has_case(Runtime&, const Value& self, const Arguments& a) {
  Bound("isupper", a, {});
  const std::string& text = self.string->text;
  bool any = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (is_not(c)) return make_bool(false);
    any = any || is(c);
  }
  return make_bool(any);
}

Value is_title(Runtime&, const Value& self, const Arguments& a) {
  Bound("istitle", a, {});
  const std::string& text = self.string->text;
  bool any = false, inside = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const bool big = is_upper(c), small = is_lower(c);
    if ((big && inside) || (small && !inside)) return make_bool(false);
    inside = big || small;
    any = any || inside;
  }
  return make_bool(any);
}

Value is_identifier(Runtime&, const Value& self, const Arguments& a) {
  Bound("isidentifier", a, {});
  const std::string& text = self.string->text;
  for (size_t at = 0; at < text.size();) {
    const bool first = at == 0;
    const char32_t c = next_code_point(text, at);
    if (c != '_' && !is_alpha(c) && (first || !is_digit(c))) return make_bool(false);
  }
  return make_bool(!text.empty());
}

// ---- list and tuple ----------------------------------------------------------------------------

Value list_count(Runtime& rt, const Value& self, const Arguments& a) {
  const Value item = Bound("count", a, {"value"}, 1).get(0);
  const auto& items = self.list->items;
  return make_int(std::count_if(items.begin(), items.end(),
                                [&](const Value& v) { return equal(rt.heap(), v, item); }));
}

Value list_index(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("index", a, {"value", "start", "stop"}, 1);
  const auto size = static_cast<int64_t>(self.list->items.size());
  const auto place = [&](size_t i, int64_t fallback) {
    const int64_t at = bound.integer(i, fallback);
    return std::min(at < 0 ? std::max<int64_t>(at + size, 0) : at, size);
  };
  for (int64_t i = place(1, 0); i < place(2, size); ++i) {
    if (equal(rt.heap(), self.list->items[static_cast<size_t>(i)], bound.get(0)))
      return make_int(i);
  }
  fail("the value is not in the list");
}

Value list_copy(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("copy", a, {});
  return rt.heap().list(self.list->items);
}

// ---- dict --------------------------------------------------------------------------------------

Value dict_get(Runtime& rt, const Value& self, const Arguments& a) {
  const Bound bound("get", a, {"key", "default"}, 1);
  check_hashable(bound.get(0));
  const Value* found = find(rt.heap(), *self.dict, bound.get(0));
  return found ? *found : bound.get(1);
}

Value dict_items(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("items", a, {});
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict->items) {
    items.push_back(rt.heap().list({key, value}, Kind::tuple));
  }
  return rt.heap().list(std::move(items), Kind::view, "dict_items");
}

Value dict_keys(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("keys", a, {});
  return rt.heap().list(items_of(rt, self), Kind::view, "dict_keys");
}

Value dict_values(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("values", a, {});
  std::vector<Value> items;
  for (const auto& item : self.dict->items) items.push_back(item.second);
  return rt.heap().list(std::move(items), Kind::view, "dict_values");
}

Value dict_copy(Runtime& rt, const Value& self, const Arguments& a) {
  Bound("copy", a, {});
  return rt.heap().dict(self.dict->items);
}

using Table = std::unordered_map<std::string_view, Method>;

const Table& methods_of(Kind kind) {
  static const Table kString = {
      {"capitalize", capitalize},
      {"casefold", fold_case},
      {"center", justify<0>},
      {"count", count_text},
      {"endswith", begins_or_ends<true>},
      {"expandtabs", expand_tabs},
      {"find", find_text<false, false>},
      {"format", format},
      {"format_map", format_map},
      {"index", find_text<false, true>},
      {"isalnum", all_are<is_alphanumeric>},
      {"isalpha", all_are<is_alpha>},
      {"isascii", is_ascii_text},
      {"isdecimal", all_are<is_digit>},
      {"isdigit", all_are<is_digit>},
      {"isidentifier", is_identifier},
      {"islower", has_case<is_lower, is_upper>},
      {"isnumeric", all_are<is_digit>},
      {"isprintable", is_printable_text},
      {"isspace", all_are<is_space>},
      {"istitle", is_title},
      {"isupper", has_case<is_upper, is_lower>},
      {"join", join},
      {"ljust", justify<-1>},
      {"lower", to_lower_case},
      {"lstrip", strip<true, false>},
      {"partition", partition<false>},
      {"removeprefix", remove_prefix},
      {"removesuffix", remove_suffix},
      {"replace", replace},
      {"rfind", find_text<true, false>},
      {"rindex", find_text<true, true>},
      {"rjust", justify<1>},
      {"rpartition", partition<true>},
      {"rsplit", split<true>},
      {"rstrip", strip<false, true>},
      {"split", split<false>},
      {"splitlines", split_lines},
      {"startswith", begins_or_ends<false>},
      {"strip", strip<true, true>},
      {"swapcase", swap_case},
      {"title", title},
      {"upper", to_upper_case},
      {"zfill", zero_fill},
  };
  static const Table kList = {{"copy", list_copy}, {"count", list_count}, {"index", list_index}};
  static const Table kTuple = {{"count", list_count}, {"index", list_index}};
  static const Table kDict = {{"copy", dict_copy},
                              {"get", dict_get},
                              {"items", dict_items},
                              {"keys", dict_keys},
                              {"values", dict_values}};
  static const Table kNone;
  switch (kind) {
    case Kind::string:
      return kString;
    case Kind::list:
      return kList;
    case Kind::tuple:
    case Kind::range:
      return kTuple;
    case Kind::dict:
      return kDict;
    default:
      return kNone;
  }
}

}  // namespace

std::optional<Value> find_method(Runtime& rt, const Value& value, std::string_view name) {
  const Table& table = methods_of(value.kind);
  const auto found = table.find(name);
  if (found == table.end()) return std::nullopt;
  const Method method = found->second;
  return make_object(rt.heap().make<Function>(
      std::string(name), [method, value](Runtime& r, const Arguments& arguments) {
        return method(r, value, arguments);
      }));
}

bool refused_method(const Value& value, std::string_view name) {
  constexpr std::string_view kOfList[] = {"append", "clear",  "pop",    "reverse",
                                          "insert", "remove", "extend", "sort"};
  constexpr std::string_view kOfDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  const auto among = [name](const auto& names) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  return (value.is(Kind::list) && among(kOfList)) || (value.is(Kind::dict) && among(kOfDict));
}

}  // namespace hone::jinja
