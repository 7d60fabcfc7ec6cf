#include "cli/common.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "model/transformer.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "train/run.h"

namespace hone {
namespace fs = std::filesystem;

void add_output_options(Command& command, OutputOptions& options) {
  command.flag("--json", options.json, "the last line of standard output is one JSON object");
  command.flag("--quiet", options.quiet, "only errors on standard error");
}

void add_model_options(Command& command, ModelOptions& options) {
  command.option("--device", options.device, "auto, cpu, cuda or cuda:N");
  command.option("--dtype", options.dtype, "auto, float32 or bfloat16");
  command.option("--threads", options.threads, "CPU threads; 0: all cores");
  command.option("--seed", options.seed, "seed of all randomness");
}

DisplayOptions begin_output(const OutputOptions& options) {
  if (options.quiet) set_log_level(LogLevel::error);
  const char* term = std::getenv("TERM");
  const char* no_color = std::getenv("NO_COLOR");
  DisplayOptions display;
  display.quiet = options.quiet;
  display.terminal =
      isatty(STDERR_FILENO) && term && std::strcmp(term, "dumb") != 0 && !(no_color && *no_color);
  return display;
}

void print_line(const std::string& line) {
  const bool written = std::fwrite(line.data(), 1, line.size(), stdout) == line.size() &&
                       std::fputc('\n', stdout) != EOF && std::fflush(stdout) == 0;
  if (!written) throw RunError(cat("standard output cannot be written: ", std::strerror(errno)));
}

void print_result(const OutputOptions& options, const Json& result) {
  if (options.json) print_line(to_line(result));
}

std::string find_adapter(const std::string& path) {
  std::error_code ec;
  for (const char* model : {"/config.json", "/model"}) {
    if (fs::exists(path + model, ec)) return "";
  }
  for (const std::string& directory : {path, path + "/adapter"}) {
    if (fs::exists(directory + kAdapterConfig, ec)) return directory;
  }
  return "";
}

std::string find_model(const std::string& model) {
  const std::string path = find_path(model);
  std::error_code ec;
  if (!fs::is_directory(path, ec)) {
    throw UserError(cat(model, ": expected a model directory, found ",
                        fs::exists(path, ec) ? "a file" : "nothing there"));
  }
  const std::string adapter = find_adapter(path);
  if (!adapter.empty()) {
    throw UserError(cat(model, ": expected a model, found a LoRA adapter alone; merge it into its ",
                        "base first: hone export ", model, " --out DIR"));
  }
  const std::string of_run = path + "/model";
  const bool is_run = !fs::exists(path + "/config.json", ec) && fs::is_directory(of_run, ec);
  return is_run ? of_run : path;
}

std::unique_ptr<Transformer> open_model(const std::string& directory, const ModelOptions& options) {
  set_threads(options.threads);
  return load_model(directory, choose_place(options.device, options.dtype, false, options.exact));
}

void check_vocabulary(const Transformer& model, const Tokenizer& tokenizer,
                      const std::string& directory) {
  if (tokenizer.vocab_size() <= model.config().vocab_size) return;
  throw UserError(cat(directory, ": the tokenizer has ", tokenizer.vocab_size(),
                      " tokens, the model only ", model.config().vocab_size));
}

namespace {

// A JSON file of a model directory; `{}` if it is not there.
Json json_file(const std::string& path) {
  std::error_code ec;
  if (!fs::exists(path, ec)) return Json::object();
  Json json = Json::parse(read_file(path), nullptr, false);
  if (!json.is_object()) throw UserError(cat(path, ": expected a JSON object"));
  return json;
}

}  // namespace

PromptForm read_prompt_form(const std::string& directory) {
  PromptForm form;
  form.form = json_file(directory + "/hone.json").value("prompt_template", "");
  if (auto chat = ChatTemplate::from_directory(directory)) {
    form.chat = std::make_shared<const ChatTemplate>(std::move(*chat));
  }
  return form;
}

std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int32_t> ids = tokenizer.special_ids_around().before;
  const std::vector<int32_t> own = tokenizer.encode(text);
  ids.insert(ids.end(), own.begin(), own.end());
  return ids;
}

std::string fill_form(const PromptForm& form, const std::string& question) {
  const size_t at = form.form.find("{prompt}");
  if (at == std::string::npos) return question;
  return form.form.substr(0, at) + question + form.form.substr(at + 8);
}

RenderedPrompt render_messages(const Tokenizer& tokenizer, const PromptForm& form,
                               const Json& messages, const Json& variables) {
  RenderedPrompt prompt;
  const bool one = messages.is_array() && messages.size() == 1 && messages[0].is_object() &&
                   messages[0].value("role", Json()) == "user" && messages[0].contains("content");
  if (!form.form.empty() && (one || !form.chat)) {
    if (!one) throw UserError("'messages': this model takes one message of the user");
    prompt.text = fill_form(form, text_of(messages[0], "content"));
    prompt.ids = encode_prompt(tokenizer, prompt.text);
    return prompt;
  }
  if (!form.chat) {
    throw UserError(
        "'messages': the model has no chat template (chat_template.jinja, or chat_template in "
        "tokenizer_config.json); give 'prompt' or 'text'");
  }
  prompt.text = form.chat->render(messages, variables).text;
  // The template writes the beginning-of-text token itself where the model wants it.
  prompt.ids = tokenizer.encode(prompt.text);
  return prompt;
}

