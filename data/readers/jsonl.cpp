#include "data/readers/jsonl.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/file.h"

namespace hone {
namespace {

Json parse_row(const std::string& text, const std::string& where) {
  Json row;
  try {
    row = Json::parse(text);
  } catch (const Json::parse_error& e) {
    throw UserError(cat(where, ": expected one JSON object a line: ", e.what()));
  }
  if (!row.is_object()) {
    throw UserError(cat(where, ": expected a JSON object, found ", row.type_name()));
  }
  return row;
}

std::string keys_of(const Json& row) {
  std::string out;
  for (const auto& [key, value] : row.items()) out += (out.empty() ? "" : ", ") + key;
  return out.empty() ? "no keys" : out;
}

const std::string& text_of(const Json& value, const char* key, const std::string& where) {
  if (!value.is_string()) {
    throw UserError(cat(where, ": expected ", key, " to be text, found ", value.type_name()));
  }
  return value.get_ref<const std::string&>();
}

// The text of the last user turn. The row keeps all messages for the chat template.
std::string last_user_text(const Json& messages, const std::string& where) {
  if (!messages.is_array() || messages.empty()) {
    throw UserError(cat(where, ": expected messages to be a list of {role, content}"));
  }
  std::string out;
  for (const Json& message : messages) {
    if (!message.is_object() || !message.contains("role") || !message.contains("content")) {
      throw UserError(cat(where, ": expected each of messages to have role and content"));
    }
    if (message["role"] == "user") out = text_of(message["content"], "content", where);
  }
  return out;
}

// GSM8K ends a worked solution by "#### 42".
std::string after_hashes(const std::string& solution, const std::string& where) {
  const size_t at = solution.rfind("####");
  if (at == std::string::npos) {
    throw UserError(cat(where, ": expected the answer to end in \"#### NUMBER\" (format gsm8k)"));
  }
  const size_t begin = solution.find_first_not_of(" \t", at + 4);
  const size_t end = solution.find_last_not_of(" \t\r\n");
  if (begin == std::string::npos || end < begin) {
    throw UserError(cat(where, ": expected a number after ####, found nothing"));
  }
  return solution.substr(begin, end + 1 - begin);
}

}  // namespace

Problem problem_of_row(const Json& row, const std::string& format, const std::string& file,
                       int64_t line) {
  const std::string where = cat(file, ":", line);
  Problem p;
  p.fields = row;
  p.id = std::to_string(line);
  if (row.contains("id")) {
    p.id = row["id"].is_string() ? row["id"].get<std::string>() : row["id"].dump();
  }
  p.source = std::filesystem::path(file).stem().string();
  if (row.contains("data_source")) p.source = text_of(row["data_source"], "data_source", where);

  // Data sets name the question differently; `prompt` wins.
  const char* key = nullptr;
  for (const char* name : {"prompt", "question", "problem"}) {
    if (key == nullptr && row.contains(name)) key = name;
  }
  if (key != nullptr && row[key].is_array()) {  // TRL and verl put messages under `prompt`
    p.prompt = last_user_text(row[key], where);
    if (!p.fields.contains("messages")) p.fields["messages"] = row[key];
  } else if (key != nullptr) {
    p.prompt = text_of(row[key], key, where);
  } else if (row.contains("messages")) {
    p.prompt = last_user_text(row["messages"], where);
  } else {
    throw UserError(cat(where, ": expected prompt or messages, found ", keys_of(row)));
  }
  if (format == "gsm8k") {
    if (!row.contains("answer")) {
      throw UserError(cat(where, ": expected answer (format gsm8k), found ", keys_of(row)));
    }
    const std::string& solution = text_of(row["answer"], "answer", where);
    p.fields["solution_text"] = solution;
    p.fields["answer"] = after_hashes(solution, where);
  } else if (format == "math" && !row.contains("answer") && !row.contains("solution")) {
    throw UserError(
        cat(where, ": expected answer or solution (format math), found ", keys_of(row)));
  }
  return p;
}

Document document_of_row(const Json& row, const std::string& where) {
  Document d;
  if (row.contains("text")) {
    d.text = text_of(row["text"], "text", where);
  } else if (row.contains("prompt") && row.contains("completion")) {
    const std::string& prompt = text_of(row["prompt"], "prompt", where);
    d.text = prompt + text_of(row["completion"], "completion", where);
    d.loss_from = static_cast<int64_t>(prompt.size());
  } else {
    throw UserError(cat(where, ": expected text, or prompt and completion, found ", keys_of(row)));
  }
  if (static_cast<int64_t>(d.text.size()) <= d.loss_from) {
    throw UserError(cat(where, ": expected some text to learn, found none"));
  }
  return d;
}

JsonlFile::JsonlFile(const std::string& path, const std::string& format, RowKind kind)
    : path_(find_path(path)), format_(format) {
  if (format != "auto" && format != "gsm8k" && format != "math") {
    throw UserError(cat(path, ": unknown format ", format, "; formats: auto, gsm8k, math"));
  }
  std::error_code ec;
  if (std::filesystem::is_directory(path_, ec)) {
    throw UserError(cat(path_, ": expected a JSONL file, found a directory"));
  }
  std::ifstream in(path_, std::ios::binary);
  if (!in) throw UserError(cat(path_, ": cannot be read: ", std::strerror(errno)));
  std::string text;
  int64_t offset = 0;
  for (int64_t number = 1; std::getline(in, text); ++number) {
    const Line line{offset, static_cast<int64_t>(text.size()), number};
    offset += line.length + 1;
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = cat(path_, ":", number);
    const Json row = parse_row(text, where);
    if (kind == RowKind::problem) {
      problem_of_row(row, format_, path_, number);
    } else {
      document_of_row(row, where);
    }
    lines_.push_back(line);
  }
  if (lines_.empty()) throw UserError(cat(path_, ": expected rows, the file is empty"));
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) throw UserError(cat(path_, ": cannot be read: ", std::strerror(errno)));
}

JsonlFile::~JsonlFile() {
  if (fd_ >= 0) ::close(fd_);
}

Json JsonlFile::read(const Line& line) const {
  std::string text(static_cast<size_t>(line.length), '\0');
  size_t have = 0;
  while (have < text.size()) {  // pread has no shared position, so threads may read at once
    const ssize_t n = ::pread(fd_, text.data() + have, text.size() - have,
                              static_cast<off_t>(line.offset) + static_cast<off_t>(have));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw RunError(cat(path_, ": changed or became unreadable while in use"));
    have += static_cast<size_t>(n);
  }
  return parse_row(text, cat(path_, ":", line.number));
}

Problem JsonlFile::problem(int64_t row) const {
  const Line& line = lines_[static_cast<size_t>(row)];
  return problem_of_row(read(line), format_, path_, line.number);
}

Document JsonlFile::document(int64_t row) const {
  const Line& line = lines_[static_cast<size_t>(row)];
  return document_of_row(read(line), cat(path_, ":", line.number));
}

}  // namespace hone
