// Prompts through the model's own chat template.
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "rollouts/prompt.h"

using namespace hone;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

// A model directory with nothing but a chat template.
class ModelDirectory {
 public:
  explicit ModelDirectory(const std::string& chat_template) {
    path = (std::filesystem::temp_directory_path() / cat("hone-prompt-", getpid())).string();
    std::filesystem::create_directories(path);
    std::ofstream(path + "/chat_template.jinja") << chat_template;
  }
  ~ModelDirectory() {
    std::error_code ec;
    std::filesystem::remove_all(path, ec);
  }
  std::string path;
};

constexpr const char* kTurns =
    "{% if tools %}[{{ tools[0].name }}]{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
    "{% if enable_thinking is false %}<think></think>{% endif %}{{ style }}";

std::string rendered(const PromptOptions& options, const Json& fields = Json::object()) {
  const ModelDirectory model(kTurns);
  return render_prompt(make_prompt_template(options, model.path), {"p", "test", "1+1?", fields});
}

const Json kMessages = {{{"role", "user"}, {"content", "a"}},
                        {{"role", "assistant"}, {"content", "b"}},
                        {{"role", "user"}, {"content", "c"}}};

}  // namespace

TEST_CASE("a prompt becomes the user's message of the model's chat template") {
  CHECK(rendered({"chat", ""}) == "<user>1+1?<assistant>");
  CHECK(rendered({"chat", "Be brief."}) == "<system>Be brief.<user>1+1?<assistant>");
}

TEST_CASE("a row's messages are the conversation, without the answer at its end") {
  CHECK(rendered({"chat", ""}, {{"messages", kMessages}}) ==
        "<user>a<assistant>b<user>c<assistant>");
  Json answered = kMessages;
  answered.push_back({{"role", "assistant"}, {"content", "42"}});
  CHECK(rendered({"chat", "S"}, {{"messages", answered}}) ==
        "<system>S<user>a<assistant>b<user>c<assistant>");
  Json own = kMessages;
  const Json first = {{"role", "system"}, {"content", "own"}};
  own.insert(own.begin(), first);
  CHECK(rendered({"chat", "S"}, {{"messages", own}}).starts_with("<system>own<user>a"));
}

TEST_CASE("variables reach the chat template: the recipe's, and the row's over them") {
  CHECK(rendered({"chat", "", {{"enable_thinking", "false"}, {"style", "plain"}}}) ==
        "<user>1+1?<assistant><think></think>plain");
  CHECK(rendered({"chat", "", {{"enable_thinking", "false"}}},
                 {{"chat_template_kwargs", {{"enable_thinking", true}}}}) ==
        "<user>1+1?<assistant>");
  CHECK(rendered({"chat", ""}, {{"tools", {{{"name", "f"}}}}}) == "[f]<user>1+1?<assistant>");
}

TEST_CASE("a chat prompt that cannot be made is told") {
  CHECK_THROWS_MATCHES(make_prompt_template({"chat", ""}, "/nowhere"), UserError,
                       MessageMatches(ContainsSubstring("/nowhere has no chat template")));
  CHECK_THROWS_MATCHES(make_prompt_template({"none", "", {{"enable_thinking", "false"}}}),
                       UserError, MessageMatches(ContainsSubstring("are for template: chat")));
  CHECK_THROWS_MATCHES(
      rendered({"chat", ""}, {{"messages", {{{"role", "assistant"}, {"content", "x"}}}}}),
      UserError, MessageMatches(ContainsSubstring("problem 'p': 'messages'")));
  const ModelDirectory strict("{{ raise_exception('users only') }}");
  const PromptTemplate form = make_prompt_template({"chat", ""}, strict.path);
  CHECK_THROWS_MATCHES(render_prompt(form, {"p", "test", "x", Json::object()}), UserError,
                       MessageMatches(ContainsSubstring("users only")));
}
