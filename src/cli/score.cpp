// hone score: rewards of completions that stand in a file, or what rewards would pay for.
#include <algorithm>
#include <filesystem>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/timer.h"
#include "cli/common.h"
#include "cli/verbs.h"
#include "rewards/audit/audit.h"
#include "rewards/reward.h"
#include "text/tokenizer.h"
#include "train/format.h"

namespace hone {
namespace {

constexpr size_t kRowsAtOnce = 512;
constexpr size_t kSlowest = 5;

struct Options {
  std::vector<std::string> rewards;
  std::string tokenizer;
  int64_t threads = 0;
  bool audit = false;
  int64_t audit_rows = 100;
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

Problem problem_of(const Json& id, const Json& in) {
  Problem problem;
  problem.id = id.is_string() ? id.get<std::string>() : id.dump();
  if (in.contains("data_source")) problem.source = text_of(in, "data_source");
  if (in.contains("prompt")) problem.prompt = text_of(in, "prompt");
  problem.fields = in;
  return problem;
}

Group group_of(const JsonlRow& row, const Tokenizer* tokenizer) {
  const Json& in = row.in;
  Group group;
  group.problem = problem_of(row.id, in);
  group.prompt = group.problem.prompt;
  if (in.contains("completions")) {
    if (!in["completions"].is_array()) throw UserError("'completions': expected a list");
    for (const Json& value : in["completions"]) {
      group.completions.push_back(completion_of(value, tokenizer));
    }
    return group;
  }
  const char* key = in.contains("completion") ? "completion" : "pred";
  if (!in.contains(key)) throw UserError("expected 'completion' or 'completions'");
  group.completions.push_back(completion_of(in[key], tokenizer));
  if (in.contains("finish_reason")) {
    group.completions.back().finish_reason = finish_reason_of(in["finish_reason"]);
  }
  return group;
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

Json row_json(const Group& group, bool many) {
  if (!many) return score_json(group, 0);
  Json list = Json::array();
  for (size_t i = 0; i < group.completions.size(); ++i) list.push_back(score_json(group, i));
  return {{"completions", list}};
}

struct Mean {
  double sum = 0;
  int64_t count = 0;
  void add(const std::optional<double>& value) {
    sum += value.value_or(0);
    count += value.has_value();
  }
  Json json() const { return count ? Json(sum / static_cast<double>(count)) : Json(nullptr); }
};

// What the whole file came to.
struct Summary {
  Timer timer;
  int64_t completions = 0;
  Mean reward;
  std::map<std::string, Mean> scores;
  std::map<std::string, std::map<std::string, int64_t>> statuses;
  std::vector<std::pair<double, std::string>> slowest;  // seconds and id

  void add(const Group& group, double seconds) {
    completions += static_cast<int64_t>(group.completions.size());
    for (const std::optional<double>& value : group.rewards) reward.add(value);
    for (const auto& [name, list] : group.scores) {
      for (const Score& score : list) {
        scores[name].add(score.value);
        ++statuses[name][to_string(score.status)];
      }
    }
    slowest.emplace_back(seconds, group.problem.id);
    std::stable_sort(slowest.begin(), slowest.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    if (slowest.size() > kSlowest) slowest.pop_back();
  }

  void add_to(Json& result) const {
    result["completions"] = completions;
    result["reward"] = reward.json();
    result["scores"] = result["status"] = Json::object();
    for (const auto& [name, mean] : scores) {
      result["scores"][name] = mean.json();
      result["status"][name] = statuses.at(name);
    }
    result["seconds"] = timer.seconds();
    result["slowest"] = Json::array();
    for (const auto& [seconds, id] : slowest) {
      result["slowest"].push_back({{"id", id}, {"ms", seconds * 1e3}});
    }
  }

  std::string text() const {
    const auto shown = [](const Mean& mean) {
      return mean.count ? formatted("%.4f", mean.sum / static_cast<double>(mean.count)) : "none";
    };
    std::string text = cat("scored ", completions, " completions in ",
                           formatted("%.2f", timer.seconds()), " s\n  mean reward ", shown(reward));
    for (const auto& [name, mean] : scores) {
      text += cat("\n  ", name, "  mean ", shown(mean));
      for (const auto& [status, n] : statuses.at(name)) text += cat("  ", status, " ", n);
    }
    text += "\n  slowest:";
    for (const auto& [seconds, id] : slowest) {
      text += cat("  ", visible_text(id), " ", formatted("%.2f", seconds * 1e3), " ms");
    }
    return text;
  }
};

// Rows of the file, for the progress bar; 0 where they cannot be counted ahead.
int64_t count_rows(const std::string& in, const OutputOptions& output) {
  const std::string path = find_path(in);
  std::error_code ec;
  if (output.quiet || !std::filesystem::is_regular_file(path, ec)) return 0;
  int64_t rows = 0;
  for_each_line(path, [&](int64_t, const std::string&) { ++rows; });
  return rows;
}

int score(const Options& o, RewardSet& rewards, Display& display) {
  const auto tokenizer = o.tokenizer.empty() ? nullptr : load_tokenizer(find_model(o.tokenizer));
  const int64_t all = count_rows(o.files.in, o.output);
  int64_t done = 0;
  Summary summary;
  const auto work = [&](std::vector<JsonlRow*>& rows) {
    std::vector<Group> groups;
    std::vector<JsonlRow*> scored;
    for (JsonlRow* row : rows) {
      try {
        groups.push_back(group_of(*row, tokenizer.get()));
        scored.push_back(row);
      } catch (const UserError& error) {
        row->error = error.what();
      }
    }
    std::vector<double> seconds;
    rewards.score(groups, {1, 1}, &seconds);
    for (size_t i = 0; i < groups.size(); ++i) {
      scored[i]->out = row_json(groups[i], scored[i]->in.contains("completions"));
      summary.add(groups[i], seconds[i]);
    }
    done += static_cast<int64_t>(rows.size());
    display.progress(cat("scoring ", all, " rows"), done, all);
  };
  return map_jsonl(o.files, o.output, kRowsAtOnce, work, [&](Json& result) {
    summary.add_to(result);
    if (summary.completions > 0) display.note(summary.text());
  });
}

// The audit's own rows: problems, with or without completions.
int audit(const Options& o, RewardSet& rewards, Display& display) {
  std::vector<Problem> problems;
  int64_t errors = 0;
  for_each_line(find_path(o.files.in), [&](int64_t line, const std::string& text) {
    if (text.find_first_not_of(" \t\r") == std::string::npos ||
        static_cast<int64_t>(problems.size()) >= o.audit_rows)
      return;
    const Json row = Json::parse(text, nullptr, false);
    try {
      if (!row.is_object()) throw UserError("expected a JSON object");
      problems.push_back(problem_of(row.value("id", Json(line)), row));
    } catch (const UserError& error) {
      if (++errors == 1) log_error(cat(o.files.in, ": line ", line, ": ", error.what()));
    }
  });
  if (problems.empty()) {
    throw UserError(cat(o.files.in, ": expected rows of JSON with what the reward needs"));
  }
  display.note(cat("trying known hacks and honest answers on ", problems.size(), " problems"));
  const AuditReport report = audit_rewards(rewards, problems);
  std::string table = audit_table(report);
  table.pop_back();
  print_line(table);
  print_result(o.output, audit_json(report));
  return errors == 0 ? 0 : 1;
}

int run(const Options& o) {
  Display display(begin_output(o.output));
  std::vector<RewardSpec> specs;
  for (const std::string& text : o.rewards) specs.push_back(parse_reward_spec(text));
  RewardSet rewards(specs, o.threads);
  return o.audit ? audit(o, rewards, display) : score(o, rewards, display);
}

}  // namespace

void add_score(Command& hone) {
  static Options o;
  Command& c = hone.verb("score", "rewards of given completions");
  c.option("--reward", o.rewards, "NAME[:option=value,...], with weight= and as=", true);
  add_jsonl_options(c, o.files, "{completion} or {completions}, and what the reward needs");
  c.option("--tokenizer", o.tokenizer, "model directory; counts tokens where a row has no ids");
  c.option("--threads", o.threads, "threads that judge; 0: one for each core");
  c.flag("--audit", o.audit,
         "instead of scoring, try known hacks and honest spellings of each row's answer and list "
         "which hacks would be paid and which honest answers refused");
  c.option("--audit-rows", o.audit_rows, "rows that an audit takes, from the first");
  add_output_options(c, o.output);
  std::string list = "Rewards:";
  for (const auto& [name, meaning] : list_rewarders()) list += "\n  " + name + ": " + meaning;
  list +=
      "\n\nAn audit needs no completions: rows as for training, {prompt, answer, ...}. It works "
      "with "
      "every reward, prints a table and, with --json, one object; its exit code is 0 whatever it "
      "finds. What a reward pays for is what training will find.";
  c.footer(list);
  c.action([] { return run(o); });
}

}  // namespace hone
