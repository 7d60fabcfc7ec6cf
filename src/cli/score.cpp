// hone score: rewards of completions that stand in a file.
#include "base/error.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "rewards/reward.h"
#include "text/tokenizer.h"

namespace hone {
namespace {

struct Options {
  std::vector<std::string> rewards;
  std::string tokenizer;
  JsonlFiles files;
  OutputOptions output;
};

FinishReason finish_reason_of(const Json& value) {
  for (const FinishReason reason :
       {FinishReason::stop, FinishReason::length, FinishReason::abort}) {
    if (value == to_string(reason)) return reason;
  }
  throw UserError("'finish_reason': expected stop, length or abort");
}

// A text, or an object as `hone sample` writes it.
Completion completion_of(const Json& value, const Tokenizer* tokenizer) {
  Completion c;
  c.finish_reason = FinishReason::stop;
  if (value.is_string()) {
    c.text = value.get<std::string>();
  } else if (value.is_object()) {
    c.text = text_of(value, "text");
    if (value.contains("ids")) c.tokens = ids_of(value, "ids");
    if (value.contains("finish_reason")) c.finish_reason = finish_reason_of(value["finish_reason"]);
  } else {
    throw UserError("expected a completion: a text, or {text, ...}");
  }
  if (c.tokens.empty() && tokenizer) c.tokens = tokenizer->encode(c.text);
  return c;
}

Json score_json(const Group& group, size_t i) {
  Json scores = Json::object(), status = Json::object(), details = Json::object();
  for (const auto& [name, list] : group.scores) {
    scores[name] = list[i].value ? Json(*list[i].value) : Json(nullptr);
    status[name] = to_string(list[i].status);
    details[name] = list[i].details;
  }
  return {{"reward", group.rewards[i] ? Json(*group.rewards[i]) : Json(nullptr)},
          {"scores", scores},
          {"status", status},
          {"details", details}};
}

void score_row(RewardSet& rewards, const Tokenizer* tokenizer, JsonlRow& row) {
  const Json& in = row.in;
  std::vector<Group> groups(1);
  Group& group = groups.front();
  group.problem.id = row.id.is_string() ? row.id.get<std::string>() : row.id.dump();
  if (in.contains("data_source")) group.problem.source = text_of(in, "data_source");
  if (in.contains("prompt")) group.problem.prompt = text_of(in, "prompt");
  group.problem.fields = in;
  group.prompt = group.problem.prompt;
  const bool many = in.contains("completions");
  if (many) {
    if (!in["completions"].is_array()) throw UserError("'completions': expected a list");
    for (const Json& value : in["completions"]) {
      group.completions.push_back(completion_of(value, tokenizer));
    }
  } else {
    const char* key = in.contains("completion") ? "completion" : "pred";
    if (!in.contains(key)) throw UserError("expected 'completion' or 'completions'");
    group.completions.push_back(completion_of(in[key], tokenizer));
    if (in.contains("finish_reason")) {
      group.completions.back().finish_reason = finish_reason_of(in["finish_reason"]);
    }
  }
  rewards.score(groups, {1, 1});
  if (!many) {
    row.out = score_json(group, 0);
    return;
  }
  row.out["completions"] = Json::array();
  for (size_t i = 0; i < group.completions.size(); ++i) {
    row.out["completions"].push_back(score_json(group, i));
  }
}

int run(const Options& o) {
  begin_output(o.output);
  std::vector<RewardSpec> specs;
  for (const std::string& text : o.rewards) specs.push_back(parse_reward_spec(text));
  RewardSet rewards(specs);
  const auto tokenizer = o.tokenizer.empty() ? nullptr : load_tokenizer(find_model(o.tokenizer));
  return map_jsonl(o.files, o.output, 1, [&](std::vector<JsonlRow*>& rows) {
    score_row(rewards, tokenizer.get(), *rows.front());
  });
}

}  // namespace

void add_score(Command& hone) {
  static Options o;
  Command& c = hone.verb("score", "rewards of given completions");
  c.option("--reward", o.rewards, "NAME[:option=value,...], with weight= and as=", true);
  add_jsonl_options(c, o.files, "{completion} or {completions}, and what the reward needs");
  c.option("--tokenizer", o.tokenizer, "model directory; counts tokens where a row has no ids");
  add_output_options(c, o.output);
  std::string list = "Rewards:";
  for (const auto& [name, meaning] : list_rewarders()) list += "\n  " + name + ": " + meaning;
  c.footer(list);
  c.action([] { return run(o); });
}

}  // namespace hone
