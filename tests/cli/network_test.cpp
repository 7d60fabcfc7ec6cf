// train, eval and chat open no socket of the internet: a filter in the kernel kills the program
// that asks for one.
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <functional>

#include "run_hone.h"

using namespace hone;

namespace {

// Kills this process and those that it starts with SIGSYS at socket(AF_INET or AF_INET6, ...).
// False where the kernel has no such filters.
bool forbid_internet() {
#if defined(__x86_64__)
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 5),  // else: kill
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 4),  // else: allow
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[0])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
#else
  return false;
#endif
}

// The status of a child that does `work` under the filter, or 99 as exit code where there is none.
int status_under_filter(const std::function<void()>& work) {
  const pid_t child = fork();
  if (child == 0) {
    if (!forbid_internet()) _exit(99);
    work();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

void check_offline(const std::vector<std::string>& arguments, const std::string& input) {
  const TemporaryDirectory files;
  spill(files / "in", input);
  const int status = status_under_filter([&] {
    dup2(open((files / "in").c_str(), O_RDONLY), 0);
    dup2(open((files / "log").c_str(), O_WRONLY | O_CREAT, 0600), 1);
    dup2(1, 2);
    std::vector<char*> argv = {const_cast<char*>(HONE_BINARY)};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    execv(HONE_BINARY, argv.data());
    _exit(98);
  });
  INFO(arguments[0] << "\n" << slurp(files / "log"));
  CHECK_FALSE((WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS));
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

}  // namespace

TEST_CASE("train, eval and chat open no network socket") {
  for (const int family : {AF_INET, AF_INET6}) {  // the filter kills, or this test means nothing
    const int status = status_under_filter([=] { (void)socket(family, SOCK_STREAM, 0); });
    if (WIFEXITED(status) && WEXITSTATUS(status) == 99) SKIP("no seccomp filters here");
    REQUIRE((WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS));
  }
  const int local = status_under_filter([] { (void)socket(AF_UNIX, SOCK_STREAM, 0); });
  REQUIRE((WIFEXITED(local) && WEXITSTATUS(local) == 0));

  const TemporaryDirectory dir;
  spill(dir / "r.yaml", "kind: rl\nname: z\nmodel: " + random_model() +
                            "\ndata: [{task: sum}]\nrewards: [{name: math}]\n"
                            "prompts_per_step: 2\ngroup_size: 2\nmax_tokens: 8\nsteps: 1\n"
                            "eval: {problems: 2}\ndevice: cpu\nthreads: 1\n");
  check_offline({"train", dir / "r.yaml", "--out", dir / "run"}, "");
  check_offline({"eval", random_model(), "--device", "cpu", "--task", "sum", "--problems", "2",
                 "--max-tokens", "8"},
                "");
  check_offline({"chat", random_model(), "--device", "cpu", "--max-tokens", "8"}, "1+1\n");
}
