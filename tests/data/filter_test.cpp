// What of a file serves: length, splits, repetition, test sets, bad rows.
#include "data/filter.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "tests/temporary.h"

namespace hone {
namespace {

using Catch::Matchers::ContainsSubstring;
using testing::TemporaryFile;

std::string row(const std::string& prompt, const std::string& answer = "1") {
  return to_line({{"prompt", prompt}, {"answer", answer}}) + "\n";
}

DataSpec spec_of(const TemporaryFile& file) {
  DataSpec spec;
  spec.path = file.path;
  return spec;
}

std::vector<std::string> prompts(const DataSpec& spec, Split split) {
  const auto source = open_problems({spec}, split, 0);
  std::vector<std::string> out;
  for (int64_t i = 0; i < source->size(); ++i) out.push_back(source->at(i).prompt);
  return out;
}

std::string error_of(const DataSpec& spec) {
  try {
    open_problems({spec}, Split::train, 0);
  } catch (const UserError& e) {
    return e.what();
  }
  return "no error";
}

const std::string kQuestion =
    "A farmer has seventeen sheep and buys twice as many goats as he has sheep on Monday";

}  // namespace

TEST_CASE("a split puts each prompt on one side, wherever its row stands") {
  std::string forward, backward;
  for (int i = 0; i < 2000; ++i) {
    forward += row("question " + std::to_string(i));
    backward = row("question " + std::to_string(i), "another answer") + backward;
  }
  const TemporaryFile a(forward), b(backward);
  std::set<std::string> sides[2];
  for (const TemporaryFile* file : {&a, &b}) {
    DataSpec spec = spec_of(*file);
    spec.rows.split.heldout = 0.1;
    const auto train = prompts(spec, Split::train), held = prompts(spec, Split::heldout);
    CHECK(train.size() + held.size() == 2000);
    CHECK(held.size() > 150);
    CHECK(held.size() < 250);
    std::set<std::string> set(held.begin(), held.end());
    for (const std::string& prompt : train) CHECK(set.count(prompt) == 0);
    sides[file == &b] = set;
  }
  CHECK(sides[0] == sides[1]);
  // Without regard to case and white space, and a larger share keeps what a smaller one held out.
  CHECK(is_held_out("A  b\n", 0.5) == is_held_out("a b", 0.5));
  for (const std::string& prompt : sides[0]) CHECK(is_held_out(prompt, 0.2));
  DataSpec none = spec_of(a);
  CHECK(prompts(none, Split::heldout).size() == 2000);  // no split: both sides have all
}

TEST_CASE("texts that came before and texts that are too long are left out") {
  const TemporaryFile file(row("What is 2+2?") + row("what is  2+2? ") + row("What is 2-2?") +
                           row("\xC3\xA9\xC3\xA9\xC3\xA9\xC3\xA9") + row(std::string(50, 'x')));
  DataSpec spec = spec_of(file);
  spec.rows.dedupe = true;
  CHECK(prompts(spec, Split::heldout).size() == 4);
  spec.rows.max_chars = 20;
  const auto source = open_problems({spec}, Split::heldout, 0);
  CHECK(source->size() == 3);
  CHECK(source->at(2).id == "4");  // rows keep the numbers that they have in the file
  CHECK_THAT(source->report(),
             ContainsSubstring("left out 2 of 5 rows: 1 too long, 1 repeated\n  ") &&
                 ContainsSubstring(":2: says the same as a row before it") &&
                 ContainsSubstring(":5: has 50 characters, max_chars is 20"));
  spec.rows.max_chars = 3;
  CHECK_THAT(error_of(spec), ContainsSubstring("no row is left: left out 5 of 5 rows"));
}

TEST_CASE("rows that share thirteen words with a test problem are left out") {
  const TemporaryFile test(row("Intro. " + kQuestion + "?") + row("Short one!"));
  const TemporaryFile file(row("first") + row(kQuestion + ". How many animals?") +
                           row("A farmer has seventeen sheep and buys twice as many goats as him") +
                           row("short   ONE") + row("not so short one"));
  DataSpec spec = spec_of(file);
  spec.rows.against = {test.path};
  const auto source = open_problems({spec}, Split::heldout, 0);
  REQUIRE(source->size() == 3);
  CHECK(source->at(0).prompt == "first");
  CHECK_THAT(source->at(1).prompt, ContainsSubstring("as him"));  // twelve words in a row
  CHECK(source->at(2).prompt == "not so short one");
  CHECK_THAT(source->report(), ContainsSubstring(":2: shares 13 words with " + test.path + ":1") &&
                                   ContainsSubstring(":4: has all words of " + test.path + ":2"));
  spec.rows.ngram = 12;
  CHECK(open_problems({spec}, Split::heldout, 0)->size() == 2);
  spec.rows.ngram = 3;  // and "short one" is not three words
  CHECK(open_problems({spec}, Split::heldout, 0)->size() == 2);
}

TEST_CASE("an instruction that many test problems share marks nobody, their text does") {
  std::string test, data;
  const std::string instruction =
      " Let us think step by step and put the final answer within a box at the very end.";
  for (int i = 0; i < 20; ++i) {
    std::string text;
    for (int w = 0; w < 20; ++w) text += "w" + std::to_string(i * 100 + w) + " ";
    test += row(text + instruction);
    data += row("something else number " + std::to_string(i) + instruction);
  }
  const TemporaryFile tests(test), file(data + test);
  DataSpec spec = spec_of(file);
  spec.rows.against = {tests.path};
  CHECK(open_problems({spec}, Split::heldout, 0)->size() == 20);
}

TEST_CASE("scripts without spaces are compared by characters") {
  const std::string text = "\xE5\xB0\x8F\xE6\x98\x8E\xE6\x9C\x89\xE4\xB8\x89\xE4\xB8\xAA";  // five
  const TemporaryFile test(row(text + text + text)),
      file(row("x") + row("\xE6\x88\x91" + text + text + text));
  DataSpec spec = spec_of(file);
  spec.rows.against = {test.path};
  CHECK(prompts(spec, Split::heldout) == std::vector<std::string>{"x"});
}

TEST_CASE("a bad row stops the run, or is skipped and counted") {
  const TemporaryFile file(row("a") + "not json\n" + row("b") + "{\"promt\": 1}\n");
  DataSpec spec = spec_of(file);
  CHECK_THAT(error_of(spec), ContainsSubstring(file.path + ":2: expected one JSON object a line"));
  spec.rows.bad_rows = "skip";
  const auto source = open_problems({spec}, Split::train, 0);
  CHECK(source->size() == 2);
  CHECK_THAT(source->report(), ContainsSubstring("left out 2 of 4 rows: 2 bad") &&
                                   ContainsSubstring(":4: expected prompt, messages or text"));
  const TemporaryFile all("[1]\n");
  DataSpec none = spec_of(all);
  none.rows.bad_rows = "skip";
  CHECK_THAT(error_of(none), ContainsSubstring("no row is left"));
}

TEST_CASE("options that make no sense are told") {
  const TemporaryFile file(row("a"));
  const auto told = [&](auto change) {
    DataSpec spec = spec_of(file);
    change(spec);
    return error_of(spec);
  };
  CHECK_THAT(told([](DataSpec& s) { s.rows.split.heldout = 1; }), ContainsSubstring("below 1"));
  CHECK_THAT(told([](DataSpec& s) { s.rows.max_chars = -1; }), ContainsSubstring("max_chars"));
  CHECK_THAT(told([](DataSpec& s) { s.rows.ngram = 0; }), ContainsSubstring("ngram"));
  CHECK_THAT(told([](DataSpec& s) { s.rows.bad_rows = "ignore"; }),
             ContainsSubstring("stop or skip"));
  CHECK_THAT(told([](DataSpec& s) { s.rows.against = {"/nowhere.jsonl"}; }),
             ContainsSubstring("/nowhere.jsonl: cannot be read"));
  CHECK_THAT(told([](DataSpec& s) { s.options["max_char"] = "5"; }),
             ContainsSubstring("unknown option max_char; did you mean max_chars?"));
  CHECK_THAT(told([](DataSpec& s) {
               s.path = "";
               s.task = "sum";
               s.rows.dedupe = true;
             }),
             ContainsSubstring("are for files"));
}

TEST_CASE("documents are filtered by all that is said in them") {
  const auto conversation = [](const std::string& system, const std::string& answer) {
    return to_line({{"messages",
                     {{{"role", "system"}, {"content", system}},
                      {{"role", "user"}, {"content", "Hi"}},
                      {{"role", "assistant"}, {"content", answer}}}}}) +
           "\n";
  };
  const TemporaryFile file(conversation("a", "Hello") + conversation("b", "hello") +
                           conversation("a", "Good day"));
  DataSpec spec = spec_of(file);
  spec.rows.dedupe = true;
  CHECK(open_documents({spec}, 0)->size() == 2);
}

TEST_CASE(
    "no problem of MATH's train set is left out against MATH-500, GSM8K's test against itself") {
  const std::string shared = std::string(HONE_TEST_DIR) + "/../../shared/data/";
  if (!std::filesystem::exists(shared)) SKIP("no folder " << shared);
  DataSpec spec;
  spec.path = shared + "math_train_rllm/math.json";
  spec.rows.against = {shared + "math500/test.jsonl"};
  const auto source = open_problems({spec}, Split::train, 0);
  CHECK(source->size() > 7000);  // near twins are left out: problems that differ in a number
  CHECK(source->size() < 7474);
  spec.path = shared + "gsm8k/test.jsonl";
  spec.rows.against = {spec.path};
  CHECK_THAT(error_of(spec), ContainsSubstring("no row is left"));
}

}  // namespace hone
