#include <catch2/catch_test_macros.hpp>

#include "tests/rewards/reward_fixture.h"

using namespace hone;

TEST_CASE("the answer is found in a box, a tag, after hashes, in a sentence, or alone") {
  for (const char* text : {"\\boxed{42}",
                           "So $\\boxed{42}$.",
                           "\\boxed{\\boxed{42}}",
                           "\\fbox{42}",
                           "$\\boxed 42$",
                           "\\\\boxed{42}",
                           "\\boxed {42}",
                           "<answer>42</answer>",
                           "<answer>\n$42$\n</answer>",
                           "<answer>It is \\boxed{42}</answer>",
                           "steps\n#### 42",
                           "#### $42",
                           "#### 42.00",
                           "#### Step 1\nwe add\nThe answer is 42.",
                           "blah\nAnswer: 42",
                           "**Answer:** 42",
                           "**Final answer: 42**",
                           "Final Answer: The final answer is $42$. I hope it is correct.",
                           "42",
                           " 42.\n",
                           "<think>maybe 41</think>42",
                           "<think>a</think>\n\\boxed{42}",
                           "<think>a</think> b <think>c</think> \\boxed{42}",
                           "\\boxed{42} that is \\boxed{42.0}",
                           "\\boxed{42}<|im_end|>",
                           "I will use \\boxed{}. \\boxed{42}"}) {
    INFO(text);
    CHECK(paid(judge_answer("math", "42", text)));
  }
}

TEST_CASE("attacks on math are not paid") {
  const std::string many(20000, '(');
  for (const std::string& text :
       std::vector<std::string>{"",
                                "{",
                                "\\boxed{}",
                                "\\boxed{ }",
                                "\\boxed{42",
                                "\\boxed{42} ... \\boxed{41",
                                "\\boxed{41} or \\boxed{42}",
                                "\\boxed{42} or \\boxed{41}",
                                "\\boxed{41, 42}",
                                "\\boxed{\\{41,42\\}}",
                                "\\boxed{41 = 42}",
                                "\\boxed{41 \\approx 42}",
                                "\\boxed{\\pm 42}",
                                "\\boxed{[41, 43]}",
                                "\\boxed{41 \\text{ or } 42}",
                                "\\boxed{42 or anything}",
                                "\\boxed{41 \\boxed{42}}",
                                "Put your final answer in \\boxed{answer}.",
                                "1 2 3 4 5 42",
                                "<answer>41</answer><answer>42</answer>",
                                "<answer>42</answer> <answer>41</answer>",
                                "<answer>41</answer> \\boxed{42}",
                                "<answer>42",
                                "<answer><answer>42</answer>",
                                "<think>\\boxed{42}",
                                "<think>\\boxed{42}</think>",
                                "<think>\\boxed{42}</think> done",
                                "\\boxed{42}<think>hm</think> done",
                                "\\boxed{42}</think>",
                                "<think>a</think>\\boxed{42}<think>",
                                "\\boxed{41} <think>a</think> \\boxed{42}",
                                "<think>a</think>\\boxed{41}</think>\\boxed{42}",
                                "\\boxed{\xD9\xA4\xD9\xA2}",
                                "\\boxed{\xEF\xBC\x94\xEF\xBC\x92}",
                                "\\boxed{4\xE2\x80\x8B"
                                "2}",
                                "\\boxed{42.0000001}",
                                "\\boxed{__import__('os').system('id')}",
                                "\\boxed{\\input{/etc/passwd}}",
                                "\\boxed{9^{9^{9^{9}}}}",
                                "\\boxed{" + many + "42" + "}",
                                "Answer: 41 or 42",
                                "The answer is not 41 but 42",
                                "#### 41 42",
                                "#### 42 #### 41",
                                "42 41"}) {
    INFO(text);
    CHECK(unpaid(judge_answer("math", "42", text)));
  }
}

TEST_CASE("a hedge is told as such") {
  CHECK(no_answer_for(judge_answer("math", "42", "\\boxed{41} \\boxed{42}"), "hedged"));
  CHECK(
      no_answer_for(judge_answer("math", "42", "<answer>1</answer><answer>42</answer>"), "hedged"));
  CHECK(no_answer_for(judge_answer("math", "42", "\\boxed{x} \\boxed{42}"), "hedged"));
  std::string all;
  for (int i = 0; i < 100; ++i) all += "\\boxed{" + std::to_string(i) + "}";
  CHECK(no_answer_for(judge_answer("math", "42", all), "hedged"));
}

