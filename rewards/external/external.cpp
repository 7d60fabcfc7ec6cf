#include "rewards/external/external.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/options.h"
#include "rewards/builtin.h"
#include "rewards/external/pool.h"
#include "rewards/external/protocol.h"

namespace hone {
namespace fs = std::filesystem;
namespace {

constexpr double kDefaultTimeout = 30;  // seconds a call

// "python:judge.py:is_short" -> "judge.py" and "is_short".
struct Target {
  std::string path, name;
};

Target target_of(const RewardSpec& spec, const char* form) {
  const size_t first = spec.name.find(':'), last = spec.name.rfind(':');
  if (first == last || first + 1 == last || last + 1 == spec.name.size()) {
    throw UserError(cat("reward '", spec.name, "': expected ", form));
  }
  return {spec.name.substr(first + 1, last - first - 1), spec.name.substr(last + 1)};
}

std::string existing_file(const RewardSpec& spec, const std::string& path) {
  const std::string found = find_path(path);
  std::error_code ec;
  if (!fs::is_regular_file(found, ec)) {
    throw UserError(cat("reward '", spec.name, "': no file '", path, "' in ",
                        fs::current_path(ec).string(), " or ", data_root()));
  }
  return fs::absolute(found).string();
}

int64_t count_option(const RewardSpec& spec, const char* key, int64_t fallback) {
  const double value = number_option(spec, key, static_cast<double>(fallback));
  if (value < 1 || value > 1e9 || value != static_cast<double>(static_cast<int64_t>(value))) {
    throw UserError(cat("reward '", spec.name, "': ", key, ": expected a whole number from 1 on"));
  }
  return static_cast<int64_t>(value);
}

// What of spec.options is not of the three's own, as JSON: a plug-in's or a function's.
Json own_options(const RewardSpec& spec, const std::vector<std::string>& ours) {
  Json own = Json::object();
  for (const auto& [key, value] : spec.options) {
    if (std::find(ours.begin(), ours.end(), key) == ours.end()) own[key] = value;
  }
  return own;
}

WorkerKind worker_kind(const RewardSpec& spec, std::vector<std::string> argv, bool greets) {
  WorkerKind kind{spec.name, std::move(argv), greets};
  kind.timeout = number_option(spec, "timeout", kDefaultTimeout);
  if (kind.timeout <= 0 || kind.timeout > 1e6) {
    throw UserError(cat("reward '", spec.name, "': timeout: expected seconds above 0"));
  }
  kind.workers = static_cast<int>(count_option(spec, "workers", 1));
  return kind;
}

class ExternalRewarder : public Rewarder {
 public:
  // batch 0: one item a call, in the flat form of commands.
  ExternalRewarder(WorkerKind kind, size_t batch, bool alone)
      : name_(kind.reward), pool_(std::move(kind)), batch_(batch), alone_(alone) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override;

 private:
  // Items first..first+count in one call. A call that failed is repeated in parts, one by one.
  struct Call {
    size_t first = 0, count = 0;
    std::optional<size_t> whole = {};  // of a part: the call that it was in
    int64_t hung = 0, answered = 0;    // of a whole: its parts
  };

  Json request_of(const Call& call) const;
  void plan(const std::vector<RewardItem>& items);
  void take(size_t index, const Answer& answer);
  void read_scores(const Call& call, const Json& scores);
  void ask_part(size_t whole, size_t item);
  void settle(const Call& call, Status status, const std::string& error);
  void warn(const std::string& error);

