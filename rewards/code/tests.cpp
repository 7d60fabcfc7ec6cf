#include "rewards/code/tests.h"

#include <algorithm>

#include "base/error.h"
#include "rewards/code/literal.h"
#include "rewards/code/solution.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

// Where tests stand in a row: hone's own name, then those of public data sets.
constexpr const char* kFields[] = {"tests",        "test_cases",        "in_outs",
                                   "input_output", "verification_info", "reward_model",
                                   "ground_truth"};

[[noreturn]] void bad(const std::string& what) { throw BadTests(what); }

std::string shown(const Json& value) {
  if (value.is_string())
    return cat("the text '", clipped(value.get_ref<const std::string&>()), "'");
  if (tag_of(value) == 'd') return "a dict";
  if (value.is_array() || tag_of(value) == 't') return "a list";
  return clipped(to_line(tag_of(value) != 0 ? untagged(value) : value));
}

bool is_list(const Json& value) { return value.is_array() || tag_of(value) == 't'; }
const Json& items_of(const Json& value) { return value.is_array() ? value : untagged(value); }

// A text, or none where there is no entry, null or an empty one.
std::string text_entry(const Json& dict, const char* key) {
  const Json* entry = dict_entry(dict, key);
  if (entry == nullptr || entry->is_null()) return "";
  if (!entry->is_string()) bad(cat(key, ": expected a text, found ", shown(*entry)));
  return entry->get<std::string>();
}

const Json& list_entry(const Json& dict, const char* key) {
  const Json* entry = dict_entry(dict, key);
  if (entry == nullptr) bad(cat("expected a list '", key, "', found none"));
  if (!is_list(*entry)) bad(cat(key, ": expected a list, found ", shown(*entry)));
  return items_of(*entry);
}

bool blank(std::string_view text) { return trimmed(text).empty(); }

// A name, or names joined by dots: what may be called without being evaluated.
bool is_name(std::string_view text) {
  bool start = true;
  for (char c : text) {
    const bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    const bool name_char = letter || c == '_' || (c & 0x80) != 0;
    if (c == '.' ? start : !(name_char || (!start && c >= '0' && c <= '9'))) return false;
    start = c == '.';
  }
  return !start;
}

std::string function_name(std::string name, const char* where) {
  if (!is_name(name)) bad(cat(where, ": expected a function's name, found '", clipped(name), "'"));
  return name;
}

Json parsed(const std::string& text, const std::string& where) {
  try {
    return read_literal(text);
  } catch (const LiteralError& error) {
    bad(cat(where, ": neither JSON nor a Python literal, ", error.what()));
  }
}

constexpr const char* kNoFunction = " (tests of a function name it in fn_name)";

// Standard input or output: a text or a list of lines. null is an empty input.
std::string stream_text(const Json& value, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  std::string text;
  if (!is_list(value)) {
    bad(cat(where, ": expected a text or a list of lines, found ", shown(value), kNoFunction));
  }
  for (const Json& line : items_of(value)) {
    if (!line.is_string()) {
      bad(cat(where, ": expected a line of text, found ", shown(line), kNoFunction));
    }
    text += (text.empty() ? "" : "\n") + line.get<std::string>();
  }
  return text;
}

void add_stdio(CodeTests& tests, const Json& input, const Json& output, const std::string& at) {
  tests.inputs.push_back(input.is_null() ? "" : stream_text(input, cat("input", at)));
  tests.outputs.push_back(stream_text(output, cat("output", at)));
}

// JSON has only text keys. A dict argument whose keys are all whole numbers had numbers for keys:
// what the graders of APPS and LiveCodeBench assume too.
Json with_integer_keys(Json argument) {
  if (tag_of(argument) != 'd' || untagged(argument).empty()) return argument;
  Json pairs = untagged(argument);
  for (Json& pair : pairs) {
    if (!pair[0].is_string()) return argument;
    const std::string& key = pair[0].get_ref<const std::string&>();
    const std::string_view digits = std::string_view(key).substr(key.starts_with('-'));
    if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos ||
        (digits[0] == '0' && key != "0")) {
      return argument;
    }
    pair[0] = tagged_integer(key);
  }
  argument["d"] = std::move(pairs);
  return argument;
}

// A list is the arguments, a text one JSON value a line. An output is a value, and as text beside
// an input of text it is that value's JSON.
void add_call(CodeTests& tests, const Json& input, const Json& output, const std::string& at) {
  Json arguments = Json::array();
  if (input.is_string()) {
    std::string_view rest = input.get_ref<const std::string&>();
    while (!rest.empty()) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      const std::string line(rest.substr(0, end));
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (!blank(line)) arguments.push_back(parsed(line, cat("input", at)));
    }
  } else if (is_list(input)) {
    arguments = items_of(input);
  } else {
    bad(cat("input", at,
            ": expected a list of arguments or a text of one JSON value a line, found ",
            shown(input)));
  }
  for (Json& argument : arguments) argument = with_integer_keys(std::move(argument));
  tests.arguments.push_back(std::move(arguments));
  const bool spelled = input.is_string() && output.is_string();
  tests.expected.push_back(spelled ? parsed(output.get_ref<const std::string&>(), cat("output", at))
                                   : output);
}

