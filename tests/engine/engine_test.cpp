#include "engine/engine.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/rng.h"
#include "tiny_model.h"

namespace hone {
namespace {

using testing::ByteTokenizer;
using testing::random_prompt;
using testing::tiny_model;

// Logits after the prompt, [V] float32.
at::Tensor next_logits(const Transformer& model, const std::vector<int32_t>& prompt) {
  const at::NoGradGuard no_grad;
  const int64_t p = static_cast<int64_t>(prompt.size());
  ForwardBatch batch;
  batch.segments.push_back({0, p, 0, 0});
  batch.tokens = at::tensor(std::vector<int64_t>(prompt.begin(), prompt.end()), at::kLong);
  batch.positions = at::arange(p, at::kLong);
  return model.logits(model.forward(batch).narrow(0, p - 1, 1)).squeeze(0);
}

std::string error_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("temperature 0 takes the likeliest token each time") {
  const auto model = tiny_model();
  Engine engine(*model, nullptr);
  const std::vector<int32_t> prompt = random_prompt(20, 4);
  const auto results =
      engine.sample({{prompt, 3, 9}}, {.temperature = 0, .max_tokens = 25, .stop_ids = {}});
  CHECK(results[0][0].tokens == results[0][1].tokens);
  std::vector<int32_t> context = prompt;
  for (int32_t token : results[0][0].tokens) {
    REQUIRE(token == next_logits(*model, context).argmax().item<int64_t>());
    context.push_back(token);
  }
}

TEST_CASE("first tokens follow the softmax") {
  const auto model = tiny_model(4.0);
  Engine engine(*model, nullptr);
  const std::vector<int32_t> prompt = random_prompt(9, 2);
  const int64_t n = 20000;
  const auto frequencies = [&](const SamplingOptions& options) {
    std::vector<double> count(97, 0.0);
    const auto results = engine.sample({{prompt, n, 5}}, options);
    for (const Completion& c : results[0]) {
      count[static_cast<size_t>(c.tokens[0])] += 1;
    }
    return count;
  };
  // Pearson's statistic over the tokens that are expected often enough.
  const auto statistic = [&](const std::vector<double>& count, const at::Tensor& p, int* cells) {
    double sum = 0;
    *cells = 0;
    for (int64_t v = 0; v < 97; ++v) {
      const double expected = static_cast<double>(n) * p[v].item<float>();
      if (expected < 5) continue;
      const double d = count[static_cast<size_t>(v)] - expected;
      sum += d * d / expected;
      ++*cells;
    }
    return sum;
  };
  const at::Tensor logits = next_logits(*model, prompt);
  for (double temperature : {1.0, 0.5}) {
    int cells = 0;
    const double x = statistic(frequencies({.temperature = temperature, .max_tokens = 1}),
                               (logits / temperature).softmax(0), &cells);
    CAPTURE(temperature, x, cells);
    CHECK(cells > 20);
    CHECK(x < cells + 5 * std::sqrt(2.0 * cells));
  }
  const std::vector<double> top = frequencies({.top_k = 4, .max_tokens = 1});
  const auto kept = std::get<1>(logits.topk(4));
  double inside = 0;
  for (int64_t i = 0; i < 4; ++i) inside += top[static_cast<size_t>(kept[i].item<int64_t>())];
  CHECK(inside == static_cast<double>(n));
}

TEST_CASE("an end token ends a completion and is no text") {
  const auto model = tiny_model(4.0);
  const ByteTokenizer tokenizer(97);
  Engine engine(*model, &tokenizer);
  const auto results = engine.sample({{random_prompt(10, 1), 200, 3}}, {.max_tokens = 100});
  int stopped = 0;
  for (const Completion& c : results[0]) {
    const auto end = std::find(c.tokens.begin(), c.tokens.end(), 2);
    CHECK(c.logprobs.size() == c.tokens.size());
    CHECK(c.sampled_logprobs.size() == c.tokens.size());
    if (c.finish_reason == FinishReason::stop) {
      ++stopped;
      REQUIRE(end == c.tokens.end() - 1);
    } else {
      REQUIRE(c.finish_reason == FinishReason::length);
      REQUIRE(c.tokens.size() == 100);
      REQUIRE(end == c.tokens.end());
    }
    REQUIRE(c.text == valid_utf8(tokenizer.decode(c.tokens)));  // id 2 has no bytes
  }
  CHECK(stopped > 20);
  CHECK(stopped < 200);
}

TEST_CASE("stop ids and stop strings cut the completion that would have been") {
  const auto model = tiny_model(4.0);
  const ByteTokenizer tokenizer(97);
  Engine engine(*model, &tokenizer);
  const std::vector<SampleRequest> requests = {{random_prompt(10, 1), 50, 3}};
  const auto whole = engine.sample(requests, {.max_tokens = 80});
  const auto by_id = engine.sample(requests, {.max_tokens = 80, .stop_ids = {40}});
  const auto longest = std::max_element(
      whole[0].begin(), whole[0].end(),
      [](const Completion& a, const Completion& b) { return a.tokens.size() < b.tokens.size(); });
  const std::string some = tokenizer.decode(longest->tokens).substr(30, 3);
  const auto by_text = engine.sample(requests, {.max_tokens = 80, .stop = {some, "A", "zzz"}});
  for (size_t i = 0; i < 50; ++i) {
    const Completion& w = whole[0][i];
    const Completion& id = by_id[0][i];
    const auto at = std::find(w.tokens.begin(), w.tokens.end(), 40);
    const auto length = at == w.tokens.end() ? at - w.tokens.begin() : at - w.tokens.begin() + 1;
    REQUIRE(id.tokens == std::vector<int32_t>(w.tokens.begin(), w.tokens.begin() + length));
    if (at != w.tokens.end()) REQUIRE(id.finish_reason == FinishReason::stop);

    const Completion& t = by_text[0][i];
    const std::string text = tokenizer.decode(w.tokens);
    const size_t first = std::min(text.find(some), text.find("A"));
    REQUIRE(t.text == valid_utf8(text.substr(0, first)));
    REQUIRE(std::equal(t.tokens.begin(), t.tokens.end(), w.tokens.begin()));
    if (first == std::string::npos) {
      REQUIRE(t.tokens == w.tokens);
    } else {
      REQUIRE(t.finish_reason == FinishReason::stop);
      REQUIRE(tokenizer.decode(t.tokens).size() > t.text.size());  // tokens keep all sampled
    }
  }
}

TEST_CASE("a stop string counts once min_tokens are there") {
  const auto model = tiny_model(4.0);
  const ByteTokenizer tokenizer(97);
  Engine engine(*model, &tokenizer);
  const std::vector<SampleRequest> requests = {{random_prompt(10, 1), 60, 3}};
  const auto sample = [&](const std::vector<std::string>& stop) {
    return engine.sample(requests, {.max_tokens = 80, .min_tokens = 40, .stop = stop})[0];
  };
  const std::vector<Completion> whole = sample({});
  const std::vector<Completion> cut = sample({"A", "zzzzzzzz"});
  const int32_t a = tokenizer.encode("A")[0];
  int early = 0, ended = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    const std::vector<int32_t>& all = whole[i].tokens;
    early += std::find(all.begin(), all.begin() + 39, a) != all.begin() + 39;
    const auto at = std::find(all.begin() + 39, all.end(), a);
    REQUIRE(cut[i].text == tokenizer.decode({all.begin(), at}));
    if (at == all.end()) continue;
    ++ended;
    REQUIRE(cut[i].tokens == std::vector<int32_t>(all.begin(), at + 1));
    REQUIRE(cut[i].finish_reason == FinishReason::stop);
  }
  CHECK(early > 5);
  CHECK(ended > 5);

