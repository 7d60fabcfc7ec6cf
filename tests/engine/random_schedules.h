// Random calls of the engine: prompts, limits, filters, stop rules, tiny caches that pre-empt, few
// seats, drafts, aborts under way. The engine itself checks at the end of each call that no block
// is held.
#pragma once

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>

#include "base/error.h"
#include "tiny_model.h"

namespace hone::testing {

struct RandomSchedules {
  int64_t sequences = 0, preemptions = 0, aborted = 0, stopped = 0, drafted = 0, accepted = 0;
};

// With `exact` each completion has the tokens and the log-probabilities that its request has alone,
// up to where it was aborted.
inline RandomSchedules run_random_schedules(const Transformer& model, int count, bool exact,
                                            int first = 0) {
  RandomSchedules seen;
  Engine alone(model, nullptr);
  for (int schedule = first; schedule < first + count; ++schedule) {
    CAPTURE(schedule);
    Rng rng(make_key(static_cast<uint64_t>(schedule), hash64("random schedules")));
    const int64_t max_prompt = rng.between(1, 60), max_tokens = rng.between(1, 60);
    SamplingOptions sampling;
    sampling.temperature = rng.chance(0.2) ? 0.0 : rng.chance(0.5) ? 1.0 : 0.7;
    if (rng.chance(0.3)) sampling.top_k = rng.between(1, 30);
    if (rng.chance(0.3)) sampling.top_p = 0.9;
    if (rng.chance(0.3)) sampling.min_tokens = rng.between(1, 20);
    if (rng.chance(0.5)) sampling.stop_ids = {rng.between(3, 96), rng.between(3, 96)};
    sampling.max_tokens = max_tokens;
    std::vector<SampleRequest> requests;
    const int64_t groups = rng.between(1, 6);
    const bool own_limits = rng.chance(0.5);
    for (int64_t i = 0; i < groups; ++i) {
      SampleRequest r{random_prompt(rng.between(1, max_prompt), rng.next()), rng.between(0, 6)};
      r.key = rng.next();
      for (int64_t k = 0; own_limits && k < r.n; ++k) {
        r.limits.push_back(rng.between(1, max_tokens));
      }
      requests.push_back(std::move(r));
    }
    std::atomic<bool> abort = false;
    const int64_t abort_after = rng.chance(0.2) ? rng.between(0, 300) : INT64_MAX;
    EngineOptions options;
    options.kv_blocks = blocks_for(max_prompt + max_tokens) + rng.between(0, 8);
    options.max_running = rng.between(1, 12);
    options.prefill_tokens = rng.between(1, 200);
    options.prefill_seats = rng.between(1, 4);
    sampling.longest_first = rng.chance(0.5);
    options.speculate = rng.between(0, 8);
    options.speculate_rows = rng.between(1, 40);
    options.abort = &abort;
    Engine engine(model, nullptr, options);
    const auto results = engine.sample(requests, sampling, [&](int64_t tokens, int64_t, int64_t) {
      if (tokens > abort_after) abort = true;
    });
    seen.preemptions += engine.stats().preemptions;
    seen.drafted += engine.stats().drafted;
    seen.accepted += engine.stats().accepted;

    REQUIRE(results.size() == requests.size());
    for (size_t r = 0; r < requests.size(); ++r) {
      const SampleRequest& request = requests[r];
      REQUIRE(static_cast<int64_t>(results[r].size()) == request.n);
      std::vector<Completion> expected;
      if (exact) expected = std::move(alone.sample({request}, sampling)[0]);
      for (size_t i = 0; i < results[r].size(); ++i) {
        const Completion& c = results[r][i];
        const auto length = static_cast<int64_t>(c.tokens.size());
        CAPTURE(r, i, length);
        ++seen.sequences;
        seen.aborted += c.finish_reason == FinishReason::abort;
        seen.stopped += c.finish_reason == FinishReason::stop;
        REQUIRE(c.logprobs.size() == c.tokens.size());
        REQUIRE(c.sampled_logprobs.size() == c.tokens.size());
        const int64_t limit = own_limits ? request.limits[i] : max_tokens;
        REQUIRE(length <= limit);
        if (c.finish_reason == FinishReason::length) REQUIRE(length == limit);
        if (c.finish_reason == FinishReason::stop) REQUIRE(length > sampling.min_tokens);
        if (c.finish_reason == FinishReason::abort) REQUIRE(abort.load());
        if (!exact) continue;
        const Completion& e = expected[i];
        REQUIRE(c.tokens.size() <= e.tokens.size());
        const size_t same = static_cast<size_t>(
            std::mismatch(c.logprobs.begin(), c.logprobs.end(), e.logprobs.begin()).first -
            c.logprobs.begin());
        CAPTURE(same, request.prompt.size(), sampling.temperature, sampling.top_k, sampling.top_p,
                sampling.min_tokens, options.kv_blocks, options.max_running,
                engine.stats().preemptions);
        if (same < c.logprobs.size()) {
          UNSCOPED_INFO(cat("token ", c.tokens[same], " ", c.logprobs[same], " ",
                            c.sampled_logprobs[same], ", alone ", e.tokens[same], " ",
                            e.logprobs[same], " ", e.sampled_logprobs[same]));
        }
        REQUIRE(std::equal(c.tokens.begin(), c.tokens.end(), e.tokens.begin()));
        REQUIRE(std::equal(c.logprobs.begin(), c.logprobs.end(), e.logprobs.begin()));
        REQUIRE(std::equal(c.sampled_logprobs.begin(), c.sampled_logprobs.end(),
                           e.sampled_logprobs.begin()));
        if (c.finish_reason == FinishReason::abort) continue;
        REQUIRE(c.finish_reason == e.finish_reason);
        REQUIRE(c.tokens.size() == e.tokens.size());
      }
    }
  }
  return seen;
}

}  // namespace hone::testing