// Only where all of a row's outputs are lists of one value are they wrapped, as in APPS; graders
// that let the first item of any list pass pay for part of an answer.
void note_wrapping(CodeTests& tests, const Json& outputs) {
  tests.wrapped = std::all_of(outputs.begin(), outputs.end(), [](const Json& output) {
    return output.is_array() && output.size() == 1;
  });
}

CodeTests read_pairs(const Json& dict) {
  CodeTests tests;
  tests.function = text_entry(dict, "fn_name");
  const Json &inputs = list_entry(dict, "inputs"), &outputs = list_entry(dict, "outputs");
  if (inputs.size() > outputs.size()) {
    bad(cat(inputs.size(), " inputs but ", outputs.size(), " outputs"));
  }
  // Rows of public data sets with outputs too many are right in their first ones: nothing of what
  // the solution can be asked is left unchecked.
  if (inputs.size() < outputs.size()) {
    tests.warning = cat(outputs.size(), " outputs for ", inputs.size(), " inputs: the last unused");
  }
  const bool call = !tests.function.empty();
  for (size_t i = 0; i < inputs.size(); ++i) {
    (call ? add_call : add_stdio)(tests, inputs[i], outputs[i], cat("s[", i, "]"));
  }
  if (call) {
    tests.kind = CodeTests::Kind::call;
    function_name(tests.function, "fn_name");
    note_wrapping(tests, outputs);
  }
  return tests;
}

std::string case_function(const Json& test, const Json& row, const std::string& at) {
  std::string name = text_entry(test, "fn_name");
  for (const Json* holder : {&test, &row}) {
    const Json* metadata = dict_entry(*holder, "metadata");
    if (!name.empty() || metadata == nullptr) continue;
    const Json dict = metadata->is_string() && !blank(metadata->get_ref<const std::string&>())
                          ? parsed(metadata->get_ref<const std::string&>(), "metadata")
                          : *metadata;
    name = text_entry(dict, "func_name");
  }
  if (name.empty()) bad(cat(at, ": a functional test without metadata.func_name"));
  return function_name(name, "func_name");
}

// A list of {input, output, testtype, metadata}.
CodeTests read_cases(const Json& list, const Json& row) {
  CodeTests tests;
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string at = cat("[", i, "]");
    const Json &test = list[i], *input = dict_entry(test, "input"),
               *output = dict_entry(test, "output");
    if (input == nullptr || output == nullptr) {
      bad(cat("test", at, ": expected {input, output}, found ", shown(test)));
    }
    const char* key = dict_entry(test, "testtype") != nullptr ? "testtype" : "type";
    const std::string type = text_entry(test, key);
    const bool call = type == "functional" || type == "function_call";
    if (!call && !type.empty() && type != "stdin" && type != "stdin_stdout") {
      bad(cat("test", at, ": expected ", key, " stdin or functional, found '", clipped(type), "'"));
    }
    const auto kind = call ? CodeTests::Kind::call : CodeTests::Kind::stdio;
    const std::string function = call ? case_function(test, row, "test" + at) : "";
    if (i > 0 && (tests.kind != kind || tests.function != function)) {
      bad(cat("test", at, ": not of the kind and the function of the tests before it"));
    }
    tests.kind = kind;
    tests.function = function;
    (call ? add_call : add_stdio)(tests, *input, *output, at);
  }
  return tests;
}

CodeTests read_asserts(const Json& list) {
  CodeTests tests;
  tests.kind = CodeTests::Kind::asserts;
  for (const Json& statement : list) {
    if (!statement.is_string() || blank(statement.get_ref<const std::string&>())) {
      bad(cat("test[", tests.asserts.size(), "]: expected a statement, found ", shown(statement)));
    }
    tests.asserts.push_back(statement.get<std::string>());
  }
  return tests;
}

// MBPP: a text in the first form of the data set, a list of imports in the sanitized one.
std::string setup_code(const Json& dict) {
  std::string setup = text_entry(dict, "test_setup_code");
  if (const Json* imports = dict_entry(dict, "test_imports"); imports && is_list(*imports)) {
    for (const Json& line : items_of(*imports)) setup += stream_text(line, "test_imports") + "\n";
  }
  return setup;
}

CodeTests read_check(const Json& dict, const Json& row, const char* key) {
  CodeTests tests;
  tests.kind = CodeTests::Kind::check;
  tests.check = text_entry(dict, key);
  if (blank(tests.check)) bad(cat(key, ": expected code, found none"));
  std::string entry = text_entry(dict, "entry_point");
  if (entry.empty()) entry = text_entry(row, "entry_point");
  if (entry.empty()) bad(cat("a ", key, " without an entry_point"));
  tests.function = function_name(entry, "entry_point");
  const Json* prompt = dict_entry(row, "prompt");
  if (prompt != nullptr && prompt->is_string()) {
    tests.setup = code_before(prompt->get_ref<const std::string&>(), tests.function);
  }
  return tests;
}

