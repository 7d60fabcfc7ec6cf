// The first tests read given text and plain directories; the last ones need a machine that lets
// this process make control groups.
#include "rewards/code/cgroup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/error.h"
#include "base/timer.h"
#include "rewards/code/sandbox.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

void put(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// A plain directory that stands in for a group with these controllers.
struct StandIn {
  fs::path path = fs::temp_directory_path() / ("cgroup-" + random_name());
  explicit StandIn(const std::string& controllers) {
    fs::create_directory(path);
    put(path / "cgroup.controllers", controllers);
    put(path / "cgroup.subtree_control", "");
    put(path / "cgroup.procs", "1\n");
  }
  ~StandIn() { fs::remove_all(path); }
};

fs::path only_child(const fs::path& directory) {
  fs::path found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (!entry.is_directory()) continue;
    CHECK(found.empty());
    found = entry.path();
  }
  return found;
}

pid_t start(const std::string& command, const std::string& procs = "/dev/null") {
  const pid_t pid = fork();
  if (pid != 0) return pid;
  const int fd = open(procs.c_str(), O_WRONLY);
  if (write(fd, "0", 1) == 1) execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  _exit(99);
}

int wait_for(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return status;
}

// Waits until something is so, for at most five seconds.
template <class F>
bool soon(F so) {
  for (const Timer timer; timer.seconds() < 5; usleep(2000)) {
    if (so()) return true;
  }
  return so();
}

const CgroupPlace& real_place() {
  if (own_cgroup().directory.empty()) SKIP("no control group here: " << own_cgroup().missing);
  return own_cgroup();
}

}  // namespace

TEST_CASE("a process's own group is found from its mounts and membership") {
  const std::string v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
  const std::string unified =
      "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
  CHECK(cgroup_directory(unified, "0::/user.slice/a.scope\n") ==
        "/sys/fs/cgroup/user.slice/a.scope");
  CHECK(cgroup_directory(unified, "0::/\n") == "/sys/fs/cgroup");
  const std::string hybrid =
      v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
  CHECK(cgroup_directory(hybrid, "4:memory:/m\n1:cpu:/\n0::/x\n") == "/sys/fs/cgroup/unified/x");
  // A container that sees only its own part of the hierarchy.
  const std::string part = "30 23 0:26 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
  CHECK(cgroup_directory(part, "0::/docker/ab/c\n") == "/sys/fs/cgroup/c");
  CHECK(cgroup_directory(part, "0::/docker/ab\n") == "/sys/fs/cgroup");
  CHECK(cgroup_directory(part, "0::/docker/abc\n").empty());
  CHECK(cgroup_directory(unified, "0::/../b\n").empty());  // outside of its namespace
  CHECK(cgroup_directory(v1, "0::/\n").empty());
  CHECK(cgroup_directory(unified, "4:memory:/m\n").empty());
  CHECK(cgroup_directory("", "").empty());
}

TEST_CASE("what a group can hold is told in words") {
  const StandIn both("cpu memory pids\n"), one("pids\n"), none("");
  CHECK(describe(claim_cgroup(both.path)) ==
        "memory and processes of a program's tree held by cgroup");
  const CgroupPlace pids = claim_cgroup(one.path);
  CHECK(pids.pids);
  CHECK_FALSE(pids.memory);
  CHECK(text_of(one.path / "cgroup.subtree_control") == "+pids");
  CHECK(describe(pids) == "processes of a program's tree held by cgroup, memory by polling (" +
                              one.path.string() + " has no controller memory)");
  CHECK(describe(claim_cgroup(none.path)) ==
        "memory and processes of a program's tree held by polling (" + none.path.string() +
            " has no controller memory; " + none.path.string() + " has no controller pids)");
  CHECK(claim_cgroup("/nonexistent/group").missing.find("No such file") != std::string::npos);
  CHECK(claim_cgroup("").directory.empty());
  CHECK(only_child(both.path).empty());  // nothing is left of the claims
}

TEST_CASE("a group that others are in is left as it is, except the root") {
  const StandIn group("memory pids\n");
  put(group.path / "cgroup.type", "domain\n");
  const CgroupPlace place = claim_cgroup(group.path);
  CHECK(place.directory == group.path);  // to end a worker's processes at once
  CHECK_FALSE(place.memory);
  CHECK_FALSE(place.pids);
  CHECK(place.missing.find("has other processes; give hone a group") != std::string::npos);
  CHECK(text_of(group.path / "cgroup.subtree_control").empty());
  CHECK(text_of(group.path / "cgroup.procs") == "1\n");
  CHECK(only_child(group.path).empty());
  put(group.path / "cgroup.subtree_control", "memory pids");  // somebody has switched them on
  CHECK(claim_cgroup(group.path).missing.empty());
}

