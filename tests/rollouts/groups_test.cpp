#include "rollouts/groups.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "base/error.h"

using namespace hone;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;

namespace {

// One id a byte; 256 begins a text.
class ByteTokenizer : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (unsigned char c : text) ids.push_back(c);
    return ids;
  }
  std::string decode(const std::vector<int32_t>& ids) const override {
    return std::string(ids.begin(), ids.end());
  }
  std::string_view token_bytes(int32_t) const override { return ""; }
  int32_t vocab_size() const override { return 257; }
  std::optional<int32_t> bos() const override { return 256; }
  std::optional<int32_t> eos() const override { return std::nullopt; }
  std::optional<int32_t> pad() const override { return std::nullopt; }
  std::optional<int32_t> unk() const override { return std::nullopt; }
};

// Answers with its request's key and the number of the completion.
class EchoSampler : public Sampler {
 public:
  std::vector<std::vector<Completion>> sample(const std::vector<SampleRequest>& requests,
                                              const SamplingOptions&,
                                              const SampleProgress&) override {
    seen = requests;
    std::vector<std::vector<Completion>> all;
    for (const SampleRequest& request : requests) {
      all.emplace_back();
      for (int64_t i = 0; i < request.n; ++i) {
        all.back().emplace_back();
        all.back().back().text = cat(request.key, ":", i);
      }
    }
    return all;
  }
  std::vector<SampleRequest> seen;
};

Problem problem_of(const std::string& id, const std::string& prompt, Json fields = Json::object()) {
  return {id, "test", prompt, std::move(fields)};
}

std::string rendered(const std::string& form, const std::string& system = "") {
  return render_prompt(make_prompt_template({form, system}),
                       problem_of("p", "1+1?", {{"level", 3}, {"topic", "sums"}}));
}

void refused(const std::string& form, const std::string& part) {
  INFO(form);
  CHECK_THROWS_MATCHES(make_prompt_template({form, ""}), UserError,
                       MessageMatches(ContainsSubstring(part)));
}

}  // namespace

TEST_CASE("without a template the prompt is the problem's own") {
  CHECK(rendered("none") == "1+1?");
  CHECK(rendered("none", "Be brief.") == "Be brief.\n\n1+1?");
}

TEST_CASE("named templates wrap the prompt") {
  const std::string zero = rendered("r1_zero");
  CHECK(zero.starts_with("A conversation between User and Assistant."));
  CHECK(zero.ends_with("User: 1+1?. Assistant:"));
  CHECK(rendered("qwen_boxed") ==
        "<|im_start|>system\nPlease reason step by step, and put your final answer within "
        "\\boxed{}.<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n");
  CHECK(rendered("qwen_boxed", "Be brief.").starts_with("<|im_start|>system\nBe brief.<|im_end|>"));
}

TEST_CASE("a user's text names fields and keeps all other braces") {
  CHECK(rendered("Q: {prompt}\nA:") == "Q: 1+1?\nA:");
  CHECK(rendered("{topic} of level {level}: {prompt} <think>\n") ==
        "sums of level 3: 1+1? <think>\n");
  CHECK(rendered("{prompt} Use \\boxed{} and \\frac{1 }{{2 }}.") ==
        "1+1? Use \\boxed{} and \\frac{1 }{{2 }}.");
  CHECK(rendered("{prompt} Write \\boxed{{answer}}.") == "1+1? Write \\boxed{answer}.");
  CHECK(rendered("{prompt}{") == "1+1?{");
}

TEST_CASE("a wrong template is told") {
  refused("r1zero", "did you mean 'r1_zero'");
  refused("Solve this.", "has no {prompt}");
  refused("{prompt} The answer is {answer}.", "tell the model the answer");
  refused("{system}", "has no {prompt}");
  CHECK_THROWS_MATCHES(rendered("{prompt} {nothing}"), UserError,
                       MessageMatches(ContainsSubstring("no field 'nothing'")));
}

TEST_CASE("groups hold prompts, ids and as many completions as asked for") {
  EchoSampler sampler;
  GroupOptions options;
  options.group_size = 3;
  const auto groups = sample_groups(sampler, {problem_of("a", "x"), problem_of("b", "yz")},
                                    make_prompt_template({"<{prompt}>", ""}), ByteTokenizer(),
                                    options, SamplingOptions(), {1, 2, 3});
  REQUIRE(groups.size() == 2);
  CHECK(groups[1].problem.id == "b");
  CHECK(groups[1].prompt == "<yz>");
  CHECK(groups[1].prompt_tokens == std::vector<int32_t>{256, '<', 'y', 'z', '>'});
  REQUIRE(groups[1].completions.size() == 3);
  CHECK(groups[1].completions[2].text == cat(sampler.seen[1].key, ":2"));
  CHECK(sampler.seen[1].key == request_key(1, 2, 3, groups[1].prompt_tokens, 0));
}

TEST_CASE("keys depend on the prompt and its occurrence, not on the place in the batch") {
  EchoSampler sampler;
  const auto keys = [&](const std::vector<std::string>& prompts, uint64_t step) {
    std::vector<Problem> problems;
    for (const std::string& prompt : prompts) problems.push_back(problem_of("p", prompt));
    sample_groups(sampler, problems, make_prompt_template({}), ByteTokenizer(), {},
                  SamplingOptions(), {7, 0, step});
    std::vector<uint64_t> out;
    for (const SampleRequest& request : sampler.seen) out.push_back(request.key);
    return out;
  };
  const auto one = keys({"a", "b", "a"}, 1), other = keys({"b", "a", "a"}, 1);
  CHECK(one[0] != one[2]);
  CHECK(one[0] == other[1]);
  CHECK(one[1] == other[0]);
  CHECK(one[2] == other[2]);
  CHECK(one[0] != keys({"a"}, 2)[0]);
  CHECK(request_key(1, 0, 0, {5}, 0) != request_key(0, 1, 0, {5}, 0));
}

TEST_CASE("prompts that are too long are left out, and told when none fits") {
  const std::vector<Problem> problems = {problem_of("long", "0123456789"), problem_of("b", "01")};
  GroupOptions options;
  options.max_prompt_tokens = 3;  // the beginning of text counts
  const auto groups = prepare_groups(ByteTokenizer(), problems, make_prompt_template({}), options);
  REQUIRE(groups.size() == 1);
  CHECK(groups[0].problem.id == "b");
  options.max_prompt_tokens = 2;
  CHECK_THROWS_MATCHES(
      prepare_groups(ByteTokenizer(), problems, make_prompt_template({}), options), UserError,
      MessageMatches(ContainsSubstring("'long'") && ContainsSubstring("11 tokens") &&
                     ContainsSubstring("max_prompt_tokens is 2")));
  CHECK_THROWS_AS(
      prepare_groups(ByteTokenizer(), {problem_of("e", "")}, make_prompt_template({}), options),
      UserError);
  CHECK_THROWS_AS(prepare_groups(ByteTokenizer(), {}, make_prompt_template({}), options),
                  UserError);
}
