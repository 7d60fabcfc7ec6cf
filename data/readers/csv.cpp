#include "data/readers/csv.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <vector>

#include "base/error.h"

namespace hone {
namespace {

constexpr int kMaxDepth = 100;  // of JSON within a field

// The next record; none at the end of the file.
std::optional<std::vector<std::string>> read_record(std::istream& in, char separator,
                                                    const std::string& path) {
  std::vector<std::string> fields(1);
  bool quoted = false, any = false;
  for (int c; (c = in.get()) != EOF;) {
    any = true;
    std::string& field = fields.back();
    if (quoted) {
      if (c != '"') {
        field += static_cast<char>(c);
      } else if (in.peek() == '"') {
        field += static_cast<char>(in.get());
      } else {
        quoted = false;
      }
    } else if (c == '"' && field.empty()) {
      quoted = true;
    } else if (c == separator) {
      fields.emplace_back();
    } else if (c == '\n') {
      break;
    } else if (c != '\r' || in.peek() != '\n') {
      field += static_cast<char>(c);
    }
  }
  if (quoted) throw UserError(cat(path, ": expected a closing quote, found the end of the file"));
  if (!any) return std::nullopt;
  return fields;
}

Json value_of(const std::string& field) {
  if ((field.front() == '[' || field.front() == '{') && !nested_deeper(field, kMaxDepth)) {
    Json value = Json::parse(field, nullptr, false);
    if (value.is_structured()) return value;
  }
  return field;
}

}  // namespace

void for_each_csv_row(const std::string& path, char separator,
                      const std::function<void(int64_t, const Json&)>& row,
                      const std::function<void(int64_t, const std::string&)>& wrong) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw UserError(cat(path, ": cannot be read: ", std::strerror(errno)));
  auto names = read_record(in, separator, path);
  if (!names) throw UserError(cat(path, ": expected a line of column names, the file is empty"));
  if (names->front().starts_with("\xEF\xBB\xBF")) names->front().erase(0, 3);  // a byte order mark
  int64_t number = 0;
  while (const auto record = read_record(in, separator, path)) {
    if (record->size() == 1 && record->front().empty()) continue;
    ++number;
    if (record->size() != names->size()) {
      wrong(number, cat("expected ", names->size(), " fields as the first line has, found ",
                        record->size()));
      continue;
    }
    Json object = Json::object();
    for (size_t i = 0; i < names->size(); ++i) {
      if (!(*record)[i].empty()) object[(*names)[i]] = value_of((*record)[i]);
    }
    row(number, object);
  }
}

}  // namespace hone
