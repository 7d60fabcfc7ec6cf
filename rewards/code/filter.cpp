// The system calls that a program in the sandbox may not make. All others are allowed: what they
// reach is cut off by the namespaces.
#include "rewards/code/sandbox.h"

#ifdef HONE_WITH_SECCOMP
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#endif

namespace hone {

#ifndef HONE_WITH_SECCOMP
std::string system_call_filter() { return ""; }
#else

namespace {

// By name, so that a name unknown to an older kernel's headers or another machine is passed over.
constexpr const char* kDenied[] = {
    // other processes
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    "pidfd_open", "pidfd_send_signal",
    // namespaces and mounts
    "unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree",
    "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "name_to_handle_at",
    "open_by_handle_at",
    // the network
    "socket", "connect", "bind", "listen", "accept", "accept4",
    // memory that no limit counts
    "memfd_create", "memfd_secret", "shmget", "shmat", "shmctl", "msgget", "semget", "mq_open",
    // large parts of the kernel that no solution needs
    "bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "io_uring_enter",
    "io_uring_register", "io_setup", "keyctl", "add_key", "request_key", "fanotify_init",
    "inotify_init", "inotify_init1", "landlock_create_ruleset", "personality", "modify_ldt",
    "vmsplice", "lookup_dcookie", "seccomp",
    // the machine
    "reboot", "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module",
    "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "syslog", "settimeofday",
    "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname", "iopl", "ioperm",
    "nfsservctl", "uselib", "vhangup", "mbind", "migrate_pages", "move_pages", "set_mempolicy"};

}  // namespace

std::string system_call_filter() {
  scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
  HONE_CHECK(context != nullptr);
  for (const char* name : kDenied) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number != __NR_SCMP_ERROR) seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), number, 0);
  }
  // clone3 hides its flags behind a pointer; the C library falls back to clone.
  const int clone3 = seccomp_syscall_resolve_name("clone3");
  if (clone3 != __NR_SCMP_ERROR) seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), clone3, 0);
  for (const uint64_t flag : {CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID,
                              CLONE_NEWNET, CLONE_NEWCGROUP}) {
    seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                     SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
  }
  seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
                   SCMP_A1(SCMP_CMP_MASKED_EQ, 0xFFFFFFFFu, TIOCSTI));
  const int file = memfd_create("filter", MFD_CLOEXEC);
  HONE_CHECK(file >= 0 && seccomp_export_bpf(context, file) == 0);
  seccomp_release(context);
  std::string program(static_cast<size_t>(lseek(file, 0, SEEK_END)), '\0');
  HONE_CHECK(pread(file, program.data(), program.size(), 0) ==
             static_cast<ssize_t>(program.size()));
  close(file);
  return program;
}

#endif

}  // namespace hone
