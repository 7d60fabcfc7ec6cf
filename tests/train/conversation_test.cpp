#include "train/conversation.h"

#include <catch2/catch_test_macros.hpp>

#include "base/error.h"

namespace hone {
namespace {

// One token a byte.
class Bytes : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    return {text.begin(), text.end()};
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    return {ids.begin(), ids.end()};
  }
  std::string_view token_bytes(int32_t) const override { return {}; }
  int32_t vocab_size() const override { return 256; }
  std::optional<int32_t> bos() const override { return std::nullopt; }
  std::optional<int32_t> eos() const override { return std::nullopt; }
  std::optional<int32_t> pad() const override { return std::nullopt; }
  std::optional<int32_t> unk() const override { return std::nullopt; }
};

Document talk(std::vector<bool> learn) {
  Document d;
  d.messages = {{{"role", "user"}, {"content", "hi"}},
                {{"role", "assistant"}, {"content", "yes"}},
                {{"role", "user"}, {"content", "so"}},
                {{"role", "assistant"}, {"content", "no"}}};
  d.learn = std::move(learn);
  return d;
}

// What counts, with _ for what does not.
std::string counted(const std::string& source, const Document& d) {
  const LearnedTokens t = render_conversation(ChatTemplate(source, "test"), Bytes(), d);
  REQUIRE(t.ids.size() == t.learn.size());
  std::string text;
  for (size_t i = 0; i < t.ids.size(); ++i) {
    text += t.learn[i] ? static_cast<char>(t.ids[i]) : '_';
  }
  return text;
}

const char* const kPlain =
    "{% for m in messages %}<{{ m.role[0] }}>{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}";

}  // namespace

TEST_CASE("the loss of a conversation counts from the request for an answer to its end") {
  CHECK(counted(kPlain, talk({false, true, false, true})) == "_________yes;_________no;");
  CHECK(counted(kPlain, talk({false, false, false, true})) == "______________________no;");
}

TEST_CASE("a template's generation blocks say what counts") {
  const char* blocks =
      "{% for m in messages %}<{{ m.role[0] }}>{% if m.role == 'assistant' %}{% generation %}"
      "{{ m.content }}{% endgeneration %};{% else %}{{ m.content }};{% endif %}{% endfor %}"
      "{% if add_generation_prompt %}<a>{% endif %}";
  CHECK(counted(blocks, talk({false, true, false, true})) == "_________yes__________no_");
  CHECK(counted(blocks, talk({false, true, false, false})) == "_________yes;____________");
}

TEST_CASE("a message that is written differently once others follow is not learned") {
  const char* forgets =
      "{% for m in messages %}<{{ m.role[0] }}>"
      "{{ m.content if m.role == 'user' or loop.last else '*' }};{% endfor %}"
      "{% if add_generation_prompt %}<a>{% endif %}";
  CHECK(counted(forgets, talk({false, true, false, true})) == "____________________no;");
}

}  // namespace hone
