#include "rewards/code/sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cctype>
#include <cstring>
#include <filesystem>
#include <mutex>

#include "base/error.h"
#include "base/file.h"
#include "base/timer.h"
#include "rewards/code/cgroup.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kInterpreterBytes = int64_t{32} << 20;  // a worker's own, beside its program
constexpr double kStartSeconds = 60;  // for the interpreter; a machine may be busy
constexpr double kGraceSeconds = 30;  // for the worker's report beyond the limits
constexpr size_t kErrorBytes = 4096;
constexpr char kNobody[] = "65534";

std::string last_error(const char* what) { return cat(what, ": ", std::strerror(errno)); }

// A pipe or socket pair: ours, theirs. Ours does not block.
struct Ends {
  OwnedFd ours, theirs;
};

Ends pipe_to_program() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) throw RunError(last_error("pipe"));
  fcntl(fds[1], F_SETFL, O_NONBLOCK);
  return {OwnedFd(fds[1]), OwnedFd(fds[0])};
}

Ends pipe_from_program() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) throw RunError(last_error("pipe"));
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return {OwnedFd(fds[0]), OwnedFd(fds[1])};
}

Ends socket_pair(int type) {
  int fds[2];
  if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds) != 0) throw RunError(last_error("socket"));
  fcntl(fds[0], F_SETFL, O_NONBLOCK);
  return {OwnedFd(fds[0]), OwnedFd(fds[1])};
}

OwnedFd null_device() { return OwnedFd(open("/dev/null", O_RDWR | O_CLOEXEC)); }

// A file of the worker's group, or /dev/null, which takes everything and says nothing.
OwnedFd group_file(const WorkerCgroup* group, const char* name, int flags) {
  OwnedFd file(group ? open(group->file(name).c_str(), flags | O_CLOEXEC) : -1);
  return file ? std::move(file) : null_device();
}

}  // namespace

std::string random_name() {
  unsigned char bytes[16];
  HONE_CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
  std::string text;
  for (unsigned char b : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[b >> 4];
    text += kDigits[b & 15];
  }
  return text;
}

