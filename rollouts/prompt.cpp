#include "rollouts/prompt.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"

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

}  // namespace

PromptTemplate make_prompt_template(const PromptOptions& options) {
  std::string text = options.prompt_template;
  std::vector<std::string> names;
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
                        "' is no template (none, r1_zero, qwen_boxed) and has no {prompt}",
                        near.empty() ? "" : "; did you mean '" + near + "'?"));
  }
  if (!placed && !system.empty()) {
    form.pieces.insert(form.pieces.begin(), {false, system + "\n\n"});
  }
  return form;
}

std::string render_prompt(const PromptTemplate& form, const Problem& problem) {
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
