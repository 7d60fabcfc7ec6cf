// What `hone bench decode` says, not how fast it is.
#include <catch2/catch_test_macros.hpp>

#include "run_hone.h"

using namespace hone;

TEST_CASE("bench decode counts every token and gives its figures in one line") {
  const Outcome o = run_hone(
      "bench decode --device cpu --prompts 3 --groups 2 --prompt 5 --new 7 --runs 2 --warmup 0 "
      "--batch 4 --json --quiet");
  INFO(o.err);
  REQUIRE(o.code == 0);
  const Json figures = o.rows().back();
  CHECK(figures["shape"] == "bench-5m");
  CHECK(figures["sequences"] == 6);
  CHECK(figures["tokens"] == 42);
  CHECK(figures["runs"] == 2);
  const double rate = figures["tokens_per_second"],
               limit = figures["memory_limit_tokens_per_second"];
  CHECK(rate > 0);
  CHECK(figures["tokens_per_second_min"] <= figures["tokens_per_second"]);
  CHECK(figures["tokens_per_second_max"] >= figures["tokens_per_second"]);
  CHECK(figures["mbu"] == rate / limit);
  CHECK(figures["decode_mbu"] > figures["mbu"]);
  CHECK(figures["ms_per_step"] > 0);
  CHECK(figures["prefill_seconds"] > 0);
  CHECK(figures["peak_memory"] > 0);
  CHECK(figures["preemptions"] == 0);
}

TEST_CASE("bench decode says what cannot be measured") {
  const struct {
    std::string call, told;
  } cases[] = {{"--shape huge", "unknown shape"},
               {"--profile", "GPU"},
               {"--batch 0", "--batch"},
               {"--new 600 --prompts 1 --runs 1 --warmup 0", "512 positions"}};
  for (const auto& c : cases) {
    INFO(c.call);
    const Outcome o = run_hone("bench decode --device cpu " + c.call);
    CHECK(o.code == 2);
    CHECK(o.err.find(c.told) != std::string::npos);
    CHECK(o.out.empty());
  }
}
