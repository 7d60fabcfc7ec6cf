#include "text/chat_template.h"

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"
#include "text/jinja/unicode.h"
#include "text/tokenizer.h"

namespace hone {
namespace fs = std::filesystem;

// A syntax error is told when the template is used: a model with a broken one can do the rest.
struct ChatTemplate::Parsed {
  Parsed(const std::string& source, std::string template_name) : name(std::move(template_name)) {
    try {
      syntax = jinja::parse(valid_utf8(source));
    } catch (const jinja::SyntaxError& e) {
      error = cat(name, ", line ", e.line, ": ", e.message);
    }
  }

  std::string name;
  jinja::Syntax syntax;
  std::string error;
};

namespace {

constexpr const char* kDefault = "default";
// What continue_final_message puts behind the message to find its end again.
constexpr std::string_view kTag = "CONTINUE_FINAL_MESSAGE_TAG ";

// A file of JSON with an object, `{}` if it is not there.
Json object_in(const std::string& path) {
  std::error_code ec;
  if (!fs::exists(path, ec)) return Json::object();
  const std::string text = read_file(path);
  if (nested_deeper(text, 200)) throw UserError(cat(path, ": nests too deep"));
  Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) throw UserError(cat(path, ": expected a JSON object"));
  return json;
}

// The tokens that the tokenizer classes of transformers have by themselves.
Json class_tokens(const std::string& tokenizer_class) {
  const auto is = [&](const char* name) {
    return tokenizer_class == name || tokenizer_class == cat(name, "Fast");
  };
  if (is("LlamaTokenizer")) {
    return {{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"unk_token", "<unk>"}};
  }
  if (is("Qwen2Tokenizer")) {
    return {{"eos_token", "<|endoftext|>"},
            {"unk_token", "<|endoftext|>"},
            {"pad_token", "<|endoftext|>"}};
  }
  if (is("GPT2Tokenizer")) {
    return {{"bos_token", "<|endoftext|>"},
            {"eos_token", "<|endoftext|>"},
            {"unk_token", "<|endoftext|>"}};
  }
  if (is("GemmaTokenizer")) {
    return {{"bos_token", "<bos>"},
            {"eos_token", "<eos>"},
            {"unk_token", "<unk>"},
            {"pad_token", "<pad>"},
            {"mask_token", "<mask>"}};
  }
  return Json::object();
}

// Named tokens of `from`, which are texts or objects with the text as `content`; null removes.
void take_tokens(const Json& from, bool all, Json& tokens) {
  for (const auto& [key, value] : from.items()) {
    if (!all && !std::string_view(key).ends_with("_token")) continue;
    if (value.is_null()) tokens.erase(key);
    if (value.is_string()) tokens[key] = value;
    if (value.is_object() && value.contains("content") && value["content"].is_string()) {
      tokens[key] = value["content"];
    }
  }
}

Json special_tokens_of(const std::string& directory, const Json& config) {
  const auto name = config.find("tokenizer_class");
  Json tokens = class_tokens(name != config.end() && name->is_string() ? name->get<std::string>()
                                                                       : std::string());
  take_tokens(config, false, tokens);
  for (const char* more : {"extra_special_tokens", "model_specific_special_tokens"}) {
    const auto found = config.find(more);
    if (found != config.end() && found->is_object()) take_tokens(*found, true, tokens);
  }
  // Older directories keep them apart.
  if (!config.contains("added_tokens_decoder")) {
    take_tokens(object_in(directory + "/special_tokens_map.json"), false, tokens);
  }
  return tokens;
}

void check_list_of_objects(const Json& variables, const char* key) {
  const auto found = variables.find(key);
  if (found == variables.end() || found->is_null()) return;
  const bool fine = found->is_array() && std::all_of(found->begin(), found->end(),
                                                     [](const Json& j) { return j.is_object(); });
  if (!fine) throw UserError(cat("'", key, "': expected a list of JSON objects"));
}

void check_messages(const Json& messages) {
  if (!messages.is_array() || messages.empty()) {
    throw UserError("'messages': expected a list with at least one message");
  }
  for (const Json& message : messages) {
    if (!message.is_object()) {
      throw UserError(
          cat("'messages': expected objects such as {\"role\": \"user\", \"content\": "
              "...}, found ",
              message.type_name()));
    }
  }
}

std::string stripped(std::string_view text) {
  return std::string(jinja::strip_right(jinja::strip_left(text)));
}

// Puts the tag behind the text of the last message and gives that text back.
std::string mark_final_message(Json& messages, const std::string& field) {
  Json& last = messages.back();
  const auto found = last.find(field);
  if (found == last.end() || found->is_null()) {
    throw UserError(cat("continue_final_message: the last message has no '", field, "'"));
  }
  Json* text = &*found;
  if (found->is_array()) {
    text = nullptr;
    for (Json& part : *found) {
      if (part.is_object() && part.contains("text")) text = &part["text"];
    }
  }
  if (!text || !text->is_string()) {
    throw UserError("continue_final_message: the last message has no text to continue");
  }
  std::string before = text->get<std::string>();
  *text = before + std::string(kTag);
  return before;
}

void cut_at_tag(std::string& text, const std::string& final_message) {
  const std::string tag = stripped(kTag);
  const size_t at = text.rfind(tag);
  if (at == text.npos || text.find(stripped(final_message)) == text.npos) {
    throw UserError(
        "continue_final_message: the template leaves out parts of the last message, so it cannot "
        "be continued");
  }
  const bool kept_space = text.compare(at, kTag.size(), kTag) == 0;
  text.resize(at);
  // The template trims messages: then so is the one that goes on.
  if (!kept_space) text = std::string(jinja::strip_right(text));
}

}  // namespace

