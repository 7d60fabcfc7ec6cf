#include "text/jinja/interpreter.h"

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "text/jinja/parser.h"
#include "text/jinja/runtime.h"

namespace hone::jinja {
namespace {

// Names and their values within a block; a macro keeps the scope it was defined in.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<int, Value>> values;

  Value* find_here(int id) {
    for (auto& [known, value] : values) {
      if (known == id) return &value;
    }
    return nullptr;
  }
  void set(int id, const Value& value) {
    if (Value* found = find_here(id)) {
      *found = value;
    } else {
      values.emplace_back(id, value);
    }
  }
};

enum class Flow { normal, break_, continue_ };

class Interpreter;

// A macro, or the caller that a call block makes.
class Macro : public Object {
 public:
  Macro(Interpreter& interpreter, const Stmt& stmt, Scope& scope)
      : interpreter_(interpreter), stmt_(stmt), scope_(scope) {}
  std::string type_name() const override { return "Macro"; }
  std::string repr(Runtime&) const override {
    return stmt_.kind == StmtKind::macro ? "<Macro " + string_repr(stmt_.text) + ">"
                                         : "<Macro anonymous>";
  }
  std::optional<Value> attribute(Runtime& rt, std::string_view name) override;
  bool callable() const override { return true; }
  Value call(Runtime&, const Arguments& arguments) override;

 private:
  Interpreter& interpreter_;
  const Stmt& stmt_;
  Scope& scope_;
};

// The variable `loop`.
class Loop : public Object {
 public:
  Loop(Interpreter& interpreter, const Stmt& stmt, Scope& scope, int64_t depth)
      : interpreter_(interpreter), stmt_(stmt), scope_(scope), depth_(depth) {}

  std::vector<Value> items;
  int64_t index = 0;  // from 0

  std::string type_name() const override { return "LoopContext"; }
  std::string repr(Runtime&) const override {
    return cat("<LoopContext ", index + 1, "/", items.size(), ">");
  }
  std::optional<Value> attribute(Runtime& rt, std::string_view name) override;
  bool callable() const override { return true; }
  Value call(Runtime&, const Arguments& arguments) override;
  std::optional<int64_t> length(Runtime&) override { return static_cast<int64_t>(items.size()); }

 private:
  Interpreter& interpreter_;
  const Stmt& stmt_;
  Scope& scope_;
  int64_t depth_;
  std::optional<Value> changed_;
};

class Interpreter : public Runtime {
 public:
  Interpreter(const Syntax& syntax, int64_t now) : syntax_(syntax), now_(now) {}

  Heap& heap() override { return heap_; }
  int64_t now() override { return now_; }

  Value call(const Value& callee, const Arguments& arguments) override {
    if (callee.is(Kind::undefined)) fail_undefined(callee);
    if (!callee.is(Kind::object) || !callee.object->callable()) {
      fail(cat("'", type_name(callee), "' object is not callable"));
    }
    const Heap::Level level(heap_);
    return callee.object->call(*this, arguments);
  }

  Rendering run(const Json& variables) {
    try {
      Scope& context = new_scope(nullptr);
      for (const auto& [name, value] : variables.items()) {
        const auto known = std::find(syntax_.names.begin(), syntax_.names.end(), name);
        if (known == syntax_.names.end()) continue;
        context.set(static_cast<int>(known - syntax_.names.begin()), from_json(heap_, value));
      }
      root_ = &new_scope(&context);
      execute(syntax_.body, *root_, result_.text);
      return std::move(result_);
    } catch (const TemplateError& error) {
      throw RenderError{line_, error.message};
    }
  }

  Value call_macro(const Stmt& stmt, Scope& defined_in, const Arguments& arguments);
  Value run_recursive(const Stmt& stmt, Scope& scope, const Value& iterable, int64_t depth) {
    std::string text;
    run_loop(stmt, scope, iterable, depth, text);
    return heap_.string(std::move(text));
  }

 private:
  Scope& new_scope(Scope* parent) {
    heap_.charge(sizeof(Scope) + 2 * sizeof(std::pair<int, Value>));
    scopes_.push_back({parent, {}});
    return scopes_.back();
  }

