// TensorBoard's event file, scalars only, written by hand: TFRecord frames
//   uint64 length | uint32 masked crc32c(length) | bytes | uint32 masked crc32c(bytes)
// (little endian; mask(c) = rotate_right(c, 15) + 0xa282ead8) around protobuf messages
//   Event {1: double wall_time, 2: int64 step, 3: string file_version, 5: Summary}
//   Summary {1: repeated Value {1: string tag, 2: float simple_value}}
// as in tensorflow/core/{lib/io/record_writer.cc, util/event.proto, framework/summary.proto}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hone {

// CRC-32C (Castagnoli), RFC 3720 appendix B.4.
uint32_t crc32c(std::string_view bytes);

class TfEventWriter {
 public:
  TfEventWriter() = default;
  // Appends to `path`; truncate_at >= 0 cuts it to that many bytes first (what a resumed run
  // keeps). A new file gets the version header.
  explicit TfEventWriter(const std::string& path, int64_t truncate_at = -1);
  ~TfEventWriter();
  TfEventWriter(TfEventWriter&& other) noexcept;
  TfEventWriter& operator=(TfEventWriter&& other) noexcept;

  // One event with all the scalars of a step. Values that are not finite are left out.
  void append(int64_t step, double wall_time,
              const std::vector<std::pair<std::string, double>>& scalars);
  int64_t size() const { return size_; }
  void sync();

 private:
  void write_record(std::string_view event);

  int fd_ = -1;
  int64_t size_ = 0;
  std::string path_;
};

}  // namespace hone