namespace {

std::string find_program(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path ? path : "/usr/bin:/bin";
  while (!rest.empty()) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    const std::string candidate = std::string(rest.substr(0, colon)) + "/" + name;
    if (colon > 0 && access(candidate.c_str(), X_OK) == 0) return candidate;
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return "";
}

std::string find_python(const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  if (access("/usr/bin/python3", X_OK) == 0) return "/usr/bin/python3";
  return find_program("python3");
}

// The directory above bin/ of an interpreter outside /usr, which the sandbox must show; "" for
// those in /usr.
std::string prefix_of(const std::string& python) {
  std::error_code ec;
  const fs::path real = fs::canonical(python, ec);
  if (ec || real.string().starts_with("/usr/")) return "";
  return real.parent_path().parent_path().string();
}

// The command line of a worker.
std::vector<std::string> command_line(SandboxLevel level, const std::string& python,
                                      bool as_nobody) {
  std::vector<std::string> c;
  if (as_nobody) {
    c = {find_program("setpriv"), "--reuid", kNobody, "--regid", kNobody, "--clear-groups", "--"};
  }
  if (level != SandboxLevel::process) {
    for (const char* word : {"--unshare-user",
                             "--unshare-pid",
                             "--unshare-net",
                             "--unshare-ipc",
                             "--unshare-uts",
                             "--new-session",
                             "--uid",
                             "1000",
                             "--gid",
                             "1000",
                             "--hostname",
                             "sandbox",
                             "--cap-add",
                             "CAP_SYS_ADMIN",
                             "--clearenv",
                             "--setenv",
                             "PYTHONHASHSEED",
                             "0",
                             "--setenv",
                             "PYTHONDONTWRITEBYTECODE",
                             "1",
                             "--setenv",
                             "PATH",
                             "/usr/bin:/bin",
                             "--ro-bind",
                             "/usr",
                             "/usr",
                             "--proc",
                             "/proc",
                             "--dir",
                             "/tmp",
                             "--dir",
                             "/dev"}) {
      if (c.size() == (as_nobody ? 7u : 0u)) c.push_back(find_program("bwrap"));
      c.push_back(word);
    }
    for (const char* device : {"null", "zero", "full", "random", "urandom"}) {
      const std::string path = std::string("/dev/") + device;
      c.insert(c.end(), {"--dev-bind", path, path});
    }
    for (const char* directory : {"/bin", "/lib", "/lib32", "/lib64"}) {
      std::error_code ec;
      if (fs::is_symlink(directory, ec)) {
        c.insert(c.end(), {"--symlink", fs::read_symlink(directory).string(), directory});
      } else {
        c.insert(c.end(), {"--ro-bind-try", directory, directory});
      }
    }
    // What compilers and interpreters find through /etc; nothing else of it is there.
    for (const char* path : {"/etc/alternatives", "/etc/ld.so.cache"}) {
      c.insert(c.end(), {"--ro-bind-try", path, path});
    }
    if (const std::string prefix = prefix_of(python); !prefix.empty()) {
      c.insert(c.end(), {"--ro-bind", prefix, prefix});
    }
    c.insert(c.end(), {"--remount-ro", "/", "--chdir", "/"});
  }
  c.insert(c.end(),
           {python, "-s", "-S", "-c", "exec(compile(open(5, 'rb').read(), 'zygote.py', 'exec'))",
            level == SandboxLevel::process ? "process" : "namespaces"});
  return c;
}

// Starts the worker with `own_files` as 2, 3, ..., as zygote.py numbers them, and nothing else
// open. Throws RunError.
pid_t spawn(const std::vector<std::string>& command, const std::vector<int>& own_files) {
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const OwnedFd null = null_device();
  std::vector<int> from = {null.get(), null.get()};
  from.insert(from.end(), own_files.begin(), own_files.end());
  const int count = static_cast<int>(from.size());
  // By way of high numbers, since a source may have one of the low ones.
  for (int i = 0; i < count; ++i) posix_spawn_file_actions_adddup2(&files, from[i], 900 + i);
  for (int i = 0; i < count; ++i) posix_spawn_file_actions_adddup2(&files, 900 + i, i);
  posix_spawn_file_actions_addclosefrom_np(&files, count);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t signals;
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&attributes, &signals);
  sigaddset(&signals, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &signals);
  // A session of its own: Ctrl-C in the terminal is hone's affair.
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  std::vector<char*> arguments;
  for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  char hash_seed[] = "PYTHONHASHSEED=0", path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
  char* environment[] = {hash_seed, path, nullptr};
  pid_t pid = -1;
  const int error =
      posix_spawn(&pid, command[0].c_str(), &files, &attributes, arguments.data(), environment);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) throw RunError(cat(command[0], " cannot be started: ", std::strerror(error)));
  return pid;
}

std::string contents(int memory) {
  struct stat s {};
  fstat(memory, &s);
  std::string text(static_cast<size_t>(std::min<off_t>(s.st_size, 2000)), '\0');
  const ssize_t n = pread(memory, text.data(), text.size(), 0);
  text.resize(n > 0 ? static_cast<size_t>(n) : 0);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

// What a machine that gives less than `full` lacks.
std::string advice(SandboxLevel level) {
  if (find_program("bwrap").empty()) {
    return "bubblewrap is not installed (apt-get install bubblewrap)";
  }
  if (level == SandboxLevel::namespaces) {
    return "hone was built without libseccomp (apt-get install libseccomp-dev, then "
           "scripts/setup)";
  }
  return "bubblewrap cannot make namespaces here; in a container allow user namespaces (docker: "
         "--security-opt seccomp=unconfined --security-opt apparmor=unconfined), on Ubuntu "
         "24.04 sysctl kernel.apparmor_restrict_unprivileged_userns=0";
}

}  // namespace

const char* to_string(SandboxLevel level) {
  switch (level) {
    case SandboxLevel::none:
      return "none";
    case SandboxLevel::process:
      return "process";
    case SandboxLevel::namespaces:
      return "namespaces";
    case SandboxLevel::full:
      return "full";
  }
  return "";
}