  void append(std::string& out, const std::string& text) {
    heap_.charge(text.size());
    out += text;
  }

  // ---- statements ------------------------------------------------------------------------------

  Flow execute(const Body& body, Scope& scope, std::string& out) {
    const Heap::Level level(heap_);
    for (const auto& stmt : body) {
      const Flow flow = execute(*stmt, scope, out);
      if (flow != Flow::normal) return flow;
    }
    return Flow::normal;
  }

  Flow execute(const Stmt& stmt, Scope& scope, std::string& out) {
    heap_.step();
    line_ = stmt.line;
    switch (stmt.kind) {
      case StmtKind::data:
        append(out, stmt.text);
        return Flow::normal;
      case StmtKind::output:
        write(stmt, scope, out);
        return Flow::normal;
      case StmtKind::set:
        assign(*stmt.target, evaluate(*stmt.expr, scope), scope);
        return Flow::normal;
      case StmtKind::set_block:
        set_block(stmt, scope);
        return Flow::normal;
      case StmtKind::if_:
        return execute(truthy(*this, evaluate(*stmt.expr, scope)) ? stmt.body : stmt.otherwise,
                       scope, out);
      case StmtKind::for_:
        return for_loop(stmt, scope, out);
      case StmtKind::with:
        return with(stmt, scope, out);
      case StmtKind::macro:
        scope.set(stmt.id, make_object(heap_.make<Macro>(*this, stmt, scope)));
        return Flow::normal;
      case StmtKind::call_block:
        call_block(stmt, scope, out);
        return Flow::normal;
      case StmtKind::filter_block:
        return filter_block(stmt, scope, out);
      case StmtKind::generation:
        generation(stmt, scope, out);
        return Flow::normal;
      case StmtKind::block:
        return execute(stmt.body, new_scope(stmt.recursive ? &scope : root_), out);
      case StmtKind::break_:
        return Flow::break_;
      case StmtKind::continue_:
        return Flow::continue_;
      case StmtKind::unavailable:
        fail(cat("'", stmt.text, "' needs another template, and a chat template has no other"));
    }
    return Flow::normal;
  }

  void write(const Stmt& stmt, Scope& scope, std::string& out) {
    const Value value = evaluate(*stmt.expr, scope);
    if (value.is(Kind::string)) {
      append(out, value.string->text);
    } else {
      append(out, to_text(*this, value));
    }
  }

  void set_block(const Stmt& stmt, Scope& scope) {
    std::string text;
    execute(stmt.body, new_scope(&scope), text);
    Value value = heap_.string(std::move(text));
    if (stmt.expr) value = filter_chain(*stmt.expr, value, scope);
    assign(*stmt.target, value, scope);
  }

  Flow with(const Stmt& stmt, Scope& scope, std::string& out) {
    Scope& inner = new_scope(&scope);
    for (size_t i = 0; i < stmt.targets.size(); ++i) {
      assign(*stmt.targets[i], evaluate(*stmt.values[i], scope), inner);
    }
    return execute(stmt.body, inner, out);
  }

  void call_block(const Stmt& stmt, Scope& scope, std::string& out) {
    const Expr& call_expr = *stmt.expr;
    const Value callee = evaluate(*call_expr.items[0], scope);
    Arguments arguments = evaluate_arguments(*call_expr.arguments, scope);
    arguments.named.emplace_back("caller", make_object(heap_.make<Macro>(*this, stmt, scope)));
    line_ = stmt.line;
    append(out, to_text(*this, call(callee, arguments)));
  }

  Flow filter_block(const Stmt& stmt, Scope& scope, std::string& out) {
    Scope& inner = new_scope(&scope);
    std::string text;
    const Flow flow = execute(stmt.body, inner, text);
    if (flow != Flow::normal) return flow;
    append(out, to_text(*this, filter_chain(*stmt.expr, heap_.string(std::move(text)), inner)));
    return flow;
  }

  // As transformers counts them, a block inside of a macro or another buffer begins where the
  // output of the template stands when it runs.
  void generation(const Stmt& stmt, Scope& scope, std::string& out) {
    std::string text;
    execute(stmt.body, new_scope(&scope), text);
    const size_t begin = result_.text.size();
    heap_.charge(sizeof(result_.generated[0]));
    result_.generated.emplace_back(begin, begin + text.size());
    append(out, text);
  }

