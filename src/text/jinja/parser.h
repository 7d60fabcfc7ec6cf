#pragma once

#include <string_view>

#include "text/jinja/lexer.h"
#include "text/jinja/syntax.h"

namespace hone::jinja {

// The ids of names that the interpreter itself gives values to.
enum ReservedName { kNameLoop, kNameCaller, kNameKwargs, kNameVarargs, kReservedNames };

// Throws SyntaxError. The nesting of statements and expressions is bounded.
Syntax parse(std::string_view source);

}  // namespace hone::jinja
