// The interpreter against jinja2: tests/text/golden/chat_templates.jsonl, which
// scripts/golden/chat_templates.py wrote; and its bounds.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <chrono>
#include <map>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

using namespace hone;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

namespace {

constexpr int64_t kDay = 1721995200;  // 2024-07-26 12:00 UTC: the same day in most time zones

// As the rows of the golden file: rendered and generated, or error, which begins with the line.
Json run(const std::string& source, const Json& variables) {
  try {
    const jinja::Syntax syntax = jinja::parse(source);
    const jinja::Rendering rendering = jinja::render(syntax, variables, kDay);
    Json generated = Json::array();
    for (const auto& [begin, end] : rendering.generated) generated.push_back({begin, end});
    return {{"rendered", rendering.text}, {"generated", generated}};
  } catch (const jinja::SyntaxError& e) {
    return {{"error", cat("line ", e.line, ": ", e.message)}};
  } catch (const jinja::RenderError& e) {
    return {{"error", cat("line ", e.line, ": ", e.message)}};
  }
}

void check_same(const Json& ours, const Json& golden) {
  if (golden.contains("error")) {
    INFO("jinja2 refuses it: " << golden["error"]);
    CHECK(ours.contains("error"));
    return;
  }
  INFO(ours.dump());
  REQUIRE(ours.contains("rendered"));
  CHECK(ours["rendered"] == golden["rendered"]);
  CHECK(ours["generated"] == golden["generated"]);
}

std::string error_of(const std::string& source, const Json& variables = Json::object()) {
  const Json result = run(source, variables);
  INFO(source.substr(0, 200));
  REQUIRE(result.contains("error"));
  return result["error"].get<std::string>();
}

std::string text_of(const std::string& source, const Json& variables = Json::object()) {
  const Json result = run(source, variables);
  INFO(source.substr(0, 200) << " " << result.dump());
  REQUIRE(result.contains("rendered"));
  return result["rendered"].get<std::string>();
}

std::string repeated(const std::string& part, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += part;
  return out;
}

}  // namespace

TEST_CASE("templates and constructs render as jinja2 renders them, byte for byte") {
  std::map<std::string, std::string> templates;
  std::map<std::string, Json> conversations;
  Json construct_variables;
  int cases = 0;
  for_each_line(std::string(HONE_TEST_DIR) + "/text/golden/chat_templates.jsonl",
                [&](int64_t line, const std::string& text) {
                  INFO("line " << line);
                  const Json row = Json::parse(text);
                  if (row.contains("name")) {
                    templates[row["name"]] = row["source"].get<std::string>();
                  } else if (row.contains("conversation")) {
                    conversations[row["conversation"]] = row;
                  } else if (row.contains("construct_variables")) {
                    construct_variables = row["construct_variables"];
                  } else if (row.contains("construct")) {
                    const auto source = row["construct"].get<std::string>();
                    INFO(source);
                    check_same(run(source, construct_variables), row);
                    ++cases;
                  } else {
                    INFO(row["template"] << " with " << row["with"] << ", " << row["variables"]);
                    const Json& conversation = conversations.at(row["with"]);
                    Json variables = {{"messages", conversation["messages"]},
                                      {"tools", conversation["tools"]},
                                      {"documents", nullptr}};
                    variables.update(row["variables"]);
                    check_same(run(templates.at(row["template"]), variables), row);
                    ++cases;
                  }
                });
  CHECK(cases > 350);
}

TEST_CASE("an error names the line where the template went wrong and says what was wrong") {
  CHECK(error_of("a\n\n{{ raise_exception('roles must alternate') }}") ==
        "line 3: roles must alternate");
  CHECK(error_of("{% for m in messages %}\n{{ m.content.x.y }}\n{% endfor %}",
                 {{"messages", {{{"content", "hi"}}}}}) ==
        "line 2: 'str object' has no attribute 'x'");
  CHECK(error_of("{{ nothing.here }}") == "line 1: 'nothing' is undefined");
  CHECK_THAT(error_of("x\n{% if a %}\n{{ b }}"), StartsWith("line 3: the template ends where"));
  CHECK_THAT(error_of("x\n{% endfor %}"), StartsWith("line 2: unknown tag 'endfor'"));
  CHECK_THAT(error_of("{% macro m() %}\n{{ 1 / 0 }}{% endmacro %}\n\n{{ m() }}"),
             StartsWith("line 2: division by zero"));
  CHECK_THAT(error_of("{% set x = 1 %}\n{{ x|shout }}"),
             ContainsSubstring("No filter named 'shout'"));
  CHECK_THAT(error_of("{% include 'other' %}"), ContainsSubstring("needs another template"));
}