// Code that ends with its own call, check(EXPRESSION): the call is taken off, for the expression is
// the solution's and the code is not.
CodeTests read_functional(const Json& dict) {
  CodeTests tests;
  tests.kind = CodeTests::Kind::check;
  const std::string code = text_entry(dict, "functional");
  const std::string_view text = trimmed(code);
  const size_t line = text.rfind('\n') + 1;  // 0 if there is but one line
  const std::string_view call = trimmed(text.substr(line));
  if (!call.starts_with("check(") || !call.ends_with(')') || blank(text.substr(0, line))) {
    bad("functional: expected code that ends with check(FUNCTION) on a line of its own");
  }
  tests.check = text.substr(0, line);
  tests.function = trimmed(call.substr(6, call.size() - 7));
  if (tests.function.empty()) bad("functional: check() is called without a function");
  return tests;
}

bool has_list(const Json& dict, const char* key) {
  const Json* entry = dict_entry(dict, key);
  return entry != nullptr && is_list(*entry) && !items_of(*entry).empty();
}

CodeTests read_any(const Json& value, const Json& row, int depth);

CodeTests read_dict(const Json& dict, const Json& row, int depth) {
  const auto has = [&dict](const char* key) {
    const Json* entry = dict_entry(dict, key);
    return entry != nullptr && !entry->is_null();
  };
  for (const char* key : {"asserts", "assert_case", "test_list"}) {
    if (!has(key) || (std::string_view(key) == "assert_case" && !has_list(dict, key))) continue;
    CodeTests tests = read_asserts(list_entry(dict, key));
    tests.function = text_entry(dict, "fn_name");
    tests.setup = setup_code(dict);
    if (&dict != &row && tests.setup.empty()) tests.setup = setup_code(row);
    return tests;
  }
  if (has("check")) return read_check(dict, row, "check");
  if (has("functional")) return read_functional(dict);
  if (has("inputs") || has("outputs")) return read_pairs(dict);
  if (has("test")) return read_check(dict, row, "test");
  // verl's reward_model has its ground_truth, open-r1's verification_info its test_cases.
  for (const char* key : {"ground_truth", "test_cases"}) {
    if (&dict != &row && has(key)) return read_any(*dict_entry(dict, key), row, depth + 1);
  }
  std::string keys;
  for (const Json& pair : untagged(dict)) {
    if (pair[0].is_string()) keys += (keys.empty() ? "" : ", ") + pair[0].get<std::string>();
  }
  bad(cat("expected inputs and outputs, asserts, check, or functional; found the fields ",
          keys.empty() ? "none" : clipped(keys)));
}

CodeTests read_any(const Json& value, const Json& row, int depth) {
  if (depth > 4) bad("text within text, over and over");
  if (value.is_string()) {
    return read_any(parsed(value.get_ref<const std::string&>(), "the text"), row, depth + 1);
  }
  if (tag_of(value) == 'd') return read_dict(value, row, depth);
  if (!is_list(value)) bad(cat("expected a dict or a list, found ", shown(value)));
  const Json& list = items_of(value);
  return !list.empty() && list[0].is_string() ? read_asserts(list) : read_cases(list, row);
}

Json cases_entry(const Json& row, const char* key) {
  const Json* entry = dict_entry(row, key);
  if (entry == nullptr || entry->is_null()) return Json::array();
  Json list = entry->is_string() ? parsed(entry->get_ref<const std::string&>(), key) : *entry;
  if (!list.is_array()) bad(cat(key, ": expected a list, found ", shown(list)));
  return list;
}

CodeTests read_layout(const Json& row) {
  for (const char* field : kFields) {
    const Json* value = dict_entry(row, field);
    if (value == nullptr || value->is_null()) continue;
    try {
      return read_any(*value, row, 0);
    } catch (const BadTests& error) {
      bad(cat(field, ": ", error.what()));
    }
  }
  if (dict_entry(row, "public_test_cases") == nullptr) return read_dict(row, row, 0);
  // LiveCodeBench. Its compressed private tests cannot be read, and the public ones alone would be
  // another, easier test: both must be lists, or texts of lists.
  Json list = cases_entry(row, "public_test_cases");
  for (Json& test : cases_entry(row, "private_test_cases")) list.push_back(std::move(test));
  return read_cases(list, row);
}

}  // namespace

size_t CodeTests::size() const {
  switch (kind) {
    case Kind::stdio:
      return inputs.size();
    case Kind::call:
      return arguments.size();
    case Kind::asserts:
      return asserts.size();
    case Kind::check:
      return 1;
  }
  return 0;
}

CodeTests read_code_tests(const Problem& problem) {
  Json row;
  try {
    row = tagged(problem.fields);
  } catch (const std::invalid_argument& error) {
    bad(cat("the row is ", error.what()));
  }
  CodeTests tests = read_layout(row);
  if (tests.size() == 0) bad("there is no test in it");
  tests.reference = text_entry(row, "code");
  return tests;
}

bool passes_call(const CodeTests& tests, size_t i, const Json& actual,
                 const CompareOptions& options) {
  const Json& expected = tests.expected[i];
  return equal_values(actual, expected, options) ||
         (tests.wrapped && equal_values(actual, expected[0], options));
}

}  // namespace hone
