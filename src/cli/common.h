// What the verbs share: their common options, JSONL in and out, models by name.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "cli/command.h"
#include "train/display.h"

namespace hone {

class ChatTemplate;
class Tokenizer;
class Transformer;

struct OutputOptions {
  bool json = false;
  bool quiet = false;
};
void add_output_options(Command& command, OutputOptions& options);

struct ModelOptions {
  std::string device = "auto";
  std::string dtype = "auto";
  int64_t threads = 0;
  int64_t seed = 0;
  bool exact = false, fp8 = false;  // of verbs that offer them
};
void add_model_options(Command& command, ModelOptions& options);

// Applies --quiet to the log. Colours and bars only on a terminal that wants them (NO_COLOR).
DisplayOptions begin_output(const OutputOptions& options);

// A line on standard output; throws RunError if it cannot be written.
void print_line(const std::string& line);
// The last line of standard output under --json.
void print_result(const OutputOptions& options, const Json& result);

// The PEFT adapter that a directory is, or that a checkpoint holds in a model's place; empty: none.
std::string find_adapter(const std::string& path);
// MODEL as the verbs take it: a directory (also below hone's data root), or a run, which stands
// for its model/. Throws UserError if there is no such directory, or an
// adapter alone.
std::string find_model(const std::string& model);

// For inference, with device, dtype and threads chosen.
std::unique_ptr<Transformer> open_model(const std::string& directory, const ModelOptions& options);
// Throws UserError if the model has fewer tokens than the tokenizer.
void check_vocabulary(const Transformer& model, const Tokenizer& tokenizer,
                      const std::string& directory);

// How a model directory wants its prompts.
struct PromptForm {
  std::string form;                          // hone.json: "Q: {prompt}\nA:"; empty: there is none
  std::shared_ptr<const ChatTemplate> chat;  // null: there is none
};
PromptForm read_prompt_form(const std::string& directory);
// Text to be continued: with the ids before it that the tokenizer puts there.
std::vector<int32_t> encode_prompt(const Tokenizer& tokenizer, const std::string& text);
// A question as the model's form has it; as it stands without a form.
std::string fill_form(const PromptForm& form, const std::string& question);

struct RenderedPrompt {
  std::string text;
  std::vector<int32_t> ids;
};
// A conversation as the model wants it: by its hone.json, which takes one message of the user, else
// by its chat template. `variables` are the template's. Throws UserError if there is neither.
RenderedPrompt render_messages(const Tokenizer& tokenizer, const PromptForm& form,
                               const Json& messages, const Json& variables);
// The variables of a row {messages, tools, add_generation_prompt, enable_thinking, ...}.
Json template_variables(const Json& row);

// ---- JSONL in, JSONL out -----------------------------------------------------------------------

struct JsonlRow {
  int64_t line = 0;
  Json id;
  Json in;            // the row, an object
  Json out;           // what to write beside the id
  std::string error;  // not empty: the row is malformed
};

struct JsonlFiles {
  std::string in;
  std::string out = "-";
};
void add_jsonl_options(Command& command, JsonlFiles& files, const std::string& rows);

// Reads rows, calls `work` with up to `batch` of them at a time, writes one row for each in order.
// `work` fills in `out` or `error`. A UserError that it throws belongs to the row when batch is 1,
// else to the call. Prints {rows, errors} and what `summary` adds under --json. Returns the exit
// code; throws UserError if no row could be read.
int map_jsonl(const JsonlFiles& files, const OutputOptions& output, size_t batch,
              const std::function<void(std::vector<JsonlRow*>&)>& work,
              const std::function<void(Json&)>& summary = {});

// A row's value, or UserError naming the key and what was expected.
std::string text_of(const Json& row, const char* key);
std::vector<int32_t> ids_of(const Json& row, const char* key);

// Rows to a file ("-": standard output) that takes its name at the end, so that it is whole or as
// it was before.
class RowWriter {
 public:
  explicit RowWriter(const std::string& path);  // throws UserError
  RowWriter(const RowWriter&) = delete;
  RowWriter& operator=(const RowWriter&) = delete;
  ~RowWriter();
  void write(const std::string& line);  // throws RunError
  void finish();

 private:
  std::string path_, temporary_;
  FILE* file_ = nullptr;
};

// Floats with the fewest digits that read back as the same float.
Json json_floats(const std::vector<float>& values);

}  // namespace hone
