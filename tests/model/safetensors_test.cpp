// Files that a stranger made: what is not whole is refused in words, before anything is allocated.
#include "model/safetensors.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <catch2/catch_test_macros.hpp>
#include <csignal>
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
  CHECK(file.entries().size() == 4);
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
  const std::string a = entry("a", "F32", "[2]", "[0,8]"),
                    rest = entry("r", "U8", "[56]", "[8,64]");
  const struct {
    std::string header, told;
  } cases[] = {
      {"{" + a + "," + entry("b", "F32", "[15]", "[4,64]") + "}", "overlap"},
      {"{" + entry("a", "F32", "[16]", "[0,64]") + "," + entry("b", "F32", "[16]", "[0,64]") + "}",
       "overlap"},
      {"{" + a + "," + entry("b", "F32", "[13]", "[12,64]") + "}",
       "b: expected to begin at byte 8"},
      {"{" + a + "}", "its tensors have 8 bytes, the file has 64"},
      {"{}", "its tensors have 0 bytes, the file has 64"},
      {"{" + a + "," + a + "," + rest + "}", "a: the name is there twice"},
      {"{" + entry("a", "F32", "[2]", "[0,8000]") + "}", "a: bytes 0 to 8000 of 64"},
      {"{" + entry("a", "F32", "[2]", "[8,0]") + "}", "a: bytes"},
      {"{" + entry("a", "F32", "[2]", "[-8,0]") + "}", "a: expected numbers from 0"},
      {"{" + entry("a", "F32", "[2]", "[0,18446744073709551615]") + "}", "too large"},
      {"{" + entry("a", "F32", "[2]", "[0,18446744073709551616]") + "}", "a: expected numbers"},
      {"{" + entry("a", "F32", "[2]", "[0,8.0]") + "}", "a: expected numbers"},
      {"{" + entry("a", "F32", "[2]", "[0]") + "}", "two numbers"},
      {"{" + entry("a", "F32", "[2]", "[0,8,8]") + "}", "two numbers"},
      {"{" + entry("a", "F32", "[2]", "[0,12]") + "}", "needs 8 bytes, it has 12"},
      {"{" + entry("a", "F32", "[-2]", "[0,8]") + "}", "a: expected sizes from 0"},
      {"{" + entry("a", "F32", "[4611686018427387904,4]", "[0,0]") + "}", "bad shape"},
      {"{" + entry("a", "F32", "[0,4611686018427387904,4]", "[0,0]") + "}", "bad shape"},
      {"{" + entry("a", "F4", "[3]", "[0,1]") + "}", "bad shape"},
      {"{" + entry("a", "F32", "[[2]]", "[0,8]") + "}", "a: "},
      {"{" + entry("a", "F32", "\"2\"", "[0,8]") + "}", "a: expected shape as a list"},
      {"{" + entry("a", "F99", "[2]", "[0,8]") + "}", "unknown dtype F99"},
      {"{\"a\":{\"dtype\":\"F32\"}}", "a: shape is missing"},
      {"{\"a\":{}}", "a: dtype is missing"},
      {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", "dtype is there twice"},
      {"{\"a\":{\"dtype\":\"F32\",\"size\":[2]}}", "found the key size"},
      {"{\"a\":7}", "a: expected an object"},
      {"{\"a\":[]}", "a: expected an object"},
      {"{\"__metadata__\":{\"a\":{}}}", "__metadata__: expected only text"},
      {"{\"__metadata__\":{},\"__metadata__\":{}}", "the name is there twice"},
      {"{\"line\nfeed\":7}", "not JSON"},
      {"{\"line\\nfeed\":7}", "line?feed: "},
      {"{\"" + std::string(5000, 'n') + "\":7}", "nnn...: "},
      {"[1,2]", "does not begin with {"},
      {" {}", "does not begin with {"},
      {"", "does not begin with {"},
      {"{" + a + "," + rest + "}}", "not JSON"},
      {"{" + a + "," + rest + "}" + std::string(1, '\0'), "NUL"},
      {std::string("{\"a\0", 4), "not JSON"},
      {"\xff\xfe{}", "does not begin with {"},
      {"{\"\xff\":7}", "not JSON"},
      {std::string(100000, '['), "does not begin with {"},
      {"{\"a\":" + std::string(100000, '['), "a: expected an object"},
      {"{\"a\":{\"shape\":" + std::string(100000, '['), "a: expected sizes"},
      {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1" +
           [] {
             std::string ones;
             for (int i = 0; i < 100000; ++i) ones += ",1";
             return ones;
           }(),
       "too many dimensions"},
  };
  for (const auto& c : cases) {
    spill(path, c.header, 64, c.header.size());
    const std::string error = error_of([&] { SafetensorsFile{path}; });
    INFO(c.header.substr(0, 100) << "\n" << error.substr(0, 300));
    CHECK(error.starts_with(path + ": not a whole safetensors file"));
    CHECK(error.find(c.told) != std::string::npos);
    CHECK(error.find('\n') == std::string::npos);
    CHECK(error.size() < 1000);
  }
}

