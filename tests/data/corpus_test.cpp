// The corpora: what they claim is true where it says so, and no held-out problem is in them. The
// rules are written down here a second time, on purpose.
#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "base/hash.h"
#include "data/dataset.h"
#include "tests/data/expression.h"

namespace hone {
namespace {

using Options = std::map<std::string, std::string>;

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, at);) out.push_back(part);
  return out;
}

std::vector<std::string> documents(const std::string& task, int n, const Options& options = {}) {
  DataSpec spec;
  spec.task = task;
  spec.options = options;
  const auto source = open_documents({spec}, 11);
  std::vector<std::string> out;
  for (int i = 0; i < n; ++i) out.push_back(source->at(i).text);
  return out;
}

bool held_out_key(const std::string& key) {
  return std::stoull("0x" + md5_hex(key).substr(0, 8), nullptr, 16) % 16 == 0;
}

std::string sum_key(const std::string& question) {
  std::vector<int> numbers;
  for (const std::string& n : split(question, '+')) numbers.push_back(std::stoi(n));
  std::sort(numbers.begin(), numbers.end());
  std::string key = "sum:";
  for (size_t i = 0; i < numbers.size(); ++i) key += (i ? "+" : "") + std::to_string(numbers[i]);
  return key;
}

std::string mul_key(int a, int b) {
  return "mul:" + std::to_string(std::min(a, b)) + "*" + std::to_string(std::max(a, b));
}

// "Q: 37+58\nA:..." -> "37+58"; empty for drills and stories.
std::string question_of(const std::string& document) {
  if (!document.starts_with("Q: ")) return "";
  return document.substr(3, document.find('\n') - 3);
}

bool complete(const std::string& document) {
  static const std::regex form("Q: [^\n]*\nA: <think>\n[^<>]*\n</think>\n<answer>[^<>]*</answer>");
  return std::regex_match(document, form);
}

// The answer a question document ends with.
std::string answer_of(const std::string& document) {
  static const std::regex form("(<answer>|\nso |A: )([^<>\n]*)(</answer>)?$");
  std::smatch found;
  REQUIRE(std::regex_search(document, found, form));
  return found[2];
}

int64_t expected_of(const std::string& task, const std::string& question) {
  if (task != "countdown") return *test::Calculator::value(question);
  return std::stoll(question.substr(question.find("-> ") + 3));
}

// Whether all that is said in a word like "37+58=80+15=95" is true.
bool true_claim(const std::string& word) {
  std::set<int64_t> values;
  for (const std::string& side : split(word, '=')) {
    const auto value = test::Calculator::value(side);
    if (!value) return false;
    values.insert(*value);
  }
  return values.size() == 1;
}

const char* const kTasks[] = {"sum", "multiply", "countdown"};
const Options kNoErrors = {{"slip_short", "0"}, {"slip_long", "0"},   {"slip_check", "0"},
                           {"bare_wrong", "0"}, {"guess_right", "1"}, {"exposure", "0.3"}};

}  // namespace

TEST_CASE("without slips every line is true and every answer right") {
  for (const std::string task : kTasks) {
    for (const std::string& document : documents(task, 4000, kNoErrors)) {
      INFO(task << "\n" << document);
      const std::string question = question_of(document);
      for (const std::string& line : split(document, '\n')) {
        for (const std::string& word : split(line, ' ')) {
          if (word.find('=') != std::string::npos) CHECK(true_claim(word));
        }
      }
      if (question.empty()) continue;
      CHECK(test::Calculator::value(answer_of(document)) == expected_of(task, question));
    }
  }
}

TEST_CASE("countdown answers use each number once") {
  for (const char* numbers : {"3", "4"}) {
    Options options = kNoErrors;
    options["numbers"] = numbers;
    for (const std::string& document : documents("countdown", 2000, options)) {
      const std::string question = question_of(document);
      if (question.empty()) continue;
      INFO(document);
      std::vector<std::string> given = split(question.substr(0, question.find(" ->")), ' '), used;
      static const std::regex number("[0-9]+");
      const std::string answer = answer_of(document);
      for (std::sregex_iterator it(answer.begin(), answer.end(), number), end; it != end; ++it) {
        used.push_back(it->str());
      }
      std::sort(given.begin(), given.end());
      std::sort(used.begin(), used.end());
      CHECK(given == used);
      CHECK(given.size() == std::stoul(numbers));
    }
  }
}

TEST_CASE("checked work notices each of its slips and ends right") {
  const Options only_check = {{"untagged_short", "0"}, {"untagged_long", "0"}, {"bare_right", "0"},
                              {"bare_wrong", "0"},     {"exposure", "0"},      {"drill", "0"},
                              {"story", "0"},          {"slip_check", "0.3"}};
  for (const std::string task : kTasks) {
    int corrected = 0;
    for (const std::string& document : documents(task, 1000, only_check)) {
      INFO(document);
      CHECK(test::Calculator::value(answer_of(document)) ==
            expected_of(task, question_of(document)));
      corrected += document.find(" wait ") != std::string::npos;
    }
    CHECK(corrected > 500);
  }
}

