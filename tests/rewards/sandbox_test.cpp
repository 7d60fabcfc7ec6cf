// Programs that try to get out, to stay, or to take more than their share.
#include "rewards/code/sandbox.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/timer.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

SandboxLimits small_limits() {
  SandboxLimits limits;
  limits.cpu_seconds = 1;
  limits.wall_seconds = 3;
  limits.memory = int64_t{256} << 20;
  limits.processes = 12;
  limits.output = 1 << 20;
  return limits;
}

// The sandbox of this file's tests; without one they are skipped, with the reason.
Sandbox& sandbox() {
  static const SandboxReport report = probe_sandbox();
  if (report.level != SandboxLevel::full) SKIP("no full sandbox here: " << report.missing);
  static Sandbox s({});
  return s;
}

ProgramEnd run(const std::string& source, const std::string& input = "",
               const SandboxLimits& limits = small_limits()) {
  return sandbox().run({memory_file("solution.py", source)}, input, limits);
}

// An honest program still gets its verdict, whatever ran before it.
void check_neighbour() {
  const ProgramEnd end = run("print(sum(map(int, input().split())))", "20 22\n");
  CHECK(end.ok());
  CHECK(end.completed);
  CHECK(end.output == "42\n");
}

// Everything that `parent` has started and that still runs, oldest first: a worker that outlives
// its program would still report the program's end.
std::vector<pid_t> descendants(pid_t parent) {
  std::map<pid_t, pid_t> parent_of;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "stat");
    std::string text;
    std::getline(file, text);
    const size_t end = text.rfind(") ");
    if (end != std::string::npos) parent_of[std::stoi(name)] = std::stoi(text.substr(end + 4));
  }
  std::vector<pid_t> found;
  for (const auto& [pid, its_parent] : parent_of) {
    for (pid_t p = its_parent; p > 1; p = parent_of.count(p) ? parent_of[p] : 0) {
      if (p != parent) continue;
      found.push_back(pid);
      break;
    }
  }
  return found;
}

// Processes whose command line has `part`.
size_t processes_named(const std::string& part) {
  size_t n = 0;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline");
    std::string line;
    std::getline(file, line);
    n += line.find(part) != std::string::npos;
  }
  return n;
}

}  // namespace

TEST_CASE("a program reads its input and prints, and its end is told") {
  sandbox();
  const ProgramEnd end = run("import sys\nprint(len(sys.stdin.buffer.read()))", "a\xff\nb");
  CHECK(end.ok());
  CHECK(end.output == "4\n");
  CHECK(run("import sys; sys.exit(3)").exit_code == 3);
  CHECK(run("exit()").ok());
  CHECK(run("raise KeyError('x')").error_output.find("KeyError: 'x'") != std::string::npos);
  CHECK(run("if __name__ == '__main__': print('main')").output == "main\n");
  CHECK(run("import os; os.kill(1, 9); print('still here')").output == "still here\n");
  CHECK(run("import threading\nthreading.Thread(target=lambda: print('thread')).start()").output ==
        "thread\n");
  CHECK(run("import asyncio\nasync def f(): return 5\nprint(asyncio.run(f()))").output == "5\n");
}

TEST_CASE("a program that leaves before its end has not completed") {
  sandbox();
  CHECK(run("pass").completed);
  CHECK(run("import sys; sys.exit()").completed);
  const ProgramEnd end = run("import os; os._exit(0)");
  CHECK(end.ok());
  CHECK_FALSE(end.completed);
  CHECK_FALSE(run("import atexit, os\nprint(1)\nos.write(3, b'{\"n\": \"guess\"}')\nos._exit(0)")
                  .completed);
}

TEST_CASE("the same program gives the same output every time") {
  sandbox();
  const std::string source =
      "import random\nprint(random.random(), list({'a', 'b', 'c', 'd', 'e'}), hash('x'))";
  const std::string first = run(source).output;
  CHECK(run(source).output == first);
  Sandbox other({});
  CHECK(other.run({memory_file("s", source)}, "", small_limits()).output == first);
}

TEST_CASE("nothing of one program is there for the next") {
  sandbox();
  CHECK(run("open('/tmp/x', 'w').write('secret'); import builtins; builtins.leak = 1\n"
            "import math; math.pi = 3; print('done')")
            .output == "done\n");
  CHECK(run("import os, builtins, math\n"
            "print(os.listdir('/tmp'), hasattr(builtins, 'leak'), math.pi > 3.1)")
            .output == "[] False True\n");
}