TEST_CASE("tensors of dtypes that hone does not compute with are no harm until they are wanted") {
  const TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  const std::string header =
      "{" + entry("f8", "F8_E4M3", "[8]", "[0,8]") + "," + entry("c", "C64", "[2]", "[8,24]") +
      "," + entry("i", "I32", "[2]", "[24,32]") + "," + entry("x", "F32", "[2,4]", "[32,64]") + "}";
  spill(path, header, 64, header.size());
  const SafetensorsFile file(path);
  CHECK(file.numel() == 8 + 2 + 2 + 8);
  CHECK(file.tensor("x").equal(at::zeros({2, 4})));
  for (const char* name : {"f8", "i"}) {
    const std::string error =
        error_of([&] { file.copy_to(name, at::zeros({file.entries().at(name).shape[0]})); });
    INFO(error);
    CHECK(error.find(cat("tensor ", name, ": expected dtype F32, BF16 or F16, found ",
                         file.entries().at(name).dtype)) != std::string::npos);
  }
}

TEST_CASE(
    "tensors are copied into place whatever their dtype, alignment and the target's strides") {
  const TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  // More than one piece (4 MB), and rows that do not divide them.
  const at::Tensor values = (at::arange(2'000'000, at::kFloat).remainder(251) - 125).view({-1, 25});
  for (const at::ScalarType stored : {at::kFloat, at::kBFloat16, at::kHalf}) {
    write_safetensors(path, {{"odd", at::ones({3}, at::kByte)}, {"x", values}}, {}, stored);
    std::string bytes = read_file(path);  // headers need not end on a boundary of 8
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), 8);
    bytes.insert(8 + size, " ");
    ++size;
    std::memcpy(bytes.data(), &size, 8);
    write_file_atomic(path, bytes);
    const SafetensorsFile file(path);
    for (const at::ScalarType wanted : {at::kFloat, at::kBFloat16}) {
      const at::Tensor wide = at::zeros({80000, 30}, wanted);
      file.copy_to("x", wide.narrow(1, 5, 25));
      CHECK(wide.narrow(1, 5, 25).to(at::kFloat).equal(values));
      CHECK(wide.narrow(1, 0, 5).to(at::kFloat).equal(at::zeros({80000, 5})));
    }
    CHECK(error_of([&] {
            file.copy_to("x", at::zeros({25, 80000}));
          }).ends_with("tensor x: expected shape [25, 80000], found [80000, 25]"));
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
  write_safetensors(dir / "more.safetensors", {{"b", at::ones({3})}}, {});
  CHECK(error_of([&] { SafetensorsDirectory{dir.path()}; }).find("tensor b is also in") !=
        std::string::npos);
  // As transformers: the one file of the usual name counts alone.
  write_safetensors(dir / "model.safetensors", {{"b", at::ones({4})}}, {});
  CHECK(SafetensorsDirectory(dir.path()).numel() == 4);
}

TEST_CASE("a directory of pickles only is refused with what to do") {
  const TemporaryDirectory dir;
  std::ofstream(dir / "pytorch_model.bin") << "PK";
  const std::string error = error_of([&] { SafetensorsDirectory{dir.path()}; });
  CHECK(error.find("pytorch_model.bin is no format that hone reads") != std::string::npos);
  CHECK(error.find("save_pretrained") != std::string::npos);
}

TEST_CASE("weights larger than a shard are written as shards and an index, and come back") {
  const TemporaryDirectory dir;
  NamedTensors tensors;
  int64_t numel = 0;
  for (int i = 0; i < 5; ++i) {
    tensors.emplace_back("t" + std::to_string(i), at::randn({i == 2 ? 300 : 40, 10}));
    numel += tensors.back().second.numel();
  }
  write_model_weights(dir.path(), tensors, at::kBFloat16, 2000);  // 800, 800 | 6000 | 800, 800
  const Json index = Json::parse(read_file(dir / "model.safetensors.index.json"));
  CHECK(index["metadata"]["total_size"] == numel * 2);
  CHECK(index["metadata"]["total_parameters"] == numel);
  CHECK(index["weight_map"]["t0"] == "model-00001-of-00003.safetensors");
  CHECK(index["weight_map"]["t2"] == "model-00002-of-00003.safetensors");
  CHECK(index["weight_map"]["t4"] == "model-00003-of-00003.safetensors");
  CHECK(index["weight_map"].size() == 5);
  const SafetensorsDirectory files(dir.path());
  CHECK(files.paths().size() == 3);
  for (const auto& [name, tensor] : tensors) {
    CHECK(files.find(name)->tensor(name).equal(tensor.to(at::kBFloat16)));
  }
}