ChatTemplate::ChatTemplate(const std::string& source, std::string name, Json special_tokens)
    : special_tokens_(std::move(special_tokens)) {
  templates_[kDefault] = std::make_shared<const Parsed>(source, std::move(name));
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::optional<ChatTemplate> ChatTemplate::from_directory(const std::string& directory) {
  const std::string config_path = directory + "/tokenizer_config.json";
  const Json config = object_in(config_path);
  std::map<std::string, std::pair<std::string, std::string>> sources;  // name -> text, place
  std::error_code ec;
  const std::string file = directory + "/chat_template.jinja";
  if (fs::exists(file, ec)) sources[kDefault] = {read_file(file), file};
  for (const auto& entry : fs::directory_iterator(directory + "/additional_chat_templates", ec)) {
    if (entry.path().extension() != ".jinja") continue;
    sources[entry.path().stem().string()] = {read_file(entry.path().string()),
                                             entry.path().string()};
  }
  const auto given = config.find("chat_template");
  if (sources.empty() && given != config.end() && !given->is_null()) {
    const std::string place = config_path + ": chat_template";
    if (given->is_string()) {
      sources[kDefault] = {given->get<std::string>(), place};
    } else if (given->is_array()) {
      for (const Json& item : *given) {
        const bool fine = item.is_object() && item.value("name", Json()).is_string() &&
                          item.value("template", Json()).is_string();
        if (!fine) throw UserError(cat(place, ": expected a list of {name, template}"));
        const auto name = item["name"].get<std::string>();
        sources[name] = {item["template"].get<std::string>(), cat(place, " '", name, "'")};
      }
    } else {
      throw UserError(cat(place, ": expected a text or a list of {name, template}"));
    }
  }
  if (sources.empty()) return std::nullopt;
  ChatTemplate chat("", "", special_tokens_of(directory, config));
  chat.templates_.clear();
  for (auto& [name, source] : sources) {
    chat.templates_[name] = std::make_shared<const Parsed>(source.first, std::move(source.second));
  }
  return chat;
}

const ChatTemplate::Parsed& ChatTemplate::choose(const Json& variables) const {
  const auto named = variables.find("chat_template");
  if (named != variables.end() && !named->is_null()) {
    const auto found =
        named->is_string() ? templates_.find(named->get<std::string>()) : templates_.end();
    if (found != templates_.end()) return *found->second;
    throw UserError("'chat_template': expected the name of one of the model's templates");
  }
  const auto tools = variables.find("tools");
  const bool with_tools = tools != variables.end() && !tools->is_null();
  for (const char* name : {"tool_use", kDefault}) {
    if (!with_tools && name != kDefault) continue;
    const auto found = templates_.find(name);
    if (found != templates_.end()) return *found->second;
  }
  std::string names;
  for (const auto& [name, parsed] : templates_) names += (names.empty() ? "" : ", ") + name;
  throw UserError(
      cat("the model has several chat templates and none is the default; name one as "
          "'chat_template': ",
          names));
}

RenderedChat ChatTemplate::render(const Json& messages, const Json& variables) const {
  check_messages(messages);
  check_list_of_objects(variables, "tools");
  check_list_of_objects(variables, "documents");
  const Parsed& parsed = choose(variables);
  if (!parsed.error.empty()) throw UserError(parsed.error);

  Json all = {{"tools", nullptr}, {"documents", nullptr}, {"add_generation_prompt", false}};
  all.update(special_tokens_);
  for (const auto& [key, value] : variables.items()) {
    if (key != "chat_template" && key != "continue_final_message") all[key] = value;
  }
  all["messages"] = messages;
  const auto on = variables.find("continue_final_message");
  const bool goes_on =
      on != variables.end() && (on->is_string() || (on->is_boolean() && on->get<bool>()));
  std::string final_message;
  if (goes_on) {
    if (all["add_generation_prompt"] == true) {
      throw UserError("continue_final_message and add_generation_prompt exclude each other");
    }
    final_message = mark_final_message(
        all["messages"], on->is_string() ? on->get<std::string>() : std::string("content"));
  }
  try {
    jinja::Rendering rendering = jinja::render(parsed.syntax, all, std::time(nullptr));
    if (goes_on) cut_at_tag(rendering.text, final_message);
    return {std::move(rendering.text), std::move(rendering.generated)};
  } catch (const jinja::RenderError& error) {
    throw UserError(cat(parsed.name, ", line ", error.line, ": ", error.message));
  }
}

}  // namespace hone
