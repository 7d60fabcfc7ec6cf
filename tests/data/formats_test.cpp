// Each layout of rows that public data sets have, as problem or document.
#include "data/readers/formats.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "data/readers/row.h"
#include "data/readers/row_reader.h"

namespace hone {
namespace {

using Catch::Matchers::ContainsSubstring;

Row row_of(const std::string& text, const std::string& format = "auto") {
  return read_row(text, format_name(format), "dir/x.jsonl", 7);
}
Problem problem(const std::string& text, const std::string& format = "auto") {
  return problem_of(row_of(text, format));
}
Document document(const std::string& text, const std::string& format = "auto") {
  return document_of(row_of(text, format));
}

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}
std::string problem_error(const std::string& text, const std::string& format = "auto") {
  return error_of([&] { problem(text, format); });
}
std::string document_error(const std::string& text, const std::string& format = "auto") {
  return error_of([&] { document(text, format); });
}

// Rows as the sets have them, made up in content; what auto must take them for.
struct Example {
  const char *format, *row;
};
const std::vector<Example> kExamples = {
    {"gsm8k", R"j({"question": "2+3?", "answer": "2+3=<<2+3=5>>5\n#### 5"})j"},
    {"hone", R"j({"problem": "2+3?", "level": "Level 1", "solution": "It is $\\boxed{5}$."})j"},
    {"math500", R"j({"problem": "2+3?", "answer": "5", "unique_id": "test/a/1.json"})j"},
    {"humaneval",
     R"j({"task_id": "H/0", "prompt": "def f(x):\n", "canonical_solution": "    return x\n",
         "test": "def check(candidate):\n    assert candidate(1) == 1\n", "entry_point": "f"})j"},
    {"mbpp", R"j({"text": "Write f.", "code": "def f(): pass", "task_id": 11,
                 "test_setup_code": "", "test_list": ["assert f(1)", "assert f(2)"]})j"},
    {"mbpp", R"j({"prompt": "Write f.", "code": "def f(): pass", "task_id": 2,
                 "test_imports": ["import math"], "test_list": ["assert f(1)"]})j"},
    {"apps",
     R"j({"question": "Add.", "input_output": "{\"inputs\": [\"1 2\"], \"outputs\": [\"3\"]}",
                 "starter_code": "", "problem_id": 4})j"},
    {"livecodebench",
     R"j({"question_content": "Add.", "question_id": "abc_a", "starter_code": "class Solution:\n",
         "public_test_cases": "[{\"input\": \"1\", \"output\": \"2\", \"testtype\": \"stdin\"}]",
         "private_test_cases": "[{\"input\": \"3\", \"output\": \"4\", \"testtype\": \"stdin\"}]"})j"},
    {"codeforces",
     R"j({"description": "Add.", "input_format": "Two.", "output_format": "One.",
         "examples": [{"input": "1 2", "output": "3"}],
         "official_tests": [{"input": "5 6", "output": "11"}]})j"},
    {"leetcode", R"j({"query": "Solve.", "prompt": "import math\n", "task_id": "two-sum",
                     "test": "def check(candidate):\n    pass", "entry_point": "Solution().f"})j"},
    {"hone", R"j({"problem": "Add.", "tests": "{'functional': 'x\\ncheck(f)'}"})j"},
    {"choice", R"j({"question": "Which?", "choices": ["one", "two"], "answer": 1})j"},
    {"choice", R"j({"question": "Which?", "answerKey": "B",
                   "choices": {"text": ["one", "two"], "label": ["A", "B"]}})j"},
    {"sharegpt", R"j({"system": "Be kind.", "conversations": [{"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Hello"}]})j"},
    {"hone", R"j({"messages": [{"role": "user", "content": "Hi"},
                 {"role": "assistant", "content": "Hello"}]})j"},
    {"hone", R"j({"prompt": [{"role": "user", "content": "Hi"}], "answer": "5", "extra": [1]})j"},
    {"hone", R"j({"prompt": [{"role": "user", "content": "Hi"}],
                 "completion": [{"role": "assistant", "content": "Hello"}]})j"},
    {"hone", R"j({"prompt": "Hi", "completion": " there"})j"},
    {"verl", R"j({"data_source": "openai/gsm8k", "prompt": [{"role": "user", "content": "2+3?"}],
                 "ability": "math", "reward_model": {"style": "rule", "ground_truth": "5"},
                 "extra_info": {"split": "train", "index": 3}})j"},
    {"hone", R"j({"text": "all of it"})j"},
};

}  // namespace