  std::string name_;
  WorkerPool pool_;
  size_t batch_;
  bool alone_;
  bool warned_ = false;
  const std::vector<RewardItem>* items_ = nullptr;
  std::vector<Call> calls_;
  std::vector<Score> scores_;
};

// Whole groups, so many that a call has `batch_` items at least.
void ExternalRewarder::plan(const std::vector<RewardItem>& items) {
  calls_.clear();
  for (size_t i = 0; i < items.size(); ++i) {
    const bool same_group = i > 0 && items[i].problem == items[i - 1].problem;
    const bool joins = batch_ > 0 && i > 0 && (same_group || calls_.back().count < batch_);
    if (!joins) calls_.push_back({i, 0});
    ++calls_.back().count;
  }
}

Json ExternalRewarder::request_of(const Call& call) const {
  const auto begin = items_->begin() + static_cast<std::ptrdiff_t>(call.first);
  if (batch_ == 0) return item_request(*begin);
  return batch_request({begin, begin + static_cast<std::ptrdiff_t>(call.count)});
}

std::vector<Score> ExternalRewarder::score(const std::vector<RewardItem>& items) {
  items_ = &items;
  scores_.assign(items.size(), Score());
  plan(items);
  std::vector<Json> requests;
  for (const Call& call : calls_) requests.push_back(request_of(call));
  pool_.run(std::move(requests),
            [this](size_t index, const Answer& answer) { take(index, answer); });
  return std::move(scores_);
}

// A call with several items that failed is repeated with each alone, so that the one that is to
// blame costs only itself. Hanging costs time: when two more have hung than have been answered, the
// others are given up.
void ExternalRewarder::take(size_t index, const Answer& answer) {
  const Call call = calls_[index];
  const Json& reply = answer.reply;
  const bool hung = answer.outcome == Outcome::timed_out;
  const bool broken =
      answer.outcome == Outcome::answered && batch_ > 0 && !reply.contains("scores");
  const Status status = hung ? Status::timeout : Status::verifier_error;
  if (answer.outcome == Outcome::answered && !broken) {
    if (batch_ == 0) {
      scores_[call.first] = read_score(reply);
    } else {
      read_scores(call, reply["scores"]);
    }
  } else {
    const auto told = reply.find("error");
    const bool words = broken && told != reply.end() && told->is_string();
    const std::string error = words    ? told->get<std::string>()
                              : broken ? "its worker gave no scores"
                                       : answer.error;
    warn(error);
    if (call.count > 1 && alone_) return ask_part(index, call.first);
    settle(call, status, error);
  }
  if (!call.whole) return;
  Call& whole = calls_[*call.whole];
  (hung ? whole.hung : whole.answered) += 1;
  const size_t next = call.first + 1, end = whole.first + whole.count;
  if (next == end) return;
  if (whole.hung <= whole.answered + 1) return ask_part(*call.whole, next);
  settle({next, end - next}, Status::timeout, "not tried: most of its group ran out of time");
}

void ExternalRewarder::ask_part(size_t whole, size_t item) {
  calls_.push_back({item, 1, whole});
  pool_.add(request_of(calls_.back()));
}

void ExternalRewarder::read_scores(const Call& call, const Json& scores) {
  if (!scores.is_array() || scores.size() != call.count) {
    // Which score belongs to which item cannot be known, and a part would not be more credible.
    const std::string error =
        cat("returned ", scores.size(), " scores for ", call.count, " completions");
    warn(error);
    return settle(call, Status::verifier_error, error);
  }
  for (size_t i = 0; i < call.count; ++i) {
    const Score& score = scores_[call.first + i] = read_score(scores[i]);
    if (score.status == Status::verifier_error)
      warn(score.details.value("error", "no reason told"));
  }
}

void ExternalRewarder::settle(const Call& call, Status status, const std::string& error) {
  for (size_t i = 0; i < call.count; ++i) {
    scores_[call.first + i] = failed_score(status, error);
  }
}

void ExternalRewarder::warn(const std::string& error) {
  if (warned_) return;
  warned_ = true;
  log_warning(cat("reward '", name_, "' has failed for a completion, which gets no score from it: ",
                  error, " (told once; the rollouts name the others)"));
}

// The directory of the running program: hone-reward-worker stands beside it.
std::string reward_worker() {
  std::error_code ec;
  const fs::path self = fs::read_symlink("/proc/self/exe", ec);
  return (self.parent_path() / "hone-reward-worker").string();
}

// As a shell would find python3, but a virtual environment that is active comes first.
std::string find_python(const RewardSpec& spec) {
  const auto given = spec.options.find("python");
  const char* environment = std::getenv("VIRTUAL_ENV");
  std::string python = "python3";
  if (given != spec.options.end()) {
    python = given->second;
  } else if (environment && *environment) {
    python = cat(environment, "/bin/python");
  }
  if (python.find('/') != std::string::npos && ::access(python.c_str(), X_OK) != 0) {
    throw UserError(
        cat("reward '", spec.name, "': no Python at '", python, "'; python=PATH sets it"));
  }
  return python;
}

}  // namespace

std::unique_ptr<Rewarder> make_plugin(const RewardSpec& spec) {
  const Target target = target_of(spec, "plugin:PATH.so:NAME");
  const Json own = own_options(spec, {"timeout", "workers", "batch"});
  WorkerKind kind = worker_kind(
      spec, {reward_worker(), existing_file(spec, target.path), target.name, own.dump()}, true);
  return std::make_unique<ExternalRewarder>(
      std::move(kind), static_cast<size_t>(count_option(spec, "batch", 1)), true);
}

std::unique_ptr<Rewarder> make_python(const RewardSpec& spec) {
  Target target = target_of(spec, "python:FILE.py:FUNCTION or python:MODULE:FUNCTION");
  if (target.path.ends_with(".py")) target.path = existing_file(spec, target.path);
  const size_t chat = choice_option(spec, "chat", {"auto", "yes", "no"}, "auto");
  const bool alone = choice_option(spec, "retry", {"alone", "never"}, "alone") == 0;
  const Json own = own_options(spec, {"timeout", "workers", "batch", "python", "chat", "retry"});
  const char* chats[] = {"auto", "yes", "no"};
  WorkerKind kind =
      worker_kind(spec,
                  {find_python(spec),
                   existing_file(spec, data_root() + "/rewards/external/worker/python_worker.py"),
                   target.path, target.name, chats[chat], own.dump()},
                  true);
  return std::make_unique<ExternalRewarder>(
      std::move(kind), static_cast<size_t>(count_option(spec, "batch", 1)), alone);
}

std::unique_ptr<Rewarder> make_command(const RewardSpec& spec) {
  const size_t colon = spec.name.find(':');
  const std::string command = colon == std::string::npos ? "" : spec.name.substr(colon + 1);
  if (command.find_first_not_of(" \t") == std::string::npos) {
    throw UserError(cat("reward '", spec.name, "': expected command:CMD"));
  }
  const Json unknown = own_options(spec, {"timeout", "workers"});
  for (const auto& [key, value] : unknown.items()) {
    const std::string near = nearest_word(key, {"timeout", "workers", "weight", "as", "when"});
    throw UserError(cat("reward '", spec.name, "': unknown option '", key, "'",
                        near.empty() ? "" : "; did you mean '" + near + "'?",
                        " (there are: timeout, workers, weight, as, when)"));
  }
  return std::make_unique<ExternalRewarder>(worker_kind(spec, {"/bin/sh", "-c", command}, false), 0,
                                            false);
}

bool is_external(const std::string& name) {
  const std::string word = name.substr(0, name.find(':'));
  return word == "plugin" || word == "python" || word == "command";
}

std::string external_short_name(const std::string& name) {
  return name.starts_with("command:") ? "command" : name.substr(name.rfind(':') + 1);
}

ExternalText split_external(const std::string& text) {
  const size_t mark = text.rfind('?');
  if (mark == std::string::npos) return {text, ""};
  size_t end = mark + 1;
  while (end < text.size() && (std::isalnum(static_cast<unsigned char>(text[end])) ||
                               text[end] == '_' || text[end] == '.')) {
    ++end;
  }
  const bool options = mark + 1 == text.size() || (end > mark + 1 && text[end] == '=');
  if (!options) return {text, ""};
  return {text.substr(0, mark), text.substr(mark + 1)};
}

}  // namespace hone
