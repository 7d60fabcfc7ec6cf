// Workers that answer calls, several at once, each call one line with one line. Whatever a worker
// does, every call ends: with its answer or with the reason why there is none.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "rewards/external/process.h"

namespace hone {

struct WorkerKind {
  std::string reward;             // for messages
  std::vector<std::string> argv;  // how one is started
  // The worker says {"ready": true} or {"failed": why} before anything else and repeats the number
  // of the call in its answer. A user's command does neither.
  bool greets = true;
  double timeout = 30;  // seconds a call
  int workers = 1;      // at most so many
};

enum class Outcome { answered, failed, timed_out };

struct Answer {
  Outcome outcome = Outcome::answered;
  Json reply;
  std::string error;
};

class WorkerPool {
 public:
  explicit WorkerPool(WorkerKind kind) : kind_(std::move(kind)) {}

  // Asks all requests and tells each one's answer as it comes; `done` may add requests. A request
  // is an object that has the key "call", which is filled in here. Throws UserError if no worker
  // has ever started and the reason is not chance.
  using Done = std::function<void(size_t request, const Answer& answer)>;
  void run(std::vector<Json> requests, const Done& done);
  // Of `done`: one more request for the run under way; its index.
  size_t add(Json request);

 private:
  using Clock = std::chrono::steady_clock;
  struct Job {
    size_t index = 0;
    Json request;
    bool again = false;  // its first worker died and that was not the request's fault
  };
  struct Worker {
    explicit Worker(const std::vector<std::string>& argv) : process(argv) {}
    WorkerProcess process;
    bool ready = false;
    int64_t answered = 0;
    std::unique_ptr<Job> job;
    int64_t call = 0;
    Clock::time_point deadline;
  };

  void start_workers();
  void give_jobs();
  void wait();
  // False if the worker is to be removed.
  bool serve(Worker& worker);
  bool greeted(Worker& worker, const std::string& line);
  bool answered(Worker& worker, const std::string& line);
  bool died(Worker& worker);
  void failed_start(const std::string& why, bool chance);
  void tell(Worker& worker, const Answer& answer);

  WorkerKind kind_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::deque<Job> queue_;
  const Done* done_ = nullptr;
  size_t requests_ = 0;
  int64_t calls_ = 0;
  bool ever_ready_ = false;
  int failed_starts_ = 0;  // in a row
  std::string start_error_;
  std::string refusal_;  // why the first worker did not start
};

}  // namespace hone
