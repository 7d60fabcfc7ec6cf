#include "text/tokenizer.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "tests/temporary.h"
#include "text/sentencepiece.h"

namespace hone {
namespace {

using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using testing::TemporaryDirectory;

std::string tiny() { return data_root() + "/data/models/tiny-base"; }

std::string utf8(uint32_t c) {
  std::string out;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 63));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 63));
    out += static_cast<char>(0x80 | (c & 63));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 63));
    out += static_cast<char>(0x80 | (c >> 6 & 63));
    out += static_cast<char>(0x80 | (c & 63));
  }
  return out;
}

}  // namespace

TEST_CASE("every text comes back from its ids in a sentencepiece model") {
  const auto tokenizer = make_sentencepiece(read_file(tiny() + "/tokenizer.model"), "test");
  for (const std::string text : {"",
                                 " ",
                                 "  ",
                                 "   a   b ",
                                 "\n",
                                 "\n\n \n",
                                 "\t\r\n",
                                 "37+58=95 ok\n",
                                 "\xE2\x96\x81",
                                 " \xE2\x96\x81 a\xE2\x96\x81",
                                 "caf\xC3\xA9",
                                 "\xE4\xB8\xAD\xE6\x96\x87",
                                 "\xF0\x9F\x99\x82",
                                 "e\xCC\x81",
                                 "<think>",
                                 "<thin",
                                 "<s>",
                                 "</s> <s>",
                                 "<pad><unk>",
                                 "<0x0A>",
                                 "okay waiting",
                                 "Q:A:Q",
                                 "\xEF\xBB\xBF",
                                 "\x7F\x01"}) {
    INFO(text);
    CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
  }
  const std::string with_zero("a\0b", 3);
  CHECK(tokenizer->decode(tokenizer->encode(with_zero)) == with_zero);
  Rng rng(1);
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (uint64_t n = rng.below(20); n > 0; --n) {
      uint32_t c = static_cast<uint32_t>(rng.below(rng.chance(0.5) ? 128 : 0x110000));
      if (c >= 0xD800 && c < 0xE000) c = ' ';
      text += utf8(c);
    }
    CHECK(tokenizer->decode(tokenizer->encode(text)) == text);
  }
}

TEST_CASE("ids agree with those of Hugging Face's library, from either file of a model") {
  const auto tokenizer = load_tokenizer(tiny());
  const auto sentencepiece = make_sentencepiece(read_file(tiny() + "/tokenizer.model"), "test");
  int64_t rows = 0;
  for_each_line(std::string(HONE_TEST_DIR) + "/text/golden/tiny_base_ids.jsonl",
                [&](int64_t, const std::string& line) {
                  const Json row = Json::parse(line);
                  const auto text = row["text"].get<std::string>();
                  INFO(text);
                  const auto ids = row["ids"].get<std::vector<int32_t>>();
                  CHECK(tokenizer->encode(text) == ids);
                  CHECK(sentencepiece->encode(text) == ids);
                  CHECK(tokenizer->decode(ids) == text);
                  CHECK(sentencepiece->decode(ids) == text);
                  ++rows;
                });
  CHECK(rows > 300);
}

