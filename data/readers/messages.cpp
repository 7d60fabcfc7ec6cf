#include "data/readers/messages.h"

#include "base/error.h"

namespace hone {

void check_messages(const Json& messages, const std::string& where) {
  if (!messages.is_array() || messages.empty()) {
    throw UserError(cat(where, ": expected messages to be a list of {role, content}, found ",
                        messages.is_array() ? "an empty one" : messages.type_name()));
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages[i];
    const bool calls = message.is_object() && message.contains("tool_calls");
    const bool whole = message.is_object() && message.contains("role") &&
                       message["role"].is_string() && (message.contains("content") || calls);
    if (!whole) {
      throw UserError(cat(where, ": expected each of messages to have role and content, found ",
                          to_line(message).substr(0, 60), " as number ", i + 1));
    }
    message_text(message, where);
  }
}

std::string message_text(const Json& message, const std::string& where) {
  const auto content = message.find("content");
  if (content == message.end() || content->is_null()) return "";
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    throw UserError(cat(where, ": expected content to be text, found ", content->type_name()));
  }
  std::string text;
  for (const Json& part : *content) {
    if (!part.is_object() || !part.contains("text") || !part["text"].is_string()) {
      throw UserError(cat(where, ": expected the parts of content to be {type: text, text}, found ",
                          to_line(part).substr(0, 60)));
    }
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

std::string last_user_text(const Json& messages, const std::string& where) {
  for (auto message = messages.rbegin(); message != messages.rend(); ++message) {
    if ((*message)["role"] == "user") return message_text(*message, where);
  }
  throw UserError(cat(where, ": expected a message of the user, found none"));
}

Json from_sharegpt(const Json& turns, const std::string& where) {
  struct Speaker {
    const char *from, *role;
  };
  static constexpr Speaker kSpeakers[] = {{"human", "user"},        {"user", "user"},
                                          {"gpt", "assistant"},     {"assistant", "assistant"},
                                          {"chatgpt", "assistant"}, {"model", "assistant"},
                                          {"system", "system"},     {"tool", "tool"},
                                          {"observation", "tool"},  {"function_response", "tool"}};
  Json messages = Json::array();
  for (const Json& turn : turns) {
    const bool whole = turn.is_object() && turn.contains("from") && turn["from"].is_string() &&
                       turn.contains("value") && turn["value"].is_string();
    if (!whole) {
      throw UserError(cat(where, ": expected each of conversations to have from and value, found ",
                          to_line(turn).substr(0, 60)));
    }
    const std::string& from = turn["from"].get_ref<const std::string&>();
    const char* role = nullptr;
    for (const Speaker& speaker : kSpeakers) {
      if (from == speaker.from) role = speaker.role;
    }
    if (role == nullptr) {
      throw UserError(cat(where, ": expected from to be human, gpt, system or tool, found ",
                          to_line(turn["from"]).substr(0, 60)));
    }
    messages.push_back({{"role", role}, {"content", turn["value"]}});
  }
  return messages;
}

}  // namespace hone
