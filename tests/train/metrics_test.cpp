#include "train/metrics.h"

#include <catch2/catch_test_macros.hpp>
#include <filesystem>
#include <limits>

#include "base/json.h"
#include "tests/temporary.h"

namespace hone {
namespace {

TEST_CASE("a row keeps its order and its doubles read back exactly") {
  MetricsRow row;
  row.set("stage", "zero");
  row.set("step", 3);
  row.set("reward", 0.1 + 0.2);
  row.set("tokens", int64_t{1} << 40);
  row.set("whole", 1.0);
  row.set("bad", std::numeric_limits<double>::quiet_NaN());
  row.set("step", 4);
  const std::string line = metrics_line(row);
  CHECK(line == R"({"stage":"zero","step":4,"reward":0.30000000000000004,"tokens":1099511627776,)"
                R"("whole":1.0,"bad":null})");
  CHECK(Json::parse(line)["reward"].get<double>() == 0.1 + 0.2);
  REQUIRE(row.find_double("reward"));
  CHECK(*row.find_double("reward") == 0.1 + 0.2);
  CHECK(row.find_double("stage") == nullptr);
}

TEST_CASE("a resumed writer leaves the files as the uninterrupted one would") {
  const testing::TemporaryDirectory directory;
  const std::string& root = directory.path();
  std::filesystem::create_directories(root + "/a");
  std::filesystem::create_directories(root + "/b");
  const auto step = [](MetricsWriter& w, int64_t n) {
    MetricsRow row, timing;
    row.set("reward", 1.0 / static_cast<double>(n + 1));
    timing.set("step_time", 0.5);
    w.write_metrics("zero", n, row);
    w.write_timing("zero", n, timing);
    w.write_experts("zero", n, {{3, {n, 2 * n}}});
  };
  {
    MetricsWriter whole(root + "/a");
    for (int64_t n = 0; n < 4; ++n) step(whole, n);
    whole.sync();
  }
  MetricsSizes kept;
  {
    MetricsWriter killed(root + "/b");
    step(killed, 0);
    step(killed, 1);
    kept = killed.sizes();
    step(killed, 2);
  }
  {
    MetricsWriter resumed(root + "/b", kept);
    step(resumed, 2);
    step(resumed, 3);
  }
  for (const char* name : {"/metrics.jsonl", "/timing.jsonl", "/experts.jsonl"}) {
    CHECK(read_file(root + "/a" + name) == read_file(root + "/b" + name));
  }
  CHECK(read_file(root + "/a/metrics.jsonl")
            .starts_with(R"({"stage":"zero","step":0,"reward":1.0})"
                         "\n"));
  CHECK(read_file(root + "/a/experts.jsonl")
            .starts_with(R"({"stage":"zero","step":0,"choices":{"3":[0,0]}})"
                         "\n"));
  CHECK(read_file(root + "/a/events.out.tfevents.hone").size() ==
        read_file(root + "/b/events.out.tfevents.hone").size());
}

TEST_CASE("there is no file of experts without experts") {
  const testing::TemporaryDirectory directory;
  MetricsWriter writer(directory.path());
  writer.write_experts("zero", 1, {});
  CHECK_FALSE(std::filesystem::exists(directory.path() + "/experts.jsonl"));
  CHECK(writer.sizes().experts == 0);
}

}  // namespace
}  // namespace hone
