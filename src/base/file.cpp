#include "base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <utility>

#include "base/error.h"

namespace hone {
namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
  std::error_code ec;
  if (fs::is_directory(path, ec))
    throw UserError(cat(path, ": expected a file, found a directory"));
  std::ifstream in(path, std::ios::binary);
  if (!in) throw UserError(cat(path, ": cannot be read: ", std::strerror(errno)));
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  return bytes;
}

void for_each_line(const std::string& path,
                   const std::function<void(int64_t, const std::string&)>& row) {
  std::ifstream file;
  std::istream* in = &std::cin;
  if (path != "-") {
    std::error_code ec;
    if (fs::is_directory(path, ec)) {
      throw UserError(cat(path, ": expected a file, found a directory"));
    }
    file.open(path, std::ios::binary);
    if (!file) throw UserError(cat(path, ": cannot be read: ", std::strerror(errno)));
    in = &file;
  }
  std::string line;
  for (int64_t number = 1; std::getline(*in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    row(number, line);
  }
}

namespace {

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw RunError(
      cat(path, ": cannot ", what, ": ", std::strerror(errno),
          errno == ENOSPC ? "; free some space and call again, a run with --resume" : ""));
}

void write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      fail(path, "write");
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace

void sync_path(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path, "open");
  const int rc = ::fsync(fd);
  ::close(fd);
  if (rc != 0) fail(path, "sync");
}

AtomicFile::AtomicFile(const std::string& path) : path_(path), temporary_(path + ".tmp") {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail(temporary_, "create");
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(std::string_view bytes) { write_all(fd_, bytes, temporary_); }

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail(temporary_, "sync");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail(path_, "rename into place");
  ::close(std::exchange(fd_, -1));
  const std::string parent = fs::path(path_).parent_path().string();
  sync_path(parent.empty() ? "." : parent);
}

void write_file_atomic(const std::string& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

LineWriter::LineWriter(const std::string& path, int64_t truncate_at) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) fail(path, "open");
  if (truncate_at >= 0 && ::ftruncate(fd_, truncate_at) != 0) fail(path, "truncate");
  size_ = ::lseek(fd_, 0, SEEK_END);
}

LineWriter::~LineWriter() {
  if (fd_ >= 0) ::close(fd_);
}

LineWriter::LineWriter(LineWriter&& other) noexcept
    : fd_(other.fd_), size_(other.size_), path_(std::move(other.path_)) {
  other.fd_ = -1;
}

LineWriter& LineWriter::operator=(LineWriter&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

void LineWriter::append(std::string_view line) {
  std::string bytes(line);
  bytes += '\n';
  write_all(fd_, bytes, path_);
  size_ += static_cast<int64_t>(bytes.size());
}

void LineWriter::sync() {
  if (fd_ >= 0 && ::fsync(fd_) != 0) fail(path_, "sync");
}

std::string data_root() {
  if (const char* root = std::getenv("HONE_DATA_ROOT")) return root;
  std::error_code ec;
  const fs::path self = fs::read_symlink("/proc/self/exe", ec);
  const fs::path installed = self.parent_path().parent_path() / "share" / "hone";
  if (fs::exists(installed / "recipes", ec)) return installed.string();
  return HONE_SOURCE_DIR;
}

std::string find_path(const std::string& path) {
  std::error_code ec;
  if (path.empty() || path == "-" || fs::exists(path, ec)) return path;
  const fs::path under_root = fs::path(data_root()) / path;
  return fs::exists(under_root, ec) ? under_root.string() : path;
}

void kill_point(const char* name) {
  static const std::string target = [] {
    const char* value = std::getenv("HONE_KILL_AT");
    return std::string(value ? value : "");
  }();
  if (target.empty()) return;
  static int passed = 0;
  const size_t colon = target.find(':');
  if (target.substr(0, colon) != name) return;
  const int wanted = colon == std::string::npos ? 1 : std::atoi(target.c_str() + colon + 1);
  if (++passed == wanted) ::kill(::getpid(), SIGKILL);
}

}  // namespace hone