TEST_CASE("a row is known by its columns, and reading hone's own row again changes nothing") {
  for (const Example& example : kExamples) {
    INFO(example.row);
    const Row row = row_of(example.row);
    CHECK(row.format == example.format);
    const Row again = row_of(to_line(row.fields));
    // Order of the columns aside.
    CHECK(nlohmann::json::parse(again.fields.dump()) == nlohmann::json::parse(row.fields.dump()));
    // By name it reads as by its columns.
    const Row named = row_of(example.row, example.format);
    CHECK(named.fields == row.fields);
  }
}

TEST_CASE("every format is named once, and other spellings lead to it") {
  std::set<std::string> names;
  for (const RowFormat& format : row_formats()) CHECK(names.insert(format.name).second);
  CHECK(format_name("MATH-500") == "math500");
  CHECK(format_name("aime24") == "aime");
  CHECK(format_name("auto") == "auto");
  CHECK_THAT(error_of([] { format_name("gsm9k"); }), ContainsSubstring("did you mean gsm8k?"));
  CHECK_THAT(error_of([] { format_name(""); }), ContainsSubstring("unknown format"));
}

TEST_CASE("GSM8K: the answer stands behind the hashes, and the worked solution stays") {
  const Problem p = problem(R"({"question": "Q", "answer": "a #### b\n#### 1,005 "})", "gsm8k");
  CHECK(p.prompt == "Q");
  CHECK(p.source == "gsm8k");
  CHECK(p.id == "7");
  CHECK(p.fields["answer"] == "1,005");
  CHECK(p.fields["solution"] == "a #### b\n#### 1,005 ");
  CHECK_THAT(problem_error(R"({"question": "Q", "answer": "5"})", "gsm8k"),
             ContainsSubstring("dir/x.jsonl:7: expected answer to end in \"#### NUMBER\" (format "
                               "gsm8k), found question, answer"));
  CHECK_THAT(problem_error(R"({"question": "Q", "answer": "####"})", "gsm8k"),
             ContainsSubstring("a number after ####"));
  CHECK_THAT(problem_error(R"({"question": "Q", "answer": 5})", "gsm8k"),
             ContainsSubstring("expected answer to be text, found number"));
  CHECK_THAT(problem_error(R"({"question": "Q"})", "gsm8k"),
             ContainsSubstring("expected answer ("));
  CHECK_THAT(problem_error(R"({"question": null, "answer": "5"})", "gsm8k"),
             ContainsSubstring("expected question or prompt"));
}

TEST_CASE("MATH, AIME and AMC: an answer, or a solution with a box") {
  CHECK(problem(R"({"problem": "P", "answer": 27.0})", "amc23").fields["answer"] == 27.0);
  CHECK(problem(R"({"Problem": "P", "Answer": "070", "ID": "2024-I-1"})", "aime").id == "2024-I-1");
  const Problem boxed = problem(R"({"problem": "P", "solution": "So \\boxed{5}."})", "math");
  CHECK(boxed.fields["solution"] == "So \\boxed{5}.");
  CHECK_FALSE(boxed.fields.contains("answer"));
  CHECK_THAT(problem_error(R"({"problem": "P", "solution": "So 5."})", "math"),
             ContainsSubstring("an answer, or a solution with \\boxed{}"));
  CHECK_THAT(problem_error(R"({"problem": "P", "answer": " "})", "aime"),
             ContainsSubstring("an answer that is not empty"));
  CHECK_THAT(problem_error(R"({"problem": "P"})", "math"), ContainsSubstring("answer or solution"));
}

TEST_CASE("HumanEval: the head of the function as it stands; MBPP: the task with its asserts") {
  const Problem h = problem(kExamples[3].row);
  CHECK(h.prompt == "def f(x):\n");
  CHECK(h.id == "H/0");
  CHECK(h.fields["tests"]["entry_point"] == "f");
  CHECK(h.fields["canonical_solution"] == "    return x\n");
  const Problem m = problem(kExamples[4].row);
  CHECK(m.prompt ==
        "You are an expert Python programmer, and here is your task: Write f. Your code should "
        "pass these tests:\n\nassert f(1)\nassert f(2)");
  CHECK(m.fields["tests"]["asserts"].size() == 2);
  CHECK(m.fields["code"] == "def f(): pass");
  CHECK(m.id == "11");
  CHECK(problem(kExamples[5].row).fields["tests"]["test_imports"] == Json::array({"import math"}));
  CHECK_THAT(problem_error(R"({"text": "T", "test_list": []})", "mbpp"),
             ContainsSubstring("test_list to be a list of asserts"));
}

TEST_CASE("programming problems: statement, code to begin with, tests of any name") {
  const Problem apps = problem(kExamples[6].row);
  CHECK(apps.prompt == "Add.");
  CHECK(apps.fields["tests"].is_string());  // integers beyond 64 bits would not survive as JSON
  const Problem lcb = problem(kExamples[7].row);
  CHECK(lcb.id == "abc_a");
  CHECK(lcb.fields["tests"].size() == 2);
  CHECK(lcb.prompt == "Add.\n\nComplete this code:\n```python\nclass Solution:\n```");
  const Problem cf = problem(kExamples[8].row);
  CHECK_THAT(cf.prompt,
             ContainsSubstring("Input\n\nTwo.") && ContainsSubstring("1 2\nExample out"));
  CHECK(cf.fields["tests"][0]["output"] == "11");
  const Problem lc = problem(kExamples[9].row);
  CHECK(lc.prompt == "Solve.");
  CHECK(lc.fields["tests"]["check"] == "import math\n\ndef check(candidate):\n    pass");
  CHECK(problem(kExamples[10].row, "leetcode").fields["tests"].is_string());
  CHECK_THAT(problem_error(R"({"question_content": "Q", "public_test_cases": [],
                               "private_test_cases": "eJxrYJmaywABNVMA"})"),
             ContainsSubstring("compressed tests must be unpacked first"));
  CHECK_THAT(problem_error(R"({"question": "Q", "input_output": ""})", "apps"),
             ContainsSubstring("expected tests (format apps)"));
}

TEST_CASE("multiple choice: the choices stand below the question") {
  const Problem list = problem(kExamples[11].row);
  CHECK(list.prompt == "Which?\n\nA. one\nB. two");
  CHECK(list.fields["answer"] == 1);
  CHECK(problem(kExamples[12].row).fields["answer"] == "B");
  const Problem aqua = problem(
      R"j({"question": "Q", "options": ["A)21", "B) 5"], "correct": "B", "rationale": "r"})j",
      "choice");
  CHECK(aqua.prompt == "Q\n\nA. 21\nB. 5");
  CHECK(aqua.fields["choices"] == Json::array({"21", "5"}));
  CHECK_THAT(problem_error(R"({"question": "Q", "choices": [], "answer": 0})"),
             ContainsSubstring("a list of 1 to 26 texts"));
  CHECK_THAT(problem_error(R"({"question": "Q", "choices": {"text": ["a"], "label": []},
                               "answer": "A"})"),
             ContainsSubstring("as many labels as texts"));
}

