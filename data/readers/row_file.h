// A file of problems or documents, read a row at a time: only the places of the rows that serve
// are kept in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/filter.h"
#include "data/readers/row.h"

namespace hone {

class RowFile {
 public:
  // Reads every row once, so that a bad one is found before training starts, and keeps those that
  // spec.rows lets through: of a file that is split, one side. Throws UserError: a bad row (unless
  // they are skipped), no row left, a wrong option.
  RowFile(const DataSpec& spec, RowKind kind, Split side);
  ~RowFile();
  RowFile(const RowFile&) = delete;
  RowFile& operator=(const RowFile&) = delete;

  int64_t size() const { return static_cast<int64_t>(rows_.size()); }
  // REQUIRES: 0 <= row < size(). Thread-safe.
  Problem problem(int64_t row) const { return problem_of(read(row)); }
  Document document(int64_t row) const { return document_of(read(row)); }
  // What was left out, in words; "" if nothing was.
  const std::string& report() const { return report_; }

 private:
  struct Place {
    int64_t offset, length, number;
  };
  Row read(int64_t row) const;

  std::string path_, format_, report_;
  int fd_ = -1;
  std::vector<Place> rows_;
};

}  // namespace hone