TEST_CASE("an index that lies is refused with what is wrong") {
  const TemporaryDirectory dir;
  const std::string outside = dir.path() + "-outside.safetensors";
  write_safetensors(outside, {{"a", at::ones({2})}}, {});
  write_safetensors(dir / "one.safetensors", {{"a", at::ones({2})}}, {});
  write_safetensors(dir / "two.safetensors", {{"b", at::ones({3})}, {"c", at::ones({1})}}, {});
  write_safetensors(dir / "again.safetensors", {{"a", at::ones({2})}, {"d", at::ones({1})}}, {});
  const auto index = [](const std::string& map) { return "{\"weight_map\":" + map + "}"; };
  const struct {
    std::string index, told;
  } cases[] = {
      {index("{\"a\":\"two.safetensors\"}"), "tensor a is not in it"},
      {index("{\"a\":\"three.safetensors\"}"), "expected a shard here"},
      {index("{\"a\":\"one.safetensors\",\"d\":\"again.safetensors\"}"), "a is also in"},
      {index("{\"a\":\"../" + std::filesystem::path(outside).filename().string() + "\"}"),
       "of the same directory"},
      {index("{\"a\":\"" + outside + "\"}"), "of the same directory"},
      {index("{\"a\":\"\"}"), "of the same directory"},
      {index("{\"a\":\"one.safetensors\\u0000.safetensors\"}"), "of the same directory"},
      {index("{\"a\":\"pytorch_model.bin\"}"), "of the same directory"},
      {index("{\"a\":7}"), "of the same directory"},
      {index("{\"a\":\"one.safetensors\",\"a\":\"again.safetensors\"}"), "a is there twice"},
      {index("{}"), "names no tensor"},
      {index("[]"), "expected an object `weight_map`"},
      {"{}", "expected an object `weight_map`"},
      {"[]", "expected an object `weight_map`"},
      {"{", "not valid JSON"},
      {"", "not valid JSON"},
      {index(std::string(100000, '[')), "nested too deeply"},
  };
  for (const auto& c : cases) {
    write_file_atomic(dir / "model.safetensors.index.json", c.index);
    const std::string error = error_of([&] { SafetensorsDirectory{dir.path()}; });
    INFO(c.index.substr(0, 100) << "\n" << error.substr(0, 300));
    CHECK(error.starts_with(dir.path() + "/"));
    CHECK(error.find(c.told) != std::string::npos);
  }
  std::filesystem::remove(outside);
  // What it does not name is not there; a single file beside it is one too many.
  write_file_atomic(dir / "model.safetensors.index.json",
                    index("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}"));
  const SafetensorsDirectory files(dir.path());
  CHECK(files.tensors().size() == 2);
  CHECK(files.find("c") == nullptr);
  write_safetensors(dir / "model.safetensors", {{"a", at::ones({2})}}, {});
  CHECK(error_of([&] { SafetensorsDirectory{dir.path()}; }).find("are both there") !=
        std::string::npos);
}

TEST_CASE("what is no regular file is refused, and not waited for") {
  const TemporaryDirectory dir;
  const std::string path = dir / "a.safetensors";
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  CHECK(error_of([&] { SafetensorsFile{path}; }).find("expected a file") != std::string::npos);
  CHECK(error_of([&] { SafetensorsFile{dir.path()}; }).find("expected a file") !=
        std::string::npos);
}

TEST_CASE("weights that cannot be written whole are not written at all") {
  const TemporaryDirectory dir;
  NamedTensors tensors;
  for (int i = 0; i < 4; ++i)
    tensors.emplace_back("t" + std::to_string(i), at::ones({i == 2 ? 99999 : 10, 10}));
  struct rlimit before {};
  getrlimit(RLIMIT_FSIZE, &before);
  struct rlimit small = before;
  small.rlim_cur = 100'000;  // as a full disk, but of the size of one file
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  for (const int64_t shard : {kShardBytes, int64_t{500}}) {
    CHECK_THROWS_AS(write_model_weights(dir.path(), tensors, std::nullopt, shard), RunError);
    CHECK(std::filesystem::is_empty(dir.path()));
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
}

}  // namespace hone