TEST_CASE("a program sees no files of this machine but its libraries, and no other process") {
  sandbox();
  CHECK(run("import os; print(sorted(set(os.listdir('/')) - {'bin', 'lib', 'lib32', 'lib64', "
            "'libx32', 'sbin'}))")
            .output == "['dev', 'etc', 'proc', 'tmp', 'usr']\n");
  CHECK(run("import os; print(os.listdir('/proc'), os.getpid(), os.getuid() != 0, dict(os.environ) "
            "== {'PATH': '/usr/bin:/bin', 'HOME': '/tmp', 'LC_ALL': 'C.UTF-8'})")
            .output == "[] 1 True True\n");
  for (const char* path : {"/etc/passwd", "/etc/shadow", "/root", "/home", "/var", "/sys", "/run",
                           "/proc/1/environ", "/proc/self/mem"}) {
    INFO(path);
    CHECK(run(std::string("import os; print(os.path.exists('") + path + "'))").output == "False\n");
  }
  for (const char* path : {"/x", "/usr/x", "/dev/x", "/etc/x", "/bin/x", "/proc/x"}) {
    INFO(path);
    CHECK(run(std::string("open('") + path + "', 'w')").exit_code == 1);
  }
  check_neighbour();
}

TEST_CASE("calls that reach out of the sandbox are refused") {
  sandbox();
  const std::string prefix =
      "import ctypes, os, socket\nlibc = ctypes.CDLL(None, use_errno=True)\n"
      "def refused(r): print('refused' if r == -1 and ctypes.get_errno() in (1, 38) else r)\n";
  for (const char* call : {"libc.ptrace(0, 0, 0, 0)",
                           "libc.unshare(0x10000000)",
                           "libc.unshare(0x20000)",
                           "libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None)",
                           "libc.umount2(b'/tmp', 2)",
                           "libc.chroot(b'/tmp')",
                           "libc.setns(0, 0)",
                           "libc.socket(2, 1, 0)",
                           "libc.socket(1, 1, 0)",
                           "libc.socket(16, 3, 0)",
                           "libc.syscall(321, 0, 0, 0)",
                           "libc.syscall(425, 8, 0)",
                           "libc.syscall(250, 0, 0, 0, 0, 0)",
                           "libc.syscall(323, 0)",
                           "libc.syscall(310, 1, 0, 0, 0, 0, 0)",
                           "libc.syscall(56, 0x10000011, 0, 0, 0, 0)",
                           "libc.syscall(435, 0, 0)",
                           "libc.memfd_create(b'x', 0)",
                           "libc.shmget(1, 4096, 0o1777)",
                           "libc.syscall(298, 0, 0, 0, 0, 0)",
                           "libc.sethostname(b'x', 1)",
                           "libc.personality(0)"}) {
    INFO(call);
    CHECK(run(prefix + "refused(" + call + ")").output == "refused\n");
  }
  CHECK(run("import os\ntry: os.setuid(0)\nexcept PermissionError: print('no')\nelse: "
            "print(os.getuid())")
            .output != "0\n");
  check_neighbour();
}

TEST_CASE("limits hold: processor time, waiting, memory, processes, output, files") {
  sandbox();
  const SandboxLimits limits = small_limits();
  const ProgramEnd busy = run("while True: pass");
  CHECK(busy.limit == "time");
  CHECK(busy.cpu_seconds < 1.2 * limits.cpu_seconds);
  const Timer timer;
  CHECK(run("import time; time.sleep(60)").limit == "time");
  CHECK(timer.seconds() < 1.2 * limits.wall_seconds + 1);
  CHECK(run("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
            "signal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True:\n  try:\n    while True: "
            "pass\n  except BaseException: pass")
            .limit == "time");
  const ProgramEnd memory = run("x = []\nwhile True: x.append(bytearray(1 << 20))");
  const bool told = memory.limit == "memory" || memory.exit_code == 86;
  CHECK(told);
  CHECK(memory.memory < 1.4 * static_cast<double>(limits.memory));
  const ProgramEnd tree = run(
      "import os, time\nfor i in range(8):\n  if os.fork() == 0:\n    x = bytearray(60 << 20)\n    "
      "for i in range(0, len(x), 4096): x[i] = 1\n    time.sleep(2)\n    os._exit(0)\n"
      "time.sleep(2)\nprint('kept 480 MiB')");
  CHECK(tree.limit == "memory");
  CHECK(tree.output.empty());
  const ProgramEnd bomb = run("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass");
  CHECK_FALSE(bomb.ok());
  const ProgramEnd flood = run("while True: print('x' * 1000)");
  CHECK(flood.limit == "output");
  CHECK(static_cast<int64_t>(flood.output.size()) <= limits.output);
  CHECK(run("import sys\nwhile True: sys.stderr.write('x' * 1000)").limit == "time");
  CHECK(run("f = open('/tmp/x', 'wb')\nwhile True: f.write(b'x' * (1 << 20))").exit_code == 1);
  CHECK(run("x = [open('/dev/null') for _ in range(1000)]").exit_code == 1);
  check_neighbour();
}

