// The rows of a file as text, one in memory at a time: of JSONL the lines, of a JSON array its
// items.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace hone {

struct RowText {
  int64_t number = 0;  // 1-based: the line, or which item of the array
  int64_t offset = 0;  // of its first byte in the file
  std::string text;
};

// Blank lines are passed over. "-" is standard input. Throws UserError: the file cannot be opened,
// is Parquet or compressed, or its array is cut off.
void for_each_row(const std::string& path, const std::function<void(const RowText&)>& row);

}  // namespace hone
