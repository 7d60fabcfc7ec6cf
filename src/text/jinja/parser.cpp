#include "text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>
#include <unordered_map>

#include "base/error.h"

namespace hone::jinja {
namespace {

// Bounds on nesting; Python, which jinja compiles to, stops at 200 parentheses and 100
// indentations.
constexpr int kMaxDepth = 200;      // of the tree of an expression
constexpr int kMaxRecursion = 600;  // of this parser, which takes three calls for a parenthesis

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {
    for (const char* name : {"loop", "caller", "kwargs", "varargs"}) id_of(name);
  }

  Syntax run() {
    syntax_.body = parse_body({});
    return std::move(syntax_);
  }

 private:
  // ---- tokens ----------------------------------------------------------------------------------

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& advance() {
    const Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }

  [[noreturn]] void fail(const std::string& message) const { fail_at(current().line, message); }
  [[noreturn]] static void fail_at(int line, const std::string& message) {
    throw SyntaxError{line, message};
  }

  static std::string described(const Token& token) {
    switch (token.kind) {
      case TokenKind::data:
        return "text";
      case TokenKind::block_begin:
        return "'{%'";
      case TokenKind::block_end:
        return "'%}'";
      case TokenKind::variable_begin:
        return "'{{'";
      case TokenKind::variable_end:
        return "'}}'";
      case TokenKind::string:
        return "a string";
      case TokenKind::end:
        return "the end of the template";
      default:
        return "'" + token.text + "'";
    }
  }