OwnedFd& OwnedFd::operator=(OwnedFd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}
OwnedFd::~OwnedFd() { reset(); }
void OwnedFd::reset() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}
int OwnedFd::release() {
  const int fd = fd_;
  fd_ = -1;
  return fd;
}

OwnedFd memory_file(const char* name, std::string_view bytes) {
  OwnedFd file(memfd_create(name, MFD_CLOEXEC));
  if (!file) throw RunError(last_error("memfd_create"));
  while (!bytes.empty()) {
    const ssize_t n = write(file.get(), bytes.data(), bytes.size());
    if (n < 0 && errno != EINTR) throw RunError(last_error("a file in memory"));
    if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
  }
  return file;
}

// ---- a program under way ------------------------------------------------------------------------

struct Sandbox::Job {
  SandboxLimits limits;
  Timer timer;  // since the last input
  OwnedFd input, output, errors, link;
  std::string to_input, to_link;  // not yet written
  std::string from_link;          // not yet taken as lines
  bool reported = false, killed = false;
  ProgramEnd end;
};

namespace {

// Reads what is there; false at the end of the file.
bool read_some(int fd, std::string& into) {
  char buffer[65536];
  const ssize_t n = read(fd, buffer, sizeof buffer);
  if (n > 0) into.append(buffer, static_cast<size_t>(n));
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

// Writes what fits; false if the other end is closed.
bool write_some(int fd, std::string& from, bool socket) {
  const ssize_t n = socket ? send(fd, from.data(), from.size(), MSG_NOSIGNAL)
                           : write(fd, from.data(), from.size());
  if (n > 0) from.erase(0, static_cast<size_t>(n));
  return n >= 0 || errno == EAGAIN || errno == EINTR;
}

// Writing into a pipe whose reader is gone must not end this process. A program or library that
// wants the signal has a handler; the default is what nobody wants.
void ignore_broken_pipes() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    sigaction(SIGPIPE, nullptr, &action);
    if (action.sa_handler == SIG_DFL) signal(SIGPIPE, SIG_IGN);
  });
}

}  // namespace

Sandbox::Sandbox(const SandboxOptions& options) : options_(options) {
  ignore_broken_pipes();
  start();
}

Sandbox::~Sandbox() { stop(); }

void Sandbox::start() {
  const std::string python = find_python(options_.python);
  if (python.empty() || access(python.c_str(), X_OK) != 0) {
    throw UserError(cat("code: no Python interpreter to run programs with was found",
                        options_.python.empty() ? "" : " at " + options_.python,
                        "; install python3, or name one with python=PATH"));
  }
  const std::string filter_program = system_call_filter();
  const OwnedFd filter = memory_file("filter", filter_program);
  const OwnedFd script =
      memory_file("zygote.py", read_file(data_root() + "/rewards/code/zygote.py"));
  lseek(script.get(), 0, SEEK_SET);

  // The first that works is taken at once by later workers of this process.
  struct Way {
    SandboxLevel level;
    bool as_nobody;
  };
  static std::mutex mutex;
  static std::optional<Way> known;
  std::vector<Way> ways;
  {
    const std::lock_guard lock(mutex);
    if (known && known->level >= options_.least) ways.push_back(*known);
  }
  if (ways.empty()) {
    const SandboxLevel most =
        filter_program.empty() ? SandboxLevel::namespaces : SandboxLevel::full;
    const bool root = geteuid() == 0 && !find_program("setpriv").empty();
    if (!find_program("bwrap").empty()) {
      // Root's processes are not counted against a limit, so root becomes nobody first.
      if (root) ways.push_back({most, true});
      ways.push_back({most, false});
    }
    ways.push_back({SandboxLevel::process, root});
  }
  std::string errors;
  for (const Way& way : ways) {
    if (way.level < options_.least) break;
    Ends control = socket_pair(SOCK_SEQPACKET);
    OwnedFd startup = memory_file("errors", "");
    lseek(script.get(), 0, SEEK_SET);
    if (!own_cgroup().directory.empty()) cgroup_ = std::make_unique<WorkerCgroup>(own_cgroup());
    const OwnedFd entrance = group_file(cgroup_.get(), "cgroup.procs", O_WRONLY);
    const OwnedFd events = group_file(cgroup_.get(), "memory.events", O_RDONLY);
    pid_ = spawn(command_line(way.level, python, way.as_nobody),
                 {startup.get(), control.theirs.get(), filter.get(), script.get(), entrance.get(),
                  events.get()});
    control.theirs.reset();
    control_ = std::move(control.ours);
    startup_errors_ = std::move(startup);
    pollfd waiting{control_.get(), POLLIN, 0};
    char ready[64];
    const Timer timer;
    while (poll(&waiting, 1, 1000) == 0 && timer.seconds() < kStartSeconds) {
    }
    if (recv(control_.get(), ready, sizeof ready, MSG_DONTWAIT) > 0) {
      level_ = way.level;
      if (cgroup_ && !cgroup_->populated()) cgroup_.reset();  // it could not go there
      const std::lock_guard lock(mutex);
      if (!known) known = way;
      return;
    }
    const std::string said = contents(startup_errors_.get());
    if (!said.empty()) errors += (errors.empty() ? "" : "; ") + said;
    stop();
  }
  const SandboxLevel have =
      filter_program.empty() && !find_program("bwrap").empty() && errors.empty()
          ? SandboxLevel::namespaces
          : SandboxLevel::none;
  throw UserError(cat("code: this machine does not give the sandbox level '",
                      to_string(options_.least), "': ", advice(have),
                      errors.empty() ? "" : "; it said: " + errors.substr(0, 300),
                      ". `hone doctor` tells the level; sandbox=process runs programs with "
                      "resource limits only, for those that you trust"));
}