  // Complete with token 40 it counts, wherever it began; with token 39 it does not.
  const std::vector<int32_t>& all = whole[0].tokens;
  const auto text = [&](int64_t begin, int64_t end) {
    return tokenizer.decode({all.begin() + begin, all.begin() + end});
  };
  const Completion counts = sample({text(35, 40)})[0], too_early = sample({text(34, 39)})[0];
  CHECK(counts.tokens.size() == 40);
  CHECK(counts.text == text(0, 35));
  CHECK(too_early.tokens == all);
  CHECK(too_early.text == whole[0].text);
}

TEST_CASE("the draw follows the softmax over the tokens that are not forbidden") {
  const auto model = tiny_model(4.0);
  Engine engine(*model, nullptr);
  const std::vector<int32_t> prompt = random_prompt(9, 2);
  const std::vector<int64_t> ends = {2, 20, 50, 51};
  const auto results =
      engine.sample({{prompt, 200, 5}}, {.max_tokens = 1, .min_tokens = 1, .stop_ids = ends});
  at::Tensor logits = next_logits(*model, prompt).clone();
  for (const int64_t id : ends) logits[id] = -INFINITY;
  const at::Tensor logp = logits.log_softmax(0);
  for (const Completion& c : results[0]) {
    REQUIRE(std::abs(c.sampled_logprobs[0] - logp[c.tokens[0]].item<float>()) < 1e-5);
  }
}

TEST_CASE("each completion keeps to its own limit") {
  const auto model = tiny_model(1.0);
  Engine engine(*model, nullptr);
  const std::vector<int32_t> prompt = random_prompt(10, 1);
  const SamplingOptions sampling{.max_tokens = 20};
  SampleRequest request{prompt, 4, 3};
  request.limits = {1, 30, 7, 500};  // one is above max_tokens, one beyond the model's positions
  const auto own = engine.sample({request, {prompt, 2, 9}}, sampling);
  request.limits.assign(4, 500);
  const auto longest = engine.sample({request}, sampling);
  const std::vector<size_t> lengths = {1, 30, 7, 150};
  for (size_t i = 0; i < 4; ++i) {
    const Completion& c = own[0][i];
    const std::vector<int32_t>& all = longest[0][i].tokens;
    REQUIRE(c.tokens.size() == std::min(lengths[i], all.size()));
    REQUIRE(std::equal(c.tokens.begin(), c.tokens.end(), all.begin()));
  }
  for (const Completion& c : own[1]) CHECK(c.tokens.size() <= 20);
}

TEST_CASE("a sequence ends at the model's last position") {
  const auto model = tiny_model(1.0);
  Engine engine(*model, nullptr);
  const auto results = engine.sample({{random_prompt(150, 1), 20, 3}}, {.max_tokens = 500});
  size_t longest = 0;
  for (const Completion& c : results[0]) longest = std::max(longest, c.tokens.size());
  CHECK(longest == 10);  // 160 positions
}

TEST_CASE("requests without completions keep their place") {
  const auto model = tiny_model();
  Engine engine(*model, nullptr);
  const std::vector<int32_t> prompt = random_prompt(4, 1);
  const auto results =
      engine.sample({{prompt, 0, 1}, {prompt, 2, 2}, {prompt, 0, 3}}, {.max_tokens = 3});
  REQUIRE(results.size() == 3);
  CHECK(results[0].empty());
  CHECK(results[1].size() == 2);
  CHECK(engine.sample({}, {}).empty());
}

TEST_CASE("an abort ends sampling with what there is") {
  const auto model = tiny_model(1.0);
  std::atomic<bool> abort = false;
  Engine engine(*model, nullptr, {.max_running = 4, .abort = &abort});
  const auto results = engine.sample({{random_prompt(10, 1), 12, 3}}, {.max_tokens = 140},
                                     [&](int64_t tokens, int64_t, int64_t all) {
                                       CHECK(all == 12);
                                       if (tokens > 50) abort = true;
                                     });
  int aborted = 0;
  for (const Completion& c : results[0]) {
    aborted += c.finish_reason == FinishReason::abort;
    CHECK(c.tokens.size() < 140);
  }
  CHECK(aborted > 6);
}

TEST_CASE("what cannot be sampled is refused in words") {
  const auto model = tiny_model();
  Engine engine(*model, nullptr, {.kv_blocks = 3});
  using Catch::Matchers::ContainsSubstring;
  const auto error = [&](const SampleRequest& r, const SamplingOptions& o) {
    return error_of([&] { engine.sample({r}, o); });
  };
  CHECK_THAT(error({random_prompt(160, 1), 1, 0}, {}), ContainsSubstring("160 tokens"));
  CHECK_THAT(error({{}, 1, 0}, {}), ContainsSubstring("empty"));
  CHECK_THAT(error({{5, 97}, 1, 0}, {}), ContainsSubstring("id 97"));
  CHECK_THAT(error({{5}, 1, 0}, {.max_tokens = 100}), ContainsSubstring("kv_blocks"));
  CHECK_THAT(error({{5}, 1, 0}, {.max_tokens = 0}), ContainsSubstring("max_tokens"));
  CHECK_THAT(error({{5}, 1, 0}, {.temperature = -1}), ContainsSubstring("temperature"));
  CHECK_THAT(error({{5}, 1, 0}, {.max_tokens = 4, .stop = {"x"}}), ContainsSubstring("tokenizer"));
  CHECK_THAT(error({{5}, 1, 0}, {.max_tokens = 4, .stop_ids = {100}}), ContainsSubstring("100"));
  CHECK_THAT(error({{5}, 1, 0}, {.max_tokens = 4, .min_tokens = -1}),
             ContainsSubstring("min_tokens"));
  std::vector<int64_t> all(97);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  CHECK_THAT(error({{5}, 1, 0}, {.max_tokens = 4, .min_tokens = 1, .stop_ids = all}),
             ContainsSubstring("none to draw"));
  CHECK_THAT(error({{5}, 2, 0, {3}}, {.max_tokens = 4}), ContainsSubstring("1 limits"));
  CHECK_THAT(error({{5}, 2, 0, {3, 0}}, {.max_tokens = 4}), ContainsSubstring("limit of 0"));
  CHECK_THAT(error_of([&] { Engine(*model, nullptr, {.max_running = -1}); }),
             ContainsSubstring("max_running"));
}

}  // namespace hone
