// hone chat: each line typed is a question; the answer streams, its thinking dimmed.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "cli/common.h"
#include "cli/thinking_view.h"
#include "cli/verbs.h"
#include "engine/engine.h"
#include "model/transformer.h"
#include "text/tokenizer.h"

namespace hone {
namespace {

struct Options {
  std::string model;
  SamplingOptions sampling;
  ModelOptions place;
  OutputOptions output;
};

void show(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) != 0) throw RunError("standard output cannot be written");
}

struct Answer {
  std::vector<int32_t> tokens;
  std::string text;
  FinishReason finish_reason = FinishReason::length;
};

// A draw depends on its key and position alone, so a completion is the same however it is cut: a
// few tokens at a time are sampled and shown. The pieces grow with the text, since each reads all
// of it again.
Answer stream(Engine& engine, const Tokenizer& tokenizer, SampleRequest request,
              const SamplingOptions& sampling, int64_t context, ThinkingView& view) {
  Answer answer;
  StreamDecoder decoder(tokenizer);
  SamplingOptions piece = sampling;
  const int64_t longest =
      std::min(sampling.max_tokens, context - static_cast<int64_t>(request.prompt.size()));
  while (answer.finish_reason == FinishReason::length) {
    const int64_t done = static_cast<int64_t>(answer.tokens.size());
    piece.max_tokens = std::min(std::clamp<int64_t>(done / 8, 2, 64), longest - done);
    if (piece.max_tokens <= 0) break;
    const Completion c = engine.sample({request}, piece).front().front();
    answer.finish_reason = c.finish_reason;
    // The end token has no text.
    const size_t spoken = c.tokens.size() - (c.finish_reason == FinishReason::stop ? 1 : 0);
    for (size_t i = 0; i < c.tokens.size(); ++i) {
      answer.tokens.push_back(c.tokens[i]);
      request.prompt.push_back(c.tokens[i]);
      if (i >= spoken) continue;
      const std::string text = decoder.push(c.tokens[i]);
      answer.text += text;
      show(view.push(text));
    }
  }
  const std::string rest = decoder.finish();
  answer.text += rest;
  show(view.push(rest) + view.finish() + "\n");
  return answer;
}

bool opens_thinking(const std::string& prompt) {
  const size_t last = prompt.find_last_not_of(" \n");
  return last != std::string::npos && prompt.substr(0, last + 1).ends_with("<think>");
}

// Models with a chat template see the whole conversation, others the last question.
RenderedPrompt next_prompt(const Tokenizer& tokenizer, const PromptForm& form,
                           const Json& messages) {
  if (form.chat && form.form.empty()) {
    return render_messages(tokenizer, form, messages, {{"add_generation_prompt", true}});
  }
  const std::string text = fill_form(form, text_of(messages.back(), "content"));
  return {text, encode_prompt(tokenizer, text)};
}

int run(const Options& o) {
  const DisplayOptions display = begin_output(o.output);
  const std::string directory = find_model(o.model);
  const auto tokenizer = load_tokenizer(directory);
  const PromptForm form = read_prompt_form(directory);
  const auto model = open_model(directory, o.place);
  check_vocabulary(*model, *tokenizer, directory);
  Engine engine(*model, tokenizer.get());
  const int64_t context = model->config().max_positions;
  const bool typed = isatty(STDIN_FILENO);
  const bool colors = isatty(STDOUT_FILENO) && (display.terminal || !isatty(STDERR_FILENO));
  if (typed && !o.output.quiet) {
    std::fprintf(stderr, "%s: type a question and Enter; Ctrl-D leaves.\n", o.model.c_str());
  }

  Json last = Json::object();
  Json messages = Json::array();
  std::string line;
  for (uint64_t turn = 0;; ++turn) {
    if (typed) show("> ");
    if (!std::getline(std::cin, line)) break;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    messages.push_back({{"role", "user"}, {"content", valid_utf8(line)}});
    const RenderedPrompt prompt = next_prompt(*tokenizer, form, messages);
    SampleRequest request;
    request.prompt = prompt.ids;
    request.key = request_key(static_cast<uint64_t>(o.place.seed), 0, turn, request.prompt, 0);
    if (static_cast<int64_t>(request.prompt.size()) >= context) {
      const std::string what = cat("the conversation has ", request.prompt.size(),
                                   " tokens, the model's context is ", context);
      if (!typed) throw UserError(what);
      std::fprintf(stderr, "%s; beginning anew\n", what.c_str());
      messages = Json::array();
      continue;
    }
    ThinkingView view(colors, opens_thinking(prompt.text));
    const Answer answer = stream(engine, *tokenizer, request, o.sampling, context, view);
    messages.push_back({{"role", "assistant"}, {"content", answer.text}});
    if (answer.finish_reason != FinishReason::stop && !o.output.quiet) {
      std::fprintf(stderr, "(cut off after %zu tokens)\n", answer.tokens.size());
    }
    last = {{"prompt", prompt.text},
            {"text", answer.text},
            {"tokens", answer.tokens.size()},
            {"finish_reason", to_string(answer.finish_reason)}};
  }
  if (typed) show("\n");
  print_result(o.output, last);
  return 0;
}

}  // namespace

void add_chat(Command& hone) {
  static Options o;
  Command& c = hone.verb("chat", "answer questions typed at the terminal");
  c.argument("MODEL", o.model, "model directory, or a run");
  c.option("--temperature", o.sampling.temperature, "0 is greedy");
  c.option("--top-p", o.sampling.top_p, "the smallest set of tokens with this probability; 1: all");
  c.option("--top-k", o.sampling.top_k, "the k likeliest tokens; 0: all");
  c.option("--min-p", o.sampling.min_p, "tokens above this share of the likeliest one's");
  c.option("--max-tokens", o.sampling.max_tokens, "longest answer");
  c.option("--min-tokens", o.sampling.min_tokens, "tokens before which nothing may end it");
  add_model_options(c, o.place);
  add_output_options(c, o.output);
  c.action([] { return run(o); });
}

}  // namespace hone