TEST_CASE("a hostile template ends with an error in words, soon and in little memory") {
  const auto start = std::chrono::steady_clock::now();
  const Json none = Json::object();
  for (const std::string& source : {
           std::string("{{ range(10 ** 9) }}"),
           std::string("{{ 'a' * 10 ** 12 }}"),
           std::string("{{ [0] * 10 ** 12 }}"),
           std::string("{{ 10 ** 10 ** 10 }}"),
           std::string("{{ 2 ** 64 }}"),
           std::string("{{ 9223372036854775807 + 1 }}"),
           std::string("{{ 99999999999999999999 }}"),
           std::string(
               "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"),
           std::string("{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}"),
           std::string("{% set ns = namespace(s='x') %}{% for a in range(99) %}"
                       "{% set ns.s = ns.s + ns.s %}{% endfor %}"),
           std::string("{% set ns = namespace(s=[]) %}{% for a in range(99999) %}"
                       "{% set ns.s = [ns.s] %}{% endfor %}"),
           std::string("{% set ns = namespace(s=[]) %}{% for a in range(60) %}"
                       "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}"),
           std::string("{% set ns = namespace(s=[]) %}{% for a in range(60) %}"
                       "{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s|tojson }}"),
           std::string("{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}"),
           std::string("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
           std::string(
               "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}"),
           std::string("{% for x in [[]] recursive %}{{ loop([x]) }}{% endfor %}"),
           std::string("{{ '%999999999d' % 1 }}"),
           std::string("{{ '%.*f' % (999999999, 1.0) }}"),
           std::string("{{ '{:999999999}'.format(1) }}"),
           std::string("{{ 'x'.center(10 ** 15) }}"),
           std::string("{{ 'x'|indent(10 ** 15)|length * 'x'.zfill(10 ** 14)|length }}"),
           std::string("{{ 'x'.ljust(9223372036854775807) }}"),
           std::string("{{ [1]|batch(10 ** 15, 0)|list }}"),
           std::string("{{ [1]|slice(10 ** 15)|list }}"),
           std::string("{{ '\\t'.expandtabs(10 ** 15) }}"),
           repeated("{% if true %}", 20000),
           "{{ " + repeated("(", 20000),
           "{{ " + repeated("[", 20000),
           "{{ " + repeated("not ", 20000) + "1 }}",
           "{{ " + repeated("-", 20000) + "1 }}",
           "{{ 1" + repeated(" + 1", 20000) + " }}",
           "{{ 'a'" + repeated("|upper", 20000) + " }}",
           "{{ a" + repeated(".b", 20000) + " }}",
           "{{ a" + repeated("[0]", 20000) + " }}",
           "{{ " + repeated("1 if 1 else ", 20000) + "1 }}",
           "{% if a %}" + repeated("{% elif b %}", 20000) + "{% endif %}",
       }) {
    error_of(source, none);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
#ifdef HONE_SANITIZE
  CHECK(seconds < 300);
#else
  CHECK(seconds < 60);
#endif
}

TEST_CASE("values nested deeper than the bound are refused, JSON of the user too") {
  Json deep = Json::array();
  for (int i = 0; i < 5000; ++i) deep = Json::array({std::move(deep)});
  CHECK_THAT(error_of("{{ x }}", {{"x", deep}}), ContainsSubstring("nest deeper"));
  CHECK(text_of("{{ y }}", {{"x", deep}, {"y", 1}}) == "1");  // what is not asked for is not read
}

TEST_CASE("a conversation of a megabyte renders") {
  Json messages = Json::array();
  for (int i = 0; i < 2000; ++i) {
    messages.push_back(
        {{"role", i % 2 ? "assistant" : "user"}, {"content", repeated("word ", 100)}});
  }
  const std::string text = text_of(
      "{% for m in messages %}{{ '<' + m.role + '>' + m.content | trim + '\n' }}{% endfor %}",
      {{"messages", messages}});
  CHECK(text.size() > 1'000'000);
}

TEST_CASE("numbers of JSON keep their form, and integers beyond 64 bits are refused in words") {
  const Json numbers =
      Json::parse("{\"a\": 1, \"b\": 1.0, \"c\": 1e2, \"d\": -0.5, \"e\": 1e-9, \"f\": 1e22}");
  CHECK(text_of("{{ x|tojson }}", {{"x", numbers}}) ==
        "{\"a\": 1, \"b\": 1.0, \"c\": 100.0, \"d\": -0.5, \"e\": 1e-09, \"f\": 1e+22}");
  CHECK_THAT(error_of("{{ x }}", {{"x", uint64_t{18446744073709551615u}}}),
             ContainsSubstring("64 bits"));
}
