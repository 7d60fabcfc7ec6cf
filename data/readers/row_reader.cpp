#include "data/readers/row_reader.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string_view>

#include "base/error.h"

namespace hone {
namespace {

constexpr int kEnd = std::char_traits<char>::eof();

bool space(int c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

// A stream that counts its bytes and can take back what it read last.
class Input {
 public:
  explicit Input(std::istream& in) : buffer_(*in.rdbuf()) {}
  int get() {
    if (back_ < kept_.size()) return static_cast<unsigned char>(kept_[back_++]);
    const int c = buffer_.sbumpc();
    if (c != kEnd) ++bytes_;
    return c;
  }
  // Makes `text`, the last bytes that were read, what is read next.
  void unread(const std::string& text) {
    kept_ = text + kept_.substr(back_);
    back_ = 0;
  }
  int64_t offset() const { return bytes_ - static_cast<int64_t>(kept_.size() - back_); }

 private:
  std::streambuf& buffer_;
  int64_t bytes_ = 0;
  std::string kept_;
  size_t back_ = 0;
};

// Reads up to where it is clear whether an array of objects begins: "[" and then an object, the end
// of the array or of the line. A line such as "[1]" is a bad row of JSONL. True leaves the input
// behind the "[", false where it was.
bool begins_array(Input& in) {
  std::string read;
  const auto next = [&] {
    const int c = in.get();
    if (c != kEnd) read += static_cast<char>(c);
    return c;
  };
  int c = next();
  while (space(c)) c = next();
  bool array = c == '[';
  if (array) {
    const size_t behind = read.size();
    do c = next();
    while (c == ' ' || c == '\t');
    array = c == '{' || c == ']' || c == '\n' || c == '\r' || c == kEnd;
    in.unread(read.substr(array ? behind : 0));
  } else {
    in.unread(read);
  }
  return array;
}

void read_lines(Input& in, const std::function<void(const RowText&)>& row) {
  RowText line;
  for (int c = 0; c != kEnd;) {
    ++line.number;
    line.offset = in.offset();
    line.text.clear();
    for (c = in.get(); c != kEnd && c != '\n'; c = in.get()) line.text += static_cast<char>(c);
    if (line.text.find_first_not_of(" \t\r") != std::string::npos) row(line);
  }
}

// Items of the array whose "[" was read. What is within an item is its reader's business.
void read_items(Input& in, const std::string& path,
                const std::function<void(const RowText&)>& row) {
  RowText item;
  int depth = 0;
  bool quoted = false;
  for (bool closed = false; !closed;) {
    const int64_t at = in.offset();
    const int c = in.get();
    if (c == kEnd) {
      throw UserError(cat(path,
                          ": expected ] at the end of the array, found the end of the file in "
                          "item ",
                          item.number + 1));
    }
    const bool ends = !quoted && depth == 0 && (c == ',' || c == ']');
    if (!ends) {
      if (item.text.empty() && space(c)) continue;
      if (item.text.empty()) item.offset = at;
      item.text += static_cast<char>(c);
      if (quoted && c == '\\') {
        const int escaped = in.get();
        if (escaped != kEnd) item.text += static_cast<char>(escaped);
      } else if (c == '"') {
        quoted = !quoted;
      } else if (!quoted) {
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
      }
      continue;
    }
    closed = c == ']';
    if (closed && item.text.empty() && item.number == 0) break;  // an empty array
    ++item.number;
    row(item);
    item.text.clear();
  }
  int c = in.get();
  while (space(c)) c = in.get();
  if (c != kEnd) throw UserError(cat(path, ": expected nothing behind the array's ], found more"));
}

// Files that others write and that are no text: what to do instead.
void refuse_binary(Input& in, const std::string& path) {
  std::string first;
  for (int c = 0; first.size() < 4 && (c = in.get()) != kEnd;) first += static_cast<char>(c);
  if (first == "PAR1") {
    throw UserError(cat(path, ": expected JSONL, found Parquet; hone data import ", path,
                        " --as FORMAT --out FILE.jsonl makes it that"));
  }
  if (first.starts_with("\x1f\x8b") || first == "\x28\xb5\x2f\xfd") {
    throw UserError(cat(path, ": expected JSONL, found a compressed file; unpack it first"));
  }
  const bool marked = first.starts_with("\xEF\xBB\xBF");  // a byte order mark
  in.unread(marked ? first.substr(3) : first);
}

}  // namespace

void for_each_row(const std::string& path, const std::function<void(const RowText&)>& row) {
  std::ifstream file;
  if (path != "-") {
    std::error_code ec;
    if (std::filesystem::is_directory(path, ec)) {
      throw UserError(cat(path, ": expected a JSONL file, found a directory"));
    }
    file.open(path, std::ios::binary);
    if (!file) throw UserError(cat(path, ": cannot be read: ", std::strerror(errno)));
  }
  Input in(path == "-" ? std::cin : file);
  refuse_binary(in, path);
  if (begins_array(in)) {
    read_items(in, path, row);
  } else {
    read_lines(in, row);
  }
}

}  // namespace hone
