#include "train/tfevents.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace hone {
namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0u);
    table[i] = c;
  }
  return table;
}

uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u; }

static_assert(std::endian::native == std::endian::little, "the file's integers are little endian");

template <class T>
void put_raw(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}

// Protobuf's base-128 integer, lowest seven bits first.
void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// Field headers: number << 3 | wire type (0 varint, 1 64-bit, 2 bytes, 5 32-bit).
void put_header(std::string& out, int number, int type) {
  put_varint(out, static_cast<uint64_t>(number << 3 | type));
}

void put_bytes(std::string& out, int number, std::string_view bytes) {
  put_header(out, number, 2);
  put_varint(out, bytes.size());
  out += bytes;
}

std::string event_head(double wall_time, int64_t step) {
  std::string event;
  put_header(event, 1, 1);
  put_raw(event, wall_time);
  put_header(event, 2, 0);
  put_varint(event, static_cast<uint64_t>(step));
  return event;
}

[[noreturn]] void fail(const std::string& path, const char* what) {
  throw RunError(cat(path, ": cannot ", what, ": ", std::strerror(errno)));
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> table = crc_table();
  uint32_t c = 0xFFFFFFFFu;
  for (unsigned char b : bytes) c = (c >> 8) ^ table[(c ^ b) & 0xFF];
  return ~c;
}

TfEventWriter::TfEventWriter(const std::string& path, int64_t truncate_at) : path_(path) {
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) fail(path, "open");
  if (truncate_at >= 0 && ::ftruncate(fd_, truncate_at) != 0) fail(path, "truncate");
  size_ = ::lseek(fd_, 0, SEEK_END);
  if (size_ > 0) return;
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  std::string event = event_head(now, 0);
  put_bytes(event, 3, "brain.Event:2");
  write_record(event);
}

TfEventWriter::~TfEventWriter() {
  if (fd_ >= 0) ::close(fd_);
}

TfEventWriter::TfEventWriter(TfEventWriter&& other) noexcept
    : fd_(other.fd_), size_(other.size_), path_(std::move(other.path_)) {
  other.fd_ = -1;
}

TfEventWriter& TfEventWriter::operator=(TfEventWriter&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  std::swap(path_, other.path_);
  return *this;
}

void TfEventWriter::append(int64_t step, double wall_time,
                           const std::vector<std::pair<std::string, double>>& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    if (!std::isfinite(value)) continue;
    std::string entry;
    put_bytes(entry, 1, tag);
    put_header(entry, 2, 5);
    put_raw(entry, static_cast<float>(value));
    put_bytes(summary, 1, entry);
  }
  if (summary.empty()) return;
  std::string event = event_head(wall_time, step);
  put_bytes(event, 5, summary);
  write_record(event);
}

void TfEventWriter::write_record(std::string_view event) {
  std::string record;
  put_raw(record, static_cast<uint64_t>(event.size()));
  put_raw(record, masked_crc(std::string(record)));
  record += event;
  put_raw(record, masked_crc(event));
  std::string_view rest = record;
  while (!rest.empty()) {
    const ssize_t n = ::write(fd_, rest.data(), rest.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      fail(path_, "write");
    }
    rest.remove_prefix(static_cast<size_t>(n));
  }
  size_ += static_cast<int64_t>(record.size());
}

void TfEventWriter::sync() {
  if (fd_ >= 0 && ::fsync(fd_) != 0) fail(path_, "sync");
}

}  // namespace hone
