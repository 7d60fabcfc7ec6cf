// A JSONL file of problems or documents, read a row at a time: only the places of the lines are
// kept in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace hone {

enum class RowKind { problem, document };

class JsonlFile {
 public:
  // Reads every row once, so that a bad one is found before training starts. Throws UserError:
  // "path:line: what is wrong". `format`: auto, gsm8k, math.
  JsonlFile(const std::string& path, const std::string& format, RowKind kind);
  ~JsonlFile();
  JsonlFile(const JsonlFile&) = delete;
  JsonlFile& operator=(const JsonlFile&) = delete;

  int64_t size() const { return static_cast<int64_t>(lines_.size()); }
  // REQUIRES: 0 <= row < size().
  Problem problem(int64_t row) const;
  Document document(int64_t row) const;

 private:
  struct Line {
    int64_t offset, length, number;
  };
  Json read(const Line& line) const;

  std::string path_, format_;
  int fd_ = -1;
  std::vector<Line> lines_;
};

// The problem or document that a row is. `where` begins every error.
Problem problem_of_row(const Json& row, const std::string& format, const std::string& file,
                       int64_t line);
Document document_of_row(const Json& row, const std::string& where);

}  // namespace hone
