// What `hone bench decode` says, not how fast it is.
#include <catch2/catch_approx.hpp>
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

TEST_CASE("bench train and bench step tell the update's operations by the clock") {
  const struct {
    std::string call;
    double tokens, computed;  // of an update; a group's prompt is computed once
  } cases[] = {{"train --documents 4 --document-tokens 16", 64, 64},
               {"step --prompts 2 --group 3 --prompt-tokens 5 --new-tokens 7", 72, 2 * 5 + 6 * 7},
               {"step --prompts 2 --group 3 --prompt-tokens 5 --new-tokens 7 --unshared", 72, 72}};
  for (const auto& c : cases) {
    const Outcome o = run_hone("bench " + c.call + " --device cpu --json --quiet");
    INFO(c.call << o.err);
    REQUIRE(o.code == 0);
    const Json figures = o.rows().back();
    const double seconds = figures["phases"]["update"];
    CHECK(figures["update_tokens_per_second"].get<double>() == Catch::Approx(c.tokens / seconds));
    // Six for each parameter and token, and a little for attention over few tokens; prompts need
    // no head.
    const double each = figures["update_flops_per_second"].get<double>() * seconds / c.computed /
                        figures["parameters"].get<double>();
    CHECK(each > 5.0);
    CHECK(each < 6.5);
    CHECK(figures["mfu"].is_null());
    CHECK(figures["peak_memory"] > 0);
  }
}

TEST_CASE("bench train and bench step say which option cannot be, and measure nothing") {
  for (const auto& [call, word] : std::vector<std::pair<std::string, std::string>>{
           {"train --rounds 0", "--rounds"},
           {"train --documents 0", "--documents"},
           {"train --document-tokens -3", "--document-tokens"},
           {"train --micro-batch-tokens 0", "--micro-batch-tokens"},
           {"train --lora-rank -2", "--lora-rank"},
           {"train --moments fp4", "--moments"},
           {"train --recompute auto", "--recompute"},
           {"train --profile", "--profile"},
           {"train --offload", "offload"},
           {"train --fp8", "fp8"},
           {"train --document-tokens 513", "512 positions"},
           {"step --prompt-tokens 13 --new-tokens 500", "512 positions"},
           {"step --prompts 0", "--prompts"},
           {"step --group 0", "--group"},
           {"step --prompt-tokens 0", "--prompt-tokens"},
           {"step --new-tokens 0", "--new-tokens"}}) {
    const Outcome o = run_hone("bench " + call + " --device cpu --json --quiet");
    INFO(call << ": " << o.err);
    CHECK(o.code == 2);
    CHECK(o.err.find(word) != std::string::npos);
    CHECK(o.out.empty());
  }
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