  bool is_op(std::string_view op) const {
    return current().kind == TokenKind::op && current().text == op;
  }
  bool is_name(std::string_view name) const {
    return current().kind == TokenKind::name && current().text == name;
  }
  bool skip_op(std::string_view op) {
    if (!is_op(op)) return false;
    advance();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!is_name(name)) return false;
    advance();
    return true;
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) fail(cat("expected '", op, "', found ", described(current())));
  }
  void expect(TokenKind kind, const char* what) {
    if (current().kind != kind) fail(cat("expected ", what, ", found ", described(current())));
    advance();
  }
  std::string expect_name() {
    if (current().kind != TokenKind::name)
      fail(cat("expected a name, found ", described(current())));
    return advance().text;
  }

  int id_of(const std::string& name) {
    const auto [found, added] = ids_.emplace(name, static_cast<int>(syntax_.names.size()));
    if (added) syntax_.names.push_back(name);
    return found->second;
  }

  // ---- nesting ---------------------------------------------------------------------------------

  class Nesting {
   public:
    explicit Nesting(Parser& parser) : parser_(parser) {
      if (++parser_.nesting_ > kMaxRecursion) parser_.fail("the template nests too deep");
    }
    ~Nesting() { --parser_.nesting_; }

   private:
    Parser& parser_;
  };

  ExprPtr node(ExprKind kind, int line, std::vector<ExprPtr> items = {}, std::string text = "") {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->line = line;
    expr->items = std::move(items);
    expr->text.text = std::move(text);
    for (const ExprPtr& item : expr->items) deepen(*expr, item.get());
    return expr;
  }

  // Chains such as a + b + c grow to the left without recursion here, but are walked recursively.
  static void deepen(Expr& expr, const Expr* child) {
    if (!child) return;
    expr.depth = std::max(expr.depth, child->depth + 1);
    if (expr.depth > kMaxDepth) fail_at(expr.line, "an expression nests too deep");
  }

  template <class... Items>
  static std::vector<ExprPtr> list(Items&&... items) {
    std::vector<ExprPtr> out;
    (out.push_back(std::move(items)), ...);
    return out;
  }

  // ---- names that a macro's body asks for ------------------------------------------------------

  struct MacroFrame {
    bool uses[kReservedNames] = {};
    bool stored[kReservedNames] = {};
  };

  void note_load(int id) {
    if (id >= kReservedNames) return;
    for (MacroFrame& frame : macros_) frame.uses[id] |= !frame.stored[id];
  }
  void note_store(int id) {
    if (id >= kReservedNames) return;
    for (MacroFrame& frame : macros_) frame.stored[id] = true;
  }

  // ---- statements ------------------------------------------------------------------------------

  static std::unique_ptr<Stmt> statement(StmtKind kind, int line) {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = line;
    return stmt;
  }

  // Up to the block that begins with one of `ends`, whose name is then the current token; up to
  // the end of the template if there are none.
  Body parse_body(std::initializer_list<std::string_view> ends) {
    const Nesting nesting(*this);
    Body body;
    while (true) {
      const Token& token = current();
      switch (token.kind) {
        case TokenKind::data: {
          auto stmt = statement(StmtKind::data, token.line);
          stmt->text = token.text;
          body.push_back(std::move(stmt));
          advance();
          break;
        }
        case TokenKind::variable_begin: {
          advance();
          auto stmt = statement(StmtKind::output, token.line);
          stmt->expr = parse_tuple();
          expect(TokenKind::variable_end, "'}}'");
          body.push_back(std::move(stmt));
          break;
        }
        case TokenKind::block_begin:
          advance();
          for (const std::string_view end : ends) {
            if (is_name(end)) return body;
          }
          parse_statement(body, ends);
          expect(TokenKind::block_end, "'%}'");
          break;
        default:
          if (ends.size() == 0) return body;
          fail(cat("the template ends where '", *(ends.end() - 1), "' was expected"));
      }
    }
  }

  // The body of a block and its end tag up to, not with, the "%}".
  Body parse_block_body(std::string_view end) {
    open_block();
    Body body = parse_body({end});
    advance();
    return body;
  }

  void open_block() {
    skip_op(":");
    expect(TokenKind::block_end, "'%}'");
  }

  // As `parse_block_body`, for a body that jinja makes a function: no loop goes through it.
  Body parse_function_body(std::string_view end, Signature* signature) {
    const int loops = std::exchange(loops_, 0);
    macros_.emplace_back();
    Body body = parse_block_body(end);
    if (signature) {
      signature->uses_caller = macros_.back().uses[kNameCaller];
      signature->uses_kwargs = macros_.back().uses[kNameKwargs];
      signature->uses_varargs = macros_.back().uses[kNameVarargs];
      for (const auto& [id, name] : signature->parameters) {
        if (id == kNameCaller && signature->uses_caller) signature->uses_caller = false;
        if (id == kNameKwargs) signature->uses_kwargs = false;
        if (id == kNameVarargs) signature->uses_varargs = false;
      }
    }
    macros_.pop_back();
    loops_ = loops;
    return body;
  }

  void parse_statement(Body& body, std::initializer_list<std::string_view> ends) {
    const int line = current().line;
    if (current().kind != TokenKind::name)
      fail(cat("expected a tag, found ", described(current())));
    const std::string tag = advance().text;
    if (tag == "if") return body.push_back(parse_if(line));
    if (tag == "for") return body.push_back(parse_for(line));
    if (tag == "set") return body.push_back(parse_set(line));
    if (tag == "print") return parse_print(body, line);
    if (tag == "with") return body.push_back(parse_with(line));
    if (tag == "macro") {
      auto stmt = statement(StmtKind::macro, line);
      stmt->text = expect_name();
      stmt->id = id_of(stmt->text);
      note_store(stmt->id);
      parse_signature(stmt->signature);
      stmt->body = parse_function_body("endmacro", &stmt->signature);
      return body.push_back(std::move(stmt));
    }
    if (tag == "call") {
      auto stmt = statement(StmtKind::call_block, line);
      if (is_op("(")) parse_signature(stmt->signature);
      stmt->expr = parse_expression();
      if (stmt->expr->kind != ExprKind::call) fail_at(line, "expected a call");
      stmt->body = parse_function_body("endcall", &stmt->signature);
      return body.push_back(std::move(stmt));
    }
    if (tag == "filter") {
      auto stmt = statement(StmtKind::filter_block, line);
      stmt->expr = parse_filters(nullptr, true);
      stmt->body = parse_block_body("endfilter");
      return body.push_back(std::move(stmt));
    }
    if (tag == "generation") {
      auto stmt = statement(StmtKind::generation, line);
      stmt->body = parse_function_body("endgeneration", nullptr);
      return body.push_back(std::move(stmt));
    }
    if (tag == "block") {
      auto stmt = statement(StmtKind::block, line);
      stmt->text = expect_name();
      stmt->recursive = skip_name("scoped");
      skip_name("required");
      stmt->body = parse_function_body("endblock", nullptr);
      skip_name(stmt->text);
      return body.push_back(std::move(stmt));
    }
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail_at(line, cat("'", tag, "' outside of a loop"));
      return body.push_back(
          statement(tag == "break" ? StmtKind::break_ : StmtKind::continue_, line));
    }
    if (tag == "include" || tag == "import" || tag == "from" || tag == "extends") {
      auto stmt = statement(StmtKind::unavailable, line);
      stmt->text = tag;
      while (current().kind != TokenKind::block_end && current().kind != TokenKind::end) advance();
      return body.push_back(std::move(stmt));
    }
    std::string message = cat("unknown tag '", tag, "'");
    if (ends.size() > 0) message += cat("; the open block ends with '", *(ends.end() - 1), "'");
    fail_at(line, message);
  }

  std::unique_ptr<Stmt> parse_if(int line) {
    auto stmt = statement(StmtKind::if_, line);
    Stmt* branch = stmt.get();
    // Every elif is an if in the else before it; the chain is kept flat by moving along it.
    int links = 0;
    while (true) {
      branch->expr = parse_tuple(false);
      open_block();
      branch->body = parse_body({"elif", "else", "endif"});
      const Token end = advance();
      if (end.text == "endif") return stmt;
      if (end.text == "else") {
        open_block();
        branch->otherwise = parse_body({"endif"});
        advance();
        return stmt;
      }
      if (++links > kMaxDepth) fail_at(end.line, "too many 'elif' in one 'if'");
      branch->otherwise.push_back(statement(StmtKind::if_, end.line));
      branch = branch->otherwise.back().get();
    }
  }

  std::unique_ptr<Stmt> parse_for(int line) {
    auto stmt = statement(StmtKind::for_, line);
    stmt->target = parse_target(false, "in");
    if (!skip_name("in")) fail(cat("expected 'in', found ", described(current())));
    stmt->expr = parse_tuple(false, "recursive");
    if (skip_name("if")) stmt->condition = parse_expression();
    stmt->recursive = skip_name("recursive");
    open_block();
    ++loops_;
    stmt->body = parse_body({"else", "endfor"});
    --loops_;
    if (advance().text == "else") {
      open_block();
      stmt->otherwise = parse_body({"endfor"});
      advance();
    }
    return stmt;
  }

  std::unique_ptr<Stmt> parse_set(int line) {
    auto stmt = statement(StmtKind::set, line);
    stmt->target = parse_target(true, "");
    if (skip_op("=")) {
      stmt->expr = parse_tuple();
      return stmt;
    }
    stmt->kind = StmtKind::set_block;
    stmt->expr = parse_filters(nullptr, false);
    stmt->body = parse_block_body("endset");
    return stmt;
  }

  void parse_print(Body& body, int line) {
    bool first = true;
    while (current().kind != TokenKind::block_end) {
      if (!first) expect_op(",");
      first = false;
      auto stmt = statement(StmtKind::output, line);
      stmt->expr = parse_expression();
      body.push_back(std::move(stmt));
    }
  }

  std::unique_ptr<Stmt> parse_with(int line) {
    auto stmt = statement(StmtKind::with, line);
    while (current().kind != TokenKind::block_end) {
      if (!stmt->targets.empty()) expect_op(",");
      stmt->targets.push_back(parse_target(false, ""));
      expect_op("=");
      stmt->values.push_back(parse_expression());
    }
    stmt->body = parse_block_body("endwith");
    return stmt;
  }

  void parse_signature(Signature& signature) {
    expect_op("(");
    while (!is_op(")")) {
      if (!signature.parameters.empty()) expect_op(",");
      const std::string name = expect_name();
      for (const auto& [id, known] : signature.parameters) {
        if (known == name) fail(cat("the parameter '", name, "' is there twice"));
      }
      signature.parameters.emplace_back(id_of(name), name);
      if (skip_op("=")) {
        signature.defaults.push_back(parse_expression());
      } else if (!signature.defaults.empty()) {
        fail("a parameter without a default follows one with a default");
      }
    }
    advance();
  }

  ExprPtr parse_target(bool namespaces, std::string_view end) {
    const int line = current().line;
    ExprPtr target = parse_tuple_of([&] { return parse_primary(namespaces); }, false, end);
    check_target(*target, line);
    return target;
  }

  void check_target(const Expr& target, int line) {
    if (target.kind == ExprKind::tuple) {
      for (const ExprPtr& item : target.items) check_target(*item, line);
    } else if (target.kind == ExprKind::name) {
      note_store(target.id);
    } else if (target.kind != ExprKind::namespace_attribute) {
      fail_at(line, "only names, tuples of them and attributes of namespaces can be assigned to");
    }
  }

  // ---- expressions -----------------------------------------------------------------------------

  bool at_tuple_end(std::string_view end) const {
    return current().kind == TokenKind::variable_end || current().kind == TokenKind::block_end ||
           is_op(")") || (!end.empty() && is_name(end));
  }

  template <class Parse>
  ExprPtr parse_tuple_of(const Parse& parse, bool parentheses, std::string_view end) {
    const int line = current().line;
    std::vector<ExprPtr> items;
    bool tuple = false;
    while (true) {
      if (!items.empty()) expect_op(",");
      if (at_tuple_end(end)) break;
      items.push_back(parse());
      if (!is_op(",")) break;
      tuple = true;
    }
    if (!tuple && !items.empty()) return std::move(items[0]);
    if (!tuple && !parentheses) fail(cat("expected an expression, found ", described(current())));
    return node(ExprKind::tuple, line, std::move(items));
  }

  ExprPtr parse_tuple(bool conditionals = true, std::string_view end = "") {
    return parse_tuple_of([&] { return parse_expression(conditionals); }, false, end);
  }

  ExprPtr parse_expression(bool conditionals = true) {
    const Nesting nesting(*this);
    ExprPtr expr = parse_or();
    while (conditionals && is_name("if")) {
      const int line = advance().line;
      ExprPtr condition = parse_or();
      ExprPtr otherwise;
      if (skip_name("else")) otherwise = parse_expression();
      expr = node(ExprKind::conditional, line,
                  list(std::move(condition), std::move(expr), std::move(otherwise)));
    }
    return expr;
  }

  ExprPtr parse_or() {
    ExprPtr left = parse_and();
    while (is_name("or")) {
      const int line = advance().line;
      left = node(ExprKind::logical_or, line, list(std::move(left), parse_and()));
    }
    return left;
  }

  ExprPtr parse_and() {
    ExprPtr left = parse_not();
    while (is_name("and")) {
      const int line = advance().line;
      left = node(ExprKind::logical_and, line, list(std::move(left), parse_not()));
    }
    return left;
  }

  ExprPtr parse_not() {
    if (!is_name("not")) return parse_compare();
    const Nesting nesting(*this);
    const int line = advance().line;
    return node(ExprKind::logical_not, line, list(parse_not()));
  }

  ExprPtr parse_compare() {
    const int line = current().line;
    ExprPtr left = parse_sum();
    std::vector<ExprPtr> items;
    std::vector<std::string> operators;
    while (true) {
      std::string op;
      if (current().kind == TokenKind::op) {
        for (const char* known : {"==", "!=", "<", "<=", ">", ">="}) {
          if (current().text == known) op = known;
        }
      } else if (is_name("in")) {
        op = "in";
      } else if (is_name("not") && ahead().kind == TokenKind::name && ahead().text == "in") {
        advance();
        op = "not in";
      }
      if (op.empty()) break;
      advance();
      if (items.empty()) items.push_back(std::move(left));
      operators.push_back(op);
      items.push_back(parse_sum());
    }
    if (items.empty()) return left;
    ExprPtr expr = node(ExprKind::compare, line, std::move(items));
    expr->operators = std::move(operators);
    return expr;
  }

  ExprPtr binary(ExprPtr left, const Token& op, ExprPtr right) {
    return node(ExprKind::binary, op.line, list(std::move(left), std::move(right)), op.text);
  }

  ExprPtr parse_sum() {
    ExprPtr left = parse_concat();
    while (is_op("+") || is_op("-")) {
      const Token& op = advance();
      left = binary(std::move(left), op, parse_concat());
    }
    return left;
  }

  ExprPtr parse_concat() {
    const int line = current().line;
    ExprPtr first = parse_product();
    if (!is_op("~")) return first;
    std::vector<ExprPtr> items = list(std::move(first));
    while (skip_op("~")) items.push_back(parse_product());
    return node(ExprKind::concat, line, std::move(items));
  }

  ExprPtr parse_product() {
    ExprPtr left = parse_power();
    while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
      const Token& op = advance();
      left = binary(std::move(left), op, parse_power());
    }
    return left;
  }

  ExprPtr parse_power() {
    ExprPtr left = parse_unary(true);
    while (is_op("**")) {
      const Token& op = advance();
      left = binary(std::move(left), op, parse_unary(true));
    }
    return left;
  }

  ExprPtr parse_unary(bool filters) {
    const Nesting nesting(*this);
    ExprPtr expr;
    if (is_op("-") || is_op("+")) {
      const Token& sign = advance();
      expr = node(sign.text == "-" ? ExprKind::negative : ExprKind::positive, sign.line,
                  list(parse_unary(false)));
    } else {
      expr = parse_primary(false);
    }
    expr = parse_postfix(std::move(expr));
    return filters ? parse_filter_chain(std::move(expr)) : std::move(expr);
  }

  ExprPtr constant(int line, Value value) {
    ExprPtr expr = node(ExprKind::constant, line);
    expr->constant = value;
    return expr;
  }

  ExprPtr string_constant(int line, std::string text) {
    ExprPtr expr = node(ExprKind::constant, line, {}, std::move(text));
    set_string(*expr);
    return expr;
  }

  static void set_string(Expr& expr) {
    expr.text.length = static_cast<int64_t>(
        std::count_if(expr.text.text.begin(), expr.text.text.end(),
                      [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
    expr.constant.kind = Kind::string;
    expr.constant.string = &expr.text;
  }

  ExprPtr parse_primary(bool namespaces) {
    const Nesting nesting(*this);
    const Token& token = current();
    switch (token.kind) {
      case TokenKind::name: {
        advance();
        const std::string& name = token.text;
        if (name == "true" || name == "True") return constant(token.line, make_bool(true));
        if (name == "false" || name == "False") return constant(token.line, make_bool(false));
        if (name == "none" || name == "None") return constant(token.line, Value());
        ExprPtr expr = node(ExprKind::name, token.line);
        expr->id = id_of(name);
        if (namespaces && skip_op(".")) {
          expr->kind = ExprKind::namespace_attribute;
          expr->text.text = expect_name();
        } else {
          note_load(expr->id);
        }
        return expr;
      }
      case TokenKind::string: {
        std::string text;
        while (current().kind == TokenKind::string) text += advance().text;
        return string_constant(token.line, std::move(text));
      }
      case TokenKind::integer:
        advance();
        return constant(token.line, make_int(token.integer));
      case TokenKind::real:
        advance();
        return constant(token.line, make_real(token.real));
      default:
        break;
    }
    if (skip_op("(")) {
      ExprPtr expr = parse_tuple_of([&] { return parse_expression(); }, true, "");
      expect_op(")");
      return expr;
    }
    if (is_op("[")) return parse_list();
    if (is_op("{")) return parse_dict();
    fail(cat("unexpected ", described(token)));
  }

  ExprPtr parse_list() {
    const int line = advance().line;
    std::vector<ExprPtr> items;
    while (!is_op("]")) {
      if (!items.empty()) expect_op(",");
      if (is_op("]")) break;
      items.push_back(parse_expression());
    }
    advance();
    return node(ExprKind::list, line, std::move(items));
  }

  ExprPtr parse_dict() {
    const int line = advance().line;
    std::vector<ExprPtr> items;
    while (!is_op("}")) {
      if (!items.empty()) expect_op(",");
      if (is_op("}")) break;
      items.push_back(parse_expression());
      expect_op(":");
      items.push_back(parse_expression());
    }
    advance();
    return node(ExprKind::dict, line, std::move(items));
  }

  ExprPtr parse_postfix(ExprPtr expr) {
    while (true) {
      if (is_op(".")) {
        const int line = advance().line;
        if (current().kind == TokenKind::name) {
          expr = node(ExprKind::attribute, line, list(std::move(expr)), advance().text);
          set_string(*expr);
        } else if (current().kind == TokenKind::integer) {
          ExprPtr index = constant(line, make_int(advance().integer));
          expr = node(ExprKind::subscript, line, list(std::move(expr), std::move(index)));
        } else {
          fail(cat("expected a name or a number after '.', found ", described(current())));
        }
      } else if (is_op("[")) {
        expr = parse_subscript(std::move(expr));
      } else if (is_op("(")) {
        expr = parse_call(std::move(expr));
      } else {
        return expr;
      }
    }
  }

  ExprPtr parse_subscript(ExprPtr expr) {
    const int line = advance().line;
    std::vector<ExprPtr> items;
    while (!is_op("]")) {
      if (!items.empty()) expect_op(",");
      items.push_back(parse_subscripted());
    }
    advance();
    if (items.empty()) fail_at(line, "expected a subscript");
    ExprPtr index =
        items.size() == 1 ? std::move(items[0]) : node(ExprKind::tuple, line, std::move(items));
    return node(ExprKind::subscript, line, list(std::move(expr), std::move(index)));
  }

  ExprPtr parse_subscripted() {
    const int line = current().line;
    ExprPtr start, stop, step;
    if (!is_op(":")) {
      start = parse_expression();
      if (!is_op(":")) return start;
    }
    advance();
    const auto ends = [&] { return is_op(":") || is_op("]") || is_op(","); };
    if (!ends()) stop = parse_expression();
    if (skip_op(":") && !ends()) step = parse_expression();
    return node(ExprKind::slice, line, list(std::move(start), std::move(stop), std::move(step)));
  }

  std::unique_ptr<CallArguments> parse_arguments() {
    auto arguments = std::make_unique<CallArguments>();
    const int line = current().line;
    expect_op("(");
    const auto ensure = [&](bool right) {
      if (!right) fail_at(line, "the arguments of a call are in a wrong order");
    };
    bool first = true;
    while (!is_op(")")) {
      if (!first) {
        expect_op(",");
        if (is_op(")")) break;
      }
      first = false;
      if (is_op("*")) {
        ensure(!arguments->list && !arguments->dict);
        advance();
        arguments->list = parse_expression();
      } else if (is_op("**")) {
        ensure(!arguments->dict);
        advance();
        arguments->dict = parse_expression();
      } else if (current().kind == TokenKind::name && ahead().kind == TokenKind::op &&
                 ahead().text == "=") {
        ensure(!arguments->dict);
        const std::string name = advance().text;
        advance();
        for (const auto& [known, value] : arguments->named) {
          if (known == name) fail_at(line, cat("the argument '", name, "' is there twice"));
        }
        arguments->named.emplace_back(name, parse_expression());
      } else {
        ensure(!arguments->list && !arguments->dict && arguments->named.empty());
        arguments->positional.push_back(parse_expression());
      }
    }
    advance();
    return arguments;
  }

  void attach(Expr& expr, std::unique_ptr<CallArguments> arguments) {
    for (const ExprPtr& item : arguments->positional) deepen(expr, item.get());
    for (const auto& [name, item] : arguments->named) deepen(expr, item.get());
    deepen(expr, arguments->list.get());
    deepen(expr, arguments->dict.get());
    expr.arguments = std::move(arguments);
  }

  ExprPtr parse_call(ExprPtr callee) {
    ExprPtr expr = node(ExprKind::call, current().line, list(std::move(callee)));
    attach(*expr, parse_arguments());
    return expr;
  }

  ExprPtr parse_filter_chain(ExprPtr expr) {
    while (true) {
      if (is_op("|")) {
        expr = parse_filters(std::move(expr), false);
      } else if (is_name("is")) {
        expr = parse_test(std::move(expr));
      } else if (is_op("(")) {
        expr = parse_call(std::move(expr));
      } else {
        return expr;
      }
    }
  }

  std::string dotted_name() {
    std::string name = expect_name();
    while (skip_op(".")) name += "." + expect_name();
    return name;
  }

  ExprPtr parse_filters(ExprPtr expr, bool inline_start) {
    while (is_op("|") || inline_start) {
      if (!inline_start) advance();
      inline_start = false;
      const int line = current().line;
      std::string name = dotted_name();
      expr = node(ExprKind::filter, line, list(std::move(expr)), std::move(name));
      attach(*expr, is_op("(") ? parse_arguments() : std::make_unique<CallArguments>());
    }
    return expr;
  }

  ExprPtr parse_test(ExprPtr expr) {
    const int line = advance().line;
    const bool negated = skip_name("not");
    std::string name = dotted_name();
    auto arguments = std::make_unique<CallArguments>();
    const TokenKind kind = current().kind;
    if (is_op("(")) {
      arguments = parse_arguments();
    } else if ((kind == TokenKind::name && !is_name("else") && !is_name("or") && !is_name("and")) ||
               kind == TokenKind::string || kind == TokenKind::integer || kind == TokenKind::real ||
               is_op("[") || is_op("{")) {
      if (is_name("is")) fail("tests with 'is' cannot be chained");
      arguments->positional.push_back(parse_postfix(parse_primary(false)));
    }
    ExprPtr test = node(ExprKind::test, line, list(std::move(expr)), std::move(name));
    attach(*test, std::move(arguments));
    return negated ? node(ExprKind::logical_not, line, list(std::move(test))) : std::move(test);
  }

  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int nesting_ = 0;
  int loops_ = 0;  // open around the current place, within one function body
  std::vector<MacroFrame> macros_;
  std::unordered_map<std::string, int> ids_;
  Syntax syntax_;
};

}  // namespace

Syntax parse(std::string_view source) { return Parser(source).run(); }

}  // namespace hone::jinja
