#include "rollouts/prompt.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "text/chat_template.h"

namespace hone {
namespace {

struct Named {
  const char* name;
  const char* text;
};

const Named kTemplates[] = {
    {"none", "{prompt}"},
    // DeepSeek-R1, table 1.
    {"r1_zero",
     "A conversation between User and Assistant. The user asks a question, and the Assistant "
     "solves it. The assistant first thinks about the reasoning process in the mind and then "
     "provides the user with the answer. The reasoning process and answer are enclosed within "
     "<think>...</think> and <answer>...</answer> tags, respectively, i.e., <think> reasoning "
     "process here </think> <answer> answer here </answer>. User: {prompt}. Assistant:"},
    // The prompt of Qwen2.5-Math with its chat tokens.
    {"qwen_boxed",
     "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n"
     "<|im_start|>assistant\n"},
};
constexpr const char* kBoxedSystem =
    "Please reason step by step, and put your final answer within \\boxed{}.";

// A prompt with one of these would give the answer away.
const char* const kSecrets[] = {"answer", "gold", "ground_truth", "solution", "tests"};

bool name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// The name in "{name}" at `start`, or "".
std::string_view braced_name(std::string_view text, size_t start) {
  size_t end = start + 1;
  while (end < text.size() && name_char(text[end])) ++end;
  const bool closed = end < text.size() && text[end] == '}';
  return closed ? text.substr(start + 1, end - start - 1) : std::string_view();
}

PromptTemplate parse(std::string_view text) {
  PromptTemplate form;
  const auto literal = [&form](std::string_view part) {
    if (form.pieces.empty() || form.pieces.back().field) form.pieces.push_back({false, ""});
    form.pieces.back().text += part;
  };
  for (size_t i = 0; i < text.size();) {
    const std::string_view name = text[i] == '{' ? braced_name(text, i) : std::string_view();
    const std::string_view escaped =
        text.substr(i).starts_with("{{") ? braced_name(text, i + 1) : std::string_view();
    if (!escaped.empty() && text.substr(i + escaped.size() + 3).starts_with("}")) {
      literal(text.substr(i + 1, escaped.size() + 2));
      i += escaped.size() + 4;
    } else if (!name.empty()) {
      form.pieces.push_back({true, std::string(name)});
      i += name.size() + 2;
    } else {
      literal(text.substr(i++, 1));
    }
  }
  return form;
}

// `false`, `2` and the like are values; what is no JSON is a text.
Json variable_of(const std::string& text) {
  Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(text) : value;
}

PromptTemplate chat_form(const PromptOptions& options, const std::string& model) {
  std::optional<ChatTemplate> chat = ChatTemplate::from_directory(model);
  if (!chat) {
    throw UserError(cat("prompt.template: chat: ", model,
                        " has no chat template (chat_template.jinja, or chat_template in "
                        "tokenizer_config.json)"));
  }
  PromptTemplate form;
  form.chat = std::make_shared<const ChatTemplate>(std::move(*chat));
  form.variables["add_generation_prompt"] = true;
  for (const auto& [name, value] : options.variables) form.variables[name] = variable_of(value);
  form.system = options.system;
  return form;
}

bool has_role(const Json& message, const char* role) {
  return message.is_object() && message.value("role", Json()) == role;
}

std::string render_chat(const PromptTemplate& form, const Problem& problem) {
  Json messages = problem.fields.value("messages", Json());
  if (!messages.is_array()) messages = {{{"role", "user"}, {"content", problem.prompt}}};
  // What the assistant says last is the answer, which the model is to find.
  while (!messages.empty() && has_role(messages.back(), "assistant")) {
    messages.erase(messages.size() - 1);
  }
  if (!form.system.empty() && !messages.empty() && !has_role(messages.front(), "system")) {
    const Json first = {{"role", "system"}, {"content", form.system}};
    messages.insert(messages.begin(), first);
  }
  Json variables = form.variables;
  if (problem.fields.contains("tools")) variables["tools"] = problem.fields["tools"];
  const auto more = problem.fields.find("chat_template_kwargs");
  if (more != problem.fields.end() && more->is_object()) variables.update(*more);
  try {
    return form.chat->render(messages, variables).text;
  } catch (const UserError& error) {
    throw UserError(cat("problem '", problem.id, "': ", error.what()));
  }
}

}  // namespace

PromptTemplate make_prompt_template(const PromptOptions& options, const std::string& model) {
  if (options.prompt_template == "chat") return chat_form(options, model);
  if (!options.variables.empty()) {
    throw UserError(
        "prompt.variables: are for template: chat, which runs the model's own template");
  }
  std::string text = options.prompt_template;
  std::vector<std::string> names = {"chat"};
  bool named = false;
  for (const Named& known : kTemplates) {
    names.push_back(known.name);
    if (options.prompt_template == known.name) {
      text = known.text;
      named = true;
    }
  }
  PromptTemplate form = parse(text);
  std::string system = options.system;
  bool fields = false, placed = false;
  for (PromptTemplate::Piece& piece : form.pieces) {
    if (!piece.field) continue;
    if (piece.text == "system") {
      piece = {false, system.empty() && named ? kBoxedSystem : system};
      placed = true;
      continue;
    }
    fields = true;
    if (std::find(std::begin(kSecrets), std::end(kSecrets), piece.text) != std::end(kSecrets)) {
      throw UserError(cat("prompt.template: {", piece.text,
                          "} would tell the model the answer; write {{", piece.text,
                          "}} for the text {", piece.text, "}"));
    }
  }
  if (!fields) {
    const std::string near = nearest_word(options.prompt_template, names);
    throw UserError(cat("prompt.template: '", options.prompt_template,
                        "' is no template (none, r1_zero, qwen_boxed, chat) and has no {prompt}",
                        near.empty() ? "" : "; did you mean '" + near + "'?"));
  }
  if (!placed && !system.empty()) {
    form.pieces.insert(form.pieces.begin(), {false, system + "\n\n"});
  }
  return form;
}

std::string render_prompt(const PromptTemplate& form, const Problem& problem) {
  if (form.chat) return render_chat(form, problem);
  std::string text;
  for (const PromptTemplate::Piece& piece : form.pieces) {
    if (!piece.field) {
      text += piece.text;
    } else if (piece.text == "prompt") {
      text += problem.prompt;
    } else {
      const auto field = problem.fields.find(piece.text);
      if (field == problem.fields.end()) {
        throw UserError(cat("problem '", problem.id, "' has no field '", piece.text,
                            "', which prompt.template names"));
      }
      text += field->is_string() ? field->get<std::string>() : field->dump();
    }
  }
  return text;
}

}  // namespace hone
