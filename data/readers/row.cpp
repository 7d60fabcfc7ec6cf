#include "data/readers/row.h"

#include <filesystem>

#include "base/error.h"
#include "data/readers/formats.h"
#include "data/readers/messages.h"

namespace hone {
namespace {

constexpr int kMaxDepth = 100;  // of objects and lists within each other

// The text in a column; null where there is none.
const std::string* text_in(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end() || !found->is_string()) return nullptr;
  return &found->get_ref<const std::string&>();
}

// own_row has seen to it that messages which are there are well-formed.
const Json* messages_in(const Json& row) {
  const auto found = row.find("messages");
  return found == row.end() || found->is_null() ? nullptr : &*found;
}

bool is_assistant(const Json& message) { return message["role"] == "assistant"; }

Json message_of(const char* role, const Json& content) {
  return {{"role", role}, {"content", content}};
}

// TRL has a completion as text or as messages.
Json completion_messages(const Json& completion) {
  return completion.is_string() ? Json::array({message_of("assistant", completion)}) : completion;
}

// A conversation with the turns whose loss counts.
Document conversation(Json messages, size_t first, const std::string& where) {
  Document d;
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& m = messages[i];
    const bool muted = m.contains("weight") && m["weight"].is_number() && m["weight"] == 0;
    d.learn.push_back(i >= first && is_assistant(m) && !muted);
  }
  if (d.learns_nothing()) {
    throw UserError(cat(where, ": expected an answer of the assistant to learn, found none"));
  }
  d.messages = std::move(messages);
  return d;
}

}  // namespace

Row read_row(const std::string& text, const std::string& format, const std::string& file,
             int64_t number) {
  Row row;
  row.where = cat(file, ":", number);
  if (nested_deeper(text, kMaxDepth)) {
    throw UserError(cat(row.where, ": expected lists and objects within each other at most ",
                        kMaxDepth, " deep"));
  }
  Json raw;
  try {
    raw = Json::parse(text);
  } catch (const Json::exception& e) {
    throw UserError(cat(row.where, ": expected one JSON object a line: ", e.what()));
  }
  if (!raw.is_object()) {
    throw UserError(cat(row.where, ": expected a JSON object, found ", raw.type_name()));
  }
  row.format = format == "auto" ? recognised_format(raw) : format;
  row.fields = own_row(raw, row.format, row.where);
  const auto id = row.fields.find("id");
  row.id = id == row.fields.end() || id->is_null() ? Json(number) : *id;
  const auto source = row.fields.find("data_source");
  if (source != row.fields.end() && !source->is_null()) {
    if (!source->is_string()) {
      throw UserError(
          cat(row.where, ": expected data_source to be text, found ", source->type_name()));
    }
    row.source = source->get<std::string>();
  } else {
    const bool named = format != "auto" && format != "hone" && format != "trl";
    row.source = named ? format : std::filesystem::path(file).stem().string();
  }
  return row;
}

Problem problem_of(const Row& row) {
  Problem p;
  p.id = row.id.is_string() ? row.id.get<std::string>() : row.id.dump();
  p.source = row.source;
  p.fields = row.fields;
  const std::string* prompt = text_in(row.fields, "prompt");
  if (messages_in(row.fields) != nullptr) {
    Json& messages = p.fields["messages"];
    while (!messages.empty() && is_assistant(messages.back())) messages.erase(messages.size() - 1);
    if (prompt == nullptr) p.prompt = last_user_text(messages, row.where);
    if (messages.empty()) p.fields.erase("messages");
  } else if (prompt == nullptr) {
    throw UserError(cat(row.where, ": expected prompt or messages, found ", keys_of(row.fields)));
  }
  if (prompt != nullptr) p.prompt = *prompt;
  return p;
}

Document document_of(const Row& row) {
  const Json& f = row.fields;
  const std::string *text = text_in(f, "text"), *prompt = text_in(f, "prompt");
  const Json* messages = messages_in(f);
  const auto completion = f.find("completion");
  Document d;
  if (text != nullptr) {
    d.text = *text;
  } else if (completion != f.end() && !completion->is_null() && (messages || prompt)) {
    if (messages || !completion->is_string()) {
      Json all = messages ? *messages : Json::array({message_of("user", *prompt)});
      const size_t first = all.size();
      for (const Json& m : completion_messages(*completion)) all.push_back(m);
      return conversation(std::move(all), first, row.where);
    }
    d.text = *prompt + completion->get_ref<const std::string&>();
    d.loss_from = static_cast<int64_t>(prompt->size());
  } else if (messages) {
    return conversation(*messages, 0, row.where);
  } else {
    throw UserError(cat(row.where, ": expected text, or prompt and completion, or messages, found ",
                        keys_of(f)));
  }
  if (static_cast<int64_t>(d.text.size()) <= d.loss_from) {
    throw UserError(cat(row.where, ": expected some text to learn, found none"));
  }
  return d;
}

RowKind kind_of(const Row& row) {
  const Json& f = row.fields;
  const auto completion = f.find("completion");
  const Json* messages = messages_in(f);
  const bool answered = messages && is_assistant(messages->back()) && !text_in(f, "prompt");
  const bool document =
      text_in(f, "text") || answered || (completion != f.end() && !completion->is_null());
  return document ? RowKind::document : RowKind::problem;
}

RowTexts texts_of(const Row& row) {
  const Json& f = row.fields;
  RowTexts texts;
  const auto add = [&](const std::string& part) {
    texts.content += (texts.content.empty() ? "" : "\n") + part;
  };
  const std::string *prompt = text_in(f, "prompt"), *text = text_in(f, "text");
  if (const Json* messages = messages_in(f)) {
    for (const Json& m : *messages) {
      const std::string said = message_text(m, row.where);
      if (m["role"] == "user") texts.prompt = said;
      if (m["role"] != "system") add(said);
    }
  } else if (prompt != nullptr) {
    add(*prompt);
  }
  if (prompt != nullptr) texts.prompt = *prompt;
  if (text != nullptr) {
    if (texts.content.empty()) texts.prompt = *text;
    add(*text);
  }
  if (const auto completion = f.find("completion"); completion != f.end()) {
    if (!completion->is_null()) {
      for (const Json& m : completion_messages(*completion)) add(message_text(m, row.where));
    }
  }
  return texts;
}

}  // namespace hone
