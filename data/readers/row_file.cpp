#include "data/readers/row_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "data/readers/formats.h"
#include "data/readers/row_reader.h"

namespace hone {

RowFile::RowFile(const DataSpec& spec, RowKind kind, Split side)
    : path_(find_path(spec.path)), format_(format_name(spec.format)) {
  RowFilter filter(spec.rows, side);
  FilterReport report;
  for_each_row(path_, [&](const RowText& text) {
    const auto row = filter_row(filter, text, format_, path_, kind, report);
    if (row) rows_.push_back({text.offset, static_cast<int64_t>(text.text.size()), text.number});
  });
  if (report.rows == 0) throw UserError(cat(path_, ": expected rows, the file is empty"));
  if (rows_.empty()) throw UserError(cat(path_, ": no row is left: ", report.words()));
  if (report.rows > report.kept) report_ = cat(path_, ": ", report.words());
  fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) throw UserError(cat(path_, ": cannot be read: ", std::strerror(errno)));
}

RowFile::~RowFile() {
  if (fd_ >= 0) ::close(fd_);
}

Row RowFile::read(int64_t row) const {
  const Place& place = rows_[static_cast<size_t>(row)];
  std::string text(static_cast<size_t>(place.length), '\0');
  size_t have = 0;
  while (have < text.size()) {  // pread has no shared position, so threads may read at once
    const ssize_t n = ::pread(fd_, text.data() + have, text.size() - have,
                              static_cast<off_t>(place.offset) + static_cast<off_t>(have));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw RunError(cat(path_, ": changed or became unreadable while in use"));
    have += static_cast<size_t>(n);
  }
  return read_row(text, format_, path_, place.number);
}

}  // namespace hone
