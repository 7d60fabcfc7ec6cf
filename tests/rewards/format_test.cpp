#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "tests/rewards/reward_fixture.h"

using namespace hone;
using Catch::Approx;

namespace {

double format_score(const std::string& pattern, const std::string& text,
                    const std::string& prompt = "", FinishReason reason = FinishReason::stop) {
  const Score score = judge("format:pattern=" + pattern, Problem{}, text, prompt, reason);
  REQUIRE(score.status == Status::ok);
  return *score.value;
}

const std::string kGood = "<think>\nr\n</think>\n<answer>\n42\n</answer>";

}  // namespace

TEST_CASE("one thinking block and then one answer block have the R1-Zero format") {
  CHECK(format_score("r1_zero", kGood) == 1);
  CHECK(format_score("r1_zero", "<think>r</think><answer>42</answer>") == 1);
  CHECK(format_score("r1_zero", " <think>r</think> \r\n <answer>42</answer> \n") == 1);
  CHECK(format_score("r1_zero", kGood + "<|im_end|>") == 1);
  CHECK(format_score("r1_zero", "r\n</think>\n<answer>42</answer>", "Assistant: <think>\n") == 1);
}

TEST_CASE("attacks on the R1-Zero format are not paid") {
  for (const std::string text :
       {"",
        "42",
        "<think>r</think>",
        "<answer>42</answer>",
        "<think>r</think> 42",
        "<think>r</think><answer></answer>",
        "<think>r</think><answer> \n</answer>",
        "<think></think><answer>42</answer>",
        "<think>r</think><answer>42",
        "<think>r<answer>42</answer>",
        "<answer>42</answer><think>r</think>",
        "<think>r<answer>42</think></answer>",
        "<think>r</think><answer>42</answer> more",
        "so <think>r</think><answer>42</answer>",
        "<think>r</think> so <answer>42</answer>",
        "<think>r</think><answer>42</answer></answer>",
        "<think>r</think><answer>41</answer><answer>42</answer>",
        "<think>r</think><answer><answer>42</answer></answer>",
        "<think>r</think><answer><think>x</think>42</answer>",
        "<think>a</think><answer>41</answer><think>b</think><answer>42</answer>",
        "<think><think>r</think></think><answer>42</answer>",
        "<THINK>r</THINK><ANSWER>42</ANSWER>",
        "<think a=\"1\">r</think><answer>42</answer>",
        "<think>r</think ><answer>42</answer>",
        "\n</answer>\n<answer>\n\n</think>\n<think>\n",
        "<th\xD1\x96nk>r</th\xD1\x96nk><answer>42</answer>"}) {
    INFO(text);
    CHECK(format_score("r1_zero", text) == 0);
  }
  CHECK(format_score("r1_zero", kGood, "Assistant: <think>") == 0);  // opened twice
  CHECK(format_score("r1_zero", kGood, "", FinishReason::length) == 0);
  CHECK(format_score("r1_zero", kGood, "", FinishReason::abort) == 0);
}

TEST_CASE("the looser patterns ask for less and still for an ended completion") {
  CHECK(format_score("r1", "<think>r</think> It is 42.") == 1);
  CHECK(format_score("r1", "<think>r</think> ") == 0);
  CHECK(format_score("r1", "<think>r</think> a <think>b</think> 42") == 0);
  CHECK(format_score("r1", "42") == 0);
  CHECK(format_score("think", "<think>r</think>") == 1);
  CHECK(format_score("think", "<think>r") == 0);
  CHECK(format_score("tags", "Well, <think>r</think> so <answer>42</answer>.") == 1);
  CHECK(format_score("tags", "<answer>42</answer><think>r</think>") == 0);
  CHECK(format_score("tags", "<think>r</think><answer> </answer>") == 0);
  CHECK(format_score("tags", kGood + kGood) == 0);
  for (const char* pattern : {"r1", "think", "tags"}) {
    CHECK(format_score(pattern, kGood, "", FinishReason::length) == 0);
    CHECK(format_score(pattern, kGood) == 1);
  }
}

TEST_CASE("published patterns keep their published behaviour") {
  CHECK(format_score("open_r1", kGood) == 1);
  CHECK(format_score("open_r1", "<think>r</think><answer>42</answer>") == 0);
  CHECK(format_score("open_r1", kGood + "\nmore") == 1);
  CHECK(format_score("open_r1", kGood + " more") == 0);
  CHECK(format_score("open_r1", "<think>\n\n</think>\n<answer>\n\n</answer>") == 1);
  CHECK(format_score("open_r1", "<think>\n</think>\n<answer>\n42\n</answer>") == 0);
  CHECK(format_score("open_r1", "<think>\nr\n</think>\n<answer>\n</answer>x\n</answer>") == 1);
  CHECK(format_score("trl_think", "<think>This is my reasoning.</think>This is my answer.") == 1);
  CHECK(format_score("trl_think", "<think></think>") == 1);
  CHECK(format_score("trl_think", "<think>a<think>b</think></think>c") == 0);
  CHECK(format_score("trl_think", "a<think>b</think>c") == 0);
  CHECK(format_score("tag_count", kGood) == Approx(1.0));
  CHECK(format_score("tag_count", "<think>\na\n</think>\n<answer>\nb") == Approx(0.75));
  CHECK(format_score("tag_count", "a\nb") == 0);
}

TEST_CASE("overlong falls from zero to minus one inside the cache") {
  const auto overlong = [](size_t length) {
    Completion completion;
    completion.tokens.assign(length, 1);
    const Problem problem;
    return *make_rewarder(parse_reward_spec("length:kind=overlong,max=100,cache=20"))
                ->score({{&problem, &completion, "", {}}})[0]
                .value;
  };
  CHECK(overlong(80) == 0);
  CHECK(overlong(90) == Approx(-0.5));
  CHECK(overlong(100) == -1);
  CHECK(overlong(500) == -1);
}

TEST_CASE("cosine and kimi shape the length by whether the answer is right") {
  const Problem problem = problem_of({{"answer", "42"}});
  const auto values = [&](const std::string& spec,
                          const std::vector<std::pair<std::string, size_t>>& completions) {
    std::vector<Completion> made;
    for (const auto& [text, length] : completions) {
      made.emplace_back();
      made.back().text = text;
      made.back().tokens.assign(length, 1);
    }
    std::vector<RewardItem> items;
    for (const Completion& c : made) items.push_back({&problem, &c, "", {}});
    std::vector<double> out;
    for (const Score& s : make_rewarder(parse_reward_spec(spec))->score(items)) {
      out.push_back(*s.value);
    }
    return out;
  };
  const auto cosine =
      values("length:kind=cosine,max=100",
             {{"42", 0}, {"42", 50}, {"42", 100}, {"42", 300}, {"41", 0}, {"", 100}});
  CHECK(cosine[0] == Approx(1.0));
  CHECK(cosine[1] == Approx(0.75));
  CHECK(cosine[2] == Approx(0.5));
  CHECK(cosine[3] == Approx(0.5));
  CHECK(cosine[4] == Approx(-1.0));
  CHECK(cosine[5] == Approx(-0.5));
  const auto kimi = values("length:kind=kimi", {{"42", 10}, {"42", 30}, {"41", 10}, {"41", 30}});
  CHECK(kimi == std::vector<double>{0.5, -0.5, 0.0, -0.5});
  CHECK(values("length:kind=kimi", {{"42", 7}, {"41", 7}}) == std::vector<double>{0, 0});
}
