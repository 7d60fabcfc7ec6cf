#include <catch2/catch_approx.hpp>
#include <catch2/catch_test_macros.hpp>

#include "base/error.h"
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

TEST_CASE("`tags` pays a quarter for each tag that is in its place") {
  CHECK(format_score("tags", "Well, <think>r</think> so <answer>42</answer>.") == 1);
  CHECK(format_score("tags", "<think>r</think>42") == 0.5);
  CHECK(format_score("tags", "<think>r</think><answer>42") == 0.75);
  CHECK(format_score("tags", "r</think><answer>42</answer>") == 0.75);
  CHECK(format_score("tags", "r</think><answer>42</answer>", "Go: <think>\n") == 1);
  CHECK(format_score("tags", "42</answer>") == 0.25);
  CHECK(format_score("tags", "") == 0);
  CHECK(format_score("tags", "<answer>42</answer><think>r</think>") == 0);  // out of order
  CHECK(format_score("tags", "</think>r<think>") == 0);
  CHECK(format_score("tags", "<think>r</think><answer> </answer>") == 0.5);  // around nothing
  CHECK(format_score("tags", "<think></think><answer></answer>") == 0);
  CHECK(format_score("tags", kGood + "</answer>") == 0);  // twice
  CHECK(format_score("tags", "<think>r</think><answer><think>x</think>42</answer>") == 0);
  CHECK(format_score("tags", kGood, "", FinishReason::length) == 0);
}

TEST_CASE("Open R1's other rules keep their published behaviour") {
  const std::string code = "<think>\nr\n</think>\n<answer>\n```python\nx = 1\n```\n</answer>";
  CHECK(format_score("open_r1_code", code) == 1);
  CHECK(format_score("open_r1_code,language=cpp", code) == 0);
  CHECK(format_score("open_r1_code", "<think>\nr\n</think>\n<answer>\n```\nx\n```\n</answer>") ==
        0);
  CHECK(format_score("open_r1_code", "<think>\nr\n</think>\n<answer>\n```python\n</answer>") == 0);
  CHECK(format_score("open_r1_steps", "Step 1: a\nStep 12: b") == Approx(2 / 3.0));
  CHECK(format_score("open_r1_steps", "1. a\n2. b") == Approx(1 / 3.0));  // ^ is the text's start
  CHECK(format_score("open_r1_steps", "First, a\n- b\n* c\nFinally, d") == 1);
  CHECK(format_score("open_r1_steps", "Step one: a. 1.") == 0);
  CHECK_THROWS_AS(parse_reward_spec("format:pattern=r1,language=cpp"), UserError);
}

TEST_CASE("other projects' rules see the end token, ours do not") {
  const std::string ended = kGood + "<|im_end|>";
  CHECK(format_score("r1_zero", ended) == 1);
  CHECK(format_score("tags", ended) == 1);
  CHECK(format_score("open_r1", ended) == 0);
  CHECK(format_score("tag_count", ended) == 1);
}
