// A child process that is spoken to in lines: its standard input, output and error are pipes of
// ours. Nothing here blocks but finish(), which kills.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace hone {

// How a process ended: by an exit code, or by a signal (a shell reports that as code 128 + signal).
struct ProcessEnd {
  int code = 0;
  int signal = 0;
  bool by_us = false;  // it had closed its pipes and did not leave, or finish() came first

  // By a signal that comes from outside (a hand, a scheduler, the kernel out of memory), not from a
  // fault of the process itself.
  bool killed_from_outside() const;
  std::string words() const;  // "exited with code 3"
};

class WorkerProcess {
 public:
  // Starts argv[0], found through PATH, with no other descriptor of ours open and in a process
  // group of its own, so that Ctrl-C in the terminal does not reach it. Throws UserError if there
  // is no such program.
  explicit WorkerProcess(const std::vector<std::string>& argv);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // Writes what can be written at once; pump() does the rest. Reads nothing, so that what there is
  // to read still wakes poll().
  void send(const std::string& line);
  // Writes and reads what can be moved at once.
  void pump();
  // A whole line without its newline, if there is one.
  std::optional<std::string> take_line();
  // Bytes that were read and are not a whole line yet, or lines that nobody took.
  size_t unread() const { return output_.size() - taken_; }
  // It closed its output or its input: nothing more can be asked.
  bool closed() const { return output_ended_ || input_broken_; }
  void wait_for(std::vector<pollfd>& list) const;

  // Kills the whole group, waits for the process and says how it had ended. A process that is
  // leaving by itself is given a moment to do so.
  ProcessEnd finish();
  // The last lines that it wrote to standard error, in one line.
  std::string last_words() const;

 private:
  void write_some();
  void read_output();
  void read_errors();

  pid_t pid_ = -1;
  int input_ = -1, output_end_ = -1, errors_end_ = -1;  // our ends
  std::string pending_;                                 // to write, from `written_` on
  size_t written_ = 0;
  std::string output_, errors_;
  size_t taken_ = 0;  // bytes of output_ that lines have taken
  bool output_ended_ = false, errors_ended_ = false, input_broken_ = false;
  ProcessEnd end_;
};

}  // namespace hone
