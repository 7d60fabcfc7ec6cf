// JSON in, as a template's values, and out, as Python's json.dumps writes it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "base/error.h"
#include "text/jinja/unicode.h"
#include "text/jinja/value.h"

namespace hone::jinja {

Value from_json(Heap& heap, const Json& json, int depth) {
  checked_depth(depth);
  switch (json.type()) {
    case Json::value_t::boolean:
      return make_bool(json.get<bool>());
    case Json::value_t::number_integer:
      return make_int(json.get<int64_t>());
    case Json::value_t::number_unsigned: {
      const uint64_t number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        fail(cat(number, " is too large: integers of chat templates have 64 bits"));
      }
      return make_int(static_cast<int64_t>(number));
    }
    case Json::value_t::number_float:
      return make_real(json.get<double>());
    case Json::value_t::string:
      return heap.string(json.get_ref<const std::string&>());
    case Json::value_t::array: {
      std::vector<Value> items;
      items.reserve(json.size());
      for (const Json& item : json) items.push_back(from_json(heap, item, depth + 1));
      return heap.list(std::move(items));
    }
    case Json::value_t::object: {
      std::vector<std::pair<Value, Value>> items;
      items.reserve(json.size());
      for (const auto& [key, item] : json.items()) {
        items.emplace_back(heap.string(key), from_json(heap, item, depth + 1));
      }
      return heap.dict(std::move(items));
    }
    default:
      return Value();
  }
}

namespace {

class JsonWriter {
 public:
  JsonWriter(Heap& heap, const JsonStyle& style) : heap_(heap), style_(style) {}

  std::string out;

  void write(const Value& value) {
    heap_.step();
    const Heap::Level level(heap_);
    const size_t before = out.size();
    switch (value.kind) {
      case Kind::none:
        out += "null";
        break;
      case Kind::boolean:
        out += value.boolean ? "true" : "false";
        break;
      case Kind::integer:
        out += std::to_string(value.integer);
        break;
      case Kind::real:
        out += number(value.real);
        break;
      case Kind::string:
        write_string(value.string->text);
        break;
      case Kind::list:
      case Kind::tuple:
        write_list(value.list->items);
        return;
      case Kind::dict:
        write_dict(*value.dict);
        return;
      default:
        fail(cat("Object of type ", type_name(value), " is not JSON serializable"));
    }
    heap_.charge(out.size() - before);
  }

 private:
  static std::string number(double value) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    return float_repr(value);
  }

  void new_line() {
    if (!style_.indent) return;
    heap_.charge(1 + style_.indent->size() * level_);
    out += '\n';
    for (size_t i = 0; i < level_; ++i) out += *style_.indent;
  }

  void write_list(const std::vector<Value>& items) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      new_line();
      write(items[i]);
    }
    --level_;
    new_line();
    out += ']';
  }

  void write_dict(const Dict& dict) {
    if (dict.items.empty()) {
      out += "{}";
      return;
    }
    std::vector<const std::pair<Value, Value>*> items;
    for (const auto& item : dict.items) items.push_back(&item);
    if (style_.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [&](const auto* a, const auto* b) {
        return compare(heap_, a->first, b->first) < 0;
      });
    }
    out += '{';
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += style_.item_separator;
      new_line();
      write_key(items[i]->first);
      out += style_.key_separator;
      write(items[i]->second);
    }
    --level_;
    new_line();
    out += '}';
  }

  void write_key(const Value& key) {
    switch (key.kind) {
      case Kind::string:
        return write_string(key.string->text);
      case Kind::none:
        out += "\"null\"";
        return;
      case Kind::boolean:
        out += key.boolean ? "\"true\"" : "\"false\"";
        return;
      case Kind::integer:
        out += '"' + std::to_string(key.integer) + '"';
        return;
      case Kind::real:
        out += '"' + number(key.real) + '"';
        return;
      default:
        fail(cat("keys must be str, int, float, bool or None, not ", type_name(key)));
    }
  }

  void write_string(std::string_view text) {
    out += '"';
    for (size_t at = 0; at < text.size();) {
      const size_t start = at;
      const char32_t c = next_code_point(text, at);
      if (c == '"' || c == '\\') {
        out += '\\';
        out += static_cast<char>(c);
      } else if (c < 0x20) {
        const char* const names = "btn?fr";  // 8, 9, 10, 12, 13
        if (c >= 8 && c <= 13 && c != 11) {
          out += '\\';
          out += names[c - 8];
        } else {
          escape(c);
        }
      } else if (c >= 0x7F && style_.ensure_ascii && c != 0x7F) {
        if (c >= 0x10000) {
          escape(0xD800 + ((c - 0x10000) >> 10));
          escape(0xDC00 + ((c - 0x10000) & 0x3FF));
        } else {
          escape(c);
        }
      } else {
        out += text.substr(start, at - start);
      }
    }
    out += '"';
  }

  void escape(char32_t c) {
    char code[12];
    std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
    out += code;
  }

  Heap& heap_;
  const JsonStyle& style_;
  size_t level_ = 0;
};

}  // namespace

std::string to_json(Heap& heap, const Value& value, const JsonStyle& style) {
  JsonWriter writer(heap, style);
  writer.write(value);
  return std::move(writer.out);
}

}  // namespace hone::jinja
