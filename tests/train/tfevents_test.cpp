#include "train/tfevents.h"

#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "tests/temporary.h"

namespace hone {
namespace {

TEST_CASE("crc32c gives the check values of RFC 3720") {
  CHECK(crc32c("123456789") == 0xE3069283u);
  CHECK(crc32c(std::string(32, '\0')) == 0x8A9136AAu);
  CHECK(crc32c(std::string(32, '\xff')) == 0x62A8AB43u);
}

// The payloads of a file of records.
std::vector<std::string> records(const std::string& bytes) {
  std::vector<std::string> all;
  size_t at = 0;
  while (at < bytes.size()) {
    uint64_t length = 0;
    REQUIRE(at + 12 <= bytes.size());
    std::memcpy(&length, bytes.data() + at, 8);
    REQUIRE(at + 16 + length <= bytes.size());
    const auto check = [&](size_t from, size_t size) {
      uint32_t stored = 0;
      std::memcpy(&stored, bytes.data() + from + size, 4);
      const uint32_t c = crc32c(std::string_view(bytes).substr(from, size));
      CHECK(stored == ((c >> 15 | c << 17) + 0xA282EAD8u));
    };
    check(at, 8);
    check(at + 12, length);
    all.push_back(bytes.substr(at + 12, length));
    at += 16 + length;
  }
  return all;
}

TEST_CASE("the event file is a version record and one record a step, and can be cut and resumed") {
  const testing::TemporaryDirectory directory;
  const std::string path = directory / "events.out.tfevents.hone";
  int64_t after_first = 0;
  {
    TfEventWriter w(path);
    w.append(1, 2.5, {{"zero/reward", 0.5}, {"zero/nan", std::nan("")}});
    after_first = w.size();
    w.append(300, 3.5, {{"zero/reward", 1.0}});
    w.append(301, 3.5, {});
    CHECK(static_cast<size_t>(w.size()) == read_file(path).size());
  }
  std::vector<std::string> r = records(read_file(path));
  REQUIRE(r.size() == 3);
  CHECK(r[0].substr(11) ==
        "\x1a\x0d"
        "brain.Event:2");                               // field 3, 13 bytes
  std::string expected("\x09\0\0\0\0\0\0\x04\x40", 9);  // wall time 2.5
  expected += std::string("\x10\x01", 2);               // step 1
  expected += "\x2a\x14\x0a\x12";                       // summary, its one value
  expected += "\x0a\x0bzero/reward";
  expected += std::string("\x15\0\0\0\x3f", 5);  // 0.5f
  CHECK(r[1] == expected);
  CHECK(r[2].substr(9, 3) == "\x10\xac\x02");  // step 300 as a varint
  {
    TfEventWriter w(path, after_first);
    CHECK(w.size() == after_first);
    w.append(2, 9, {{"zero/reward", 0.75}});
  }
  r = records(read_file(path));
  REQUIRE(r.size() == 3);
  CHECK(r[1] == expected);
}

}  // namespace
}  // namespace hone
