// A model's own chat template: Jinja, as Hugging Face's `apply_chat_template` runs it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace hone {

struct RenderedChat {
  std::string text;
  // The bytes of `text` that lie in {% generation %} blocks: what an assistant has said.
  std::vector<std::pair<size_t, size_t>> generated;
};

// Reads no file and opens no connection while it renders; steps, memory and recursion are bounded,
// so that a template of unknown origin ends with an error in words at worst. Thread-safe.
class ChatTemplate {
 public:
  // `name` stands in errors. `special_tokens` ({bos_token: "<s>", ...}) are variables of the
  // template. Throws UserError naming the line.
  ChatTemplate(const std::string& source, std::string name, Json special_tokens = Json::object());
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // The templates of a Hugging Face directory: chat_template.jinja with additional_chat_templates/,
  // else what tokenizer_config.json has; nothing if there is none. Throws UserError.
  static std::optional<ChatTemplate> from_directory(const std::string& directory);

  // `variables` may have `tools`, `documents`, `add_generation_prompt` (default false),
  // `continue_final_message`, `chat_template` (the name of one of several) and whatever the
  // template asks for. Throws UserError: the messages are no conversation, the template raised an
  // exception or went wrong, with the line.
  RenderedChat render(const Json& messages, const Json& variables) const;

 private:
  struct Parsed;
  const Parsed& choose(const Json& variables) const;

  std::map<std::string, std::shared_ptr<const Parsed>> templates_;  // by name; "default" is the one
  Json special_tokens_;
};

}  // namespace hone
