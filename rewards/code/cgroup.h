// Control groups (cgroup v2) for the sandbox's workers, where this process may make them: limits of
// a whole tree of processes that hold at every moment, where looking at the tree holds them only
// from look to look. Nothing here is needed; what a machine lacks is told in words.
//
// Each worker gets a child directory `hone-PID-N` of the group that hone runs in, for its warm
// interpreter and its programs. One for each program would cost a migration each.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hone {

// Where workers' groups are made and what they can hold.
struct CgroupPlace {
  std::string directory;  // "" if no group can be made
  bool memory = false, pids = false;
  std::string missing;  // in words; "" if nothing
};

// The directory of a process's own group, from the texts of its /proc/PID/mountinfo and
// /proc/PID/cgroup; "" if no cgroup v2 hierarchy shows it.
std::string cgroup_directory(std::string_view mountinfo, std::string_view membership);

// Makes `directory`, the group that hone is in, ready for children with limits, and removes what
// ended hones left there. A group with processes cannot give controllers to its children (but for
// the root), so where hone and what it started are alone in it they move to a child of their own,
// until hone ends.
CgroupPlace claim_cgroup(const std::string& directory);

// Of this process; claimed by the first call.
const CgroupPlace& own_cgroup();

// "memory and processes of a program's tree held by cgroup", or by what else, and why.
std::string describe(const CgroupPlace& place);

// A worker's group.
class WorkerCgroup {
 public:
  explicit WorkerCgroup(const CgroupPlace& place);
  ~WorkerCgroup();  // ends all that is in it
  WorkerCgroup(const WorkerCgroup&) = delete;
  WorkerCgroup& operator=(const WorkerCgroup&) = delete;

  std::string file(const char* name) const { return path_ + "/" + name; }
  bool populated() const;
  // At most `memory` bytes, of any kind, and `tasks` processes and threads.
  void limit(int64_t memory, int64_t tasks);

 private:
  std::string path_;
  int64_t memory_ = 0, tasks_ = 0;  // as last written
};

}  // namespace hone
