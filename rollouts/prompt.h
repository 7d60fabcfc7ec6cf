// From a problem to the text that the model continues.
#pragma once

#include <string>
#include <vector>

#include "base/options.h"
#include "base/types.h"

namespace hone {

struct PromptOptions {
  std::string prompt_template = "none";
  std::string system;
};

inline void describe(OptionVisitor& v, PromptOptions& o) {
  v.value("template", o.prompt_template,
          "none, r1_zero, qwen_boxed, or a text with {prompt} and {field} of the problem's row");
  v.value("system", o.system, "system message: stands before the prompt");
}

// A template, read: pieces of text and names of fields in turn.
struct PromptTemplate {
  struct Piece {
    bool field = false;
    std::string text;  // literal text or the field's name
  };
  std::vector<Piece> pieces;
};

// In a user's text {name} is a field and {{name}} the text {name}; other braces mean themselves,
// so that LaTeX can be written as it is. Throws UserError: an unknown template (nearest name
// offered), a text without any field, a field that would tell the answer.
PromptTemplate make_prompt_template(const PromptOptions& options);

// Throws UserError if the problem has no such field.
std::string render_prompt(const PromptTemplate& form, const Problem& problem);

}  // namespace hone
