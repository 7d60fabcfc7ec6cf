// Fuzzes the interpreter of chat templates: the bytes up to the first NUL are a template, what
// follows is JSON of its variables, or a conversation if it is none. Whatever the template is, it
// ends with text or with an error in words, and does the same twice.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "text/chat_template.h"

using namespace hone;

namespace {

std::string result(const ChatTemplate& chat, const Json& messages, const Json& variables) {
  try {
    const RenderedChat rendered = chat.render(messages, variables);
    return rendered.text;
  } catch (const UserError& error) {
    return error.what();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const size_t split = std::min(text.find('\0'), size);
  const std::string rest = text.substr(std::min(split + 1, size));
  Json variables;
  if (!nested_deeper(rest, 300)) variables = Json::parse(rest, nullptr, false);
  if (!variables.is_object()) variables = {{"add_generation_prompt", true}, {"n", 3}};
  Json messages = variables.value("messages", Json());
  if (!messages.is_array()) {
    messages = Json::parse(
        R"([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "héllo 😀"},
            {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f",
             "arguments": {"x": 1.5, "y": [true, null]}}}]}])");
  }
  const ChatTemplate chat(text.substr(0, split), "fuzzed", {{"bos_token", "<s>"}});
  const std::string first = result(chat, messages, variables);
  const bool addresses_time = text.find("strftime_now") != std::string::npos;
  if (!addresses_time && first != result(chat, messages, variables)) std::abort();
  return 0;
}
