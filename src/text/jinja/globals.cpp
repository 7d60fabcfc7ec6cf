// The functions that a template finds by name, and the arguments that calls are bound to.
#include <algorithm>

#include "base/error.h"
#include "text/jinja/runtime.h"

namespace hone::jinja {

// ---- arguments ---------------------------------------------------------------------------------

Bound::Bound(std::string_view function, const Arguments& arguments,
             std::initializer_list<std::string_view> parameters, size_t required)
    : function_(function), values_(parameters.size()) {
  if (arguments.positional.size() > parameters.size()) {
    fail(cat(function, "() takes at most ", parameters.size(), " arguments (",
             arguments.positional.size(), " given)"));
  }
  std::copy(arguments.positional.begin(), arguments.positional.end(), values_.begin());
  for (const auto& [name, value] : arguments.named) {
    const auto found = std::find(parameters.begin(), parameters.end(), name);
    if (found == parameters.end()) {
      fail(cat(function, "() got an unexpected keyword argument '", name, "'"));
    }
    auto& slot = values_[static_cast<size_t>(found - parameters.begin())];
    if (slot) fail(cat(function, "() got multiple values for argument '", name, "'"));
    slot = value;
  }
  for (size_t i = 0; i < required; ++i) {
    if (!values_[i]) {
      fail(cat(function, "() is missing the argument '", *(parameters.begin() + i), "'"));
    }
  }
}

std::string Bound::text(size_t i, std::string_view fallback) const {
  if (!values_[i]) return std::string(fallback);
  if (values_[i]->is(Kind::undefined)) fail_undefined(*values_[i]);
  if (!values_[i]->is(Kind::string)) {
    fail(cat(function_, "(): expected a text, found ", type_name(*values_[i])));
  }
  return values_[i]->string->text;
}

int64_t Bound::integer(size_t i, int64_t fallback) const {
  if (!values_[i]) return fallback;
  if (values_[i]->is(Kind::undefined)) fail_undefined(*values_[i]);
  if (!values_[i]->is_integral()) {
    fail(cat(function_, "(): expected an integer, found ", type_name(*values_[i])));
  }
  return values_[i]->as_integer();
}

bool Bound::boolean(Runtime& rt, size_t i, bool fallback) const {
  return values_[i] ? truthy(rt, *values_[i]) : fallback;
}

namespace {

constexpr int64_t kMaxRange = 100000;  // as jinja's sandbox has it

// ---- namespace, cycler, joiner -----------------------------------------------------------------

class Namespace : public Object {
 public:
  explicit Namespace(Dict* values) : values_(values) {}
  std::string type_name() const override { return "Namespace"; }
  std::string repr(Runtime& rt) const override {
    Value dict;
    dict.kind = Kind::dict;
    dict.dict = values_;
    return "<Namespace " + jinja::repr(rt, dict) + ">";
  }
  std::optional<Value> attribute(Runtime& rt, std::string_view name) override {
    rt.heap().step(1 + values_->items.size() / 16);
    const Value* found = find(*values_, name);
    return found ? std::optional<Value>(*found) : std::nullopt;
  }
  void set(Runtime& rt, const std::string& name, const Value& value) {
    for (auto& [key, known] : values_->items) {
      if (key.is(Kind::string) && key.string->text == name) {
        known = value;
        return;
      }
    }
    set_item(rt.heap(), *values_, rt.heap().string(name), value);
  }

 private:
  Dict* values_;
};

class Cycler : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(Runtime& rt, std::string_view name) override {
    if (name == "current") return items_[at_];
    if (name == "next") {
      return make_object(rt.heap().make<Function>("next", [this](Runtime&, const Arguments&) {
        const Value value = items_[at_];
        at_ = (at_ + 1) % items_.size();
        return value;
      }));
    }
    if (name == "reset") {
      return make_object(rt.heap().make<Function>("reset", [this](Runtime&, const Arguments&) {
        at_ = 0;
        return Value();
      }));
    }
    return std::nullopt;
  }

 private:
  std::vector<Value> items_;
  size_t at_ = 0;
};

class Joiner : public Object {
 public:
  explicit Joiner(Value separator) : separator_(separator) {}
  std::string type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Runtime& rt, const Arguments&) override {
    if (used_) return separator_;
    used_ = true;
    return rt.heap().string("");
  }

