// `code`: the completion's program against the problem's tests, in a sandbox. README.md has the
// formats, the limits and what the sandbox covers.
#include <atomic>
#include <thread>

#include "base/error.h"
#include "rewards/builtin.h"
#include "rewards/code/judge.h"
#include "rewards/code/solution.h"
#include "rewards/extraction.h"

namespace hone {
namespace {

class CodeRewarder : public Rewarder {
 public:
  CodeRewarder(const CodeOptions& options, const SolutionOptions& solution, size_t threads)
      : options_(options), solution_(solution), threads_(threads) {}

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores(items.size());
    const size_t workers = std::min(threads_, items.size());
    while (judges_.size() < workers) judges_.push_back(std::make_unique<CodeJudge>(options_));
    std::atomic<size_t> next{0};
    std::exception_ptr wrong_call;  // a UserError: no sandbox
    std::atomic<bool> stopped{false};
    std::vector<std::thread> threads;
    for (size_t w = 0; w < workers; ++w) {
      threads.emplace_back([&, w] {
        for (size_t i = next++; i < items.size() && !stopped; i = next++) {
          try {
            scores[i] = judge(*judges_[w], items[i]);
          } catch (const UserError&) {
            if (!stopped.exchange(true)) wrong_call = std::current_exception();
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (wrong_call) std::rethrow_exception(wrong_call);
    return scores;
  }

 private:
  Score judge(CodeJudge& judge, const RewardItem& item) const {
    CodeTests tests;
    try {
      tests = read_code_tests(*item.problem);
    } catch (const BadTests& bad) {
      return null_score(Status::bad_reference, bad.what());
    }
    const Solution solution = extract_solution(item, solution_);
    if (*solution.reason != '\0') return no_answer(solution.reason);
    const std::string source = complete_program(solution, tests, item.problem->prompt);
    try {
      const CodeVerdict verdict = judge.judge(tests, source, solution.language == Language::cpp);
      Score score = score_of(verdict);
      if (!tests.warning.empty()) score.details["warning"] = tests.warning;
      return score;
    } catch (const BadTests& bad) {
      return null_score(Status::bad_reference, bad.what());
    } catch (const SandboxFailure& failure) {
      return null_score(failure.timed_out ? Status::timeout : Status::verifier_error,
                        failure.what());
    } catch (const UserError&) {
      throw;
    } catch (const std::exception& error) {
      return null_score(Status::verifier_error, error.what());
    }
  }

  Score score_of(const CodeVerdict& verdict) const {
    Score score;
    const double share = static_cast<double>(verdict.passed) / static_cast<double>(verdict.total);
    score.value = options_.all_tests ? share : verdict.passed == verdict.total ? 1.0 : 0.0;
    score.details["passed"] = verdict.passed;
    score.details["tests"] = verdict.total;
    if (!verdict.reason.empty()) score.details["reason"] = verdict.reason;
    if (!verdict.message.empty()) score.details["message"] = clipped(verdict.message);
    if (verdict.one_process) score.details["one_process"] = true;
    for (const char* limit : {"time_limit", "memory_limit"}) {
      if (verdict.reason == limit) score.details[limit] = true;
    }
    return score;
  }

  CodeOptions options_;
  SolutionOptions solution_;
  size_t threads_;
  std::vector<std::unique_ptr<CodeJudge>> judges_;
};

std::string text_option(const RewardSpec& spec, const char* key) {
  const auto found = spec.options.find(key);
  return found == spec.options.end() ? "" : found->second;
}

double positive_option(const RewardSpec& spec, const char* key, double fallback) {
  const double value = number_option(spec, key, fallback);
  if (value > 0) return value;
  throw UserError(cat("reward 'code': ", key, ": expected a number above 0, found ", value));
}

}  // namespace

std::unique_ptr<Rewarder> make_code(const RewardSpec& spec) {
  CodeOptions o;
  constexpr double kMiB = 1 << 20;
  SandboxLimits& limits = o.limits;
  limits.cpu_seconds = positive_option(spec, "time", limits.cpu_seconds);
  limits.wall_seconds = positive_option(spec, "wall", 2 * limits.cpu_seconds + 2);
  limits.memory = static_cast<int64_t>(positive_option(spec, "memory", 512) * kMiB);
  limits.disk = static_cast<int64_t>(positive_option(spec, "disk", 64) * kMiB);
  limits.output = static_cast<int64_t>(positive_option(spec, "output", 4) * kMiB);
  limits.processes = static_cast<int>(positive_option(spec, "processes", limits.processes));
  limits.files = static_cast<int>(positive_option(spec, "files", limits.files));
  o.all_tests = choice_option(spec, "score", {"all", "fraction"}, "all") == 1;
  o.compare.tolerance = number_option(spec, "tolerance", 0);
  o.sandbox.python = text_option(spec, "python");
  o.compiler = text_option(spec, "compiler");
  if (o.compiler.empty()) o.compiler = "/usr/bin/g++";
  constexpr SandboxLevel kLevels[] = {SandboxLevel::full, SandboxLevel::namespaces,
                                      SandboxLevel::process};
  o.sandbox.least =
      kLevels[choice_option(spec, "sandbox", {"full", "namespaces", "process"}, "full")];
  SolutionOptions solution;
  solution.language =
      static_cast<Language>(choice_option(spec, "language", {"auto", "python", "cpp"}, "auto"));
  solution.fence =
      static_cast<Fence>(choice_option(spec, "fence", {"last", "first", "all"}, "last"));
  const double cores = std::max(1u, std::thread::hardware_concurrency());
  return std::make_unique<CodeRewarder>(
      o, solution, static_cast<size_t>(positive_option(spec, "threads", cores)));
}

}  // namespace hone
