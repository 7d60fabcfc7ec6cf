#include "train/evaluate.h"

#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "base/error.h"

using namespace hone;
using Catch::Approx;

namespace {

// One token a byte.
class ByteTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const unsigned char c : text) ids.push_back(c);
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text;
    for (const int32_t id : ids) text += static_cast<char>(id);
    return text;
  }
  std::string_view token_bytes(int32_t) const override { return "?"; }
  int32_t vocab_size() const override { return 256; }
  std::optional<int32_t> bos() const override { return {}; }
  std::optional<int32_t> eos() const override { return {}; }
  std::optional<int32_t> pad() const override { return {}; }
  std::optional<int32_t> unk() const override { return {}; }
};

// Gives the answers that the test lists, problem by problem.
class ListSampler : public Sampler {
 public:
  explicit ListSampler(std::vector<std::vector<std::string>> answers)
      : answers_(std::move(answers)) {}
  std::vector<std::vector<Completion>> sample(const std::vector<SampleRequest>& requests,
                                              const SamplingOptions&,
                                              const SampleProgress&) override {
    std::vector<std::vector<Completion>> out;
    for (size_t r = 0; r < requests.size(); ++r) {
      keys.push_back(requests[r].key);
      out.emplace_back();
      for (const std::string& answer : answers_[r]) {
        Completion c;
        c.text = answer;
        c.tokens.assign(answer.size(), 1);
        c.finish_reason = answer == "cut" ? FinishReason::length : FinishReason::stop;
        out.back().push_back(c);
      }
    }
    return out;
  }
  std::vector<uint64_t> keys;

 private:
  std::vector<std::vector<std::string>> answers_;
};

Problem problem(const std::string& id, const std::string& answer) {
  Problem p;
  p.id = id;
  p.prompt = "Q" + id;
  p.fields = {{"answer", answer}};
  return p;
}

std::string boxed(const std::string& x) { return "\\boxed{" + x + "}"; }

}  // namespace

TEST_CASE("pass@k is the chance that one of k draws without replacement is right") {
  CHECK(pass_at_k(4, 0, 2) == 0);
  CHECK(pass_at_k(4, 4, 1) == 1);
  CHECK(pass_at_k(10, 3, 1) == Approx(0.3));
  CHECK(pass_at_k(4, 1, 2) == Approx(0.5));           // 1 - C(3,2)/C(4,2)
  CHECK(pass_at_k(5, 2, 3) == Approx(1 - 1.0 / 10));  // 1 - C(3,3)/C(5,3)
  CHECK(pass_at_k(16, 1, 16) == 1);
  CHECK(pass_at_k(1000, 1, 500) == Approx(0.5));  // no overflow
}

TEST_CASE("an evaluation counts, with the standard error over problems") {
  // Shares solved: 3/4, 0, 1/4.
  ListSampler sampler({{boxed("1"), boxed("1"), boxed("2"), boxed("1.0")},
                       {boxed("9"), "cut", boxed("9"), boxed("8")},
                       {boxed("3"), boxed("4"), boxed("4"), "nothing"}});
  RewardSet rewards({parse_reward_spec("math")});
  EvaluationInput input;
  input.problems = {problem("a", "1"), problem("b", "2"), problem("c", "3")};
  input.n = 4;
  input.k = {2, 4};
  const Evaluation e = evaluate(sampler, ByteTokenizer(), rewards, input);
  CHECK(e.problems == 3);
  CHECK(e.pass1 == Approx((0.75 + 0 + 0.25) / 3));
  const double m = 1.0 / 3;
  const double variance = ((0.75 - m) * (0.75 - m) + m * m + (0.25 - m) * (0.25 - m)) / 2;
  CHECK(e.pass1_se == Approx(std::sqrt(variance / 3)));
  REQUIRE(e.pass_k.size() == 2);
  CHECK(e.pass_k[0].second == Approx((1 + 0 + 0.5) / 3));
  CHECK(e.pass_k[1].second == Approx(2.0 / 3));
  CHECK(e.majority == Approx(1.0 / 3));  // a by "1" twice; b: 9; c: 4
  CHECK(e.truncated == Approx(1.0 / 12));
  CHECK(std::isnan(e.format));
  const Json json = e.json();
  for (const char* key : {"pass@1", "pass@1_se", "pass@2", "pass@4", "maj@4", "format", "truncated",
                          "mean_length", "n", "problems"}) {
    CHECK(json.contains(key));
  }
  CHECK(to_line(json["format"]) == "null");
}

TEST_CASE("a verifier that fails is not a wrong answer") {
  ListSampler sampler({{boxed("1"), boxed("1")}, {boxed("1"), boxed("1")}});
  RewardSet rewards({parse_reward_spec("math")});
  EvaluationInput input;
  input.problems = {problem("a", "1"), problem("b", "1/0")};
  input.n = 2;
  const Evaluation e = evaluate(sampler, ByteTokenizer(), rewards, input);
  CHECK(e.groups[1].scores[0].second[0].status == Status::bad_reference);
  CHECK(e.pass1 == 1);
}

TEST_CASE("evaluations draw the same each time, equal prompts apart") {
  const auto keys = [](uint64_t seed) {
    ListSampler sampler({{"x"}, {"x"}});
    RewardSet rewards({parse_reward_spec("math")});
    EvaluationInput input;
    input.problems = {problem("a", "1"), problem("a", "1")};
    input.seed = seed;
    evaluate(sampler, ByteTokenizer(), rewards, input);
    return sampler.keys;
  };
  CHECK(keys(1) == keys(1));
  CHECK(keys(1) != keys(2));
  CHECK(keys(1)[0] != keys(1)[1]);
}

TEST_CASE("pass@k beyond the samples is refused") {
  ListSampler sampler({{"x"}});
  RewardSet rewards({parse_reward_spec("math")});
  EvaluationInput input;
  input.problems = {problem("a", "1")};
  input.k = {2};
  CHECK_THROWS_AS(evaluate(sampler, ByteTokenizer(), rewards, input), UserError);
}
