// jinja2's tests, what stands after `is`.
#include <unordered_map>

#include "base/error.h"
#include "text/jinja/runtime.h"

namespace hone::jinja {
namespace {

using Test = bool (*)(Runtime&, const Value&, const Arguments&);

Value other(std::string_view name, const Arguments& a) {
  return Bound(name, a, {"other"}, 1).get(0);
}

template <Kind kind>
bool of_kind(Runtime&, const Value& value, const Arguments& a) {
  Bound("is", a, {});
  return value.is(kind);
}

bool remainder_is(Runtime& rt, const Value& value, const Value& divisor, int64_t wanted) {
  return equal(rt.heap(), binary(rt, "%", value, divisor), make_int(wanted));
}

template <int64_t rest>
bool parity(Runtime& rt, const Value& value, const Arguments& a) {
  Bound("odd", a, {});
  return remainder_is(rt, value, make_int(2), rest);
}

bool divisible(Runtime& rt, const Value& value, const Arguments& a) {
  return remainder_is(rt, value, other("divisibleby", a), 0);
}

bool defined(Runtime&, const Value& value, const Arguments& a) {
  Bound("defined", a, {});
  return !value.is(Kind::undefined);
}

template <bool wanted>
bool is_bool(Runtime&, const Value& value, const Arguments& a) {
  Bound("true", a, {});
  return value.is(Kind::boolean) && value.boolean == wanted;
}

bool number(Runtime&, const Value& value, const Arguments& a) {
  Bound("number", a, {});
  return value.is_number();
}

template <bool upper>
bool has_case(Runtime& rt, const Value& value, const Arguments& a) {
  const Value text = rt.heap().string(to_text(rt, value));
  return rt.call(*find_method(rt, text, upper ? "isupper" : "islower"), a).boolean;
}

bool sequence(Runtime&, const Value& value, const Arguments& a) {
  Bound("sequence", a, {});
  return iterable(value) && !value.is(Kind::view) && !value.is(Kind::iterator);
}

bool is_iterable(Runtime&, const Value& value, const Arguments& a) {
  Bound("iterable", a, {});
  return iterable(value);
}

bool callable(Runtime&, const Value& value, const Arguments& a) {
  Bound("callable", a, {});
  return value.is(Kind::undefined) || (value.is(Kind::object) && value.object->callable());
}

bool same(Runtime& rt, const Value& value, const Arguments& a) {
  const Value that = other("sameas", a);
  if (value.kind != that.kind) return false;
  switch (value.kind) {
    case Kind::none:
      return true;
    case Kind::boolean:
    case Kind::integer:
      return equal(rt.heap(), value, that);
    case Kind::real:
      return false;
    default:
      return value.string == that.string;  // the one pointer that the union holds
  }
}

bool escaped(Runtime&, const Value& value, const Arguments& a) {
  Bound("escaped", a, {});
  return value.is(Kind::string) && value.string->markup;
}

bool in(Runtime& rt, const Value& value, const Arguments& a) {
  return contains(rt, other("in", a), value);
}

bool named_filter(Runtime&, const Value& value, const Arguments& a) {
  Bound("filter", a, {});
  return value.is(Kind::string) && is_filter(value.string->text);
}

bool named_test(Runtime&, const Value& value, const Arguments& a) {
  Bound("test", a, {});
  return value.is(Kind::string) && is_test(value.string->text);
}

bool eq(Runtime& rt, const Value& value, const Arguments& a) {
  return equal(rt.heap(), value, other("eq", a));
}

bool ne(Runtime& rt, const Value& value, const Arguments& a) {
  return !equal(rt.heap(), value, other("ne", a));
}

// Whether comparing gives `order`, or equality where that counts too.
template <int order, bool or_equal>
bool ordered(Runtime& rt, const Value& value, const Arguments& a) {
  const int found = compare(rt.heap(), value, other("lt", a));
  return found == order || (or_equal && found == 0);
}

const std::unordered_map<std::string_view, Test>& tests() {
  static const std::unordered_map<std::string_view, Test> kTests = {
      {"odd", parity<1>},
      {"even", parity<0>},
      {"divisibleby", divisible},
      {"defined", defined},
      {"undefined", of_kind<Kind::undefined>},
      {"filter", named_filter},
      {"test", named_test},
      {"none", of_kind<Kind::none>},
      {"boolean", of_kind<Kind::boolean>},
      {"false", is_bool<false>},
      {"true", is_bool<true>},
      {"integer", of_kind<Kind::integer>},
      {"float", of_kind<Kind::real>},
      {"lower", has_case<false>},
      {"upper", has_case<true>},
      {"string", of_kind<Kind::string>},
      {"mapping", of_kind<Kind::dict>},
      {"number", number},
      {"sequence", sequence},
      {"iterable", is_iterable},
      {"callable", callable},
      {"sameas", same},
      {"escaped", escaped},
      {"in", in},
      {"==", eq},
      {"eq", eq},
      {"equalto", eq},
      {"!=", ne},
      {"ne", ne},
      {">", ordered<1, false>},
      {"gt", ordered<1, false>},
      {"greaterthan", ordered<1, false>},
      {"ge", ordered<1, true>},
      {">=", ordered<1, true>},
      {"<", ordered<-1, false>},
      {"lt", ordered<-1, false>},
      {"lessthan", ordered<-1, false>},
      {"<=", ordered<-1, true>},
      {"le", ordered<-1, true>},
  };
  return kTests;
}

}  // namespace

bool is_test(std::string_view name) { return tests().count(name) > 0; }

bool apply_test(Runtime& rt, std::string_view name, const Value& value,
                const Arguments& arguments) {
  const auto found = tests().find(name);
  if (found == tests().end()) fail(cat("No test named '", name, "'."));
  return found->second(rt, value, arguments);
}

}  // namespace hone::jinja