  Flow for_loop(const Stmt& stmt, Scope& scope, std::string& out) {
    const Value iterable = evaluate(*stmt.expr, scope);
    if (!stmt.recursive) return run_loop(stmt, scope, iterable, 0, out);
    std::string text;
    run_loop(stmt, scope, iterable, 0, text);
    append(out, text);
    return Flow::normal;
  }

  Flow run_loop(const Stmt& stmt, Scope& scope, const Value& iterable, int64_t depth,
                std::string& out) {
    const Heap::Level level(heap_);
    line_ = stmt.line;
    std::vector<Value> items = items_of(*this, iterable);
    if (stmt.condition) {
      std::vector<Value> kept;
      for (const Value& item : items) {
        Scope& inner = new_scope(&scope);
        assign(*stmt.target, item, inner);
        if (truthy(*this, evaluate(*stmt.condition, inner))) kept.push_back(item);
      }
      items = std::move(kept);
    }
    heap_.charge(items.size() * sizeof(Value));
    Loop* loop = heap_.make<Loop>(*this, stmt, scope, depth);
    loop->items = std::move(items);
    // jinja's `else` runs unless some pass came to the end of the body: also after a break in the
    // first one.
    bool finished_once = false;
    for (size_t i = 0; i < loop->items.size(); ++i) {
      heap_.step();
      loop->index = static_cast<int64_t>(i);
      Scope& inner = new_scope(&scope);
      inner.set(kNameLoop, make_object(loop));
      assign(*stmt.target, loop->items[i], inner);
      const Flow flow = execute(stmt.body, inner, out);
      if (flow == Flow::break_) break;
      if (flow == Flow::normal) finished_once = true;
    }
    if (finished_once || stmt.otherwise.empty()) return Flow::normal;
    return execute(stmt.otherwise, new_scope(&scope), out);
  }

  void assign(const Expr& target, const Value& value, Scope& scope) {
    switch (target.kind) {
      case ExprKind::name:
        scope.set(target.id, value);
        return;
      case ExprKind::namespace_attribute: {
        const Value space = look_up(target.id, scope);
        line_ = target.line;
        set_namespace_attribute(*this, space, target.text.text, value);
        return;
      }
      default: {
        const std::vector<Value> items = items_of(*this, value);
        if (items.size() != target.items.size()) {
          fail(items.size() < target.items.size()
                   ? cat("not enough values to unpack (expected ", target.items.size(), ", got ",
                         items.size(), ")")
                   : cat("too many values to unpack (expected ", target.items.size(), ")"));
        }
        for (size_t i = 0; i < items.size(); ++i) assign(*target.items[i], items[i], scope);
      }
    }
  }

  // ---- expressions -----------------------------------------------------------------------------

  Value look_up(int id, Scope& scope) {
    for (Scope* s = &scope; s; s = s->parent) {
      if (const Value* value = s->find_here(id)) return *value;
    }
    const std::string& name = syntax_.names[static_cast<size_t>(id)];
    if (const auto global = find_global(*this, name)) return *global;
    return heap_.undefined(string_repr(name) + " is undefined");
  }

  Value evaluate(const Expr& expr, Scope& scope) {
    heap_.step();
    switch (expr.kind) {
      case ExprKind::constant:
        return expr.constant;
      case ExprKind::name:
        return look_up(expr.id, scope);
      default:
        return evaluate_inner(expr, scope);
    }
  }

