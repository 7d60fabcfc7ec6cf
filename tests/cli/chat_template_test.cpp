// Conversations through the verbs that take them.
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>

#include "tests/cli/run_hone.h"

using namespace hone;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

namespace {

constexpr const char* kTurns =
    "{{ bos_token }}{% if tools %}[{{ tools|tojson }}]{% endif %}"
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.role == 'critic' %}"
    "{{ raise_exception('no critics') }}{% endif %}{{ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
    "{% if enable_thinking is false %}quick{% endif %}";

// A copy of `model` that wants its prompts by a chat template.
void make_chat_model(const std::string& model, const std::string& path) {
  fs::copy(model, path, fs::copy_options::recursive);
  fs::remove(path + "/hone.json");
  spill(path + "/chat_template.jinja", kTurns);
}

const std::string kTiny = "data/models/tiny-base";

}  // namespace

TEST_CASE("tokenize renders a conversation with its tools and variables and encodes it") {
  const TemporaryDirectory files;
  make_chat_model(kTiny, files / "model");
  const Outcome outcome =
      run_hone("tokenize " + (files / "model") + " --in -",
               "{\"messages\": [{\"role\": \"user\", \"content\": \"1+1\"}]}\n"
               "{\"id\": \"x\", \"messages\": [{\"role\": \"user\", \"content\": \"1+1\"}], "
               "\"add_generation_prompt\": true, \"enable_thinking\": false, "
               "\"tools\": [{\"z\": 1, \"a\": 2.0}]}\n");
  REQUIRE(outcome.code == 0);
  const auto rows = outcome.rows();
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["text"] == "<s><user>1+1\n");
  CHECK(rows[1]["text"] == "<s>[[{\"z\": 1, \"a\": 2.0}]]<user>1+1\n<assistant>quick");
  CHECK(rows[1]["id"] == "x");
  // The beginning of text that the template writes is one token, and the only one.
  const Outcome plain = run_hone("tokenize " + (files / "model") + " --in -",
                                 "{\"text\": \"<user>1+1\\n\", \"add_special_tokens\": true}\n");
  CHECK(rows[0]["ids"] == plain.rows()[0]["ids"]);
}

TEST_CASE("a conversation that the template refuses is its row's error, with line and words") {
  const TemporaryDirectory files;
  make_chat_model(kTiny, files / "model");
  const Outcome outcome = run_hone("tokenize " + (files / "model") + " --in -",
                                   "{\"messages\": [{\"role\": \"critic\", \"content\": \"x\"}]}\n"
                                   "{\"messages\": []}\n"
                                   "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n");
  CHECK(outcome.code == 1);
  const auto rows = outcome.rows();
  REQUIRE(rows.size() == 3);
  CHECK_THAT(rows[0]["error"].get<std::string>(),
             ContainsSubstring("chat_template.jinja, line 1: no critics"));
  CHECK_THAT(rows[1]["error"].get<std::string>(), ContainsSubstring("at least one message"));
  CHECK(rows[2]["text"] == "<s><user>x\n");
}

TEST_CASE("messages to a model without a chat template are refused in words") {
  const TemporaryDirectory files;
  fs::copy(kTiny, files / "model", fs::copy_options::recursive);
  fs::remove(files / "model/hone.json");
  const Outcome outcome = run_hone("tokenize " + (files / "model") + " --in -",
                                   "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n");
  CHECK(outcome.code == 2);
  CHECK_THAT(outcome.err, ContainsSubstring("no chat template"));
}

TEST_CASE("sample continues a conversation with the generation prompt, under messages or prompt") {
  const TemporaryDirectory files;
  make_chat_model(random_model(), files / "model");
  const std::string turn = "[{\"role\": \"user\", \"content\": \"1+1\"}]";
  const Outcome outcome =
      run_hone("sample " + (files / "model") +
                   " --in - --temperature 0 --max-tokens 4 --device cpu --threads 1 --quiet",
               "{\"messages\": " + turn + "}\n{\"prompt\": " + turn + "}\n{\"messages\": " + turn +
                   ", \"add_generation_prompt\": false}\n");
  REQUIRE(outcome.code == 0);
  const auto rows = outcome.rows();
  REQUIRE(rows.size() == 3);
  CHECK(rows[0]["completions"][0]["logprobs"] == rows[1]["completions"][0]["logprobs"]);
  CHECK(rows[0]["completions"][0]["logprobs"] != rows[2]["completions"][0]["logprobs"]);
}

TEST_CASE("chat keeps the whole conversation of a model with a chat template") {
  const TemporaryDirectory files;
  make_chat_model(random_model(), files / "model");
  const Outcome outcome = run_hone(
      "chat " + (files / "model") + " --max-tokens 2 --device cpu --threads 1 --quiet --json",
      "one\ntwo\n");
  REQUIRE(outcome.code == 0);
  const std::string last =
      outcome.out.substr(outcome.out.rfind('{', outcome.out.rfind("\"prompt\"")));
  const Json result = Json::parse(last);
  const auto prompt = result["prompt"].get<std::string>();
  CHECK(prompt.starts_with("<s><user>one\n<assistant>"));
  CHECK(prompt.ends_with("\n<user>two\n<assistant>"));
}
