// The syntax tree of a template.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace hone::jinja {

// Operands are in `items` unless said otherwise.
enum class ExprKind {
  constant,  // `constant`, whose text is `text`
  name,      // `id`
  tuple,
  list,
  dict,       // key, value, key, value, ...
  attribute,  // items[0] . text
  subscript,  // items[0] [ items[1] ]
  slice,      // start, stop, step; each may be null; only as a subscript
  call,       // items[0] ( arguments )
  filter,     // items[0] | text ( arguments ); items[0] is null in filter blocks
  test,       // items[0] is text ( arguments )
  logical_and,
  logical_or,
  logical_not,
  negative,
  positive,
  binary,  // items[0] text items[1]
  concat,
  compare,              // items[0] operators[0] items[1] operators[1] ...
  conditional,          // condition, then, else; the last may be null
  namespace_attribute,  // id . text, only as the target of an assignment
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr list, dict;  // *list, **dict
};

struct Expr {
  ExprKind kind;
  int line = 0;
  int depth = 1;
  int id = -1;
  String text;
  Value constant;
  std::vector<ExprPtr> items;
  std::vector<std::string> operators;
  std::unique_ptr<CallArguments> arguments;
};

enum class StmtKind {
  data,        // text
  output,      // expr
  set,         // target = expr
  set_block,   // target, body, through the filters of expr if there are any
  if_,         // expr, body, otherwise
  for_,        // target in expr if condition
  with,        // targets[i] = values[i]
  macro,       // id, signature, body
  call_block,  // expr is the call, signature and body make the caller
  filter_block,
  generation,
  block,  // text is the name; `scoped` is in recursive
  break_,
  continue_,
  unavailable,  // include, import, extends: text is the tag
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

struct Signature {
  std::vector<std::pair<int, std::string>> parameters;  // id and name
  std::vector<ExprPtr> defaults;                        // of the last parameters
  // Whether the body asks for what the call gave beside the parameters.
  bool uses_caller = false, uses_kwargs = false, uses_varargs = false;
};

struct Stmt {
  StmtKind kind;
  int line = 0;
  int id = -1;
  std::string text;
  ExprPtr target, expr, condition;
  bool recursive = false;
  std::vector<ExprPtr> targets, values;
  Signature signature;
  Body body, otherwise;
};

// A parsed template. Names are numbered; `names[id]` gives them back.
struct Syntax {
  Body body;
  std::vector<std::string> names;
};

}  // namespace hone::jinja