  Value evaluate_inner(const Expr& expr, Scope& scope) {
    const Heap::Level level(heap_);
    switch (expr.kind) {
      case ExprKind::tuple:
        return heap_.list(evaluate_all(expr.items, scope), Kind::tuple);
      case ExprKind::list:
        return heap_.list(evaluate_all(expr.items, scope));
      case ExprKind::dict:
        return make_dict(expr, scope);
      case ExprKind::attribute: {
        const Value value = evaluate(*expr.items[0], scope);
        line_ = expr.line;
        return get_attribute(*this, value, expr.text.text);
      }
      case ExprKind::subscript:
        return subscript(expr, scope);
      case ExprKind::call:
        return call_expression(expr, scope);
      case ExprKind::filter:
        return filter_chain(expr, Value(), scope);
      case ExprKind::test:
        return test(expr, scope);
      case ExprKind::logical_and: {
        const Value left = evaluate(*expr.items[0], scope);
        return truthy(*this, left) ? evaluate(*expr.items[1], scope) : left;
      }
      case ExprKind::logical_or: {
        const Value left = evaluate(*expr.items[0], scope);
        return truthy(*this, left) ? left : evaluate(*expr.items[1], scope);
      }
      case ExprKind::logical_not:
        return make_bool(!truthy(*this, evaluate(*expr.items[0], scope)));
      case ExprKind::negative:
      case ExprKind::positive: {
        const Value value = evaluate(*expr.items[0], scope);
        line_ = expr.line;
        return expr.kind == ExprKind::negative ? negative(value) : positive(value);
      }
      case ExprKind::binary: {
        const Value left = evaluate(*expr.items[0], scope);
        const Value right = evaluate(*expr.items[1], scope);
        line_ = expr.line;
        return binary(*this, expr.text.text, left, right);
      }
      case ExprKind::concat:
        return concat(expr, scope);
      case ExprKind::compare:
        return comparison(expr, scope);
      case ExprKind::conditional:
        return conditional(expr, scope);
      default:
        fail("a slice stands outside of a subscript");
    }
  }

  std::vector<Value> evaluate_all(const std::vector<ExprPtr>& items, Scope& scope) {
    std::vector<Value> values;
    values.reserve(items.size());
    for (const ExprPtr& item : items) values.push_back(evaluate(*item, scope));
    return values;
  }

  Value make_dict(const Expr& expr, Scope& scope) {
    const Value dict = heap_.dict({});
    for (size_t i = 0; i < expr.items.size(); i += 2) {
      const Value key = evaluate(*expr.items[i], scope);
      const Value value = evaluate(*expr.items[i + 1], scope);
      line_ = expr.line;
      set_item(heap_, *dict.dict, key, value);
    }
    return dict;
  }

  Value subscript(const Expr& expr, Scope& scope) {
    const Value value = evaluate(*expr.items[0], scope);
    const Expr& index = *expr.items[1];
    if (index.kind != ExprKind::slice) {
      const Value key = evaluate(index, scope);
      line_ = expr.line;
      return get_item(*this, value, key);
    }
    Value parts[3];
    for (size_t i = 0; i < 3; ++i) {
      if (index.items[i]) parts[i] = evaluate(*index.items[i], scope);
    }
    line_ = expr.line;
    return get_slice(*this, value, parts[0], parts[1], parts[2]);
  }

  Arguments evaluate_arguments(const CallArguments& arguments, Scope& scope) {
    Arguments out;
    out.positional = evaluate_all(arguments.positional, scope);
    for (const auto& [name, item] : arguments.named) {
      out.named.emplace_back(name, evaluate(*item, scope));
    }
    if (arguments.list) {
      for (const Value& item : items_of(*this, evaluate(*arguments.list, scope))) {
        out.positional.push_back(item);
      }
    }
    if (arguments.dict) {
      const Value dict = evaluate(*arguments.dict, scope);
      if (!dict.is(Kind::dict)) fail("the argument after ** must be a mapping");
      for (const auto& [key, value] : dict.dict->items) {
        if (!key.is(Kind::string)) fail("keywords must be strings");
        out.named.emplace_back(key.string->text, value);
      }
    }
    return out;
  }

  Value call_expression(const Expr& expr, Scope& scope) {
    const Value callee = evaluate(*expr.items[0], scope);
    const Arguments arguments = evaluate_arguments(*expr.arguments, scope);
    line_ = expr.line;
    return call(callee, arguments);
  }

  // The filters of an expression, or of a filter block, whose innermost has no operand: `body`.
  Value filter_chain(const Expr& expr, const Value& body, Scope& scope) {
    const Heap::Level level(heap_);
    const Expr* operand = expr.items[0].get();
    Value value = body;
    if (operand) {
      value = operand->kind == ExprKind::filter ? filter_chain(*operand, body, scope)
                                                : evaluate(*operand, scope);
    }
    const Arguments arguments = evaluate_arguments(*expr.arguments, scope);
    line_ = expr.line;
    heap_.step();
    return apply_filter(*this, expr.text.text, value, arguments);
  }