TEST_CASE("special tokens in the text are recognised and written out again") {
  const auto tokenizer = load_tokenizer(tiny());
  CHECK(tokenizer->encode("<s>") == std::vector<int32_t>{1});
  CHECK(tokenizer->encode("1</s>").back() == 2);
  CHECK(tokenizer->decode({1, 2, 3}) == "<s></s><pad>");
  CHECK(tokenizer->decode({-1, 100000}) == "\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(tokenizer->encode("").empty());
}

TEST_CASE("broken UTF-8 becomes replacement characters, one for each broken part") {
  CHECK(valid_utf8("a\xFF"
                   "b") ==
        "a\xEF\xBF\xBD"
        "b");
  CHECK(valid_utf8("\xE4\xB8") == "\xEF\xBF\xBD");              // one unfinished character
  CHECK(valid_utf8("\xC0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD");  // overlong
  CHECK(valid_utf8("\xED\xA0\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");  // surrogate
  CHECK(valid_utf8("\xF4\x90\x80\x80") == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  CHECK(valid_utf8("\xF0\x9F\x99"
                   "a") ==
        "\xEF\xBF\xBD"
        "a");
  const auto tokenizer = load_tokenizer(tiny());
  CHECK(tokenizer->decode(tokenizer->encode("1\xFF"
                                            "2")) ==
        "1\xEF\xBF\xBD"
        "2");
}

TEST_CASE("streaming never gives half a character and ends with the whole text") {
  const bool json = GENERATE(true, false);
  const auto tokenizer = json ? load_tokenizer(tiny())
                              : make_sentencepiece(read_file(tiny() + "/tokenizer.model"), "test");
  Rng rng(2);
  for (int i = 0; i < 500; ++i) {
    std::vector<int32_t> ids;
    if (i % 2 == 0) {
      ids = tokenizer->encode("\xF0\x9F\x99\x82 37 \xE4\xB8\xAD\xE6\x96\x87\n caf\xC3\xA9 ok");
      ids.resize(rng.below(ids.size() + 1));
    } else {
      for (uint64_t n = rng.below(30); n > 0; --n) {
        ids.push_back(static_cast<int32_t>(rng.below(512)));
      }
    }
    StreamDecoder decoder(*tokenizer);
    std::string all;
    for (int32_t id : ids) {
      const std::string part = decoder.push(id);
      CHECK(valid_utf8(part) == part);
      all += part;
    }
    all += decoder.finish();
    CHECK(all == tokenizer->decode(ids));
  }
  StreamDecoder decoder(*tokenizer);
  const auto smile = tokenizer->encode("\xF0\x9F\x99\x82");
  REQUIRE(smile.size() == 4);
  for (int i = 0; i < 3; ++i) CHECK(decoder.push(smile[i]).empty());
  // Hugging Face's decoder gives a run of byte tokens up as a whole if one of them is wrong.
  const std::string last = decoder.push(smile[3]);
  CHECK(last == (json ? "" : "\xF0\x9F\x99\x82"));
  CHECK(last + decoder.finish() == "\xF0\x9F\x99\x82");
}

TEST_CASE("training is a function of the texts and keeps the user's pieces whole") {
  const TemporaryDirectory a;
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back("the number " + std::to_string(i) + "\nis fine");
  SentencePieceTraining options;
  options.vocab_size = 290;
  options.user_pieces = {"\n", "<tag>", " fine"};
  train_sentencepiece(texts, options, a.path());
  const std::string first = read_file(a.path() + "/tokenizer.model");
  train_sentencepiece(texts, options, a.path());
  CHECK((read_file(a.path() + "/tokenizer.model") == first));
  CHECK(!sentencepiece_adds_space(first));
  const auto tokenizer = load_tokenizer(a.path());
  CHECK(tokenizer->vocab_size() == 290);
  for (const char* piece : {"\n", "<tag>", " fine"}) CHECK(tokenizer->encode(piece).size() == 1);
  CHECK(tokenizer->encode("123").size() == 3);
  options.vocab_size = 100000;
  CHECK_THROWS_MATCHES(train_sentencepiece(texts, options, a.path()), UserError,
                       MessageMatches(ContainsSubstring("vocabulary 100000")));
}

TEST_CASE(
    "a model with a dummy prefix puts one space before the text and takes it away in decoding") {
  // Turn the prefix on in the shipped model: a later normalizer_spec in the file wins.
  const std::string bytes =
      read_file(tiny() + "/tokenizer.model") + std::string("\x1A\x02\x18\x01", 4);
  CHECK(sentencepiece_adds_space(bytes));
  const auto tokenizer = make_sentencepiece(bytes, "test");
  const auto plain = make_sentencepiece(read_file(tiny() + "/tokenizer.model"), "test");
  CHECK(tokenizer->encode("12") == plain->encode(" 12"));
  CHECK(tokenizer->encode("<s>12") == plain->encode("<s>12"));
  for (const std::string text : {"12", " 12", "<s>12", "", "\n"}) {
    const auto ids = tokenizer->encode(text);
    CHECK(tokenizer->decode(ids) == text);
    StreamDecoder decoder(*tokenizer);
    std::string all;
    for (int32_t id : ids) all += decoder.push(id);
    CHECK(all + decoder.finish() == text);
  }
}

TEST_CASE("a sentencepiece model's texts begin with its begin token unless the directory says no") {
  const TemporaryDirectory d;
  write_file_atomic(d.path() + "/tokenizer.model", read_file(tiny() + "/tokenizer.model"));
  CHECK(load_tokenizer(d.path())->special_ids_around().before == std::vector<int32_t>{1});
  write_file_atomic(d.path() + "/tokenizer_config.json", R"({"add_bos_token": false})");
  CHECK(load_tokenizer(d.path())->special_ids_around().before.empty());
  write_file_atomic(d.path() + "/tokenizer_config.json", "[");
  CHECK_THROWS_MATCHES(load_tokenizer(d.path()), UserError,
                       MessageMatches(ContainsSubstring("tokenizer_config.json: expected JSON")));
}

TEST_CASE("what is missing is named") {
  const TemporaryDirectory d;
  CHECK_THROWS_MATCHES(load_tokenizer("/nonexistent"), UserError,
                       MessageMatches(ContainsSubstring("no such directory")));
  CHECK_THROWS_MATCHES(load_tokenizer(d.path()), UserError,
                       MessageMatches(ContainsSubstring("looked for tokenizer.json")));
  write_file_atomic(d.path() + "/tokenizer.model", "nonsense");
  CHECK_THROWS_MATCHES(load_tokenizer(d.path()), UserError,
                       MessageMatches(ContainsSubstring("expected a sentencepiece model")));
}

}  // namespace hone