 private:
  Value separator_;
  bool used_ = false;
};

// ---- functions ---------------------------------------------------------------------------------

Value range(Runtime& rt, const Arguments& a) {
  const Bound bound("range", a, {"start", "stop", "step"}, 1);
  if (!a.named.empty()) fail("range() takes no keyword arguments");
  const bool one = !bound.has(1);
  const int64_t start = one ? 0 : bound.integer(0), stop = bound.integer(one ? 0 : 1);
  const int64_t step = bound.integer(2, 1);
  if (step == 0) fail("range() arg 3 must not be zero");
  const auto distance = static_cast<__int128>(stop) - start;
  const __int128 count = step > 0 ? (distance + step - 1) / step : (distance + step + 1) / step;
  if (count > kMaxRange) {
    fail(cat("Range too big. The sandbox blocks ranges larger than MAX_RANGE (", kMaxRange, ")."));
  }
  std::vector<Value> items;
  for (int64_t i = 0; i < static_cast<int64_t>(count); ++i) {
    items.push_back(make_int(start + i * step));
  }
  rt.heap().step(items.size() / 8);
  return rt.heap().list(std::move(items), Kind::range, range_name(start, stop, step));
}

Value make_dict(Runtime& rt, const Arguments& a) {
  Heap& heap = rt.heap();
  const Value dict = heap.dict({});
  if (a.positional.size() > 1) fail("dict expected at most 1 argument");
  if (!a.positional.empty()) {
    const Value& source = a.positional[0];
    if (source.is(Kind::dict)) {
      for (const auto& [key, value] : source.dict->items) set_item(heap, *dict.dict, key, value);
    } else {
      for (const Value& pair : items_of(rt, source)) {
        const std::vector<Value> parts = items_of(rt, pair);
        if (parts.size() != 2) fail("dict() takes pairs of a key and a value");
        set_item(heap, *dict.dict, parts[0], parts[1]);
      }
    }
  }
  for (const auto& [name, value] : a.named) {
    set_item(heap, *dict.dict, heap.string(name), value);
  }
  return dict;
}

Value make_namespace(Runtime& rt, const Arguments& a) {
  return make_object(rt.heap().make<Namespace>(make_dict(rt, a).dict));
}

Value make_cycler(Runtime& rt, const Arguments& a) {
  if (a.positional.empty()) fail("at least one item has to be provided");
  return make_object(rt.heap().make<Cycler>(a.positional));
}

Value make_joiner(Runtime& rt, const Arguments& a) {
  const Bound bound("joiner", a, {"sep"});
  return make_object(rt.heap().make<Joiner>(bound.get(0, rt.heap().string(", "))));
}

Value raise_exception(Runtime& rt, const Arguments& a) {
  fail(to_text(rt, Bound("raise_exception", a, {"message"}, 1).get(0)));
}

Value strftime_now(Runtime& rt, const Arguments& a) {
  return rt.heap().string(format_date(rt.now(), Bound("strftime_now", a, {"format"}, 1).text(0)));
}

}  // namespace

std::string range_name(int64_t start, int64_t stop, int64_t step) {
  return step == 1 ? cat("range(", start, ", ", stop, ")")
                   : cat("range(", start, ", ", stop, ", ", step, ")");
}

std::optional<Value> find_global(Runtime& rt, std::string_view name) {
  struct Global {
    const char* name;
    Value (*body)(Runtime&, const Arguments&);
  };
  static constexpr Global kGlobals[] = {
      {"range", range},
      {"dict", make_dict},
      {"namespace", make_namespace},
      {"cycler", make_cycler},
      {"joiner", make_joiner},
      {"raise_exception", raise_exception},
      {"strftime_now", strftime_now},
  };
  for (const Global& global : kGlobals) {
    if (name == global.name) {
      return make_object(rt.heap().make<Function>(global.name, global.body));
    }
  }
  return std::nullopt;
}

void set_namespace_attribute(Runtime& rt, const Value& value, const std::string& name,
                             const Value& item) {
  auto* space = value.is(Kind::object) ? dynamic_cast<Namespace*>(value.object) : nullptr;
  if (!space) fail("cannot assign attribute on non-namespace object");
  space->set(rt, name, item);
}

}  // namespace hone::jinja
