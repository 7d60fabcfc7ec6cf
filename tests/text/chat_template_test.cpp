// A model directory's chat template: which one, with which variables, and what is refused.
#include "text/chat_template.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary.h"

using namespace hone;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
namespace fs = std::filesystem;

namespace {

const Json kQuestion = {{{"role", "user"}, {"content", "hi"}}};

using Files = std::map<std::string, std::string>;  // name -> content

// A directory with the given files.
struct Directory : testing::TemporaryDirectory {
  explicit Directory(const Files& files) {
    for (const auto& [name, text] : files) file(name, text);
  }
};

std::string rendered(const Directory& directory, const Json& variables = Json::object(),
                     const Json& messages = kQuestion) {
  const auto chat = ChatTemplate::from_directory(directory.path());
  REQUIRE(chat);
  return chat->render(messages, variables).text;
}

void refused(const ChatTemplate& chat, const Json& messages, const Json& variables,
             const std::string& part) {
  INFO(part);
  CHECK_THROWS_MATCHES(chat.render(messages, variables), UserError,
                       MessageMatches(ContainsSubstring(part)));
}

}  // namespace

TEST_CASE(
    "a directory without a chat template has none, and a broken one is told when it is used") {
  CHECK_FALSE(
      ChatTemplate::from_directory(Directory(Files{{"tokenizer_config.json", "{}"}}).path()));
  CHECK_FALSE(ChatTemplate::from_directory(
      Directory(Files{{"tokenizer_config.json", "{\"chat_template\": null}"}}).path()));
  const Directory broken(Files{{"chat_template.jinja", "a\n{% if %}"}});
  const auto chat = ChatTemplate::from_directory(broken.path());
  REQUIRE(chat);
  refused(*chat, kQuestion, Json::object(), "chat_template.jinja, line 2: ");
  CHECK_THROWS_AS(ChatTemplate::from_directory(
                      Directory(Files{{"tokenizer_config.json", "{\"chat_template\": 3}"}}).path()),
                  UserError);
}

TEST_CASE("chat_template.jinja wins over tokenizer_config.json") {
  CHECK(rendered(Directory(Files{{"tokenizer_config.json", "{\"chat_template\": \"config\"}"}})) ==
        "config");
  CHECK(rendered(Directory(Files{{"tokenizer_config.json", "{\"chat_template\": \"config\"}"},
                                 {"chat_template.jinja", "file"}})) == "file");
}

TEST_CASE("of several templates tool_use is taken for tools, else the default or the named one") {
  const Files forms[] = {{{"tokenizer_config.json",
                           "{\"chat_template\": [{\"name\": \"default\", \"template\": \"D\"}, "
                           "{\"name\": \"tool_use\", \"template\": \"T{{ tools|length }}\"}, "
                           "{\"name\": \"rag\", \"template\": \"R\"}]}"}},
                         {{"chat_template.jinja", "D"},
                          {"additional_chat_templates/tool_use.jinja", "T{{ tools|length }}"},
                          {"additional_chat_templates/rag.jinja", "R"},
                          {"tokenizer_config.json", "{\"chat_template\": \"unused\"}"}}};
  for (const auto& files : forms) {
    const Directory directory(files);
    CHECK(rendered(directory) == "D");
    CHECK(rendered(directory, {{"tools", nullptr}}) == "D");
    CHECK(rendered(directory, {{"tools", {{{"name", "f"}}}}}) == "T1");
    CHECK(rendered(directory, {{"tools", Json::array()}}) == "T0");
    CHECK(rendered(directory, {{"chat_template", "rag"}}) == "R");
    refused(*ChatTemplate::from_directory(directory.path()), kQuestion, {{"chat_template", "zz"}},
            "chat_template");
  }
  const Directory no_default(Files{{"additional_chat_templates/rag.jinja", "R"}});
  refused(*ChatTemplate::from_directory(no_default.path()), kQuestion, Json::object(), "rag");
}

TEST_CASE("special tokens are variables: of the configuration, of its objects and of its class") {
  const std::string show =
      "{{ bos_token }}|{{ eos_token }}|{{ pad_token is defined }}|{{ image_token }}";
  CHECK(rendered(Directory(Files{{"chat_template.jinja", show},
                                 {"tokenizer_config.json",
                                  "{\"bos_token\": {\"content\": \"<b>\", \"lstrip\": false}, "
                                  "\"eos_token\": \"<e>\", \"pad_token\": null, "
                                  "\"extra_special_tokens\": {\"image_token\": \"<i>\"}}"}})) ==
        "<b>|<e>|False|<i>");
  CHECK(rendered(Directory(
            Files{{"chat_template.jinja", show},
                  {"tokenizer_config.json",
                   "{\"tokenizer_class\": \"LlamaTokenizer\", \"pad_token\": \"p\"}"}})) ==
        "<s>|</s>|True|");
  CHECK(rendered(Directory(Files{
            {"chat_template.jinja", show},
            {"special_tokens_map.json", "{\"eos_token\": {\"content\": \"E\"}}"}})) == "|E|False|");
  CHECK(rendered(Directory(Files{{"chat_template.jinja", show}}), {{"bos_token", "given"}}) ==
        "given||False|");
}

