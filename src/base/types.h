// The nouns that cross rooms. A step of training adds fields to its groups and hands them on:
// data/ makes the Problem, rollouts/ and the engine the Completions, rewards/ the Scores,
// src/train the advantages. Nobody reaches back.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"

namespace hone {

// A question with what is needed to judge an answer to it.
struct Problem {
  std::string id;                // unique in its data set; carried through to every file
  std::string source;            // task name or file: what `when: {data_source: ...}` selects on
  std::string prompt;            // text, before the recipe's prompt template
  Json fields = Json::object();  // the whole row: answer, tests, numbers, target, ...
};

enum class FinishReason { stop, length, abort };

// One sampled answer. `tokens`, `logprobs` and `sampled_logprobs` have the same length.
struct Completion {
  std::vector<int32_t> tokens;          // includes the end token if it was sampled
  std::vector<float> logprobs;          // log p(token | before) of the model at temperature 1
  std::vector<float> sampled_logprobs;  // under the distribution it was drawn from
  std::string text;                     // without the end token and the stop string
  FinishReason finish_reason = FinishReason::length;
  // The experts chosen when these tokens were sampled, where that was asked for, so that training
  // can take them again (R3, arXiv 2510.11370): [P + tokens - 1][sparse layers][experts a token],
  // of the prompt's P tokens and of all sampled ones but the last, which was no input. In the
  // router's order. Empty where nothing was sampled.
  std::vector<int16_t> routes{};
};

// What became of one verification. Only `ok` and `no_answer` carry a number: a verifier that
// fails, or a reference that it cannot read, never becomes a wrong answer.
enum class Status { ok, no_answer, bad_reference, verifier_error, timeout };

// The score of a part of a completion, for process supervision.
struct SpanScore {
  size_t begin = 0, end = 0;  // bytes of the completion's text
  double value = 0;
};

struct Score {
  std::optional<double> value;  // null: left out of the group's statistics
  Status status = Status::ok;
  Json details = Json::object();          // named facts for the log, e.g. {"answer": "12"}
  std::map<std::string, double> metrics;  // averaged over the step as rewards/NAME/KEY
  std::vector<SpanScore> spans;           // optional; in order, without overlap
};

// G completions of one problem and what was found out about them.
struct Group {
  Problem problem;
  std::string prompt;                                              // text given to the model
  std::vector<int32_t> prompt_tokens;                              // [P]
  std::vector<Completion> completions;                             // [G]
  std::vector<std::pair<std::string, std::vector<Score>>> scores;  // reward name -> [G]
  std::vector<std::optional<double>> rewards;  // [G] weighted sum; null where no score counted
  std::vector<double> advantages;              // [G]
};

inline const char* to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::abort:
      return "abort";
  }
  return "";
}

inline const char* to_string(Status status) {
  switch (status) {
    case Status::ok:
      return "ok";
    case Status::no_answer:
      return "no_answer";
    case Status::bad_reference:
      return "bad_reference";
    case Status::verifier_error:
      return "verifier_error";
    case Status::timeout:
      return "timeout";
  }
  return "";
}

}  // namespace hone