Json template_variables(const Json& row) {
  Json variables = Json::object();
  for (const auto& [key, value] : row.items()) {
    if (key != "id" && key != "messages" && key != "chat_template_kwargs") variables[key] = value;
  }
  const auto more = row.find("chat_template_kwargs");
  if (more != row.end() && more->is_object()) variables.update(*more);
  return variables;
}

void add_jsonl_options(Command& command, JsonlFiles& files, const std::string& rows) {
  command.option("--in", files.in, "JSONL file, - for standard input; rows " + rows, true);
  command.option("--out", files.out, "JSONL file, - for standard output");
}

namespace {

std::string open_failure(const std::string& path) {
  return cat(path, ": cannot be written: ", std::strerror(errno));
}

JsonlRow read_row(int64_t line, const std::string& text) {
  JsonlRow row;
  row.line = line;
  row.id = line;
  row.in = Json::parse(text, nullptr, false);
  if (row.in.is_discarded()) {
    row.error = "not JSON";
  } else if (!row.in.is_object()) {
    row.error = "expected a JSON object";
  } else if (row.in.contains("id")) {
    row.id = row.in["id"];
  }
  return row;
}

bool blank(const std::string& line) { return line.find_first_not_of(" \t") == std::string::npos; }

}  // namespace

RowWriter::RowWriter(const std::string& path) : path_(path) {
  if (path_ == "-") return;
  std::error_code ec;
  if (fs::is_directory(path_, ec)) throw UserError(cat(path_, ": is a directory"));
  // A pipe or /dev/null is written in place.
  const bool in_place = fs::exists(path_, ec) && !fs::is_regular_file(path_, ec);
  temporary_ = in_place ? path_ : path_ + ".tmp";
  file_ = std::fopen(temporary_.c_str(), "wb");
  if (!file_) throw UserError(open_failure(path_));
}

RowWriter::~RowWriter() {
  if (!file_) return;
  std::fclose(file_);
  if (temporary_ != path_) std::remove(temporary_.c_str());
}

void RowWriter::write(const std::string& line) {
  if (path_ == "-") return print_line(line);
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() ||
      std::fputc('\n', file_) == EOF) {
    throw RunError(open_failure(path_));
  }
}

void RowWriter::finish() {
  if (!file_) return;
  FILE* file = file_;
  file_ = nullptr;
  const bool closed = std::fclose(file) == 0;
  if (closed && (temporary_ == path_ || std::rename(temporary_.c_str(), path_.c_str()) == 0)) {
    return;
  }
  const std::string failure = open_failure(path_);
  if (temporary_ != path_) std::remove(temporary_.c_str());
  throw RunError(failure);
}

int map_jsonl(const JsonlFiles& files, const OutputOptions& output, size_t batch,
              const std::function<void(std::vector<JsonlRow*>&)>& work,
              const std::function<void(Json&)>& summary) {
  const std::string in = find_path(files.in);
  int64_t rows = 0, errors = 0;
  std::string first_error;
  std::vector<JsonlRow> pending;
  std::optional<RowWriter> writer;  // opened by the first rows: a bad call leaves --out alone

  const auto flush = [&] {
    std::vector<JsonlRow*> good;
    for (JsonlRow& row : pending) {
      if (row.error.empty()) good.push_back(&row);
    }
    try {
      if (!good.empty()) work(good);
    } catch (const UserError& error) {
      if (batch != 1) throw;
      good.front()->error = error.what();
    }
    if (!writer) writer.emplace(files.out);
    for (JsonlRow& row : pending) {
      Json out = {{"id", row.id}};
      if (row.error.empty()) {
        for (auto& [key, value] : row.out.items()) out[key] = std::move(value);
      } else {
        if (++errors == 1) first_error = cat("line ", row.line, ": ", row.error);
        out["error"] = row.error;
      }
      writer->write(to_line(out));
      ++rows;
    }
    pending.clear();
  };

  for_each_line(in, [&](int64_t line, const std::string& text) {
    if (blank(text)) return;
    pending.push_back(read_row(line, text));
    if (pending.size() >= batch) flush();
  });
  if (!pending.empty()) flush();
  if (rows == 0) throw UserError(cat(files.in, ": expected rows of JSON, found none"));
  writer->finish();
  Json result = {{"rows", rows}, {"errors", errors}};
  if (summary) summary(result);
  print_result(output, result);
  if (errors == 0) return 0;
  if (errors == rows) {
    throw UserError(cat(files.in, ": no row could be read; ", first_error));
  }
  log_error(cat(files.in, ": ", errors, " of ", rows, " rows malformed; ", first_error));
  return 1;
}

std::string text_of(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end()) throw UserError(cat("expected '", key, "', a text"));
  if (!found->is_string()) {
    throw UserError(cat("'", key, "': expected a text, found ", found->type_name()));
  }
  return found->get<std::string>();
}

std::vector<int32_t> ids_of(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end() || !found->is_array()) {
    throw UserError(cat("'", key, "': expected a list of token ids"));
  }
  std::vector<int32_t> ids;
  for (const Json& id : *found) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) {
      throw UserError(cat("'", key, "': expected token ids, found ", to_line(id)));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Json json_floats(const std::vector<float>& values) {
  // Through the shortest decimal of the float: the double nearest to it prints just as short.
  Json list = Json::array();
  for (const float value : values) {
    char digits[32];
    const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
    double wide = 0;
    std::from_chars(digits, end, wide);
    list.push_back(wide);
  }
  return list;
}

}  // namespace hone
