// hone tokenize: text to ids and back.
#include "base/error.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "text/tokenizer.h"

namespace hone {
namespace {

struct Options {
  std::string model;
  JsonlFiles files;
  OutputOptions output;
};

void tokenize_row(const Tokenizer& tokenizer, const PromptForm& form, JsonlRow& row) {
  if (row.in.contains("ids")) {
    row.out["text"] = tokenizer.decode(ids_of(row.in, "ids"));
    return;
  }
  if (row.in.contains("messages")) {
    const RenderedPrompt prompt =
        render_messages(tokenizer, form, row.in["messages"], template_variables(row.in));
    row.out["text"] = prompt.text;
    row.out["ids"] = prompt.ids;
    return;
  }
  if (!row.in.contains("text")) throw UserError("expected 'text', 'ids' or 'messages'");
  const auto special = row.in.find("add_special_tokens");
  if (special != row.in.end() && !special->is_boolean()) {
    throw UserError("'add_special_tokens': expected true or false");
  }
  const std::string text = text_of(row.in, "text");
  std::vector<int32_t> ids = tokenizer.encode(text);
  if (special != row.in.end() && special->get<bool>()) {
    const SpecialIdsAround around = tokenizer.special_ids_around();
    ids.insert(ids.begin(), around.before.begin(), around.before.end());
    ids.insert(ids.end(), around.after.begin(), around.after.end());
  }
  row.out["ids"] = ids;
}

int run(const Options& o) {
  begin_output(o.output);
  const std::string directory = find_model(o.model);
  const auto tokenizer = load_tokenizer(directory);
  const PromptForm form = read_prompt_form(directory);
  return map_jsonl(o.files, o.output, 1, [&](std::vector<JsonlRow*>& rows) {
    tokenize_row(*tokenizer, form, *rows.front());
  });
}

}  // namespace

void add_tokenize(Command& hone) {
  static Options o;
  Command& c = hone.verb("tokenize", "text to token ids and back");
  c.argument("MODEL", o.model, "directory with tokenizer files");
  add_jsonl_options(
      c, o.files, "{text} (and add_special_tokens), {ids} or {messages} (and template variables)");
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