TEST_CASE("conversations: the loss counts in the assistant's messages") {
  const Document d = document(
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b",
          "weight": 0}, {"role": "user", "content": [{"type": "text", "text": "c"}]},
          {"role": "assistant", "content": "d"}]})");
  CHECK(d.text.empty());
  CHECK(d.messages.size() == 4);
  CHECK(d.learn == std::vector<bool>{false, false, false, true});
  const Document shared = document(kExamples[13].row);
  CHECK(shared.messages[0]["role"] == "system");
  CHECK(shared.messages[2]["content"] == "Hello");
  CHECK(shared.learn == std::vector<bool>{false, false, true});
  const Document trl = document(
      R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
          {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]})",
      "trl");
  CHECK(trl.learn == std::vector<bool>{false, false, false, true});
  const Document mixed =
      document(R"({"prompt": "a", "completion": [{"role": "assistant", "content": "d"}]})");
  CHECK(mixed.messages[0]["content"] == "a");
  CHECK(mixed.learn == std::vector<bool>{false, true});
  CHECK_THAT(document_error(R"({"messages": [{"role": "user", "content": "a"}]})"),
             ContainsSubstring("expected an answer of the assistant to learn"));
  CHECK_THAT(document_error(R"({"conversations": [{"from": "alien", "value": "a"}]})"),
             ContainsSubstring("expected from to be human, gpt, system or tool, found \"alien\""));
  CHECK_THAT(document_error(R"({"conversations": [{"from": "human"}]})"),
             ContainsSubstring("each of conversations to have from and value"));
  for (const char* messages :
       {"[]", "\"x\"", "{}", "[1]", R"([{"role": "user"}])", R"([{"role": 1, "content": "a"}])",
        R"([{"role": "user", "content": 5}])",
        R"([{"role": "user", "content": [{"type": "image"}]}])"}) {
    INFO(messages);
    CHECK_THAT(document_error(std::string("{\"messages\": ") + messages + "}"),
               ContainsSubstring("dir/x.jsonl:7: expected"));
    CHECK_THAT(problem_error(std::string("{\"prompt\": ") + messages + "}"),
               std::string(messages) == "\"x\"" ? ContainsSubstring("no error")
                                                : ContainsSubstring("dir/x.jsonl:7: expected"));
  }
}

