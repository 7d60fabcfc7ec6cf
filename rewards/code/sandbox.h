// Runs programs that nobody trusts: one worker is one bubblewrap sandbox with a warm interpreter
// in it that forks for each program (zygote.py), which then has namespaces of its own.
//
// A worker runs one program at a time and belongs to one thread at a time. It is started by
// posix_spawn and never by fork, since LibTorch's threads may hold locks; nothing of this process
// but the files named here is open in it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace hone {

// What holds a program. `full`: user, mount, process, network and IPC namespaces by bubblewrap and
// a seccomp filter of system calls. `namespaces`: without the filter. `process`: resource limits
// only (and the filter, if hone was built with libseccomp); it sees this machine's files and
// network and is for trusted programs.
enum class SandboxLevel { none, process, namespaces, full };
const char* to_string(SandboxLevel level);

struct SandboxLimits {
  double cpu_seconds = 4;               // processor time for one input, all processes together
  double wall_seconds = 10;             // and by the clock, for programs that only wait
  int64_t memory = int64_t{512} << 20;  // bytes resident, all processes together
  int processes = 32;
  int files = 64;                     // open files of a process
  int64_t disk = int64_t{64} << 20;   // bytes in /tmp, and in one file
  int64_t output = int64_t{4} << 20;  // bytes on standard output; more ends the program
};

struct SandboxOptions {
  SandboxLevel least = SandboxLevel::full;  // refuse a weaker one
  std::string python;                       // interpreter; default /usr/bin/python3, else of PATH
};

// The level that this machine gives, and in words what is missing for `full` ("" if nothing).
// Starts a worker to find out. `tree`: by what the limits of a program's whole tree are held.
struct SandboxReport {
  SandboxLevel level = SandboxLevel::none;
  std::string missing, tree;
};
SandboxReport probe_sandbox(const std::string& python = "");

// The worker itself failed: the program is not to blame. `timed_out`: it did not answer in time.
struct SandboxFailure : std::runtime_error {
  SandboxFailure(const std::string& what, bool late) : std::runtime_error(what), timed_out(late) {}
  bool timed_out;
};

class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.release()) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept;
  ~OwnedFd();
  int get() const { return fd_; }
  int release();  // the caller's now
  void reset();   // closes it
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_;
};

// A file in memory, which has no name and goes with its last descriptor.
OwnedFd memory_file(const char* name, std::string_view bytes);

// A program as the sandbox runs it: Python source or a binary.
struct Program {
  OwnedFd file;
  bool binary = false;
};

// How a program ended.
struct ProgramEnd {
  int exit_code = -1;  // -1: by a signal
  int signal = 0;
  std::string limit;  // "", time, memory, processes, output, stopped: what it was ended for
  double cpu_seconds = 0;
  int64_t memory = 0;        // most bytes resident
  std::string output;        // standard output, at most the limit
  std::string error_output;  // the last 4 KiB of standard error
  bool completed = false;    // Python: the source ran to its end or left by SystemExit
  bool ok() const { return limit.empty() && signal == 0 && exit_code == 0; }
};

class WorkerCgroup;

class Sandbox {
 public:
  // Throws UserError if this machine does not give the level asked for, with what to do.
  explicit Sandbox(const SandboxOptions& options);
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  SandboxLevel level() const { return level_; }
  // In words, by what the limits of a program's tree are held, see cgroup.h.
  std::string tree() const;

  // Runs the program on `input`. Throws SandboxFailure; the worker is then started anew by the
  // next call.
  ProgramEnd run(const Program& program, std::string_view input, const SandboxLimits& limits);

  // C++ source to a binary. Without one (end.ok() is false) end.error_output says why.
  Program compile(std::string_view source, const std::string& compiler, const SandboxLimits& limits,
                  ProgramEnd& end);

  // A program that is spoken to, in lines. `kind`: {kind: calls, prelude: code that defines what
  // it may use without an import} or {kind: tests}, see zygote.py. `inputs` is how many inputs it
  // may get, each with the full time.
  void begin(const Json& kind, const Program& program, const SandboxLimits& limits, int inputs);
  // What the program must put into everything it says about the beginning or, as a test, at all.
  const std::string& nonce() const { return nonce_; }
  // Of the program's time: `wait` stops it until the next line, `again` begins it anew.
  void tell(const char* word);
  // Says a line; its time begins anew.
  void say(std::string_view line);
  // The next line, of at most `limits.output` bytes; none if the program has ended.
  std::optional<std::string> hear();
  // Ends the program if it still runs.
  ProgramEnd end();

 private:
  struct Job;
  void prepare();
  void start();
  void stop();
  void send_job(Json header, const SandboxLimits& limits, const std::vector<int>& files);
  void pump(Job& job, bool until_line);
  [[noreturn]] void fail(const std::string& what, bool late = false);

  SandboxOptions options_;
  SandboxLevel level_ = SandboxLevel::none;
  pid_t pid_ = -1;
  OwnedFd control_, startup_errors_;
  std::unique_ptr<WorkerCgroup> cgroup_;  // none where the worker is in no group of its own
  std::string nonce_;
  std::unique_ptr<Job> job_;
};

// 128 random bits as text.
std::string random_name();

// The filter of system calls as a BPF program; "" if hone was built without libseccomp.
std::string system_call_filter();

}  // namespace hone
