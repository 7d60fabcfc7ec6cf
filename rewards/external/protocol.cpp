#include "rewards/external/protocol.h"

#include <cmath>

#include "base/error.h"

namespace hone {
namespace {

Json run_json(const RunState& run) { return {{"step", run.step}, {"steps", run.steps}}; }

// `hone score` hands over the whole row, with all its completions.
bool is_row_of_completions(const std::string& key) { return key == "completions"; }

Status status_of(const std::string& word) {
  for (const Status status : {Status::ok, Status::no_answer, Status::bad_reference,
                              Status::verifier_error, Status::timeout}) {
    if (word == to_string(status)) return status;
  }
  throw RunError(cat("the status '", word,
                     "' is none of ok, no_answer, bad_reference, verifier_error, timeout"));
}

std::optional<double> number_of(const Json& value, const char* what) {
  if (value.is_null()) return std::nullopt;
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (!value.is_number()) {
    throw RunError(cat(what, ": expected a number or null, found ", value.dump().substr(0, 100)));
  }
  return value.get<double>();
}

double finite_number(const Json& value, const char* what) {
  const std::optional<double> number = number_of(value, what);
  if (!number || !std::isfinite(*number)) throw RunError(cat(what, ": expected a number"));
  return *number;
}

Score read_object(const Json& reply) {
  Score score;
  if (!reply.contains("score")) throw RunError("expected a number, null or {\"score\": ...}");
  score.value = number_of(reply["score"], "score");
  if (reply.contains("status")) score.status = status_of(reply["status"].get<std::string>());
  if (reply.contains("details")) {
    if (!reply["details"].is_object()) throw RunError("'details': expected an object");
    score.details = reply["details"];
  }
  if (reply.contains("metrics")) {
    for (const auto& [name, value] : reply["metrics"].items()) {
      score.metrics[name] = finite_number(value, "metrics");
    }
  }
  if (reply.contains("spans")) {
    for (const Json& span : reply["spans"]) {
      score.spans.push_back({span.at("begin").get<size_t>(), span.at("end").get<size_t>(),
                             finite_number(span.at("score"), "spans")});
    }
  }
  return score;
}

}  // namespace

Json batch_request(const std::vector<RewardItem>& items) {
  Json request = {{"call", 0}, {"run", run_json(items.front().run)}};
  Json problems = Json::array(), list = Json::array();
  const Problem* last = nullptr;
  for (const RewardItem& item : items) {
    if (item.problem != last) {
      last = item.problem;
      Json fields = Json::object();
      for (const auto& [key, value] : last->fields.items()) {
        if (!is_row_of_completions(key)) fields[key] = value;
      }
      problems.push_back({{"id", last->id},
                          {"source", last->source},
                          {"prompt", item.prompt},
                          {"question", last->prompt},
                          {"fields", std::move(fields)}});
    }
    list.push_back({{"problem", problems.size() - 1},
                    {"text", item.completion->text},
                    {"ids", item.completion->tokens},
                    {"finish_reason", to_string(item.completion->finish_reason)}});
  }
  request["problems"] = std::move(problems);
  request["items"] = std::move(list);
  return request;
}

Json item_request(const RewardItem& item) {
  Json request = {{"call", 0},
                  {"run", run_json(item.run)},
                  {"prompt", item.prompt},
                  {"completion", item.completion->text},
                  {"completion_ids", item.completion->tokens},
                  {"finish_reason", to_string(item.completion->finish_reason)}};
  for (const auto& [key, value] : item.problem->fields.items()) {
    if (!is_row_of_completions(key) && !request.contains(key)) request[key] = value;
  }
  if (!request.contains("id")) request["id"] = item.problem->id;
  return request;
}

void receive_batch(const Json& request, ReceivedBatch& batch) {
  const RunState run{request.at("run").at("step").get<int64_t>(),
                     request.at("run").at("steps").get<int64_t>()};
  const Json& problems = request.at("problems");
  for (const Json& problem : problems) {
    batch.problems.push_back({problem.at("id").get<std::string>(),
                              problem.at("source").get<std::string>(),
                              problem.at("question").get<std::string>(), problem.at("fields")});
  }
  for (const Json& item : request.at("items")) {
    const size_t index = item.at("problem").get<size_t>();
    Completion completion;
    completion.text = item.at("text").get<std::string>();
    completion.tokens = item.at("ids").get<std::vector<int32_t>>();
    for (const FinishReason reason :
         {FinishReason::stop, FinishReason::length, FinishReason::abort}) {
      if (item.at("finish_reason") == to_string(reason)) completion.finish_reason = reason;
    }
    batch.completions.push_back(std::move(completion));
    batch.items.push_back({&batch.problems.at(index), &batch.completions.back(),
                           problems[index].at("prompt").get<std::string>(), run});
  }
}

Score failed_score(Status status, const std::string& error) {
  Score score;
  score.status = status;
  score.details["error"] = error;
  return score;
}

Score read_score(const Json& reply) {
  try {
    if (reply.is_object()) return read_object(reply);
    Score score;
    score.value = number_of(reply, "score");
    return score;
  } catch (const std::exception& error) {  // RunError from here, or a wrong type from the library
    return failed_score(Status::verifier_error, error.what());
  }
}

Json score_json(const Score& score) {
  Json value = score.value ? Json(*score.value) : Json(nullptr);
  if (score.value && !std::isfinite(*score.value)) {  // JSON knows neither NaN nor infinity
    return score_json(failed_score(Status::verifier_error, cat("the reward is ", *score.value)));
  }
  Json reply = {{"score", value}, {"status", to_string(score.status)}};
  if (!score.details.empty()) reply["details"] = score.details;
  if (!score.metrics.empty()) reply["metrics"] = score.metrics;
  for (const SpanScore& span : score.spans) {
    reply["spans"].push_back({{"begin", span.begin}, {"end", span.end}, {"score", span.value}});
  }
  return reply;
}

Json parse_reply(const std::string& line) {
  constexpr int kMaxDepth = 64;
  if (nested_deeper(line, kMaxDepth)) return Json(Json::value_t::discarded);
  return Json::parse(line, nullptr, /*allow_exceptions=*/false);
}

}  // namespace hone