TEST_CASE("a problem's messages end before the answer, so that no prompt gives it away") {
  const Problem p = problem(kExamples[14].row);
  CHECK(p.prompt == "Hi");
  CHECK(p.fields["messages"].size() == 1);
  const Problem numina = problem(R"({"problem": "Hi", "solution": "\\boxed{1}", "messages": [
      {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "It is 1"}]})");
  CHECK(numina.fields["messages"].size() == 1);
  CHECK_THAT(problem_error(R"({"messages": [{"role": "assistant", "content": "a"}]})"),
             ContainsSubstring("expected a message of the user"));
}

TEST_CASE("TRL: extra columns stay for the rewards") {
  const Problem p = problem(kExamples[15].row, "trl");
  CHECK(p.prompt == "Hi");
  CHECK(p.fields["messages"].size() == 1);
  CHECK(p.fields["extra"] == Json::array({1}));
  CHECK(p.fields["answer"] == "5");
}

TEST_CASE("verl: the ground truth is an answer, tests, or the fields of a reward") {
  const Problem p = problem(kExamples[18].row);
  CHECK(p.source == "openai/gsm8k");
  CHECK(p.prompt == "2+3?");
  CHECK(p.fields["answer"] == "5");
  CHECK(p.fields["extra_info"]["index"] == 3);
  const auto with_truth = [](const Json& truth) {
    return to_line({{"data_source", "x"},
                    {"prompt", Json::array({{{"role", "user"}, {"content", "Q"}}})},
                    {"reward_model", {{"style", "rule"}, {"ground_truth", truth}}}});
  };
  CHECK(problem(with_truth(R"({"inputs": ["1"], "outputs": ["2"]})")).fields["tests"].is_string());
  CHECK(problem(with_truth(R"([{"input": "1", "output": "2"}])")).fields.contains("tests"));
  CHECK(problem(with_truth("[1, 2]")).fields["answer"] == "[1, 2]");  // an interval, not a list
  CHECK(problem(with_truth("{1, 2}")).fields["answer"] == "{1, 2}");
  const Json countdown = {{"target", 24}, {"numbers", {4, 6}}};
  CHECK(problem(with_truth(countdown)).fields["ground_truth"] == countdown);
  CHECK(problem(with_truth(5)).fields["answer"] == 5);
  CHECK_THAT(problem_error(with_truth(nullptr)),
             ContainsSubstring("reward_model to be an object with ground_truth"));
  CHECK_THAT(problem_error(R"({"data_source": 5, "prompt": "Q",
                               "reward_model": {"ground_truth": "1"}})"),
             ContainsSubstring("expected data_source to be text, found number"));
}