  Value test(const Expr& expr, Scope& scope) {
    const Value value = evaluate(*expr.items[0], scope);
    const Arguments arguments = evaluate_arguments(*expr.arguments, scope);
    line_ = expr.line;
    return make_bool(apply_test(*this, expr.text.text, value, arguments));
  }

  Value concat(const Expr& expr, Scope& scope) {
    std::string text;
    for (const ExprPtr& item : expr.items) {
      const Value value = evaluate(*item, scope);
      if (value.is(Kind::string)) {
        heap_.charge(value.string->text.size());
        text += value.string->text;
      } else {
        text += to_text(*this, value);
      }
    }
    return heap_.string(std::move(text));
  }

  Value comparison(const Expr& expr, Scope& scope) {
    Value left = evaluate(*expr.items[0], scope);
    for (size_t i = 0; i < expr.operators.size(); ++i) {
      const Value right = evaluate(*expr.items[i + 1], scope);
      line_ = expr.line;
      if (!holds(expr.operators[i], left, right)) return make_bool(false);
      left = right;
    }
    return make_bool(true);
  }

  bool holds(const std::string& op, const Value& a, const Value& b) {
    if (op == "==") return equal(heap_, a, b);
    if (op == "!=") return !equal(heap_, a, b);
    if (op == "in") return contains(*this, b, a);
    if (op == "not in") return !contains(*this, b, a);
    const int order = compare(heap_, a, b, op.c_str());
    if (order == 2) return false;  // a NaN
    if (op == "<") return order < 0;
    if (op == "<=") return order <= 0;
    return op == ">" ? order > 0 : order >= 0;
  }

  Value conditional(const Expr& expr, Scope& scope) {
    if (truthy(*this, evaluate(*expr.items[0], scope))) return evaluate(*expr.items[1], scope);
    if (expr.items[2]) return evaluate(*expr.items[2], scope);
    return heap_.undefined(cat("the inline if-expression on line ", expr.line,
                               " evaluated to false and no else section was defined."));
  }

