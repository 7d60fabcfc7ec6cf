// libFuzzer target for the rows of data sets: formats by name and by columns, filters, files.
//
// Beyond "no crash": reading hone's own row again changes nothing, a file's rows stand where they
// are said to, and nothing but UserError is thrown.

#include <unistd.h>

#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "data/filter.h"
#include "data/readers/csv.h"
#include "data/readers/formats.h"

using namespace hone;

namespace {

void check(bool condition) {
  if (!condition) __builtin_trap();
}

// One file for all inputs: the readers want a path.
std::string file_of(const std::string& content) {
  static const std::string path = "/tmp/hone-rows-fuzz-" + std::to_string(getpid());
  FILE* file = std::fopen(path.c_str(), "wb");
  check(file && std::fwrite(content.data(), 1, content.size(), file) == content.size());
  std::fclose(file);
  return path;
}

template <class Call>
void tolerate(Call call) {
  try {
    call();
  } catch (const UserError&) {
  }
}

void check_row(const std::string& text, const std::string& format) {
  const Row row = read_row(text, format, "x.jsonl", 1);
  tolerate([&] { problem_of(row); });
  tolerate([&] { document_of(row); });
  kind_of(row);
  RowFilter filter(RowOptions{.max_chars = 50, .dedupe = true}, Split::train);
  filter.judge(texts_of(row));
  is_held_out(texts_of(row).prompt, 0.5);
  if (format != "auto") return;
  const Row again = read_row(to_line(row.fields), format, "x.jsonl", 1);
  check(nlohmann::json::parse(to_line(again.fields)) == nlohmann::json::parse(to_line(row.fields)));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  tolerate([&] { check_row(text, "auto"); });
  for (const RowFormat& format : row_formats()) tolerate([&] { check_row(text, format.name); });
  const std::string path = file_of(text);
  tolerate([&] {
    for_each_row(path, [&](const RowText& row) {
      check(text.compare(static_cast<size_t>(row.offset), row.text.size(), row.text) == 0);
    });
  });
  tolerate([&] {
    for_each_csv_row(
        path, ',', [](int64_t, const Json& row) { check(row.is_object()); },
        [](int64_t, const std::string&) {});
  });
  return 0;
}