TEST_CASE("rows that nobody should trust are refused in words") {
  std::string deep = R"({"prompt": "a", "x": )";
  for (int i = 0; i < 100000; ++i) deep += '[';
  CHECK_THAT(problem_error(deep), ContainsSubstring("at most 100 deep"));
  CHECK_THAT(problem_error("{\"prompt\": \"\xff\"}"), ContainsSubstring("one JSON object a line"));
  CHECK_THAT(problem_error("[1]"), ContainsSubstring("expected a JSON object, found array"));
  CHECK_THAT(problem_error("{\"prompt\": 5}"), ContainsSubstring("prompt to be text"));
  CHECK_THAT(problem_error("{\"id\": 3, \"error\": \"why\"}"),
             ContainsSubstring("could not be imported: \"why\""));
  CHECK_THAT(problem_error(R"({"prompt": null, "completion": "a"})"),
             ContainsSubstring("expected prompt, messages or text"));
  CHECK_THAT(problem_error(R"({"prompt": "a", "completion": 5})"),
             ContainsSubstring("expected messages to be a list"));
}

TEST_CASE("every row of the real data sets reads, with a prompt and a reference") {
  const std::string shared = std::string(HONE_TEST_DIR) + "/../../shared/data/";
  if (!std::filesystem::exists(shared)) SKIP("no folder " << shared);
  struct Set {
    const char *file, *format, *reference;
    int64_t rows;
  };
  for (const Set& set :
       std::vector<Set>{{"gsm8k/train.jsonl", "gsm8k", "answer", 7473},
                        {"gsm8k/test.jsonl", "gsm8k", "answer", 1319},
                        {"math500/test.jsonl", "math500", "answer", 500},
                        {"math_train_rllm/math.json", "math", "answer", 7474},
                        {"aime24/test.jsonl", "aime", "answer", 30},
                        {"aime25/test.jsonl", "aime", "answer", 30},
                        {"amc23/test.jsonl", "amc", "answer", 40},
                        {"humaneval/HumanEval.jsonl", "humaneval", "tests", 164},
                        {"mbpp/mbpp.jsonl", "mbpp", "tests", 974},
                        {"mbpp/sanitized-mbpp.json", "mbpp", "tests", 427},
                        {"rllm_code/codeforces_test.json", "codeforces", "tests", 408},
                        {"rllm_code/leetcode_test.json", "leetcode", "tests", 200}}) {
    for (const std::string format : {set.format, "auto"}) {
      INFO(set.file << " as " << format);
      int64_t rows = 0, whole = 0;
      std::vector<std::string> bad;
      for_each_row(shared + set.file, [&](const RowText& text) {
        ++rows;
        try {
          const Problem p = problem_of(read_row(text.text, format, set.file, text.number));
          const auto reference = p.fields.find(set.reference);
          const bool empty =
              reference == p.fields.end() || reference->is_null() || *reference == "";
          whole += !p.prompt.empty() && !empty;
        } catch (const UserError& error) {
          bad.push_back(error.what());
        }
      });
      CHECK(rows == set.rows);
      // Four rows of this set have no answer (null or ""): by name they are told, auto lets them
      // by.
      const int64_t without = std::string(set.file) == "math_train_rllm/math.json" ? 4 : 0;
      CHECK(whole == set.rows - without);
      CHECK(static_cast<int64_t>(bad.size()) == (format == "auto" ? 0 : without));
    }
  }
}

TEST_CASE("a number beyond every range is a bad row, not a crash") {
  CHECK_THROWS_AS(read_row(R"({"prompt": "a", "answer": 7E525})", "auto", "x.jsonl", 1), UserError);
}

}  // namespace hone
