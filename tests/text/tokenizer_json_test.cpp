#include "text/tokenizer_json.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <catch2/matchers/catch_matchers_exception.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <ctime>
#include <filesystem>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "tests/temporary.h"
#include "text/byte_level.h"
#include "text/regex.h"
#include "text/unicode.h"

namespace hone {
namespace {

namespace fs = std::filesystem;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::MessageMatches;
using Ids = std::vector<int32_t>;

#ifdef HONE_SANITIZE
constexpr double kSlack = 20;
#else
constexpr double kSlack = 1;
#endif

// A model whose tokens are the letters a to e, the space, and what the merges make of them.
FileJson letters(const std::vector<std::string>& merges = {}) {
  FileJson vocab = {{"a", 0}, {"b", 1}, {"c", 2}, {"d", 3}, {"e", 4}, {" ", 5}};
  for (const std::string& merge : merges) {
    std::string token = merge;
    token.erase(token.find(' '), 1);
    vocab[token] = vocab.size();
  }
  return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
          {"decoder", {{"type", "Fuse"}}}};
}

FileJson added(const std::string& content, int id, const FileJson& flags = FileJson::object()) {
  FileJson token = {{"id", id}, {"content", content}, {"normalized", false}, {"special", true}};
  token.update(flags);
  return token;
}

std::unique_ptr<Tokenizer> make(const FileJson& file, const FileJson& config = FileJson::object(),
                                const FileJson& special_map = FileJson::object()) {
  return make_tokenizer_json(file, config, special_map, "");
}

std::string streamed(const Tokenizer& tokenizer, const Ids& ids) {
  StreamDecoder decoder(tokenizer);
  std::string all;
  for (const int32_t id : ids) {
    const std::string part = decoder.push(id);
    CHECK(valid_utf8(part) == part);
    all += part;
  }
  return all + decoder.finish();
}

// Whether this build can read the file; else the test that asks is skipped.
void need_libraries() {
  if (!has_regex_library()) SKIP("hone was built without PCRE2");
  if (!has_unicode_library()) SKIP("hone was built without utf8proc");
}

// The committed tokenizers: one of each kind.
std::vector<std::string> kinds() {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(HONE_TEST_DIR "/text/golden/kinds")) {
    out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

Ids joined(Ids before, const Ids& ids, const Ids& after) {
  before.insert(before.end(), ids.begin(), ids.end());
  before.insert(before.end(), after.begin(), after.end());
  return before;
}

std::string shared(const std::string& name) {
  const std::string path = std::string(HONE_TEST_DIR) + "/../../shared/data/" + name;
  if (!fs::exists(path)) SKIP("no " << path);
  return path;
}

}  // namespace

TEST_CASE("tokenizers of every kind give Hugging Face's ids and text") {
  need_libraries();
  int64_t rows = 0;
  for (const std::string& directory : kinds()) {
    const auto tokenizer = load_tokenizer(directory);
    const SpecialIdsAround around = tokenizer->special_ids_around();
    for_each_line(directory + "/cases.jsonl", [&](int64_t number, const std::string& line) {
      INFO(directory << ":" << number);
      const Json row = Json::parse(line);
      const Ids ids = tokenizer->encode(row["text"].get<std::string>());
      CHECK(ids == row["ids"].get<Ids>());
      CHECK(tokenizer->decode(ids) == row["decoded"].get<std::string>());
      CHECK(streamed(*tokenizer, ids) == row["decoded"].get<std::string>());
      CHECK(joined(around.before, ids, around.after) == row["with_special"].get<Ids>());
      ++rows;
    });
  }
  CHECK(rows >= 13 * 40);
}

TEST_CASE("the published vectors of real tokenizers hold") {
  need_libraries();
  const auto [directory, vectors] =
      GENERATE(table<std::string, std::string>({{"gpt2_tokenizer", "gpt2_llamacpp"},
                                                {"qwen2_tokenizer", "qwen2_llamacpp"},
                                                {"qwen2.5_tokenizer", "qwen2_llamacpp"},
                                                {"llama2_sp_tokenizer", "llama2_spm_llamacpp"}}));
  const auto tokenizer = load_tokenizer(shared(directory));
  int64_t rows = 0;
  for_each_line(shared("tokenizer_vectors/" + vectors + ".jsonl"),
                [&](int64_t, const std::string& line) {
                  const Json row = Json::parse(line);
                  const auto text = row["text"].get<std::string>();
                  INFO(directory << ": " << text);
                  const Ids ids = tokenizer->encode(text);
                  CHECK(ids == row["ids"].get<Ids>());
                  CHECK(tokenizer->decode(ids) == text);
                  ++rows;
                });
  CHECK(rows > 30);
}

TEST_CASE("random ids stream to what they decode to, also broken bytes") {
  need_libraries();
  for (const std::string& directory : kinds()) {
    INFO(directory);
    const auto tokenizer = load_tokenizer(directory);
    Rng rng(3);
    for (int i = 0; i < 200; ++i) {
      Ids ids;
      for (uint64_t n = rng.below(12); n > 0; --n) {
        ids.push_back(
            static_cast<int32_t>(rng.below(static_cast<uint64_t>(tokenizer->vocab_size()) + 3)) -
            1);
      }
      CHECK(streamed(*tokenizer, ids) == tokenizer->decode(ids));
    }
  }
}

TEST_CASE("ids that no token has decode to the replacement character") {
  FileJson file = letters();
  file["model"]["vocab"]["f"] = 9;  // 6 to 8 are nobody's
  const auto tokenizer = make(file);
  CHECK(tokenizer->vocab_size() == 10);
  CHECK(tokenizer->decode({0, 7, 9, 10, -1, 1}) ==
        "a\xEF\xBF\xBD"
        "f\xEF\xBF\xBD\xEF\xBF\xBD"
        "b");
}

TEST_CASE("the merge of the lowest rank comes first, the leftmost of equals") {
  const auto tokenizer = make(letters({"b c", "a b", "bc d", "a a"}));
  CHECK(tokenizer->encode("abcd") == Ids{0, 8});
  CHECK(tokenizer->encode("aaa") == Ids{9, 0});
  CHECK(tokenizer->encode("").empty());
  CHECK(tokenizer->encode("x").empty());  // unknown, and there is no token for that
}

TEST_CASE("long words merge as short ones do, in n log n") {
  FileJson file = letters({"a a", "aa aa", "aaaa aaaa", "a b", "ab c"});
  const auto tokenizer = make(file);
  std::string unit = "aaaaaaaabcabcaab", text;
  Ids expected;
  for (int i = 0; i < 500; ++i) {
    // 'b' and 'c' end what merges reach over.
    const Ids part = tokenizer->encode(unit + "d");
    expected.insert(expected.end(), part.begin(), part.end());
    text += unit + "d";
  }
  CHECK(tokenizer->encode(text) == expected);
  const std::clock_t start = std::clock();
  CHECK(tokenizer->encode(std::string(1'000'000, 'a')).size() == 125'000);
  CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 5 * kSlack);
}

TEST_CASE("long runs of anything are encoded in time") {
  need_libraries();
  for (const std::string& directory : kinds()) {
    const auto tokenizer = load_tokenizer(directory);
    const std::string kind = fs::path(directory).filename();
    const bool drops = kind == "splits" || kind == "whitespace";  // some characters
    for (const char* unit :
         {" ", "\n", "a", "1", "!", " \n", "\xE4\xB8\xAD", "\xCC\x81", "'", "<"}) {
      std::string text;
      while (text.size() < 200'000) text += unit;
      INFO(directory << " " << unit);
      const std::clock_t start = std::clock();
      CHECK((drops || !tokenizer->encode(text).empty()));
      CHECK(static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC < 5 * kSlack);
    }
  }
}

TEST_CASE("invalid UTF-8 is encoded as the replacement character") {
  need_libraries();
  for (const std::string& directory : kinds()) {
    const auto tokenizer = load_tokenizer(directory);
    Rng rng(4);
    for (int i = 0; i < 50; ++i) {
      std::string bytes;
      for (uint64_t n = rng.below(30); n > 0; --n) bytes += static_cast<char>(rng.below(256));
      CHECK(tokenizer->encode(bytes) == tokenizer->encode(valid_utf8(bytes)));
    }
  }
}

TEST_CASE("several threads may encode with one tokenizer") {
  need_libraries();
  const auto tokenizer = load_tokenizer(HONE_TEST_DIR "/text/golden/kinds/llama3");
  const std::string text = "the of and to in is you that it 12345 don't";
  const Ids expected = tokenizer->encode(text);
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 300; ++i) {
        if (tokenizer->encode(text) != expected) ++wrong;
        tokenizer->encode("word " + std::to_string(i * 4 + t));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("added tokens take the white space that they strip, and stand alone where they must") {
  FileJson file = letters();
  file["added_tokens"] = {added("<l>", 6, {{"lstrip", true}}), added("<r>", 7, {{"rstrip", true}}),
                          added("<", 8), added("<long>", 9)};
  const auto tokenizer = make(file);
  CHECK(tokenizer->encode("a  <l> b") == Ids{0, 6, 5, 1});
  CHECK(tokenizer->encode("a <r>  b") == Ids{0, 5, 7, 1});
  CHECK(tokenizer->encode("<long>a<a<<r>") == Ids{9, 0, 8, 0, 8, 7});  // the longest
  CHECK(tokenizer->encode("  <r>  <l>  ") == Ids{5, 5, 7, 6, 5, 5});
  CHECK(tokenizer->decode({0, 6, 7, 8, 9}) == "a<l><r><<long>");
  if (!has_regex_library()) return;
  file["added_tokens"] = {added("bc", 6, {{"single_word", true}})};
  const auto words = make(file);
  CHECK(words->encode("a bc d") == Ids{0, 5, 6, 5, 3});
  CHECK(words->encode("abc bcd \xC3\xA9"
                      "bc bc") == Ids{0, 1, 2, 5, 1, 2, 3, 5, 1, 2, 5, 6});
}

TEST_CASE("a token that tokenizer_config.json declares is added, and its flags count") {
  FileJson file = letters();
  file["added_tokens"] = {added("<x>", 6)};
  CHECK(make(file)->encode("<x>  a<y>") == Ids{6, 5, 5, 0});
  const FileJson config = {{"added_tokens_decoder",
                            {{"6", added("<x>", 6, {{"rstrip", true}})}, {"7", added("<y>", 7)}}},
                           {"bos_token", "<x>"},
                           {"eos_token", {{"content", "<y>"}, {"lstrip", false}}},
                           {"pad_token", nullptr},
                           {"unk_token", "<new>"},
                           {"image_token", "<img>"},
                           {"add_bos_token", true},
                           {"additional_special_tokens", {"<x>", "<z>"}}};
  const auto tokenizer = make(file, config);
  CHECK(tokenizer->encode("<x>  a<y><new><img><z>") == Ids{6, 0, 7, 8, 9, 10});
  CHECK(tokenizer->special_ids_around().before.empty());  // the file's post-processor says it
  CHECK(tokenizer->bos() == 6);
  CHECK(tokenizer->eos() == 7);
  CHECK(!tokenizer->pad());
  CHECK(tokenizer->unk() == 8);
  // The map counts beside a configuration without declarations.
  const auto mapped =
      make(file, {{"eos_token", "a"}},
           {{"eos_token", "<x>"}, {"pad_token", "b"}, {"additional_special_tokens", {"<q>"}}});
  CHECK(mapped->encode("<q>") == Ids{7});
  CHECK(mapped->eos() == 6);
  CHECK(mapped->pad() == 1);
  CHECK(!mapped->bos());
}

TEST_CASE("post-processors say which ids stand around a text") {
  FileJson file = letters();
  const FileJson sequence = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const auto special = [](const char* name) {
    return FileJson{{"SpecialToken", {{"id", name}, {"type_id", 0}}}};
  };
  const FileJson ids = {{"s", {{"id", "s"}, {"ids", {3, 4}}, {"tokens", {"d", "e"}}}},
                        {"e", {{"id", "e"}, {"ids", {2}}, {"tokens", {"c"}}}}};
  const FileJson inner = {{"type", "TemplateProcessing"},
                          {"single", FileJson::array({special("s"), sequence, special("e")})},
                          {"special_tokens", ids}};
  file["post_processor"] = {
      {"type", "Sequence"},
      {"processors",
       {{{"type", "ByteLevel"}},
        inner,
        {{"type", "RobertaProcessing"}, {"cls", {"a", 0}}, {"sep", {"b", 1}}}}}};
  const auto tokenizer = make(file);
  CHECK(tokenizer->special_ids_around().before == Ids{0, 3, 4});
  CHECK(tokenizer->special_ids_around().after == Ids{2, 1});
  CHECK(make(letters())->special_ids_around().before.empty());
}

TEST_CASE("unknown characters become bytes, or one unknown token where they are fused") {
  FileJson file = letters();
  FileJson& model = file["model"];
  model["vocab"]["<unk>"] = 6;
  model["unk_token"] = "<unk>";
  CHECK(make(file)->encode("axyb") == Ids{0, 6, 6, 1});
  model["fuse_unk"] = true;
  CHECK(make(file)->encode("axyb") == Ids{0, 6, 1});
  model["byte_fallback"] = true;
  model["vocab"]["<0xC3>"] = 7;
  model["vocab"]["<0xA9>"] = 8;
  file["decoder"] = {{"type", "Sequence"},
                     {"decoders", {{{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}};
  const auto tokenizer = make(file);
  CHECK(tokenizer->encode("a\xC3\xA9x") == Ids{0, 7, 8, 6});
  CHECK(tokenizer->decode({0, 7, 8, 1}) ==
        "a\xC3\xA9"
        "b");
  // A run of bytes that is not UTF-8 as a whole gives one replacement for each of them.
  CHECK(tokenizer->decode({7, 8, 7}) == "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("the space that the tokenizer puts before a text is gone from the decoded one") {
  need_libraries();
  for (const char* kind : {"llama2", "mistral", "phi-3"}) {
    const auto tokenizer = load_tokenizer(std::string(HONE_TEST_DIR "/text/golden/kinds/") + kind);
    for (const std::string text : {"the of", " the", "  ", "", "\n the", "\xF0\x9F\x99\x82 of"}) {
      const Ids ids = tokenizer->encode(text);
      CHECK(streamed(*tokenizer, ids) == tokenizer->decode(ids));
      // Mistral's way puts none before a text that begins with one.
      if (kind != std::string("mistral") || !text.starts_with(" ")) {
        CHECK(tokenizer->decode(ids) == text);
      }
    }
    CHECK(tokenizer->token_bytes(tokenizer->encode("the").front()).front() == ' ');
  }
}

TEST_CASE("lower case knows the capitals that Hugging Face's tables know") {
  need_libraries();
  CHECK(lower_case("A\u00c9\u0416\u1e9e") == "a\u00e9\u0436\u00df");
  CHECK(lower_case("\u0130") == "i\u0307");
  // Unicode 16 and 17.
  CHECK(lower_case("\u1c89\ua7cb\ua7d4\ua7dc") == "\u1c8a\u0264\ua7d5\u019b");
  CHECK(lower_case("\U00010d50\U00010d65\U00010d66") == "\U00010d70\U00010d85\U00010d66");
  CHECK(lower_case("\U00016ea0\U00016eb8") == "\U00016ebb\U00016ed3");
}

TEST_CASE("vocab.json with merges.txt is GPT-2's tokenizer") {
  need_libraries();
  const testing::TemporaryDirectory directory;
  const FileJson json =
      FileJson::parse(read_file(HONE_TEST_DIR "/text/golden/kinds/gpt2/tokenizer.json"));
  FileJson vocab = json["model"]["vocab"];
  vocab["<|endoftext|>"] = vocab.size();
  std::string merges = "#version: 0.2\n";
  for (const FileJson& m : json["model"]["merges"]) {
    merges += m[0].get<std::string>() + " " + m[1].get<std::string>() + "\n";
  }
  write_file_atomic(directory / "vocab.json", vocab.dump());
  write_file_atomic(directory / "merges.txt", merges);
  const auto tokenizer = load_tokenizer(directory.path());
  const auto original = load_tokenizer(HONE_TEST_DIR "/text/golden/kinds/gpt2");
  for (const char* text : {"the of and", "don't  12 \xC3\xA9\n", "a<|endoftext|>b"}) {
    CHECK(tokenizer->encode(text) == original->encode(text));
  }
  CHECK(tokenizer->eos() == 420);
  CHECK(tokenizer->special_ids_around().before.empty());
  write_file_atomic(directory / "tokenizer_config.json", R"({"add_bos_token": true})");
  CHECK(load_tokenizer(directory.path())->special_ids_around().before == Ids{420});
  write_file_atomic(directory / "merges.txt", "a b c\n");
  CHECK_THROWS_MATCHES(load_tokenizer(directory.path()), UserError,
                       MessageMatches(ContainsSubstring("merges.txt:1: expected two tokens")));
}

TEST_CASE("what cannot be read is named, with its place") {
  const auto fails = [](FileJson file, const std::string& message) {
    CHECK_THROWS_MATCHES(make(file), UserError, MessageMatches(ContainsSubstring(message)));
  };
  FileJson file = letters();
  file["model"]["type"] = "Unigram";
  fails(file, "expected a model of type BPE, found 'Unigram'");
  file = letters();
  file["model"]["merges"] = {"a b"};
  fails(file, "tokenizer.json: model.merges[0]: expected two tokens");
  file["model"]["merges"] = {"a"};
  fails(file, "merges[0]: expected two tokens, as \"a b\"");
  file = letters();
  file["model"]["vocab"]["huge"] = 2'000'000'000;
  fails(file, "vocab.huge: expected an id below");
  file["model"]["vocab"]["huge"] = -1;
  fails(file, "vocab.huge");
  file = letters();
  file["normalizer"] = {{"type", "Precompiled"}};
  fails(file, "the normalizer 'Precompiled' is not supported");
  file = letters();
  file["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Bert"}}}}};
  fails(file, "pre_tokenizer.pretokenizers[0]: the pre-tokenizer 'Bert' is not supported");
  file = letters();
  file["decoder"] = {{"type", "CTC"}};
  fails(file, "the decoder 'CTC' is not supported");
  file = letters();
  file["post_processor"] = {{"type", "Other"}};
  fails(file, "the post-processor 'Other' is not supported");
  fails(FileJson::array(), "expected an object");
  fails({{"model", {{"vocab", FileJson::array()}, {"merges", FileJson::array()}}}},
        "model.vocab: expected an object");
}

TEST_CASE("regular expressions mean what Oniguruma takes them for") {
  if (!has_regex_library()) {
    CHECK_THROWS_MATCHES(Regex("a", "x"), UserError,
                         MessageMatches(ContainsSubstring("install libpcre2-dev")));
    SKIP("hone was built without PCRE2");
  }
  const auto matches = [](const std::string& pattern, const std::string& text) {
    std::vector<Span> spans;
    Regex(pattern, "x").find_all(text, spans);
    std::string out;
    for (const Span& s : spans) out += "[" + text.substr(s.begin, s.end - s.begin) + "]";
    return out;
  };
  CHECK(matches("\\d{1,3}+", "1234567") == "[1234567]");  // repeated, not possessive
  CHECK(matches("\\d{,2}", "123") == "[12][3]");
  CHECK(matches("a{3}?b", "b aaab") == "[b][aaab]");  // optional
  CHECK(matches("\\h+", "12fg") == "[12f]");
  CHECK(matches("[a-z&&[^aeiou]]+", "hello") == "[h][ll]");
  CHECK(matches("[^a-c&&b]", "abd") == "[a][d]");
  CHECK(matches("[a[bc]]+", "abcd") == "[abc]");
  CHECK(matches("[\\s\\S]", "a\n") == "[a][\n]");
  CHECK(matches("\\s", "\xE1\xA0\x8E") == "");  // U+180E
  CHECK(matches("x$", "x\nx") == "[x][x]");     // at the end of every line
  CHECK(matches("(?m:a.b)", "a\nb") == "[a\nb]");
  CHECK(matches("a.b", "a\nb") == "");
  CHECK(matches("a(?i)b|c", "aC ac aB") == "[aC][ac][aB]");
  CHECK(matches("(?i:'s)", "'S '\xC5\xBF") == "['S]['\xC5\xBF]");
  CHECK(matches("\\u4E2D", "\xE4\xB8\xAD") == "[\xE4\xB8\xAD]");
  CHECK(matches("\\p{Letter}+", "ab1") == "[ab]");
  CHECK(matches("\\p{^L}+", "ab1") == "[1]");
  CHECK(matches("\\p{Han}+", "\xE4\xB8\xAD\xE3\x80\x81") == "[\xE4\xB8\xAD]");
  CHECK(matches("\\p{L}", "\xF0\xB1\x8D\x90") == "[\xF0\xB1\x8D\x90]");  // U+31350, Unicode 15
  CHECK(matches("\\w+", "a\xC2\xB2") == "[a\xC2\xB2]");
  CHECK(matches("[[:alpha:]_]+", "a_1") == "[a_]");
  CHECK(matches("x*", "axx") == "[][xx]");
  CHECK(matches("[\\s-x]+", "- x") == "[- x]");
  for (const char* bad :
       {"(", "a)", "[", "[a", "\\", "\\p{Nonsense}", "(?<n>a)", "(*FAIL)", "\\p"}) {
    INFO(bad);
    CHECK_THROWS_MATCHES(Regex(bad, "FILE: place"), UserError,
                         MessageMatches(ContainsSubstring("FILE: place")));
  }
  // Exponential ones end with an error.
  std::vector<Span> spans;
  CHECK_THROWS_AS(Regex("(a+)+$x|(a|a)+(b|c)\\1\\2d", "x").find_all(std::string(2000, 'a'), spans),
                  UserError);
}

TEST_CASE("without its library a file is refused in words") {
  FileJson file = letters();
  file["normalizer"] = {{"type", "NFC"}};
  if (has_unicode_library()) {
    CHECK(make(file)->encode("a").size() == 1);
  } else {
    CHECK_THROWS_MATCHES(make(file), UserError,
                         MessageMatches(ContainsSubstring("install libutf8proc-dev")));
  }
}

TEST_CASE("bytes and the characters that stand for them are one to one") {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes += static_cast<char>(b);
  const std::string text = bytes_as_characters(bytes);
  CHECK(valid_utf8(text) == text);
  CHECK(characters_as_bytes(text) == bytes);
  CHECK(bytes_as_characters(" ") == "\xC4\xA0");
  CHECK(!characters_as_bytes("a b"));
}

}  // namespace hone