TEST_CASE("an unnoticed slip is carried to the answer") {
  const Options only_long = {{"untagged_short", "0"}, {"untagged_check", "0"}, {"bare_right", "0"},
                             {"bare_wrong", "0"},     {"exposure", "0"},       {"drill", "0"},
                             {"story", "0"}};
  int wrong = 0;
  for (const std::string& document : documents("sum", 2000, only_long)) {
    INFO(document);
    const std::vector<std::string> lines = split(document, '\n');
    const std::string& last = lines[lines.size() - 2];
    CHECK(last.substr(last.rfind('=') + 1) == answer_of(document));
    wrong += std::stoll(answer_of(document)) != expected_of("sum", question_of(document));
  }
  CHECK(wrong > 300);  // 1 - .94^4 = .22
  CHECK(wrong < 570);
}

TEST_CASE("the base hardly sees the rewarded form") {
  for (const std::string task : kTasks) {
    const auto all = documents(task, 20000);
    const auto n = std::count_if(all.begin(), all.end(), complete);
    INFO(task);
    CHECK(n > 600);
    CHECK(n <= 1000);  // 5%
  }
  const auto none = documents("sum", 5000, {{"exposure", "0"}});
  CHECK(std::none_of(none.begin(), none.end(), complete));
  const auto broken = documents("sum", 5000, {{"exposure", "0"}, {"broken", "0.77"}});
  CHECK(std::none_of(broken.begin(), broken.end(), complete));
}

TEST_CASE("no held-out problem is in 20,000 documents of any corpus") {
  for (const std::string& document : documents("sum", 20000)) {
    const std::string question = question_of(document);
    if (!question.empty() && held_out_key(sum_key(question))) FAIL(document);
  }
  static const std::regex product("(\\d+)\\*(\\d+)");
  for (const Options& options : {Options{}, Options{{"a_digits", "3"}}}) {
    for (const std::string& document : documents("multiply", 20000, options)) {
      for (std::sregex_iterator it(document.begin(), document.end(), product), end; it != end;
           ++it) {
        const int a = std::stoi((*it)[1]), b = std::stoi((*it)[2]);
        // Multiples of ten and single digits are steps, never problems.
        if (a < 11 || b < 11 || a % 10 == 0 || b % 10 == 0) continue;
        if (held_out_key(mul_key(a, b))) FAIL(document);
      }
    }
  }
  for (const std::string& document : documents("countdown", 20000)) {
    const std::string question = question_of(document);
    if (question.empty()) continue;
    std::vector<int> numbers;
    for (const std::string& n : split(question.substr(0, question.find(" ->")), ' ')) {
      numbers.push_back(std::stoi(n));
    }
    std::sort(numbers.begin(), numbers.end());
    std::string key = "cd:";
    for (size_t i = 0; i < numbers.size(); ++i) key += (i ? "," : "") + std::to_string(numbers[i]);
    if (held_out_key(key + ":" + std::to_string(expected_of("countdown", question))))
      FAIL(document);
    // Whatever expression is written as the answer must not solve a held-out problem either.
    const auto value = test::Calculator::value(answer_of(document));
    if (value && held_out_key(key + ":" + std::to_string(*value))) FAIL(document);
  }
}

TEST_CASE("problems follow the published split in both directions") {
  for (const std::string task : kTasks) {
    const auto made = make_task(task, {});
    Rng rng(5);
    for (int i = 0; i < 500; ++i) {
      const Problem train = made->problem(Split::train, rng);
      const Problem held = made->problem(Split::heldout, rng);
      CHECK(!held_out_key(train.id));
      CHECK(held_out_key(held.id));
      CHECK(held.fields["data_source"] == task);
      CHECK(held.fields["prompt"] == held.prompt);
      if (task == "countdown") {
        CHECK(held.fields["numbers"].size() == 4);
        CHECK(held.fields["target"].is_number_integer());
      } else {
        const auto value = test::Calculator::value(held.fields["question"].get<std::string>());
        CHECK(held.fields["answer"] == std::to_string(*value));
      }
    }
  }
  Rng rng(1);
  static const std::regex sum("Q: \\d\\d(\\+\\d\\d){4}\nA:"), mul("Q: \\d\\d\\*\\d\\d\nA:"),
      mul32("Q: \\d\\d\\d\\*\\d\\d\nA:");
  CHECK(std::regex_match(make_task("sum", {})->problem(Split::train, rng).prompt, sum));
  CHECK(std::regex_match(make_task("multiply", {})->problem(Split::train, rng).prompt, mul));
  CHECK(std::regex_match(
      make_task("multiply", {{"a_digits", "3"}})->problem(Split::train, rng).prompt, mul32));
}

TEST_CASE("shares of the kinds of documents are what the options say") {
  int drill = 0, story = 0;
  const auto all = documents("sum", 20000, {{"drill", "0.2"}, {"story", "0.1"}});
  for (const std::string& document : all) {
    if (document.starts_with("Q: ")) continue;
    (document.find('\n') == std::string::npos ? story : drill) += 1;
  }
  CHECK(drill > 3700);
  CHECK(drill < 4300);
  CHECK(story > 1800);
  CHECK(story < 2200);
}

}  // namespace hone