  const Syntax& syntax_;
  const int64_t now_;
  Heap heap_;
  std::deque<Scope> scopes_;
  Scope* root_ = nullptr;
  Rendering result_;
  int line_ = 1;  // of what runs
};

// ---- macros ------------------------------------------------------------------------------------

// Positional arguments, then named ones, then defaults, as jinja's Macro.__call__ gives them out.
Value Interpreter::call_macro(const Stmt& stmt, Scope& defined_in, const Arguments& arguments) {
  const Signature& signature = stmt.signature;
  const std::string name = stmt.kind == StmtKind::macro ? stmt.text : "caller";
  const size_t parameters = signature.parameters.size();
  Scope& scope = new_scope(&defined_in);
  std::vector<std::pair<std::string, Value>> named = arguments.named;
  const auto take = [&](const std::string& key) -> std::optional<Value> {
    for (size_t i = 0; i < named.size(); ++i) {
      if (named[i].first != key) continue;
      const Value value = named[i].second;
      named.erase(named.begin() + static_cast<ptrdiff_t>(i));
      return value;
    }
    return std::nullopt;
  };
  std::vector<size_t> missing;
  for (size_t i = 0; i < parameters; ++i) {
    const auto& [id, parameter] = signature.parameters[i];
    if (i < arguments.positional.size()) {
      scope.set(id, arguments.positional[i]);
    } else if (const auto value = take(parameter)) {
      scope.set(id, *value);
    } else {
      missing.push_back(i);
    }
  }
  if (signature.uses_caller) {
    const auto caller = take("caller");
    scope.set(kNameCaller, caller ? *caller : heap_.undefined("No caller defined"));
  }
  if (signature.uses_kwargs) {
    const Value kwargs = heap_.dict({});
    for (const auto& [key, value] : named) {
      set_item(heap_, *kwargs.dict, heap_.string(key), value);
    }
    scope.set(kNameKwargs, kwargs);
  } else if (!named.empty()) {
    fail(named[0].first == "caller"
             ? cat("macro '", name, "' was called by a call block but does not use caller()")
             : cat("macro '", name, "' takes no keyword argument '", named[0].first, "'"));
  }
  if (signature.uses_varargs) {
    std::vector<Value> rest;
    for (size_t i = parameters; i < arguments.positional.size(); ++i) {
      rest.push_back(arguments.positional[i]);
    }
    scope.set(kNameVarargs, heap_.list(std::move(rest), Kind::tuple));
  } else if (arguments.positional.size() > parameters) {
    fail(cat("macro '", name, "' takes not more than ", parameters, " argument(s)"));
  }
  const size_t first_default = parameters - signature.defaults.size();
  for (const size_t i : missing) {
    const auto& [id, parameter] = signature.parameters[i];
    scope.set(id, i >= first_default ? evaluate(*signature.defaults[i - first_default], scope)
                                     : heap_.undefined(cat("parameter ", string_repr(parameter),
                                                           " was not provided")));
  }
  const int line = line_;
  std::string text;
  execute(stmt.body, scope, text);
  line_ = line;
  return heap_.string(std::move(text));
}

Value Macro::call(Runtime&, const Arguments& arguments) {
  return interpreter_.call_macro(stmt_, scope_, arguments);
}

std::optional<Value> Macro::attribute(Runtime& rt, std::string_view name) {
  if (name == "name") {
    return stmt_.kind == StmtKind::macro ? rt.heap().string(stmt_.text) : Value();
  }
  if (name == "arguments") {
    std::vector<Value> names;
    for (const auto& parameter : stmt_.signature.parameters) {
      names.push_back(rt.heap().string(parameter.second));
    }
    return rt.heap().list(std::move(names), Kind::tuple);
  }
  if (name == "catch_kwargs") return make_bool(stmt_.signature.uses_kwargs);
  if (name == "catch_varargs") return make_bool(stmt_.signature.uses_varargs);
  if (name == "caller") return make_bool(stmt_.signature.uses_caller);
  return std::nullopt;
}

// ---- loops -------------------------------------------------------------------------------------

std::optional<Value> Loop::attribute(Runtime& rt, std::string_view name) {
  const auto size = static_cast<int64_t>(items.size());
  const auto at = [&](int64_t i) { return items[static_cast<size_t>(i)]; };
  if (name == "index") return make_int(index + 1);
  if (name == "index0") return make_int(index);
  if (name == "revindex") return make_int(size - index);
  if (name == "revindex0") return make_int(size - index - 1);
  if (name == "first") return make_bool(index == 0);
  if (name == "last") return make_bool(index + 1 == size);
  if (name == "length") return make_int(size);
  if (name == "depth") return make_int(depth_ + 1);
  if (name == "depth0") return make_int(depth_);
  if (name == "previtem") {
    return index > 0 ? at(index - 1) : rt.heap().undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < size ? at(index + 1) : rt.heap().undefined("there is no next item");
  }
  if (name == "cycle") {
    return make_object(rt.heap().make<Function>("cycle", [this](Runtime&, const Arguments& a) {
      if (a.positional.empty()) fail("no items for cycling given");
      return a.positional[static_cast<size_t>(index) % a.positional.size()];
    }));
  }
  if (name == "changed") {
    return make_object(rt.heap().make<Function>("changed", [this](Runtime& r, const Arguments& a) {
      const Value now = r.heap().list(a.positional, Kind::tuple);
      const bool same = changed_ && equal(r.heap(), *changed_, now);
      changed_ = now;
      return make_bool(!same);
    }));
  }
  return std::nullopt;
}

Value Loop::call(Runtime&, const Arguments& arguments) {
  if (!stmt_.recursive) fail("The loop must have the 'recursive' marker to be called recursively.");
  if (arguments.positional.size() != 1) fail("loop() takes the items to go over");
  return interpreter_.run_recursive(stmt_, scope_, arguments.positional[0], depth_ + 1);
}

}  // namespace

Rendering render(const Syntax& syntax, const Json& variables, int64_t now) {
  return Interpreter(syntax, now).run(variables);
}

}  // namespace hone::jinja
