// The shipped tokenizer of the tiny base.
#include "data/tiny_tokenizer.h"

#include <catch2/catch_test_macros.hpp>

#include "base/file.h"
#include "data/dataset.h"
#include "tests/temporary.h"
#include "text/sentencepiece.h"
#include "text/tokenizer.h"

namespace hone {
namespace {

std::string shipped() { return data_root() + "/data/models/tiny-base"; }

}  // namespace

TEST_CASE("the shipped tokenizer is what make_tiny_tokenizer makes") {
  const testing::TemporaryDirectory directory;
  const std::string& made = directory.path();
  make_tiny_tokenizer(made, 0);
  for (const char* name : {"/tokenizer.model", "/tokenizer.json", "/tokenizer_config.json",
                           "/special_tokens_map.json"}) {
    INFO(name);
    CHECK((read_file(made + name) == read_file(shipped() + name)));
  }
}

TEST_CASE("tags, digits and operators are one token each") {
  const auto tokenizer = load_tokenizer(shipped());
  CHECK(tokenizer->vocab_size() == 512);
  CHECK(tokenizer->unk() == 0);
  CHECK(tokenizer->bos() == 1);
  CHECK(tokenizer->eos() == 2);
  CHECK(tokenizer->pad() == 3);
  for (const char* piece : {"\n", "<think>", "</think>", "<answer>", "</answer>", " ok", " wait",
                            "Q:", "A:", "0", "9", "+", "-", "*", "/", "=", "so", "easy", "guess"}) {
    INFO(piece);
    CHECK(tokenizer->encode(piece).size() == 1);
  }
  CHECK(tokenizer->encode("37+58=80+15=95").size() == 14);
}

TEST_CASE("prompts and documents have the lengths that the recipes count on") {
  const auto tokenizer = load_tokenizer(shipped());
  const auto sentencepiece = make_sentencepiece(read_file(shipped() + "/tokenizer.model"), "test");
  DataSpec sum;
  sum.task = "sum";
  const auto problems = open_problems({sum}, Split::train, 0);
  const auto documents = open_documents({sum}, 0);
  size_t tokens = 0, longest = 0;
  for (int i = 0; i < 2000; ++i) {
    const size_t prompt = tokenizer->encode(problems->at(i).prompt).size() + 1;  // BOS
    CHECK(prompt == 19);
    const std::string text = documents->at(i).text;
    const auto ids = tokenizer->encode(text);
    CHECK(sentencepiece->encode(text) == ids);
    CHECK(tokenizer->decode(ids) == text);
    tokens += ids.size() + 2;
    longest = std::max(longest, ids.size() + 2);
  }
  CHECK(tokens > 2000 * 60);
  CHECK(tokens < 2000 * 85);
  CHECK(longest < 192);
}

}  // namespace hone
