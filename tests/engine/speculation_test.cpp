// Drafts: where they are found, that they save passes, and that they change no completion.
#include "engine/speculation.h"

#include <ATen/ATen.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "base/error.h"
#include "same_completions.h"
#include "tiny_model.h"

namespace hone {
namespace {

using testing::ByteTokenizer;
using testing::check_same;
using testing::random_prompt;
using testing::repeating_requests;
using testing::Results;
using testing::tiny_model;
using Tokens = std::vector<int32_t>;

// One group whose completions are at the given tokens.
Scheduler with_completions(const Tokens& prompt, const std::vector<Tokens>& completions) {
  Scheduler scheduler({.blocks = 100});
  scheduler.add(prompt, std::vector<int64_t>(completions.size(), 50), 0);
  for (size_t i = 0; i < completions.size(); ++i) {
    scheduler.sequence(static_cast<int64_t>(i)).generated = completions[i];
  }
  return scheduler;
}

NgramIndex::Match match_in(const Scheduler& scheduler, int64_t sequence, int64_t longest) {
  NgramIndex index;
  index.extend(scheduler, 0);
  return index.find(scheduler, sequence, longest);
}

}  // namespace

TEST_CASE("a draft is what followed the same tokens in the prompt, in a sibling or in the text") {
  const Tokens prompt = {1, 2, 3, 4, 5, 6};
  SECTION("in the prompt, and on into nothing that is not there") {
    const auto match = match_in(with_completions(prompt, {{9}, {9, 2, 3, 4}}), 1, 4);
    CHECK(match.equal == 3);
    CHECK(match.tokens == Tokens{5, 6, 9});  // the first completion goes on from the prompt
  }
  SECTION("in a sibling, up to its end") {
    const auto match = match_in(with_completions(prompt, {{20, 21, 22, 23}, {20, 21}}), 1, 9);
    CHECK(match.equal == 8);  // the prompt is in front of both
    CHECK(match.tokens == Tokens{22, 23});
  }
  SECTION("what repeats itself is taken to go on so") {
    const auto match = match_in(with_completions(prompt, {{30, 31, 30, 31, 30, 31}}), 0, 5);
    CHECK(match.equal == 4);
    CHECK(match.tokens == Tokens{30, 31, 30, 31, 30});
  }
  SECTION("4 equal tokens count before 2, among equals the latest") {
    const auto match =
        match_in(with_completions(prompt, {{7, 8, 9, 10, 40, 9, 10, 42, 7, 8, 9, 10}}), 0, 1);
    CHECK(match.equal == 4);
    CHECK(match.tokens == Tokens{40});
    CHECK(match_in(with_completions(prompt, {{8, 9, 41, 8, 9, 42, 8, 9}}), 0, 1).tokens ==
          Tokens{42});
  }
  SECTION("a single token is no match, nor is another group's text") {
    CHECK(match_in(with_completions(prompt, {{3}}), 0, 4).equal == 0);
    Scheduler two = with_completions(prompt, {{70, 71}});
    two.add({70, 71, 72}, {50}, 0);
    CHECK(match_in(two, 0, 4).equal == 0);
  }
}

TEST_CASE("an index takes in what is new, once") {
  Scheduler scheduler = with_completions({1, 2, 3}, {{}, {}});
  NgramIndex index;
  index.extend(scheduler, 0);
  CHECK(index.find(scheduler, 1, 4).equal == 0);
  scheduler.sequence(0).generated = {50, 51, 52};
  scheduler.sequence(1).generated = {60, 50, 51};
  index.extend(scheduler, 0);
  const auto match = index.find(scheduler, 1, 4);
  CHECK(match.equal == 2);
  CHECK(match.tokens == Tokens{52});
}

TEST_CASE("drafts change no completion: sampled, greedy, filtered, with every kind of end") {
  const ByteTokenizer tokenizer(97);
  std::vector<SampleRequest> requests = repeating_requests();
  requests[2].limits = {1, 2, 60};
  const std::vector<SamplingOptions> samplings = {
      {.temperature = 1.0, .max_tokens = 60},
      {.temperature = 0.0, .max_tokens = 60},
      {.temperature = 0.5, .max_tokens = 50, .min_tokens = 20, .stop_ids = {30, 31, 32, 33}},
      {.temperature = 0.3, .top_p = 0.9, .top_k = 5, .max_tokens = 60, .stop = {"A", "b", "1c"}},
      {.temperature = 0.0, .max_tokens = 60, .min_tokens = 9, .stop = {"!", "Q", "e"}}};
  int64_t drafted = 0, accepted = 0, preemptions = 0, stopped = 0;
  for (const double spread : {1.5, 3.0, 8.0}) {
    const auto model = tiny_model(spread, 3);
    for (const SamplingOptions& sampling : samplings) {
      const Results expected = Engine(*model, &tokenizer).sample(requests, sampling);
      for (const auto& group : expected) {
        for (const Completion& c : group) stopped += c.finish_reason == FinishReason::stop;
      }
      for (const auto& [longest, rows, blocks, seats] :
           {std::array<int64_t, 4>{4, 32, 0, 0}, {15, 200, 0, 0}, {1, 32, 0, 3}, {7, 64, 12, 5}}) {
        CAPTURE(spread, sampling.temperature, longest, rows, blocks, seats);
        EngineOptions options;
        options.max_running = seats;
        options.kv_blocks = blocks;
        options.speculate = longest;
        options.speculate_rows = rows;
        Engine engine(*model, &tokenizer, options);
        check_same(engine.sample(requests, sampling), expected);
        drafted += engine.stats().drafted;
        accepted += engine.stats().accepted;
        preemptions += engine.stats().preemptions;
      }
    }
  }
  CHECK(drafted > 5000);
  CHECK(accepted > 2000);
  CHECK(accepted < drafted);
  CHECK(preemptions > 20);
  CHECK(stopped > 50);
}

TEST_CASE("where text repeats itself drafts save passes, one for each token that comes true") {
  const auto model = tiny_model(2.0);  // greedy, it soon says one thing for ever
  const std::vector<SampleRequest> requests = {{random_prompt(8, 4), 1, 1}};
  const SamplingOptions greedy{.temperature = 0.0, .max_tokens = 140};
  Engine plain(*model, nullptr), drafting(*model, nullptr, {.speculate = 6});
  check_same(drafting.sample(requests, greedy), plain.sample(requests, greedy));
  const EngineStats &with = drafting.stats(), &without = plain.stats();
  CHECK(without.drafted == 0);
  CHECK(with.decode_tokens == without.decode_tokens);
  CHECK(with.decode_steps == without.decode_steps - with.accepted);
  CHECK(with.decode_steps < without.decode_steps / 2);
}

TEST_CASE("where nothing can be foretold few drafts are computed") {
  // As good as uniform: what followed two tokens once will not follow them again.
  const auto model = tiny_model(0.1);
  Engine engine(*model, nullptr, {.speculate = 6});
  engine.sample({{random_prompt(60, 4), 4, 1}}, {.max_tokens = 100});
  CHECK(engine.stats().decode_tokens > 300);
  CHECK(engine.stats().drafted < 100);
}

TEST_CASE("drafts that an abort cuts short leave what had been drawn") {
  const auto model = tiny_model(2.0);
  const std::vector<SampleRequest> requests = {{random_prompt(8, 4), 3, 1}};
  const SamplingOptions greedy{.temperature = 0.0, .max_tokens = 140};
  const Results whole = Engine(*model, nullptr).sample(requests, greedy);
  std::atomic<bool> abort = false;
  Engine engine(*model, nullptr, {.speculate = 3, .abort = &abort});
  const Results cut =
      engine.sample(requests, greedy, [&](int64_t, int64_t, int64_t) { abort = true; });
  for (size_t i = 0; i < 3; ++i) {
    const Tokens &some = cut[0][i].tokens, &all = whole[0][i].tokens;
    CHECK(cut[0][i].finish_reason == FinishReason::abort);
    REQUIRE(some.size() > 17);  // 16 steps
    REQUIRE(some.size() < all.size());
    REQUIRE(std::equal(some.begin(), some.end(), all.begin()));
  }
}

TEST_CASE("a draft that is too long for the cache's blocks is refused in words") {
  const auto model = tiny_model();
  std::string error;
  try {
    Engine(*model, nullptr, {.speculate = 16});
  } catch (const UserError& e) {
    error = e.what();
  }
  CHECK_THAT(error, Catch::Matchers::ContainsSubstring("speculate in [0, 15]"));
}

}  // namespace hone
