// The values that a template computes with: Python's None, bool, int (64 bits), float, str, list,
// tuple, dict, range, views and iterators, jinja's Undefined, and things that can be called.
//
// All of a render's values live in its Heap and go with it, so a Value is a small handle that is
// copied freely. The heap counts what it hands out: a template's memory is bounded by that count.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace hone::jinja {

enum class Kind : uint8_t {
  undefined,
  none,
  boolean,
  integer,
  real,
  string,
  list,
  tuple,
  range,     // a List whose printed form says how it was made
  view,      // dict.items() and its like: a List without an index
  iterator,  // what map, select, reversed, ... give: a List that is used up by reading it
  dict,
  object,  // a macro, a bound method, a namespace, a loop, ...
};

struct String;
struct List;
struct Dict;
class Object;

struct Value {
  Kind kind = Kind::none;
  union {
    bool boolean;
    int64_t integer = 0;
    double real;
    const String* string;
    List* list;
    Dict* dict;
    Object* object;
    const String* hint;  // of an undefined value: what an error says of it
  };

  bool is(Kind k) const { return kind == k; }
  bool is_number() const {
    return kind == Kind::boolean || kind == Kind::integer || kind == Kind::real;
  }
  bool is_integral() const { return kind == Kind::boolean || kind == Kind::integer; }
  bool is_listlike() const { return kind >= Kind::list && kind <= Kind::iterator; }
  // REQUIRES: is_integral().
  int64_t as_integer() const { return kind == Kind::boolean ? boolean : integer; }
};

// Text in UTF-8. Python counts, indexes and slices code points.
struct String {
  std::string text;
  int64_t length = 0;   // code points
  bool markup = false;  // came through `safe` or `escape`: `+` escapes what is joined to it
};

struct List {
  std::vector<Value> items;
  size_t next = 0;   // of an iterator: the first item that was not read yet
  int depth = 0;     // how deep its items nest
  std::string name;  // of a range or view: its printed form or the view's type
};

struct Dict {
  std::vector<std::pair<Value, Value>> items;  // in order of insertion
  int depth = 0;
};

// What a call is given.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Runtime;

// Owned by the heap. The defaults are those of an object without attributes that is not callable.
class Object {
 public:
  virtual ~Object() = default;
  virtual std::string type_name() const = 0;  // as Python's errors name it
  virtual std::string repr(Runtime&) const { return "<" + type_name() + ">"; }
  virtual std::optional<Value> attribute(Runtime&, std::string_view) { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual Value call(Runtime&, const Arguments&);
  virtual std::optional<int64_t> length(Runtime&) { return std::nullopt; }
};

// What went wrong while a template ran; the interpreter adds the line and makes it a UserError.
struct TemplateError {
  std::string message;
};

class Heap {
 public:
  Value string(std::string text, bool markup = false);
  Value list(std::vector<Value> items, Kind kind = Kind::list, std::string name = "");
  Value dict(std::vector<std::pair<Value, Value>> items);
  Value undefined(std::string hint);
  template <class T, class... Args>
  T* make(Args&&... args) {
    charge(sizeof(T) + 64);
    auto owned = std::make_unique<T>(std::forward<Args>(args)...);
    T* object = owned.get();
    objects_.push_back(std::move(owned));
    return object;
  }

  // Accounts for `bytes` about to be used; throws TemplateError beyond the bound.
  void charge(size_t bytes);
  // Accounts for one step of work, or several.
  void step(size_t steps = 1);

  // Counts a level of recursion while it lives; throws TemplateError beyond the bound.
  class Level {
   public:
    explicit Level(Heap& heap);
    ~Level() { --heap_.level_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Heap& heap_;
  };

 private:
  std::deque<String> strings_;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
  std::vector<std::unique_ptr<Object>> objects_;
  size_t bytes_ = 0, steps_ = 0;
  int level_ = 0;
};

inline Value undefined_kind() {
  Value v;
  v.kind = Kind::undefined;
  v.hint = nullptr;
  return v;
}
inline Value make_bool(bool b) {
  Value v;
  v.kind = Kind::boolean;
  v.boolean = b;
  return v;
}
inline Value make_int(int64_t i) {
  Value v;
  v.kind = Kind::integer;
  v.integer = i;
  return v;
}
inline Value make_real(double d) {
  Value v;
  v.kind = Kind::real;
  v.real = d;
  return v;
}
inline Value make_object(Object* o) {
  Value v;
  v.kind = Kind::object;
  v.object = o;
  return v;
}

[[noreturn]] void fail(std::string message);
// The depth of a list or dict whose items have depth `inner`; throws TemplateError beyond the
// bound.
int checked_depth(int inner);

// Python's name of the type, for errors.
std::string type_name(const Value& value);
// Throws the error that jinja raises when an undefined value is worked with.
[[noreturn]] void fail_undefined(const Value& value);

bool truthy(Runtime& rt, const Value& value);
// len() of Python, if the value has one.
std::optional<int64_t> length_of(Runtime& rt, const Value& value);
// What a loop over the value visits; throws for what Python cannot iterate. Uses up an iterator.
std::vector<Value> items_of(Runtime& rt, const Value& value);
bool iterable(const Value& value);
bool equal(Heap& heap, const Value& a, const Value& b);
// -1, 0, 1; throws for types that Python does not order.
int compare(Heap& heap, const Value& a, const Value& b, const char* op = "<");
// Throws for what Python cannot hash (lists, dicts).
void check_hashable(const Value& value);

// The value of a key, or null.
const Value* find(Heap& heap, const Dict& dict, const Value& key);
const Value* find(const Dict& dict, std::string_view key);
void set_item(Heap& heap, Dict& dict, const Value& key, const Value& value);

// str() and repr() of Python.
std::string to_text(Runtime& rt, const Value& value);
std::string repr(Runtime& rt, const Value& value);
std::string float_repr(double value);
std::string string_repr(std::string_view text);

// The JSON, keys in their order. Throws TemplateError for integers beyond 64 bits and for nesting
// beyond the bound.
Value from_json(Heap& heap, const Json& json, int depth = 0);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;
  std::string item_separator = ", ", key_separator = ": ";
};
// json.dumps of Python.
std::string to_json(Heap& heap, const Value& value, const JsonStyle& style);

}  // namespace hone::jinja
