// Rows of files as text: JSONL, JSON arrays, CSV.
#include "data/readers/row_reader.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "base/error.h"
#include "base/file.h"
#include "data/dataset.h"
#include "data/readers/csv.h"
#include "tests/temporary.h"

namespace hone {
namespace {

using Catch::Matchers::ContainsSubstring;
using testing::TemporaryFile;
using Texts = std::vector<std::string>;

// The rows; their offsets must be where they stand.
Texts rows_of(const std::string& content) {
  const TemporaryFile file(content);
  Texts out;
  for_each_row(file.path, [&](const RowText& row) {
    CHECK(content.substr(static_cast<size_t>(row.offset), row.text.size()) == row.text);
    out.push_back(std::to_string(row.number) + " " + row.text);
  });
  return out;
}

std::string error_of(const std::string& content) {
  try {
    rows_of(content);
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

Texts csv_of(const std::string& content, char separator = ',') {
  const TemporaryFile file(content);
  Texts out;
  for_each_csv_row(
      file.path, separator,
      [&](int64_t number, const Json& row) {
        out.push_back(std::to_string(number) + " " + to_line(row));
      },
      [&](int64_t number, const std::string& wrong) {
        out.push_back(std::to_string(number) + " " + wrong);
      });
  return out;
}

}  // namespace

TEST_CASE("lines are rows, blank ones are passed over") {
  CHECK(rows_of("a\nb\n") == Texts{"1 a", "2 b"});
  CHECK(rows_of("\n \n  a\n\t\r\nb") == Texts{"3   a", "5 b"});
  CHECK(rows_of("") == Texts{});
  CHECK(rows_of("\n") == Texts{});
  CHECK(rows_of("[1]\n{}\n") == Texts{"1 [1]", "2 {}"});  // bad rows, no array
  CHECK(rows_of("\xEF\xBB\xBF{}\n") == Texts{"1 {}"});
}

TEST_CASE("items of a JSON array are rows") {
  CHECK(rows_of("[{\"a\": [1, {\"b\": \"]},[\\\"\\\\\"}]}, {}]") ==
        Texts{"1 {\"a\": [1, {\"b\": \"]},[\\\"\\\\\"}]}", "2 {}"});
  CHECK(rows_of("\n [\n  {\"a\": 1},\n  7,\n  \"x\"\n]\n") ==
        Texts{"1 {\"a\": 1}", "2 7", "3 \"x\"\n"});
  CHECK(rows_of("[]") == Texts{});
  CHECK(rows_of("[ \n ]\n") == Texts{});
  CHECK_THAT(error_of("[{\"a\": 1}"), ContainsSubstring("expected ] at the end of the array"));
  CHECK_THAT(error_of("[{\"a\": \"]"), ContainsSubstring("the end of the file in item 1"));
  CHECK_THAT(error_of("[{}] {}"), ContainsSubstring("nothing behind the array's ]"));
}

TEST_CASE("files that are no text are told what to do with") {
  CHECK_THAT(error_of("PAR1xxxx"), ContainsSubstring("found Parquet; hone data import"));
  CHECK_THAT(error_of("\x1f\x8b\x08"), ContainsSubstring("found a compressed file"));
}

TEST_CASE("problems of an array are read at any index") {
  const TemporaryFile file(
      "[{\"prompt\": \"a\"},\n{\"prompt\": \"b\"}\n, {\"id\": \"z\", "
      "\"prompt\": \"c\"}]");
  DataSpec spec;
  spec.path = file.path;
  const auto source = open_problems({spec}, Split::heldout, 0);
  REQUIRE(source->size() == 3);
  CHECK(source->at(2).prompt == "c");
  CHECK(source->at(2).id == "z");
  CHECK(source->at(1).id == "2");
  CHECK(source->at(0).prompt == "a");
}

TEST_CASE("CSV: quotes, separators and line breaks within fields, lists as JSON") {
  CHECK(
      csv_of("question,answer\nQ,1\n\"a, \"\"b\"\"\nc\",\"2\"\r\n") ==
      Texts{R"(1 {"question":"Q","answer":"1"})", R"(2 {"question":"a, \"b\"\nc","answer":"2"})"});
  CHECK(csv_of("\xEF\xBB\xBFq\tchoices\nQ\t[\"a\", \"b\"]\nR\t[a\n", '\t') ==
        Texts{R"(1 {"q":"Q","choices":["a","b"]})", R"(2 {"q":"R","choices":"[a"})"});
  CHECK(csv_of("a,b\n1\n\n,2\n") ==
        Texts{"1 expected 2 fields as the first line has, found 1", R"(2 {"b":"2"})"});
  CHECK_THROWS_AS(csv_of("a\n\"b\n"), UserError);
  CHECK_THROWS_AS(csv_of(""), UserError);
}

}  // namespace hone
