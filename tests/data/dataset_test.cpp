#include "data/dataset.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <set>
#include <thread>

#include "base/error.h"
#include "tests/temporary.h"

namespace hone {
namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using testing::TemporaryFile;

DataSpec task_spec(const std::string& task, double weight = 1,
                   std::map<std::string, std::string> options = {}) {
  DataSpec spec;
  spec.task = task;
  spec.weight = weight;
  spec.options = std::move(options);
  return spec;
}

DataSpec file_spec(const std::string& path, const std::string& format = "auto") {
  DataSpec spec;
  spec.path = path;
  spec.format = format;
  return spec;
}

std::string problems_error(const std::vector<DataSpec>& specs) {
  try {
    open_problems(specs, Split::train, 0);
  } catch (const UserError& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("item i depends on the seed and i alone") {
  const std::vector<DataSpec> specs = {task_spec("sum"), task_spec("multiply", 2)};
  const auto a = open_problems(specs, Split::train, 3), b = open_problems(specs, Split::train, 3);
  const auto other = open_problems(specs, Split::train, 4);
  std::vector<std::string> forward, backward(200);
  int same = 0;
  for (int i = 0; i < 200; ++i) forward.push_back(a->at(i).prompt);
  for (int i = 199; i >= 0; --i) backward[i] = b->at(i).prompt;
  for (int i = 0; i < 200; ++i) same += other->at(i).prompt == forward[i];
  CHECK(forward == backward);
  CHECK(same < 5);
  const auto documents = open_documents(specs, 3), again = open_documents(specs, 3);
  for (int i = 0; i < 200; ++i) CHECK(documents->at(i).text == again->at(i).text);
  CHECK(a->size() == -1);
}

TEST_CASE("a mixture keeps its weights") {
  const auto source = open_problems({task_spec("sum"), task_spec("multiply", 3)}, Split::train, 0);
  int sums = 0;
  for (int i = 0; i < 4000; ++i) sums += source->at(i).source == "sum";
  CHECK(sums > 900);
  CHECK(sums < 1100);
}

TEST_CASE("the held-out split is finite, distinct and evenly interleaved") {
  const auto source =
      open_problems({task_spec("sum"), task_spec("multiply", 9)}, Split::heldout, 0);
  std::set<std::string> ids;
  int64_t sums = 0, first_sums = 0;
  for (int64_t i = 0; i < source->size(); ++i) {
    const Problem p = source->at(i);
    ids.insert(p.id);
    sums += p.source == "sum";
    if (i < 70) first_sums += p.source == "sum";
  }
  CHECK(static_cast<int64_t>(ids.size()) == source->size());
  CHECK(sums == 512);
  CHECK(source->size() - sums > 150);  // every held-out pair of two-digit factors
  CHECK(source->size() - sums < 260);
  CHECK(first_sums > 40);
  CHECK(first_sums < 60);
  const auto few = open_problems({task_spec("sum", 1, {{"heldout", "7"}})}, Split::heldout, 0);
  CHECK(few->size() == 7);
  CHECK(few->at(7).id == few->at(0).id);
}

TEST_CASE("all held-out products are found, whatever the seed") {
  std::set<std::string> a, b;
  for (auto* ids : {&a, &b}) {
    const auto source = open_problems({task_spec("multiply")}, Split::heldout, ids == &a ? 1 : 2);
    for (int64_t i = 0; i < source->size(); ++i) ids->insert(source->at(i).id);
  }
  CHECK(a == b);
}

TEST_CASE("a file comes whole in every epoch and in a new order") {
  std::string content;
  for (int i = 0; i < 37; ++i) content += R"({"prompt": "p)" + std::to_string(i) + "\"}\n";
  const TemporaryFile file(content);
  const auto source = open_problems({file_spec(file.path)}, Split::train, 0);
  REQUIRE(source->size() == 37);
  std::vector<std::string> first, second;
  for (int i = 0; i < 37; ++i) first.push_back(source->at(i).prompt);
  for (int i = 37; i < 74; ++i) second.push_back(source->at(i).prompt);
  CHECK(std::set<std::string>(first.begin(), first.end()).size() == 37);
  CHECK(std::set<std::string>(second.begin(), second.end()).size() == 37);
  CHECK(first != second);
  const auto held = open_problems({file_spec(file.path)}, Split::heldout, 0);
  for (int i = 0; i < 37; ++i) CHECK(held->at(i).prompt == "p" + std::to_string(i));
}

TEST_CASE("rows may have carriage returns, blank lines and no last newline") {
  const TemporaryFile file(
      "{\"prompt\": \"a\", \"answer\": 1}\r\n\n"
      "{\"id\": \"x\", \"messages\": [{\"role\": \"system\", \"content\": \"s\"}, "
      "{\"role\": \"user\", \"content\": \"h\\u00e9\"}]}\n   \n"
      "{\"id\": 7, \"question\": \"c\", \"data_source\": \"other\"}");
  const auto source = open_problems({file_spec(file.path)}, Split::heldout, 0);
  REQUIRE(source->size() == 3);
  CHECK(source->at(0).id == "1");
  CHECK(source->at(0).fields["answer"] == 1);
  CHECK(source->at(0).source == std::filesystem::path(file.path).stem().string());
  CHECK(source->at(1).id == "x");
  CHECK(source->at(1).prompt == "h\xC3\xA9");
  CHECK(source->at(1).fields["messages"].size() == 2);
  CHECK(source->at(2).id == "7");
  CHECK(source->at(2).prompt == "c");
  CHECK(source->at(2).source == "other");
}

TEST_CASE("GSM8K's answers are read from behind the hashes") {
  const TemporaryFile file(R"({"question": "How many?", "answer": "2 and 3 are 5.\n#### 1,005 "})"
                           "\n");
  const auto source = open_problems({file_spec(file.path, "gsm8k")}, Split::train, 0);
  CHECK(source->at(0).prompt == "How many?");
  CHECK(source->at(0).fields["answer"] == "1,005");
  const TemporaryFile bad(R"({"question": "How many?", "answer": "5"})");
  CHECK_THAT(problems_error({file_spec(bad.path, "gsm8k")}), ContainsSubstring(":1: expected"));
}

TEST_CASE("documents say from where the loss counts") {
  const TemporaryFile file("{\"text\": \"all\"}\n{\"prompt\": \"Q\", \"completion\": \" A\"}\n");
  const auto source = open_documents({file_spec(file.path)}, 0);
  REQUIRE(source->size() == 2);
  for (int i = 0; i < 2; ++i) {
    const Document d = source->at(i);
    CHECK(d.loss_from == (d.text == "all" ? 0 : 1));
    CHECK((d.text == "all" || d.text == "Q A"));
  }
  const TemporaryFile bad("{\"text\": \"x\"}\n{\"prompt\": \"Q\"}\n");
  CHECK_THROWS_MATCHES(
      open_documents({file_spec(bad.path)}, 0), UserError,
      MessageMatches(ContainsSubstring(":2: expected text, or prompt and completion, "
                                       "or messages, found prompt")));
}

TEST_CASE("a file can be read from several threads") {
  std::string content;
  for (int i = 0; i < 200; ++i) content += R"({"prompt": "p)" + std::to_string(i) + "\"}\n";
  const TemporaryFile file(content);
  const auto source = open_problems({file_spec(file.path)}, Split::heldout, 0);
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) wrong[t] += source->at(i).prompt != "p" + std::to_string(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4));
}

