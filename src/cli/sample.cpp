// hone sample: prompts to completions with their log-probabilities.
#include <map>

#include "base/error.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "model/transformer.h"
#include "text/tokenizer.h"

namespace hone {
namespace {

constexpr int64_t kCompletionsAtOnce = 1024;

struct Options {
  std::string model;
  JsonlFiles files;
  int64_t n = 1;
  SamplingOptions sampling;
  int64_t speculate = 0;
  ModelOptions place;
  OutputOptions output;
};

Json to_json(const Completion& c) {
  return {{"text", c.text},
          {"ids", c.tokens},
          {"logprobs", json_floats(c.logprobs)},
          {"sampled_logprobs", json_floats(c.sampled_logprobs)},
          {"finish_reason", to_string(c.finish_reason)}};
}

std::vector<int32_t> prompt_of(const Json& row, const Tokenizer& tokenizer, const PromptForm& form,
                               int64_t longest) {
  // TRL and verl put messages under `prompt`.
  const char* conversation = row.contains("messages")                             ? "messages"
                             : row.contains("prompt") && row["prompt"].is_array() ? "prompt"
                                                                                  : nullptr;
  std::vector<int32_t> prompt;
  if (conversation) {
    Json variables = template_variables(row);
    const bool goes_on = variables.contains("continue_final_message");
    if (!goes_on && !variables.contains("add_generation_prompt")) {
      variables["add_generation_prompt"] = true;
    }
    prompt = render_messages(tokenizer, form, row[conversation], variables).ids;
  } else {
    prompt = encode_prompt(tokenizer, text_of(row, "prompt"));
  }
  if (prompt.empty()) throw UserError("'prompt': expected some text, found none");
  if (static_cast<int64_t>(prompt.size()) >= longest) {
    throw UserError(cat("'prompt': has ", prompt.size(), " tokens; the model's context is ",
                        longest, " with at least one new one"));
  }
  return prompt;
}

int run(const Options& o) {
  Display display(begin_output(o.output));
  if (o.n < 1) throw UserError(cat("--n: expected at least 1, found ", o.n));
  const std::string directory = find_model(o.model);
  const auto tokenizer = load_tokenizer(directory);
  const PromptForm form = read_prompt_form(directory);
  const auto model = open_model(directory, o.place);
  check_vocabulary(*model, *tokenizer, directory);
  Engine engine(*model, tokenizer.get(), {.speculate = o.speculate});

  std::map<std::vector<int32_t>, uint64_t> occurrences;  // equal prompts draw differently
  const size_t batch = static_cast<size_t>(std::max<int64_t>(1, kCompletionsAtOnce / o.n));
  const auto sample = [&](std::vector<JsonlRow*>& rows) {
    std::vector<SampleRequest> requests;
    std::vector<JsonlRow*> sampled;
    for (JsonlRow* row : rows) {
      try {
        SampleRequest r;
        r.prompt = prompt_of(row->in, *tokenizer, form, model->config().max_positions);
        r.n = o.n;
        r.key = request_key(static_cast<uint64_t>(o.place.seed), 0, 0, r.prompt,
                            occurrences[r.prompt]++);
        requests.push_back(std::move(r));
        sampled.push_back(row);
      } catch (const UserError& error) {
        row->error = error.what();
      }
    }
    if (requests.empty()) return;
    const auto results =
        engine.sample(requests, o.sampling, [&](int64_t, int64_t finished, int64_t all) {
          display.progress(cat("sampling ", all, " completions"), finished, all);
        });
    for (size_t i = 0; i < results.size(); ++i) {
      Json list = Json::array();
      for (const Completion& c : results[i]) list.push_back(to_json(c));
      sampled[i]->out["completions"] = std::move(list);
    }
  };
  const int code = map_jsonl(o.files, o.output, std::max<size_t>(batch, 2), sample);
  if (o.speculate > 0) {
    const EngineStats& stats = engine.stats();
    display.note(cat(stats.decode_tokens, " tokens in ", stats.decode_steps, " passes; of ",
                     stats.drafted, " that were guessed ", stats.accepted, " came true"));
  }
  return code;
}

}  // namespace

void add_sample(Command& hone) {
  static Options o;
  Command& c = hone.verb("sample", "sample completions of prompts");
  c.argument("MODEL", o.model, "model directory, or a run");
  add_jsonl_options(c, o.files, "{prompt} or {messages}");
  c.option("--n", o.n, "completions of each prompt");
  c.option("--temperature", o.sampling.temperature, "0 is greedy");
  c.option("--top-p", o.sampling.top_p, "the smallest set of tokens with this probability; 1: all");
  c.option("--top-k", o.sampling.top_k, "the k likeliest tokens; 0: all");
  c.option("--min-p", o.sampling.min_p, "tokens above this share of the likeliest one's");
  c.option("--max-tokens", o.sampling.max_tokens, "longest completion");
  c.option("--min-tokens", o.sampling.min_tokens, "tokens before which nothing may end it");
  c.option("--stop", o.sampling.stop, "texts that end a completion");
  c.option("--stop-ids", o.sampling.stop_ids, "token ids that end a completion");
  c.option(
      "--speculate", o.speculate,
      "where few completions are left, most tokens guessed for each and computed at once; 0: none");
  c.flag("--exact", o.place.exact,
         "results that do not depend on the batch (the CPU's always are so)");
  add_model_options(c, o.place);
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