TEST_CASE("tools, documents and the generation prompt are there without being given") {
  CHECK(
      ChatTemplate("{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ zz is defined }}", "t")
          .render(kQuestion, Json::object())
          .text == "NoneNoneFalseFalse");
  CHECK(ChatTemplate("{{ add_generation_prompt }}{{ enable_thinking }}", "t")
            .render(kQuestion, {{"add_generation_prompt", true}, {"enable_thinking", false}})
            .text == "TrueFalse");
}

TEST_CASE("tools keep the order of their keys and the form of their numbers") {
  const std::string tool =
      "{\"z\": 1, \"a\": {\"y\": 1.0, \"b\": [1e-07, true, null]}, \"ü\": \"<\"}";
  CHECK(ChatTemplate("{{ tools[0]|tojson }}", "t")
            .render(kQuestion, {{"tools", {Json::parse(tool)}}})
            .text == tool);
}

TEST_CASE("what is no conversation is refused in words") {
  const ChatTemplate chat("{{ messages }}", "t");
  refused(chat, Json::array(), Json::object(), "at least one message");
  refused(chat, "hi", Json::object(), "at least one message");
  refused(chat, {1}, Json::object(), "expected objects");
  refused(chat, kQuestion, {{"tools", "f"}}, "'tools': expected a list");
  refused(chat, kQuestion, {{"documents", {1}}}, "'documents': expected a list");
  refused(ChatTemplate("\n{{ raise_exception('no system') }}", "my.jinja"), kQuestion,
          Json::object(), "my.jinja, line 2: no system");
}

TEST_CASE("generation blocks are given as bytes of the text") {
  const RenderedChat chat =
      ChatTemplate(
          "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}{{ m.content }}"
          "{% endgeneration %};{% else %}U:{{ m.content }};{% endif %}{% endfor %}",
          "t")
          .render({{{"role", "user"}, {"content", "é"}},
                   {{"role", "assistant"}, {"content", "ü1"}},
                   {{"role", "user"}, {"content", "b"}},
                   {{"role", "assistant"}, {"content", ""}}},
                  Json::object());
  REQUIRE(chat.generated.size() == 2);
  const auto part = [&](size_t i) {
    return chat.text.substr(chat.generated[i].first,
                            chat.generated[i].second - chat.generated[i].first);
  };
  CHECK(part(0) == "ü1");
  CHECK(part(1).empty());
}

TEST_CASE("continue_final_message leaves the last message open") {
  const Json messages = {{{"role", "user"}, {"content", "a"}},
                         {{"role", "assistant"}, {"content", "so far "}}};
  const ChatTemplate plain("{% for m in messages %}<{{ m.content }}>{% endfor %}", "t");
  CHECK(plain.render(messages, {{"continue_final_message", true}}).text == "<a><so far ");
  CHECK(plain.render(messages, {{"continue_final_message", false}}).text == "<a><so far >");
  const ChatTemplate trims("{% for m in messages %}<{{ m.content|trim }}>{% endfor %}", "t");
  CHECK(trims.render(messages, {{"continue_final_message", true}}).text == "<a><so far");
  refused(plain, messages, {{"continue_final_message", true}, {"add_generation_prompt", true}},
          "exclude each other");
  refused(ChatTemplate("{{ messages[0].content }}", "t"), messages,
          {{"continue_final_message", true}}, "cannot be continued");
  refused(plain, messages, {{"continue_final_message", "thinking"}}, "no 'thinking'");
}

TEST_CASE("the date is today's") {
  const std::string text =
      ChatTemplate("{{ strftime_now('%d %b %Y') }}", "t").render(kQuestion, Json::object()).text;
  CHECK(std::regex_match(text, std::regex("[0-3][0-9] [A-Z][a-z]{2} 20[0-9]{2}")));
}

TEST_CASE("published conversations of Qwen models render byte for byte") {
  const fs::path data = fs::path(HONE_TEST_DIR).parent_path().parent_path() / "shared/data";
  const fs::path cases = data / "tokenizer_vectors/chat_template_cases.jsonl";
  if (!fs::exists(cases)) SKIP(cases.string() << " is not there");
  for_each_line(cases.string(), [&](int64_t, const std::string& text) {
    const Json row = Json::parse(text);
    INFO(row["model"] << " " << row["case"]);
    const auto directory = data / (row["model"].get<std::string>() + "_tokenizer");
    const auto chat = ChatTemplate::from_directory(directory.string());
    REQUIRE(chat);
    Json variables = {{"tools", row["tools"]},
                      {"add_generation_prompt", row["add_generation_prompt"]}};
    variables.update(row["kwargs"]);
    CHECK(chat->render(row["messages"], variables).text == row["rendered"].get<std::string>());
  });
}
