// Conversations: lists of {role, content} as chat templates take them.
#pragma once

#include <string>

#include "base/json.h"

namespace hone {

// Throws UserError, beginning with `where`, unless it is a list of messages that each have a role
// and a content (of an assistant's call of a tool, `tool_calls`), with at least one of them.
void check_messages(const Json& messages, const std::string& where);

// The text of a message: of a list of parts the texts of all, "" of null. Throws UserError for
// parts that are no text.
std::string message_text(const Json& message, const std::string& where);

// What the user says last. Throws UserError if the user says nothing.
std::string last_user_text(const Json& messages, const std::string& where);

// ShareGPT's [{from, value}] as messages. Throws UserError for a speaker that has no role.
Json from_sharegpt(const Json& turns, const std::string& where);

}  // namespace hone
