// From a problem to the text that the model continues.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/options.h"
#include "base/types.h"

namespace hone {

class ChatTemplate;

struct PromptOptions {
  std::string prompt_template = "none";
  std::string system;
  std::map<std::string, std::string> variables = {};
};

inline void describe(OptionVisitor& v, PromptOptions& o) {
  v.value(
      "template", o.prompt_template,
      "none, r1_zero, qwen_boxed, chat (the model's own chat template), or a text with {prompt} "
      "and {field} of the problem's row");
  v.value("system", o.system, "system message: stands before the prompt");
  v.value("variables", o.variables, "of the chat template, e.g. {enable_thinking: false}");
}

// A template, read: pieces of text and names of fields in turn; or the model's chat template.
struct PromptTemplate {
  struct Piece {
    bool field = false;
    std::string text;  // literal text or the field's name
  };
  std::vector<Piece> pieces;

  std::shared_ptr<const ChatTemplate> chat;  // if it is there, `pieces` is empty
  Json variables = Json::object();           // of the chat template
  std::string system;                        // first message of conversations that have none
};

// In a user's text {name} is a field and {{name}} the text {name}; other braces mean themselves,
// so that LaTeX can be written as it is. `model` is the directory with the model's chat template.
// Throws UserError: an unknown template (nearest name offered), a text without any field, a field
// that would tell the answer, `chat` for a model that has no chat template.
PromptTemplate make_prompt_template(const PromptOptions& options, const std::string& model = "");

// With a chat template: the row's messages up to the assistant's answer, or else the prompt as the
// user's message; the row's `tools` and `chat_template_kwargs` go along. Throws UserError if the
// problem lacks a field that the template names, or the chat template refuses it.
std::string render_prompt(const PromptTemplate& form, const Problem& problem);

}  // namespace hone