void Sandbox::stop() {
  job_.reset();
  control_.reset();  // the worker leaves when it finds this end closed
  for (int tries = 0; pid_ > 0 && tries < 200; ++tries) {
    if (waitpid(pid_, nullptr, WNOHANG) != 0) {
      pid_ = -1;
    } else {
      usleep(tries < 20 ? 1000 : 10000);
    }
  }
  if (pid_ > 0) {
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  cgroup_.reset();  // and what a program at level `process` left
}

void Sandbox::fail(const std::string& what, bool late) {
  const std::string said = startup_errors_ ? contents(startup_errors_.get()) : "";
  stop();
  throw SandboxFailure(cat("the sandbox's worker failed: ", what, said.empty() ? "" : ": ", said),
                       late);
}

void Sandbox::send_job(Json header, const SandboxLimits& limits, const std::vector<int>& files) {
  header["cpu_seconds"] = limits.cpu_seconds;
  header["wall_seconds"] = limits.wall_seconds;
  header["memory"] = limits.memory;
  header["address_space"] = limits.memory + (int64_t{96} << 20);  // the warm interpreter's own
  header["processes"] = limits.processes;
  header["files"] = limits.files;
  header["disk"] = limits.disk;
  header["nonce"] = nonce_;
  if (cgroup_) {
    // No tighter than the limits that the worker holds itself: files in /tmp count as memory here,
    // and RLIMIT_NPROC allows two processes of the sandbox's own where here it is one.
    cgroup_->limit(limits.memory + limits.disk + kInterpreterBytes, limits.processes + 3);
  }
  std::string text = header.dump();
  iovec part{text.data(), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char space[CMSG_SPACE(8 * sizeof(int))] = {};
  message.msg_control = space;
  message.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
  std::memcpy(CMSG_DATA(c), files.data(), files.size() * sizeof(int));
  if (sendmsg(control_.get(), &message, MSG_NOSIGNAL) < 0) fail(last_error("it takes no program"));
}

// To the worker, about the program that runs; without effect if that has ended.
void Sandbox::tell(const char* word) {
  const std::string message = cat(word, " ", nonce_);
  send(control_.get(), message.data(), message.size(), MSG_NOSIGNAL);
}

// Moves bytes until the program has ended and all that it wrote is here, or, with until_line, until
// a line is.
void Sandbox::pump(Job& job, bool until_line) {
  const auto stop_program = [&](const char* reason) {
    if (job.end.limit.empty()) job.end.limit = reason;
    if (!job.killed && !job.reported) tell("kill");
    job.killed = true;
  };
  while (true) {
    if (until_line && job.from_link.find('\n') != std::string::npos) return;
    if (job.reported && !job.output && !job.errors && !job.link) return;
    pollfd fds[5];
    nfds_t n = 0;
    const auto watch = [&](const OwnedFd& fd, short events) {
      fds[n] = {fd.get(), events, 0};
      return n++;
    };
    const nfds_t none = 99;
    const nfds_t control = job.reported ? none : watch(control_, POLLIN);
    const nfds_t output = job.output ? watch(job.output, POLLIN) : none;
    const nfds_t errors = job.errors ? watch(job.errors, POLLIN) : none;
    const nfds_t input = job.input ? watch(job.input, POLLOUT) : none;
    const nfds_t link =
        job.link ? watch(job.link, static_cast<short>(POLLIN | (job.to_link.empty() ? 0 : POLLOUT)))
                 : none;
    const int ready = poll(fds, n, 1000);
    if (ready < 0 && errno != EINTR) fail(last_error("poll"));
    if (!job.reported && job.timer.seconds() > job.limits.wall_seconds + kGraceSeconds) {
      fail(cat("no report ", kGraceSeconds, " s after the time limit"), true);
    }
    if (ready <= 0) {
      // After the report nothing of the program lives; a silent open pipe has no writer to wait
      // for.
      if (job.reported) return;
      continue;
    }
    const auto is = [&](nfds_t i, int events) { return i != none && (fds[i].revents & events); };
    constexpr int kReadable = POLLIN | POLLHUP | POLLERR;
    if (is(output, kReadable)) {
      if (!read_some(job.output.get(), job.end.output)) job.output.reset();
      if (static_cast<int64_t>(job.end.output.size()) > job.limits.output) {
        stop_program("output");
        job.end.output.resize(static_cast<size_t>(job.limits.output));
      }
    }
    if (is(errors, kReadable)) {
      if (!read_some(job.errors.get(), job.end.error_output)) job.errors.reset();
      if (job.end.error_output.size() > 2 * kErrorBytes) {
        job.end.error_output.erase(0, job.end.error_output.size() - kErrorBytes);
      }
    }
    if (is(input, POLLOUT | POLLERR | POLLHUP)) {
      if (job.to_input.empty() || !write_some(job.input.get(), job.to_input, false) ||
          job.to_input.empty()) {
        job.input.reset();
      }
    }
    if (is(link, POLLOUT) && !job.to_link.empty() &&
        !write_some(job.link.get(), job.to_link, true)) {
      job.to_link.clear();
    }
    if (is(link, kReadable)) {
      if (!read_some(job.link.get(), job.from_link)) job.link.reset();
      if (static_cast<int64_t>(job.from_link.size()) > job.limits.output) {
        stop_program("output");
        job.from_link.clear();
        job.link.reset();
      }
    }
    if (is(control, kReadable)) {
      std::string report(4096, '\0');
      const ssize_t size = recv(control_.get(), report.data(), report.size(), MSG_DONTWAIT);
      if (size < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (size <= 0) fail("it ended");
      report.resize(static_cast<size_t>(size));
      const Json said = Json::parse(report, nullptr, false);
      if (!said.is_object()) fail("it said what is not JSON");
      if (said.contains("failed")) fail(said["failed"].get<std::string>());
      job.reported = true;
      job.end.exit_code = said["exit"];
      job.end.signal = said["signal"];
      job.end.cpu_seconds = said["cpu"];
      job.end.memory = said["memory"];
      if (job.end.limit.empty() && said["limit"].is_string()) job.end.limit = said["limit"];
      job.input.reset();
    }
  }
}

ProgramEnd Sandbox::run(const Program& program, std::string_view input,
                        const SandboxLimits& limits) {
  prepare();
  Ends in = pipe_to_program(), out = pipe_from_program(), err = pipe_from_program();
  Ends link = socket_pair(SOCK_STREAM);
  std::vector<int> files = {program.file.get(), in.theirs.get(), out.theirs.get(),
                            err.theirs.get()};
  if (!program.binary) files.push_back(link.theirs.get());
  Job job;
  job.limits = limits;
  job.to_input = input;
  send_job({{"kind", "run"}, {"binary", program.binary}, {"inputs", 1}}, limits, files);
  for (Ends* ends : {&in, &out, &err, &link}) ends->theirs.reset();
  job.input = std::move(in.ours);
  job.output = std::move(out.ours);
  job.errors = std::move(err.ours);
  if (!program.binary) job.link = std::move(link.ours);
  pump(job, false);
  const Json said = Json::parse(job.from_link, nullptr, false);
  job.end.completed = said.is_object() && said.value("n", Json()) == nonce_;
  return std::move(job.end);
}

Program Sandbox::compile(std::string_view source, const std::string& compiler,
                         const SandboxLimits& limits, ProgramEnd& end) {
  prepare();
  const OwnedFd file = memory_file("source", source), null = null_device();
  Program program{memory_file("binary", ""), true};
  Ends out = pipe_from_program(), err = pipe_from_program();
  Job job;
  job.limits = limits;
  send_job({{"kind", "compile"}, {"compiler", compiler}, {"inputs", 1}}, limits,
           {file.get(), null.get(), out.theirs.get(), err.theirs.get(), program.file.get()});
  for (Ends* ends : {&out, &err}) ends->theirs.reset();
  job.output = std::move(out.ours);
  job.errors = std::move(err.ours);
  pump(job, false);
  end = std::move(job.end);
  return program;
}

// A worker that runs nothing; a conversation that an exception cut off is ended here.
void Sandbox::prepare() {
  if (job_) end();
  if (pid_ < 0) start();
  nonce_ = random_name();
}

void Sandbox::begin(const Json& kind, const Program& program, const SandboxLimits& limits,
                    int inputs) {
  prepare();
  const OwnedFd null = null_device();
  Ends err = pipe_from_program(), link = socket_pair(SOCK_STREAM);
  job_ = std::make_unique<Job>();
  job_->limits = limits;
  Json header = kind;
  header["inputs"] = inputs;
  send_job(header, limits,
           {program.file.get(), null.get(), null.get(), err.theirs.get(), link.theirs.get()});
  job_->errors = std::move(err.ours);
  job_->link = std::move(link.ours);
}

void Sandbox::say(std::string_view line) {
  job_->to_link += line;
  job_->to_link += '\n';
  job_->timer.restart();
  if (!job_->reported) tell("again");
}

std::optional<std::string> Sandbox::hear() {
  pump(*job_, true);
  const size_t newline = job_->from_link.find('\n');
  if (newline == std::string::npos) return std::nullopt;
  std::string line = job_->from_link.substr(0, newline);
  job_->from_link.erase(0, newline + 1);
  return line;
}

ProgramEnd Sandbox::end() {
  if (!job_->reported) {
    tell("kill");
    job_->killed = true;
    job_->link.reset();
  }
  pump(*job_, false);
  ProgramEnd end = std::move(job_->end);
  job_.reset();
  return end;
}

std::string Sandbox::tree() const {
  if (cgroup_ || own_cgroup().directory.empty()) return describe(own_cgroup());
  CgroupPlace refused;
  refused.missing = "a worker could not go into its group in " + own_cgroup().directory;
  return describe(refused);
}

SandboxReport probe_sandbox(const std::string& python) {
  SandboxReport report;
  for (const SandboxLevel least : {SandboxLevel::namespaces, SandboxLevel::process}) {
    try {
      const Sandbox sandbox({least, python});
      report.level = sandbox.level();
      report.tree = sandbox.tree();
      break;
    } catch (const UserError& error) {
      if (report.missing.empty()) report.missing = advice(SandboxLevel::none);
    }
  }
  if (report.level == SandboxLevel::namespaces) report.missing = advice(report.level);
  return report;
}

}  // namespace hone
