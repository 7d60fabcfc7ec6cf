// What filters, tests and methods may ask of a running template.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace hone::jinja {

class Runtime {
 public:
  virtual ~Runtime() = default;
  virtual Heap& heap() = 0;
  virtual Value call(const Value& callee, const Arguments& arguments) = 0;
  // Seconds since the epoch, what strftime_now tells.
  virtual int64_t now() = 0;
};

// A function of hone's own, or a method with the value it belongs to.
class Function : public Object {
 public:
  using Body = std::function<Value(Runtime&, const Arguments&)>;
  Function(std::string name, Body body) : name_(std::move(name)), body_(std::move(body)) {}
  std::string type_name() const override { return "builtin_function_or_method"; }
  std::string repr(Runtime&) const override { return "<built-in method " + name_ + ">"; }
  bool callable() const override { return true; }
  Value call(Runtime& rt, const Arguments& arguments) override { return body_(rt, arguments); }

 private:
  std::string name_;
  Body body_;
};

// The arguments of a call by their parameters' names. Missing ones are empty. Throws for too many,
// unknown and doubled ones.
class Bound {
 public:
  Bound(std::string_view function, const Arguments& arguments,
        std::initializer_list<std::string_view> parameters, size_t required = 0);

  bool has(size_t i) const { return values_[i].has_value(); }
  bool has_value(size_t i) const { return has(i) && !values_[i]->is(Kind::none); }
  Value get(size_t i, Value fallback = {}) const { return values_[i].value_or(fallback); }
  std::string text(size_t i, std::string_view fallback = "") const;  // TypeError if not a string
  int64_t integer(size_t i, int64_t fallback = 0) const;
  bool boolean(Runtime& rt, size_t i, bool fallback = false) const;

 private:
  std::string function_;
  std::vector<std::optional<Value>> values_;
};

// ---- operators (operators.cpp) -----------------------------------------------------------------

Value binary(Runtime& rt, std::string_view op, const Value& a, const Value& b);
Value negative(const Value& value);
Value positive(const Value& value);
bool contains(Runtime& rt, const Value& container, const Value& item);
int64_t checked_add(int64_t a, int64_t b);
int64_t checked_multiply(int64_t a, int64_t b);
// Text as HTML has it; what is marked safe stays.
Value escape(Runtime& rt, const Value& value);

// `value`.`name` and `value`['name'] in jinja's order; undefined if there is neither.
Value get_attribute(Runtime& rt, const Value& value, std::string_view name);
Value get_item(Runtime& rt, const Value& value, const Value& key);
// value[start:stop:step]; none for what is left out.
Value get_slice(Runtime& rt, const Value& value, const Value& start, const Value& stop,
                const Value& step);

// ---- methods of str, list and dict (methods.cpp) -----------------------------------------------

// The bound method, if the type has one that the sandbox allows.
std::optional<Value> find_method(Runtime& rt, const Value& value, std::string_view name);
// Whether the type has such a method but the sandbox refuses it, since it changes the value.
bool refused_method(const Value& value, std::string_view name);

// ---- filters and tests (filters.cpp, tests.cpp) ------------------------------------------------

bool is_filter(std::string_view name);
Value apply_filter(Runtime& rt, std::string_view name, const Value& value,
                   const Arguments& arguments);
bool is_test(std::string_view name);
bool apply_test(Runtime& rt, std::string_view name, const Value& value, const Arguments& arguments);

// ---- Python's formatting (format.cpp) ----------------------------------------------------------

// format % values.
std::string percent_format(Runtime& rt, const std::string& format, const Value& values);
// str.format.
std::string brace_format(Runtime& rt, const std::string& format, const Arguments& arguments);
std::string format_date(int64_t seconds, const std::string& format);
// round() of Python to some decimals.
double round_decimal(double value, int64_t digits);

// ---- global functions (globals.cpp) ------------------------------------------------------------

// range, dict, namespace, ..., or nothing.
std::optional<Value> find_global(Runtime& rt, std::string_view name);
// What Python prints for a range.
std::string range_name(int64_t start, int64_t stop, int64_t step);
// Sets an attribute of a namespace; throws for other values.
void set_namespace_attribute(Runtime& rt, const Value& value, const std::string& name,
                             const Value& item);

}  // namespace hone::jinja
