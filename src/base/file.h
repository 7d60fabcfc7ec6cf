// Files: whole reads, atomic writes, the places where hone looks for its own data.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace hone {

// The whole file. Throws UserError naming the path and the reason.
std::string read_file(const std::string& path);

// Calls `row(line_number, line)` for each line, 1-based, without the newline; does not hold the
// file in memory. "-" is standard input. Throws UserError if the file cannot be opened.
void for_each_line(const std::string& path,
                   const std::function<void(int64_t, const std::string&)>& row);

// Replaces `path` by `bytes`, complete or not at all: temporary file, fsync, rename, fsync of the
// directory. Throws RunError (disk full, no permission) and leaves the old file.
void write_file_atomic(const std::string& path, std::string_view bytes);

// The same for a file that is written piece by piece.
class AtomicFile {
 public:
  explicit AtomicFile(const std::string& path);
  ~AtomicFile();  // without `commit` nothing is left
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::string_view bytes);
  void commit();

 private:
  std::string path_, temporary_;
  int fd_ = -1;
};

// fsync of a file or directory; throws RunError.
void sync_path(const std::string& path);

// A file that grows a line at a time. `append` writes and flushes to the kernel; throws RunError.
class LineWriter {
 public:
  LineWriter() = default;
  // truncate_at >= 0 cuts the file to that many bytes first (what a resumed run keeps).
  explicit LineWriter(const std::string& path, int64_t truncate_at = -1);
  ~LineWriter();
  LineWriter(LineWriter&& other) noexcept;
  LineWriter& operator=(LineWriter&& other) noexcept;

  void append(std::string_view line);  // adds the newline
  int64_t size() const { return size_; }
  void sync();

 private:
  int fd_ = -1;
  int64_t size_ = 0;
  std::string path_;
};

// Where hone's own recipes and models lie: the source tree it was built from, or the installed
// share/hone; HONE_DATA_ROOT overrides.
std::string data_root();

// `path` against the current directory if it exists there, else against data_root(); unchanged if
// neither exists.
std::string find_path(const std::string& path);

// HONE_KILL_AT=NAME kills the process (SIGKILL) when it passes this point, or the n-th time with
// NAME:n. For the tests of resume.
void kill_point(const char* name);

}  // namespace hone