TEST_CASE("what a program leaves running ends with it") {
  sandbox();
  const size_t before = processes_named("a-daemon-of-a-test");
  CHECK(run("import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    "
            "os.execv('/bin/sh', ['a-daemon-of-a-test', '-c', 'sleep 1000; exit'])\n  "
            "os._exit(0)\ntime.sleep(0.2)\nprint('left')")
            .output == "left\n");
  CHECK(processes_named("a-daemon-of-a-test") == before);
  check_neighbour();
}

TEST_CASE("a program cannot speak to the worker or read what belongs to others") {
  sandbox();
  // Every descriptor it has is its own: 0 to 3.
  CHECK(run("import os\nfor fd in range(4, 1024):\n  try: os.fstat(fd); print(fd)\n  except "
            "OSError: pass\n")
            .output.empty());
  CHECK(run("import os\nfor fd in range(1024):\n  try: os.write(fd, b'{\"exit\": 0, \"signal\": 0, "
            "\"limit\": null, \"cpu\": 0, \"memory\": 0}\\n')\n  except OSError: pass\nos._exit(1)")
            .exit_code == 1);
  check_neighbour();
}

TEST_CASE("a worker that is killed by hand fails its program and starts anew") {
  sandbox();
  const std::vector<pid_t> others = descendants(getpid());
  Sandbox own({});
  std::thread killer([&others] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    for (pid_t pid : descendants(getpid())) {
      if (std::find(others.begin(), others.end(), pid) == others.end()) kill(pid, SIGKILL);
    }
  });
  bool failed = false;
  try {
    SandboxLimits limits = small_limits();
    limits.wall_seconds = 20;
    own.run({memory_file("s", "import time; time.sleep(10)")}, "", limits);
  } catch (const SandboxFailure& failure) {
    failed = true;
    CHECK_FALSE(failure.timed_out);
  }
  killer.join();
  CHECK(failed);
  CHECK(own.run({memory_file("s", "print(1)")}, "", small_limits()).output == "1\n");
}

TEST_CASE("a worker leaves no process and no file behind") {
  sandbox();
  const size_t processes = descendants(getpid()).size();
  const auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto files = open_files();
  {
    Sandbox own({});
    CHECK(own.run({memory_file("s", "import os\nos.fork()\nos.setsid()")}, "", small_limits())
              .limit.empty());
    own.begin({{"kind", "calls"}, {"prelude", ""}}, {memory_file("s", "def f(): return 1")},
              small_limits(), 1);
    CHECK(own.hear());
  }
  CHECK(open_files() == files);
  const Timer timer;
  while (descendants(getpid()).size() > processes && timer.seconds() < 5) usleep(20000);
  CHECK(descendants(getpid()).size() == processes);
}

TEST_CASE("a level that this machine does not give is refused in words") {
  try {
    Sandbox none({SandboxLevel::full, "/nonexistent/python3"});
    FAIL("an interpreter that is not there was accepted");
  } catch (const UserError& error) {
    CHECK(std::string(error.what()).find("no Python interpreter") != std::string::npos);
  }
}

TEST_CASE("C++ is compiled in the sandbox and runs there") {
  Sandbox& s = sandbox();
  if (!fs::exists("/usr/bin/g++")) SKIP("no /usr/bin/g++");
  SandboxLimits limits;
  limits.cpu_seconds = 20;
  limits.wall_seconds = 60;
  ProgramEnd end;
  const Program adds = s.compile(
      "#include <iostream>\nint main() { long a, b; std::cin >> a >> b; std::cout << a + b; }",
      "/usr/bin/g++", limits, end);
  REQUIRE(end.ok());
  CHECK(s.run(adds, "40 2", small_limits()).output == "42");
  const Program wild =
      s.compile("int main() { volatile int* p = nullptr; *p = 1; }", "/usr/bin/g++", limits, end);
  REQUIRE(end.ok());
  CHECK(s.run(wild, "", small_limits()).signal == 11);
  s.compile("int main() { return x; }", "/usr/bin/g++", limits, end);
  CHECK_FALSE(end.ok());
  CHECK(end.error_output.find("was not declared in this scope") != std::string::npos);
  // The source may not pull in what the machine has.
  s.compile("#include \"/etc/passwd\"\nint main() {}", "/usr/bin/g++", limits, end);
  CHECK(end.error_output.find("No such file") != std::string::npos);
}