TEST_CASE("errors say what, where and what to do") {
  CHECK_THAT(problems_error({task_spec("summ")}), ContainsSubstring("did you mean sum?"));
  CHECK_THAT(problems_error({task_spec("sum", 1, {{"operand", "4"}})}),
             ContainsSubstring("unknown option operand; did you mean operands?"));
  CHECK_THAT(
      problems_error({task_spec("sum", 1, {{"operands", "five"}})}),
      ContainsSubstring("option operands: expected a whole number from 3 to 32, found five"));
  CHECK_THAT(problems_error({task_spec("sum", 1, {{"exposure", "1.5"}})}),
             ContainsSubstring("expected a number from 0 to 1, found 1.5"));
  CHECK_THAT(problems_error({task_spec("sum", 1, {{"exposure", "0.9"}})}),
             ContainsSubstring("add up to 1.13"));
  CHECK_THAT(problems_error({}), ContainsSubstring("at least one entry"));
  CHECK_THAT(problems_error({DataSpec{}}), ContainsSubstring("either task or path"));
  CHECK_THAT(problems_error({task_spec("sum", 0)}), ContainsSubstring("weight above 0"));
  CHECK_THAT(problems_error({file_spec("/nonexistent/x.jsonl")}),
             ContainsSubstring("/nonexistent/x.jsonl: cannot be read: No such file"));
  CHECK_THAT(problems_error({file_spec("/tmp")}), ContainsSubstring("found a directory"));
  const TemporaryFile empty("\n\n");
  CHECK_THAT(problems_error({file_spec(empty.path)}),
             ContainsSubstring(empty.path + ": expected rows, the file is empty"));
  const TemporaryFile broken("{\"prompt\": \"a\"}\n{\"prompt\": \n");
  CHECK_THAT(problems_error({file_spec(broken.path)}),
             ContainsSubstring(broken.path + ":2: expected one JSON object a line"));
  const TemporaryFile list("[1]\n");
  CHECK_THAT(problems_error({file_spec(list.path)}),
             ContainsSubstring(":1: expected a JSON object"));
  const TemporaryFile keys("{\"text\": \"a\"}\n");
  CHECK_THAT(problems_error({file_spec(keys.path)}),
             ContainsSubstring(":1: expected prompt or messages, found text"));
  CHECK_THAT(problems_error({file_spec(keys.path, "gsm9k")}), ContainsSubstring("unknown format"));
}

TEST_CASE("tasks list their options with defaults") {
  for (const TaskInfo& task : list_tasks()) {
    CHECK(!task.meaning.empty());
    CHECK(task.options.at("exposure").starts_with("0.045: "));
    CHECK(task.options.count("heldout") == 1);
  }
}

}  // namespace hone
