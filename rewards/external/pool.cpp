#include "rewards/external/pool.h"

#include <algorithm>

#include "base/error.h"
#include "rewards/external/protocol.h"

namespace hone {
namespace {

constexpr double kStartSeconds = 120;          // importing a large library takes its time
constexpr size_t kMaxReply = 16u << 20;        // bytes without a newline
constexpr int kMaxFailedStarts = 5;            // in a row, before calls fail for want of a worker
constexpr int kNotFound = 127, kNotRun = 126;  // exit codes of a shell that could not start it

std::chrono::steady_clock::duration seconds(double s) {
  return std::chrono::duration_cast<std::chrono::steady_clock::duration>(
      std::chrono::duration<double>(s));
}

std::string with_words(const std::string& what, const WorkerProcess& process) {
  const std::string words = process.last_words();
  return words.empty() ? what : cat(what, "; it wrote: ", words);
}

std::string quoted(const std::string& line) {
  constexpr size_t kMaxQuoted = 100;
  return "'" + line.substr(0, kMaxQuoted) + (line.size() > kMaxQuoted ? "...'" : "'");
}

}  // namespace

size_t WorkerPool::add(Json request) {
  queue_.push_back({requests_, std::move(request)});
  return requests_++;
}

void WorkerPool::run(std::vector<Json> requests, const Done& done) {
  if (!refusal_.empty()) throw UserError(refusal_);  // told before; it costs no second start
  done_ = &done;
  requests_ = 0;
  failed_starts_ = 0;
  queue_.clear();
  for (Json& request : requests) add(std::move(request));
  const auto busy = [](const auto& worker) { return worker->job != nullptr; };
  try {
    while (!queue_.empty() || std::any_of(workers_.begin(), workers_.end(), busy)) {
      start_workers();
      give_jobs();
      wait();
      std::erase_if(workers_, [&](auto& worker) { return !serve(*worker); });
    }
  } catch (...) {
    workers_.clear();
    throw;
  }
}

// As many as there is work for.
void WorkerPool::start_workers() {
  const auto open = [](const auto& worker) { return worker->job == nullptr; };
  size_t waiting = static_cast<size_t>(std::count_if(workers_.begin(), workers_.end(), open));
  while (waiting < queue_.size() && static_cast<int>(workers_.size()) < kind_.workers) {
    if (failed_starts_ >= kMaxFailedStarts) {
      if (!workers_.empty()) return;
      const Job job = std::move(queue_.front());
      queue_.pop_front();
      (*done_)(job.index, {Outcome::failed, {}, "no worker can be started: " + start_error_});
      continue;
    }
    try {
      workers_.push_back(std::make_unique<Worker>(kind_.argv));
    } catch (const UserError& error) {
      failed_start(error.what(), false);
      continue;
    }
    Worker& worker = *workers_.back();
    worker.ready = !kind_.greets;
    worker.deadline = Clock::now() + seconds(std::max(kStartSeconds, kind_.timeout));
    ++waiting;
  }
}

void WorkerPool::give_jobs() {
  for (auto& worker : workers_) {
    if (!worker->ready || worker->job || queue_.empty()) continue;
    worker->process.pump();
    // It has gone, or it has said something that nobody asked for: what it says next could be
    // taken for the answer to another call. serve() removes it.
    if (worker->process.closed() || worker->process.unread() > 0) continue;
    worker->job = std::make_unique<Job>(std::move(queue_.front()));
    queue_.pop_front();
    worker->call = ++calls_;
    worker->job->request["call"] = worker->call;
    worker->deadline = Clock::now() + seconds(kind_.timeout);
    worker->process.send(to_line(worker->job->request));
  }
}

void WorkerPool::wait() {
  std::vector<pollfd> list;
  auto deadline = Clock::time_point::max();
  for (const auto& worker : workers_) {
    worker->process.wait_for(list);
    // One that has gone or spoken out of turn is served at once.
    const bool idle = worker->ready && !worker->job;
    if (worker->process.closed() || (idle && worker->process.unread() > 0)) return;
    if (!idle) deadline = std::min(deadline, worker->deadline);
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  ::poll(list.data(), list.size(), static_cast<int>(std::clamp<int64_t>(left, 0, 60'000)));
}

bool WorkerPool::serve(Worker& worker) {
  worker.process.pump();
  while (const auto line = worker.process.take_line()) {
    if (!worker.ready) {
      if (!greeted(worker, *line)) return false;
    } else if (!worker.job) {
      if (worker.answered == 0) failed_start("it speaks before it is asked", true);
      return false;
    } else if (!answered(worker, *line)) {
      return false;
    }
  }
  if (worker.process.closed()) return died(worker);
  if (worker.ready && !worker.job) return worker.process.unread() == 0;
  if (worker.process.unread() > kMaxReply) {
    const std::string what = cat("wrote ", worker.process.unread(), " bytes without a newline");
    if (!worker.ready) {
      failed_start(what, false);
    } else {
      tell(worker, {Outcome::failed, {}, "its worker " + what});
    }
    return false;
  }
  if (Clock::now() < worker.deadline) return true;
  if (!worker.ready) {
    failed_start(
        with_words(cat("it was not ready after ", std::max(kStartSeconds, kind_.timeout), " s"),
                   worker.process),
        false);
  } else {
    tell(worker, {Outcome::timed_out,
                  {},
                  with_words(cat("no answer after ", kind_.timeout, " s",
                                 kind_.greets ? "" : "; does it flush its output?"),
                             worker.process)});
  }
  return false;
}

bool WorkerPool::greeted(Worker& worker, const std::string& line) {
  const Json greeting = parse_reply(line);
  if (greeting.is_object() && greeting.value("ready", false)) {
    worker.ready = ever_ready_ = true;
    return true;
  }
  const bool told = greeting.is_object() && greeting.contains("failed");
  failed_start(told ? greeting["failed"].get<std::string>() : "it greets with " + quoted(line),
               false);
  return false;
}

bool WorkerPool::answered(Worker& worker, const std::string& line) {
  Json reply = parse_reply(line);
  const bool numbered = reply.is_object() && reply.contains("call");
  if (reply.is_discarded() || (numbered && reply["call"] != worker.call) ||
      (kind_.greets && !numbered)) {
    tell(worker, {Outcome::failed, {}, "expected a line of JSON, found " + quoted(line)});
    return false;
  }
  if (worker.process.unread() > 0) {
    tell(worker, {Outcome::failed, {}, "wrote more than one line for a call: " + quoted(line)});
    return false;
  }
  ++worker.answered;
  ever_ready_ = true;
  failed_starts_ = 0;
  tell(worker, {Outcome::answered, std::move(reply), ""});
  return true;
}

bool WorkerPool::died(Worker& worker) {
  const ProcessEnd end = worker.process.finish();
  const std::string why = with_words(end.words(), worker.process);
  const bool not_run = !kind_.greets && !ever_ready_ && end.signal == 0 &&
                       (end.code == kNotFound || end.code == kNotRun);
  const bool unused = !worker.job && worker.answered == 0;
  if (!worker.ready || not_run || unused) {
    if (worker.job) queue_.push_front(std::move(*worker.job));
    worker.job = nullptr;
    failed_start("it " + why, end.killed_from_outside() || (worker.ready && !not_run));
  } else if (worker.job) {
    // A death is the request's fault only if nothing else can be: not a hand from outside, and not
    // what an earlier request did to the worker.
    const bool chance = end.killed_from_outside() || worker.answered > 0;
    if (chance && !worker.job->again) {
      worker.job->again = true;
      queue_.push_front(std::move(*worker.job));
    } else {
      tell(worker, {Outcome::failed, {}, "its worker " + why});
    }
  }
  return false;
}

void WorkerPool::failed_start(const std::string& why, bool chance) {
  if (!ever_ready_ && !chance) {
    refusal_ = cat("reward '", kind_.reward, "' does not start: ", why);
    throw UserError(refusal_);
  }
  ++failed_starts_;
  start_error_ = why;
}

void WorkerPool::tell(Worker& worker, const Answer& answer) {
  const size_t index = worker.job->index;
  worker.job = nullptr;
  (*done_)(index, answer);
}

}  // namespace hone