// Programs that crash, flood, loop, fork, hide and pry; %d is the program's number.
const char* const kHostile[] = {
    "import os; os.abort()",
    "import ctypes; ctypes.string_at(%d)",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL); os._exit(%d % 256)",
    "raise SystemExit(%d)",
    "import os; os._exit(0)",
    "def f(): f()\nimport sys; sys.setrecursionlimit(10**7); f()",
    "import os\nfor fd in range(1024):\n  try: os.write(fd, b'kill %d')\n  except OSError: pass",
    "import os\nfor fd in range(1024):\n  try: os.close(fd)\n  except OSError: pass",
    "import os\nos.symlink('/', '/tmp/l%d')\nos.listdir('/tmp/l%d/usr')\nos.symlink('/tmp', "
    "'/tmp/x')\n"
    "open('/tmp/l%d/x', 'w')",
    "import socket; socket.create_connection(('127.0.0.1', 22))",
    "import ctypes; print(ctypes.CDLL(None).ptrace(16, 1, 0, 0))",
    "import os\nfor p in range(1, 3000):\n  try: os.kill(p, 9) if p != os.getpid() else 0\n  "
    "except "
    "OSError: pass",
    "import os\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    while True: pass\n",
    "import os, time\nfor i in range(40):\n  try:\n    if os.fork() == 0: time.sleep(100)\n  "
    "except "
    "OSError: pass",
    "print('x' * 20_000_000)",
    "import sys\nfor i in range(10**7): sys.stderr.write('x' * 100000)",
    "x = bytearray(10**10)",
    "open('/tmp/big', 'wb').write(b'x' * 200_000_000)",
    "import os\nfor i in range(100000): open(f'/tmp/f{i}', 'w')",
    "import os; os.mkfifo('/tmp/p'); open('/tmp/p', 'w')",
    "import glob\nfor f in glob.glob('/tmp/**') + glob.glob('/*/*'):\n  try: open(f).read(100)\n  "
    "except "
    "Exception: pass\nprint(%d)",
    "import signal, os\nfor s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n  except "
    "(OSError, ValueError): pass\nos.kill(0, 15)",
    "import threading\nfor i in range(1000): threading.Thread(target=lambda: [0 for _ in "
    "iter(int, 1)], daemon=True).start()",
    "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1)); x = bytearray(10**9)",
    "import os; os.chmod('/tmp', 0); os.chdir('/'); os.rmdir('/tmp')",
    "import sys; sys.stdin.close(); input()",
    "import gc, sys\nfor o in gc.get_objects():\n  try: o.clear()\n  except Exception: pass",
};
const char* const kSlow[] = {
    // these cost their whole time
    "while True: pass",
    "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
    "x = []\nwhile True: x.append(bytearray(1 << 22))",
    "import time\nwhile True:\n  try: time.sleep(100)\n  except BaseException: pass",
};

TEST_CASE("ten thousand hostile programs in a row disturb nobody", "[.][long]") {
  sandbox();
  const size_t processes = descendants(getpid()).size();
  const auto open_files = [] {
    return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator());
  };
  const auto files = open_files();
  constexpr int kPrograms = 10000, kWorkers = 2;
  std::atomic<int> next{0}, wrong{0}, over{0}, failures{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWorkers; ++w) {
    threads.emplace_back([&] {
      Sandbox own({});
      SandboxLimits limits = small_limits();
      limits.cpu_seconds = 0.5;
      limits.wall_seconds = 1;
      for (int i = next++; i < kPrograms; i = next++) {
        std::string source = i % 20 == 0 ? kSlow[i / 20 % std::size(kSlow)]
                                         : kHostile[static_cast<size_t>(i) % std::size(kHostile)];
        for (size_t at; (at = source.find("%d")) != std::string::npos;) {
          source.replace(at, 2, std::to_string(i));
        }
        try {
          const ProgramEnd end = own.run({memory_file("s", source)}, "", limits);
          over += end.cpu_seconds > 1.2 * limits.cpu_seconds + 0.1;
          const ProgramEnd honest =
              own.run({memory_file("s", "import os\nprint(int(input()) * 2, os.listdir('/tmp'))")},
                      std::to_string(i) + "\n", limits);
          wrong += !honest.ok() || honest.output != std::to_string(2 * i) + " []\n";
        } catch (const SandboxFailure&) {
          ++failures;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(wrong == 0);
  CHECK(over == 0);
  CHECK(open_files() == files);
  const Timer timer;
  while (descendants(getpid()).size() > processes && timer.seconds() < 5) usleep(20000);
  CHECK(descendants(getpid()).size() == processes);
}

}  // namespace hone
