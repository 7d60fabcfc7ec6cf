#include "rewards/code/cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <vector>

#include "base/error.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "hone-";

// "" where there is none; the kernel's files come and go.
std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<std::string> words_of(const std::string& path) {
  std::istringstream in(text_of(path));
  return {std::istream_iterator<std::string>(in), std::istream_iterator<std::string>()};
}

bool has_word(const std::string& path, const std::string& word) {
  for (const std::string& w : words_of(path)) {
    if (w == word) return true;
  }
  return false;
}

// Each write to a file of a group is a command; 0, or why the kernel refuses it.
int put(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int error = write(fd, text.data(), text.size()) < 0 ? errno : 0;
  close(fd);
  return error;
}

pid_t parent_of(pid_t pid) {
  const std::string stat = text_of(cat("/proc/", pid, "/stat"));
  const size_t name_end = stat.rfind(") ");  // then the state, one letter, and the parent
  return name_end == std::string::npos ? 0 : std::atoi(stat.c_str() + name_end + 4);
}

// Whether only this process and what it started are in the group.
bool alone_in(const std::string& directory) {
  for (const std::string& word : words_of(directory + "/cgroup.procs")) {
    pid_t pid = std::atoi(word.c_str());  // 0: of a namespace that is not ours
    while (pid > 1 && pid != getpid()) pid = parent_of(pid);
    if (pid != getpid()) return false;
  }
  return true;
}

// Moves every process; one that has ended meanwhile is no error.
void move_processes(const std::string& from, const std::string& to) {
  for (const std::string& pid : words_of(from + "/cgroup.procs")) put(to + "/cgroup.procs", pid);
}

// Groups of processes that are no more. The kernel removes none that is still in use.
void sweep(const std::string& directory) {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(directory, ec)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const pid_t pid = std::atoi(name.c_str() + std::strlen(kPrefix));
    if (pid > 0 && kill(pid, 0) != 0 && errno == ESRCH) rmdir(entry.path().c_str());
  }
}

// Where this process went when it left its group, and what it switched on there.
struct Move {
  std::string from, to;
  std::vector<std::string> controllers;
};

void move_back(const Move& move) {
  for (const std::string& name : move.controllers) {
    put(move.from + "/cgroup.subtree_control", "-" + name);
  }
  move_processes(move.to, move.from);
  rmdir(move.to.c_str());
}

}  // namespace

std::string cgroup_directory(std::string_view mountinfo, std::string_view membership) {
  std::string own;
  std::istringstream lines{std::string(membership)};
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0::/")) own = line.substr(3);
  }
  // Outside what this process's namespace shows.
  if (own.empty() || own.starts_with("/..")) return "";
  std::istringstream mounts{std::string(mountinfo)};
  for (std::string line; std::getline(mounts, line);) {
    // id, parent, device, root within the file system, mount point, ..., "-", type, ...
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    std::istringstream fields(line);
    std::string skipped, root, mount_point;
    fields >> skipped >> skipped >> skipped >> root >> mount_point;
    if (root == "/") return own == "/" ? mount_point : mount_point + own;
    if (own == root || own.starts_with(root + "/")) return mount_point + own.substr(root.size());
  }
  return "";
}

CgroupPlace claim_cgroup(const std::string& directory) {
  CgroupPlace place;
  if (directory.empty()) {
    place.missing = "no cgroup v2 is mounted here";
    return place;
  }
  sweep(directory);
  const std::string leaf = cat(directory, "/", kPrefix, getpid(), "-self");
  if (mkdir(leaf.c_str(), 0755) != 0 && errno != EEXIST) {
    place.missing = cat("no group can be made in ", directory, ": ", std::strerror(errno));
    return place;
  }
  place.directory = directory;
  const auto lacks = [&](const std::string& reason) {
    place.missing += (place.missing.empty() ? "" : "; ") + reason;
  };
  const std::string control = directory + "/cgroup.subtree_control";
  std::vector<std::string> on, off;
  for (const char* name : {"memory", "pids"}) {
    if (!has_word(directory + "/cgroup.controllers", name)) {
      lacks(cat(directory, " has no controller ", name));
    } else {
      (has_word(control, name) ? on : off).push_back(name);
    }
  }
  const bool is_root = access((directory + "/cgroup.type").c_str(), F_OK) != 0;
  bool moved = false;
  if (!off.empty() && !is_root) {
    // The kernel would give pids even to a group with processes, but then none may enter a child.
    if (alone_in(directory)) {
      move_processes(directory, leaf);
      moved = true;
    } else {
      lacks(directory +
            " has other processes; give hone a group of its own, such as by "
            "systemd-run --user --scope -p Delegate=yes hone ...");
      off.clear();
    }
  }
  Move move{directory, leaf, {}};
  for (const std::string& name : off) {
    if (const int error = put(control, "+" + name)) {
      lacks(cat(control, ": ", std::strerror(error)));
    } else {
      move.controllers.push_back(name);
      on.push_back(name);
    }
  }
  for (const std::string& name : on) (name == "memory" ? place.memory : place.pids) = true;
  if (!moved) {
    rmdir(leaf.c_str());
  } else if (move.controllers.empty()) {
    move_back(move);
  } else {
    static Move until_exit;
    until_exit = move;
    std::atexit([] { move_back(until_exit); });
  }
  return place;
}

const CgroupPlace& own_cgroup() {
  static const CgroupPlace place =
      claim_cgroup(cgroup_directory(text_of("/proc/self/mountinfo"), text_of("/proc/self/cgroup")));
  return place;
}

std::string describe(const CgroupPlace& place) {
  const char* text =
      place.memory && place.pids ? "memory and processes of a program's tree held by cgroup"
      : place.memory             ? "memory of a program's tree held by cgroup, processes by polling"
      : place.pids               ? "processes of a program's tree held by cgroup, memory by polling"
                                 : "memory and processes of a program's tree held by polling";
  return place.missing.empty() ? text : cat(text, " (", place.missing, ")");
}

WorkerCgroup::WorkerCgroup(const CgroupPlace& place) {
  static std::atomic<int> count{0};
  path_ = cat(place.directory, "/", kPrefix, getpid(), "-", ++count);
  mkdir(path_.c_str(), 0755);
  if (place.memory) put(file("memory.swap.max"), "0");
}

WorkerCgroup::~WorkerCgroup() {
  put(file("cgroup.kill"), "1");
  for (int tries = 0; rmdir(path_.c_str()) != 0 && errno == EBUSY && tries < 2000; ++tries) {
    usleep(1000);  // they are still ending; what stays is swept by a later hone
  }
}

bool WorkerCgroup::populated() const { return !words_of(file("cgroup.procs")).empty(); }

void WorkerCgroup::limit(int64_t memory, int64_t tasks) {
  if (memory != memory_) put(file("memory.max"), std::to_string(memory));
  if (tasks != tasks_) put(file("pids.max"), std::to_string(tasks));
  memory_ = memory;
  tasks_ = tasks;
}

}  // namespace hone
