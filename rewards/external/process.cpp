#include "rewards/external/process.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

#include "base/error.h"

extern char** environ;

namespace hone {
namespace {

constexpr size_t kMaxErrors = 4096;       // bytes of standard error that are kept
constexpr size_t kReadAtOnce = 1u << 20;  // bytes a call, so that a flood cannot hold pump()

// The descriptors of the three pipes; all close on exec, the child's ends become its 0, 1 and 2.
struct Pipes {
  int ends[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
  ~Pipes() {
    for (auto& pair : ends) {
      for (int fd : pair) {
        if (fd >= 0) ::close(fd);
      }
    }
  }
  void open() {
    for (auto& pair : ends) {
      if (::pipe2(pair, O_CLOEXEC) != 0) {
        throw RunError(cat("cannot make a pipe for a reward's worker: ", std::strerror(errno)));
      }
    }
  }
  int take(int pipe, int end) {
    const int fd = std::exchange(ends[pipe][end], -1);
    ::fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
  }
};

// A write to a worker that has gone raises SIGPIPE, which would end the trainer. It is held back
// for this thread alone, and taken away before it could be delivered.
ssize_t write_without_signal(int fd, const char* bytes, size_t size) {
  sigset_t pipe_signal, before;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t written = ::write(fd, bytes, size);
  const int error = errno;
  if (written < 0 && error == EPIPE) {
    const timespec now{0, 0};
    while (sigtimedwait(&pipe_signal, nullptr, &now) < 0 && errno == EINTR) {
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return written;
}

}  // namespace

bool ProcessEnd::killed_from_outside() const {
  const int by = by_us ? 0 : signal ? signal : code - 128;
  return by == SIGKILL || by == SIGTERM || by == SIGINT || by == SIGHUP || by == SIGQUIT;
}

std::string ProcessEnd::words() const {
  if (by_us) return "closed its standard input or output";
  if (signal == 0) return cat("exited with code ", code);
  return cat("was killed by signal ", signal, " (", strsignal(signal), ")");
}

WorkerProcess::WorkerProcess(const std::vector<std::string>& argv) {
  Pipes pipes;
  pipes.open();
  std::vector<char*> arguments;
  for (const std::string& a : argv) arguments.push_back(const_cast<char*>(a.c_str()));
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, pipes.ends[0][0], 0);
  posix_spawn_file_actions_adddup2(&files, pipes.ends[1][1], 1);
  posix_spawn_file_actions_adddup2(&files, pipes.ends[2][1], 2);
  // Libraries open files without O_CLOEXEC; a worker that kept one could hold a lock or a pipe.
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&attributes, 0);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  // Not fork(): the trainer has many threads and much memory.
  const int error =
      posix_spawnp(&pid_, arguments[0], &files, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) {
    pid_ = -1;
    throw UserError(cat("cannot start '", argv[0], "': ", std::strerror(error)));
  }
  input_ = pipes.take(0, 1);
  output_end_ = pipes.take(1, 0);
  errors_end_ = pipes.take(2, 0);
}

WorkerProcess::~WorkerProcess() {
  finish();
  for (int fd : {input_, output_end_, errors_end_}) ::close(fd);
}

void WorkerProcess::send(const std::string& line) {
  pending_.erase(0, std::exchange(written_, 0));
  pending_ += line;
  pending_ += '\n';
  write_some();
}

void WorkerProcess::pump() {
  write_some();
  read_output();
  read_errors();
}

void WorkerProcess::write_some() {
  while (written_ < pending_.size() && !input_broken_) {
    const ssize_t n =
        write_without_signal(input_, pending_.data() + written_, pending_.size() - written_);
    if (n > 0) {
      written_ += static_cast<size_t>(n);
    } else if (errno == EPIPE) {
      input_broken_ = true;
    } else if (errno != EINTR) {
      return;  // the pipe is full: the rest when it has room
    }
  }
}

void WorkerProcess::read_output() {
  char bytes[65536];
  for (size_t total = 0; total < kReadAtOnce && !output_ended_;) {
    const ssize_t n = ::read(output_end_, bytes, sizeof bytes);
    if (n > 0) {
      output_.append(bytes, static_cast<size_t>(n));
      total += static_cast<size_t>(n);
    } else if (n == 0) {
      output_ended_ = true;
    } else if (errno != EINTR) {
      return;
    }
  }
}

void WorkerProcess::read_errors() {
  char bytes[65536];
  for (size_t total = 0; total < kReadAtOnce && !errors_ended_;) {
    const ssize_t n = ::read(errors_end_, bytes, sizeof bytes);
    if (n > 0) {
      total += static_cast<size_t>(n);
      errors_.append(bytes, static_cast<size_t>(n));
      if (errors_.size() > kMaxErrors) errors_.erase(0, errors_.size() - kMaxErrors);
    } else if (n == 0) {
      errors_ended_ = true;
    } else if (errno != EINTR) {
      return;
    }
  }
}

std::optional<std::string> WorkerProcess::take_line() {
  const size_t end = output_.find('\n', taken_);
  if (end == std::string::npos) {  // only now: taking line by line costs no more than reading
    output_.erase(0, std::exchange(taken_, 0));
    return std::nullopt;
  }
  std::string line = output_.substr(taken_, end - taken_);
  taken_ = end + 1;
  return line;
}

void WorkerProcess::wait_for(std::vector<pollfd>& list) const {
  if (!output_ended_) list.push_back({output_end_, POLLIN, 0});
  if (!errors_ended_) list.push_back({errors_end_, POLLIN, 0});
  if (written_ < pending_.size() && !input_broken_) list.push_back({input_, POLLOUT, 0});
}

ProcessEnd WorkerProcess::finish() {
  if (pid_ < 0) return end_;
  constexpr std::chrono::milliseconds kMoment(200), kStep(1);
  int status = 0;
  pid_t gone = 0;
  for (auto waited = kStep * 0; closed() && waited < kMoment && gone == 0; waited += kStep) {
    // WNOWAIT leaves the zombie, which keeps the number of the group ours until it is killed.
    siginfo_t info{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    gone = info.si_pid;
    if (gone == 0) std::this_thread::sleep_for(kStep);
  }
  ::kill(-pid_, SIGKILL);
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  read_output();
  read_errors();
  end_.by_us = gone == 0;
  if (WIFSIGNALED(status)) {
    end_.signal = WTERMSIG(status);
  } else {
    end_.code = WEXITSTATUS(status);
  }
  return end_;
}

std::string WorkerProcess::last_words() const {
  constexpr size_t kMaxWords = 300;
  const size_t last = errors_.find_last_not_of(" \t\r\n");
  if (last == std::string::npos) return "";
  const size_t before = errors_.rfind('\n', last);
  const size_t begin = before == std::string::npos ? 0 : before + 1;
  return errors_.substr(begin, std::min(last + 1 - begin, kMaxWords));
}

}  // namespace hone
