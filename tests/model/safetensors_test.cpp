// Files that a stranger made: what is not whole is refused in words, before anything is allocated.
#include "model/safetensors.h"

#include <catch2/catch_test_macros.hpp>
#include <cstring>
#include <fstream>

#include "base/file.h"
#include "small_models.h"

namespace hone {
namespace {

using testing::error_of;
using testing::TemporaryDirectory;

// A file with this header and so many bytes of data; `claimed` is the length that it gives.
void spill(const std::string& path, const std::string& header, size_t data, uint64_t claimed) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &claimed, 8);
  std::ofstream(path, std::ios::binary) << bytes << header << std::string(data, '\0');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

}  // namespace

TEST_CASE("tensors come back as they were written, whatever their type and layout") {
  const TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  const at::Tensor a = at::arange(12, at::kFloat).view({3, 4});
  const at::Tensor b = a.to(at::kBFloat16).t();  // not contiguous
  const at::Tensor c = at::arange(5, at::kLong), empty = at::empty({0, 3});
  write_safetensors(path, {{"a", a}, {"b", b}, {"c", c}, {"empty", empty}}, {{"format", "pt"}});
  const SafetensorsFile file(path);
  CHECK((file.names() == std::vector<std::string>{"a", "b", "c", "empty"}));
  CHECK(file.numel() == 12 + 12 + 5);
  CHECK(file.tensor("a").equal(a));
  CHECK(file.tensor("b").equal(b));
  CHECK(file.tensor("c").equal(c));
  CHECK(file.tensor("empty").sizes() == empty.sizes());
  CHECK_FALSE(file.has("__metadata__"));
}

TEST_CASE("a file cut anywhere is refused") {
  const TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  write_safetensors(path, {{"a", at::ones({7, 9})}, {"b", at::ones({3})}}, {});
  const std::string whole = read_file(path);
  for (size_t size = 0; size < whole.size(); size += size < 200 ? 1 : 13) {
    std::ofstream(path, std::ios::binary) << whole.substr(0, size);
    INFO(size);
    const std::string error = error_of([&] { SafetensorsFile{path}; });
    CHECK(error.starts_with(path + ": not a whole safetensors file"));
  }
}

TEST_CASE("headers that lie are refused with what is wrong") {
  const TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  const struct {
    std::string header, told;
  } cases[] = {
      {"{" + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "F32", "[2]", "[4,12]") + "}",
       "overlap"},
      {"{" + entry("a", "F32", "[2]", "[0,8000]") + "}", "a: bytes 0 to 8000 of 64"},
      {"{" + entry("a", "F32", "[2]", "[8,0]") + "}", "a: bytes"},
      {"{" + entry("a", "F32", "[2]", "[-8,0]") + "}", "a: bytes"},
      {"{" + entry("a", "F32", "[2]", "[0]") + "}", "two numbers"},
      {"{" + entry("a", "F32", "[2]", "[0,12]") + "}", "needs 8 bytes, it has 12"},
      {"{" + entry("a", "F32", "[-2]", "[0,8]") + "}", "bad shape"},
      {"{" + entry("a", "F32", "[4611686018427387904,4]", "[0,0]") + "}", "bad shape"},
      {"{" + entry("a", "F32", "\"2\"", "[0,8]") + "}", "a: "},
      {"{" + entry("a", "F4", "[2]", "[0,8]") + "}", "unknown dtype 'F4'"},
      {"{\"a\":{\"dtype\":\"F32\"}}", "a: "},
      {"{\"a\":7}", "a: "},
      {"[1,2]", "not an object"},
      {std::string("{\"a\0", 4), "not JSON"},
      {"\xff\xfe{}", "not JSON"},
      {std::string(100000, '['), "not JSON"},
      {std::string(100000, '[') + std::string(100000, ']'), "not an object"},
  };
  for (const auto& c : cases) {
    spill(path, c.header, 64, c.header.size());
    const std::string error = error_of([&] { SafetensorsFile{path}; });
    INFO(c.header.substr(0, 100) << "\n" << error.substr(0, 300));
    CHECK(error.starts_with(path + ": not a whole safetensors file"));
    CHECK(error.find(c.told) != std::string::npos);
  }
}

TEST_CASE("a length of the header beyond the file or beyond reason is refused") {
  const TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  for (const uint64_t claimed :
       {uint64_t{67}, uint64_t{1} << 40, uint64_t{1} << 63, ~uint64_t{0}}) {
    spill(path, "{}", 64, claimed);
    CHECK(error_of([&] { SafetensorsFile{path}; }).find("the header claims") != std::string::npos);
  }
  // A sparse file large enough for the header that it claims.
  spill(path, "{}", 64, uint64_t{200} << 20);
  std::filesystem::resize_file(path, uint64_t{300} << 20);
  CHECK(error_of([&] { SafetensorsFile{path}; }).find("the header claims") != std::string::npos);
}

TEST_CASE("a directory's tensors are found in whichever file has them") {
  const TemporaryDirectory dir;
  CHECK(error_of([&] { SafetensorsDirectory{dir.path()}; }).find("no *.safetensors") !=
        std::string::npos);
  write_safetensors(dir / "model-00001.safetensors", {{"a", at::ones({2})}}, {});
  write_safetensors(dir / "model-00002.safetensors", {{"b", at::ones({3})}}, {});
  const SafetensorsDirectory files(dir.path());
  REQUIRE(files.find("b") != nullptr);
  CHECK(files.find("b")->tensor("b").numel() == 3);
  CHECK(files.find("c") == nullptr);
  CHECK(files.numel() == 5);
}

}  // namespace hone