TEST_CASE("a wrong number is wrong and an unreadable one is no answer") {
  const Score wrong = judge_answer("math", "42", "\\boxed{41}");
  CHECK(wrong.status == Status::ok);
  CHECK(wrong.value == 0.0);
  CHECK(wrong.details["answer"] == "41");
  CHECK(no_answer_for(judge_answer("math", "42", "\\boxed{x+}"), "unreadable"));
  CHECK(no_answer_for(judge_answer("math", "42", "<think>so 42"), "unclosed_thinking"));
  CHECK(no_answer_for(judge_answer("math", "42", "\\boxed{42"), "unterminated_box"));
  CHECK(no_answer_for(judge_answer("math", "42", ""), "empty"));
  CHECK(no_answer_for(judge_answer("math:extract=boxed", "42", "42"), "not_found"));
}

TEST_CASE("a thinking block that the prompt opened must be closed") {
  const std::string prompt = "User: 6*7? Assistant: <think>\n";
  CHECK(paid(judge_answer("math", "42", "six sevens</think> \\boxed{42}", prompt)));
  CHECK(unpaid(judge_answer("math", "42", "\\boxed{42}", prompt)));
  CHECK(unpaid(judge_answer("math", "42", "\\boxed{42}</think>", prompt)));
  CHECK(paid(judge_answer("math", "42", "\\boxed{42}", "what does <think> mean?")));
}

TEST_CASE("a reference that cannot be read gives no score at all") {
  for (const Json& fields :
       {Json::object(), Json{{"answer", ""}}, Json{{"answer", "x+"}}, Json{{"answer", nullptr}},
        Json{{"answer", {1, 2}}}, Json{{"answer", "1/0"}}, Json{{"solution", "no box here"}},
        Json{{"answer", std::string(5000, '9')}}}) {
    INFO(fields.dump());
    const Score score = judge("math", problem_of(fields), "\\boxed{x+1}");
    CHECK_FALSE(score.value.has_value());
    CHECK(score.status == Status::bad_reference);
  }
}

TEST_CASE("references are read from the usual fields and forms") {
  for (const Json& fields :
       {Json{{"answer", "42"}}, Json{{"answer", 42}}, Json{{"answer", 42.0}}, Json{{"gold", "42"}},
        Json{{"ground_truth", "42"}}, Json{{"answer", "6*7=<<6*7=42>>42\n#### 42"}},
        Json{{"solution", "First \\boxed{6}, then $\\boxed{42}$."}}, Json{{"answer", "$42$"}}}) {
    INFO(fields.dump());
    CHECK(paid(judge("math", problem_of(fields), "\\boxed{42}")));
    CHECK(unpaid(judge("math", problem_of(fields), "\\boxed{43}")));
  }
}

TEST_CASE("the extraction mode decides where the answer stands") {
  const std::string text = "\\boxed{1} <answer>2</answer>\n#### 3\nso 4";
  CHECK(paid(judge_answer("math:extract=boxed", "1", text)));
  CHECK(paid(judge_answer("math:extract=answer_tag", "2", text)));
  CHECK(paid(judge_answer("math:extract=hash", "3", text)));
  CHECK(paid(judge_answer("math:extract=last_number", "4", text)));
  CHECK(unpaid(judge_answer("math:extract=whole", "4", text)));
  CHECK(paid(judge_answer("math:extract=whole", "4", "<think>3</think> 4 ")));
}

TEST_CASE("the last number is taken whole") {
  const auto last = [](const std::string& answer, const std::string& text) {
    return judge_answer("math:extract=last_number", answer, text);
  };
  CHECK(paid(last("1000.99", "it is not 10 but 1,000.99\xE2\x82\xAC")));
  CHECK(paid(last("-5", "so x is -5.")));
  CHECK(paid(last("3", "5-3")));
  CHECK(paid(last("18", "It costs $18.")));
  CHECK(paid(last("3/4", "it is 3/4 of it")));
  CHECK(paid(last("1/4", "about 25\\%")));
  CHECK(paid(last("1/2", "so \\frac{1}{2}.")));
  CHECK(paid(last("7", "7 m^2")));
  CHECK(unpaid(last("4", "it is 3/4")));
  CHECK(unpaid(last("2", "it is \\frac{1}{2}")));
  CHECK(unpaid(last("2", "it is 2^{10}")));
  CHECK(unpaid(last("1", "it is 1e9")));
  CHECK(unpaid(last("2", "AZYUK2A")));
}

TEST_CASE("exact compares text, not values") {
  CHECK(paid(judge_answer("exact", "Paris", "<answer> Paris\n</answer>")));
  CHECK(paid(judge_answer("exact:extract=whole", "dcba", "dcba")));
  CHECK(unpaid(judge_answer("exact", "Paris", "<answer>Paris or Rome</answer>")));
  CHECK(unpaid(judge_answer("exact", "Paris", "<answer>Paris</answer><answer>Rome</answer>")));
  CHECK(unpaid(judge_answer("exact", "Paris", "<answer></answer>")));
  CHECK(unpaid(judge_answer("exact", "42", "<answer>42.0</answer>")));
  CHECK(judge_answer("exact", "", "").status == Status::bad_reference);
}