TEST_CASE("groups of ended hones are swept, those of others and in use are not") {
  const StandIn group("");
  const std::string ended = std::to_string(start("exit 0"));
  wait_for(std::stoi(ended));
  for (const std::string& name : {"hone-" + ended + "-1", "hone-" + ended + "-self"}) {
    fs::create_directory(group.path / name);
  }
  const std::string kept[] = {"hone-1-1", "hone-" + std::to_string(getpid()) + "-7", "hone-x",
                              "other", "hone-" + ended + "-used"};
  for (const std::string& name : kept) fs::create_directory(group.path / name);
  put(group.path / kept[4] / "cgroup.procs", "a directory with a file is not removed either");
  claim_cgroup(group.path);
  for (const std::string& name : kept) CHECK(fs::exists(group.path / name));
  CHECK_FALSE(fs::exists(group.path / ("hone-" + ended + "-1")));
  CHECK_FALSE(fs::exists(group.path / ("hone-" + ended + "-self")));
}

TEST_CASE("a worker's group gets its limits in bytes and tasks, and each only once") {
  const StandIn place("memory pids\n");
  WorkerCgroup group(claim_cgroup(place.path));
  const fs::path path = only_child(place.path);
  CHECK(path.filename().string().starts_with("hone-" + std::to_string(getpid()) + "-"));
  CHECK_FALSE(group.populated());
  for (const char* name : {"memory.max", "pids.max", "cgroup.procs"}) put(path / name, "");
  group.limit(1000, 7);
  CHECK(text_of(path / "memory.max") == "1000");
  CHECK(text_of(path / "pids.max") == "7");
  put(path / "memory.max", "");
  group.limit(1000, 8);
  CHECK(text_of(path / "memory.max").empty());
  CHECK(text_of(path / "pids.max") == "8");
  put(path / "cgroup.procs", "12\n");
  CHECK(group.populated());
}

TEST_CASE("a worker's group ends what is in it and is gone") {
  const CgroupPlace& place = real_place();
  std::string path;
  pid_t pid = 0;
  {
    const WorkerCgroup group(place);
    path = group.file(".");
    if (!fs::exists(group.file("cgroup.kill"))) SKIP("the kernel has no cgroup.kill");
    pid = start("sleep 1000 & setsid sleep 1000", group.file("cgroup.procs"));
    CHECK(soon([&] { return group.populated(); }));
  }
  CHECK(WTERMSIG(wait_for(pid)) == SIGKILL);
  CHECK_FALSE(fs::exists(path));
}

TEST_CASE("a group holds the number of processes and threads") {
  const CgroupPlace& place = real_place();
  if (!place.pids) SKIP("not held by cgroup here: " << place.missing);
  WorkerCgroup group(place);
  group.limit(int64_t{1} << 30, 5);
  const pid_t pid =
      start("for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; wait", group.file("cgroup.procs"));
  CHECK(
      soon([&] { return text_of(group.file("pids.events")).find("max 0") == std::string::npos; }));
  CHECK(std::stoi(text_of(group.file("pids.current"))) <= 5);
  kill(pid, SIGKILL);
  wait_for(pid);
}

TEST_CASE("a group holds memory, and what it ended for that is told") {
  const CgroupPlace& place = real_place();
  if (!place.memory) SKIP("not held by cgroup here: " << place.missing);
  {
    WorkerCgroup group(place);
    group.limit(int64_t{64} << 20, 100);
    wait_for(start("head -c 300000000 /dev/zero | tail", group.file("cgroup.procs")));
    CHECK(text_of(group.file("memory.events")).find("oom_kill 1") != std::string::npos);
  }
  const SandboxReport report = probe_sandbox();
  if (report.level < SandboxLevel::namespaces) SKIP("no sandbox here: " << report.missing);
  CHECK(report.tree == describe(place));
  Sandbox sandbox({SandboxLevel::namespaces, ""});
  SandboxLimits limits;
  limits.memory = int64_t{128} << 20;
  limits.disk = int64_t{16} << 20;
  limits.cpu_seconds = 30;  // the memory is to be the limit on slow machines too
  limits.wall_seconds = 60;
  // Sixteen processes that take 100 MiB each, at once: faster than a hundred looks a second.
  const ProgramEnd end =
      sandbox.run({memory_file("s",
                               "import os\nfor i in range(16):\n  if os.fork() == 0:\n"
                               "    x = b'x' * (100 << 20)\n    os._exit(0)\n"
                               "for i in range(16): os.wait()\nprint('went on')")},
                  "", limits);
  CHECK(end.limit == "memory");
  CHECK(sandbox.run({memory_file("s", "print(1)")}, "", limits).output == "1\n");
  const fs::path own = own_cgroup().directory;
  for (const auto& entry : fs::directory_iterator(own)) {
    if (!fs::exists(entry.path() / "memory.peak") || !entry.is_directory() ||
        !entry.path().filename().string().starts_with("hone-" + std::to_string(getpid()) + "-")) {
      continue;
    }
    const std::string most = text_of(entry.path() / "memory.max");
    if (most.find("max") == std::string::npos) {
      CHECK(std::stoll(text_of(entry.path() / "memory.peak")) <= std::stoll(most));
    }
  }
}

}  // namespace hone
