// Conversations as training documents.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace hone {

struct LearnedTokens {
  std::vector<int32_t> ids;    // [T]
  std::vector<uint8_t> learn;  // [T] whether the loss counts
};

// A conversation through the model's chat template. The loss counts in what the assistant says in
// the messages that the document marks: in the template's {% generation %} blocks if it has them,
// else from where the template asks for an answer to the end of that message. Messages that a
// template writes differently once others follow (Qwen3 drops earlier thinking) do not count.
// Throws UserError.
LearnedTokens render_conversation(const ChatTemplate& form, const Tokenizer& tokenizer,
                                  const Document& document);

}  // namespace hone
