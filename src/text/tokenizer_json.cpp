#include "text/tokenizer_json.h"

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoders.h"
#include "text/normalizers.h"
#include "text/pre_tokenizers.h"
#include "text/vocabulary.h"

namespace hone {
namespace {

constexpr std::string_view kUnknownId = "\xEF\xBF\xBD";
constexpr int kMaxNesting = 64;  // of a file's objects and lists

// Qwen2Tokenizer in transformers.
constexpr char kQwen2[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

Bpe::Merge read_merge(const JsonField& merges, size_t i) {
  const FileJson& merge = (*merges.json)[i];
  if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
    return {merge[0].get<std::string>(), merge[1].get<std::string>()};
  }
  if (merge.is_string()) {
    const auto& text = merge.get_ref<const std::string&>();
    const size_t space = text.find(' ');
    if (space != std::string::npos && text.find(' ', space + 1) == std::string::npos) {
      return {text.substr(0, space), text.substr(space + 1)};
    }
  }
  JsonField{&merge, cat(merges.where, "[", i, "]")}.fail(
      "two tokens, as \"a b\" or [\"a\", \"b\"]");
}

// What add_special_tokens adds. Processors in a sequence wrap what those before them made.
void read_post_processor(const JsonField& field, SpecialIdsAround& around) {
  const std::string type = field.at("type").text();
  SpecialIdsAround own;
  if (type == "Sequence") {
    for (const JsonField& item : field.at("processors").items()) read_post_processor(item, around);
  } else if (type == "TemplateProcessing") {
    const JsonField ids = field.at("special_tokens");
    bool behind = false;
    for (const JsonField& piece : field.at("single").items()) {
      if (piece.find("Sequence")) {
        behind = true;
        continue;
      }
      const JsonField special = piece.at("SpecialToken");
      const std::string name = special.at("id").text();
      for (const JsonField& id : ids.at(name.c_str()).at("ids").items()) {
        (behind ? own.after : own.before).push_back(id.number());
      }
    }
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto id_of = [&](const char* key) {
      const auto pair = field.at(key).items();
      if (pair.size() != 2) field.at(key).fail("a token and its id");
      return pair[1].number();
    };
    own.before.push_back(id_of("cls"));
    own.after.push_back(id_of("sep"));
  } else if (type != "ByteLevel") {
    throw UserError(cat(field.where, ": the post-processor '", type,
                        "' is not supported; known are TemplateProcessing, ByteLevel, "
                        "BertProcessing, RobertaProcessing and Sequence"));
  }
  around.before.insert(around.before.begin(), own.before.begin(), own.before.end());
  around.after.insert(around.after.end(), own.after.begin(), own.after.end());
}

class JsonTokenizer : public Tokenizer {
 public:
  JsonTokenizer(const JsonField& file, const JsonField& config, const JsonField& special_map) {
    const JsonField model = file.at("model");
    const std::string type = model.text_or("type", model.find("merges") ? "BPE" : "");
    if (type != "BPE") {
      throw UserError(cat(model.where, ": expected a model of type BPE, found '", type,
                          "'; hone reads byte-level and sentencepiece-style BPE"));
    }
    Vocabulary vocabulary = read_vocabulary(file);
    named_ = add_configured_tokens(config, special_map, vocabulary);

    if (const auto field = file.find("normalizer")) read_normalizer(*field, normalizers_);
    if (const auto field = file.find("pre_tokenizer")) read_pre_tokenizer(*field, pre_tokenizers_);
    if (const auto field = file.find("decoder")) {
      read_decoder(*field, decoders_);
    } else {
      decoders_.push_back(JoinBySpaces{});
    }
    if (const auto field = file.find("post_processor")) read_post_processor(*field, around_);
    read_model(model, vocabulary);
    place_tokens(vocabulary, file.where);
  }

  std::vector<int32_t> encode(std::string_view raw) const override {
    const std::string text = valid_utf8(raw);
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3);
    const Borrowed scratch(*this);
    std::vector<TextPart> parts;
    added_.split(text, parts);
    for (const TextPart& part : parts) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      const std::string_view plain =
          std::string_view(text).substr(part.span.begin, part.span.end - part.span.begin);
      encode_part(plain, part.span.begin == 0, *scratch.scratch, ids);
    }
    return ids;
  }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string out;
    if (bytes_alone_) {
      for (const int32_t id : ids) out += token_bytes(id);
      return valid_utf8(out);
    }
    TokenDecoder decoder(decoders_);
    for (const int32_t id : ids) out += decoder.push(token(id));
    return out + decoder.finish();
  }

  std::string_view token_bytes(int32_t id) const override {
    return known(id) ? std::string_view(bytes_[static_cast<size_t>(id)]) : kUnknownId;
  }

  std::unique_ptr<TokenStream> stream() const override { return std::make_unique<Stream>(*this); }
  SpecialIdsAround special_ids_around() const override { return around_; }
  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }
  std::optional<int32_t> bos() const override { return named_.bos; }
  std::optional<int32_t> eos() const override { return named_.eos; }
  std::optional<int32_t> pad() const override { return named_.pad; }
  std::optional<int32_t> unk() const override { return named_.unk; }

 private:
  class Stream : public TokenStream {
   public:
    explicit Stream(const JsonTokenizer& tokenizer)
        : tokenizer_(tokenizer), decoder_(tokenizer.decoders_) {}
    std::string push(int32_t id) override { return decoder_.push(tokenizer_.token(id)); }
    std::string finish() override { return decoder_.finish(); }

   private:
    const JsonTokenizer& tokenizer_;
    TokenDecoder decoder_;
  };

  // Room to work in, from the tokenizer's store and back into it.
  struct Borrowed {
    explicit Borrowed(const JsonTokenizer& t) : tokenizer(t) {
      const std::lock_guard lock(t.mutex_);
      if (t.idle_.empty()) {
        scratch = std::make_unique<BpeScratch>();
      } else {
        scratch = std::move(t.idle_.back());
        t.idle_.pop_back();
      }
    }
    ~Borrowed() {
      const std::lock_guard lock(tokenizer.mutex_);
      tokenizer.idle_.push_back(std::move(scratch));
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;

    const JsonTokenizer& tokenizer;
    std::unique_ptr<BpeScratch> scratch;
  };

  void read_model(const JsonField& model, const Vocabulary& vocabulary) {
    BpeOptions options;
    options.byte_fallback = model.boolean_or("byte_fallback", false);
    options.fuse_unk = model.boolean_or("fuse_unk", false);
    options.ignore_merges = model.boolean_or("ignore_merges", false);
    options.continuing_subword_prefix = model.text_or("continuing_subword_prefix", "");
    options.end_of_word_suffix = model.text_or("end_of_word_suffix", "");
    if (const auto unk = model.find("unk_token")) options.unk_token = unk->text();
    // Where writing bytes as characters is the last step, the model works on the bytes themselves.
    if (!pre_tokenizers_.empty() &&
        std::holds_alternative<ByteCharacters>(pre_tokenizers_.back()) && !options.byte_fallback &&
        options.continuing_subword_prefix.empty() && options.end_of_word_suffix.empty()) {
      options.byte_characters = true;
      pre_tokenizers_.pop_back();
    }
    std::vector<Bpe::Merge> merges;
    const JsonField list = model.at("merges");
    if (!list.json->is_array()) list.fail("a list");
    merges.reserve(list.json->size());
    for (size_t i = 0; i < list.json->size(); ++i) merges.push_back(read_merge(list, i));
    bpe_.emplace(vocabulary.model, merges, options, model.where);
  }

  void place_tokens(const Vocabulary& vocabulary, const std::string& where) {
    const auto place = [&](const std::string& text, int32_t id) {
      const auto at = static_cast<size_t>(id);
      if (at >= tokens_.size()) tokens_.resize(at + 1);
      tokens_[at] = text;
    };
    for (const auto& [text, id] : vocabulary.model) place(text, id);
    for (const auto& [id, token] : vocabulary.added) {
      const std::string pattern =
          token.normalized ? normalize(normalizers_, token.content) : token.content;
      (token.normalized ? added_normalized_ : added_).add(pattern, id, token, where);
      place(pattern, id);
    }
    known_.resize(tokens_.size());
    for (const auto& [text, id] : vocabulary.model) known_[static_cast<size_t>(id)] = true;
    for (const auto& [id, token] : vocabulary.added) known_[static_cast<size_t>(id)] = true;
    for (const std::string& text : tokens_) bytes_.push_back(bytes_inside_text(decoders_, text));
    bytes_alone_ =
        decoders_.size() == 1 && std::holds_alternative<BytesFromCharacters>(decoders_[0]);
  }

  bool known(int32_t id) const {
    return id >= 0 && id < vocab_size() && known_[static_cast<size_t>(id)];
  }
  const std::string& token(int32_t id) const {
    static const std::string unknown(kUnknownId);
    return known(id) ? tokens_[static_cast<size_t>(id)] : unknown;
  }

  // Text between the added tokens that are looked for before it is normalized.
  void encode_part(std::string_view plain, bool at_start, BpeScratch& scratch,
                   std::vector<int32_t>& ids) const {
    std::string storage;
    if (!normalizers_.empty()) {
      storage = normalize(normalizers_, plain);
      plain = storage;
    }
    std::vector<TextPart> parts;
    added_normalized_.split(plain, parts);
    for (const TextPart& part : parts) {
      if (part.id >= 0) {
        ids.push_back(part.id);
        continue;
      }
      Words words;
      words.text = plain.substr(part.span.begin, part.span.end - part.span.begin);
      words.at_start = at_start && part.span.begin == 0;
      words.spans.push_back({0, words.text.size()});
      pre_tokenize(pre_tokenizers_, words);
      for (size_t i = 0; i < words.spans.size(); ++i) bpe_->encode(words.word(i), scratch, ids);
    }
  }

  std::vector<Normalizer> normalizers_;
  std::vector<PreTokenizerStep> pre_tokenizers_;
  std::vector<DecoderStep> decoders_;
  SpecialIdsAround around_;
  std::optional<Bpe> bpe_;
  AddedTokenMatcher added_, added_normalized_;
  std::vector<std::string> tokens_;  // by id, as the decoder gets them
  std::vector<bool> known_;          // by id: there is such a token
  std::vector<std::string> bytes_;   // by id, inside a text
  bool bytes_alone_ = false;         // a text is the bytes of its tokens
  NamedTokens named_;
  mutable std::mutex mutex_;  // guards idle_
  mutable std::vector<std::unique_ptr<BpeScratch>> idle_;
};

FileJson read_json(const std::string& path) {
  const std::string text = read_file(path);
  if (nested_deeper(text, kMaxNesting)) {
    throw UserError(cat(path, ": expected JSON that nests at most ", kMaxNesting, " levels"));
  }
  try {
    return FileJson::parse(text);
  } catch (const FileJson::exception& error) {
    throw UserError(cat(path, ": expected JSON: ", error.what()));
  }
}

FileJson read_json_if_there(const std::string& path) {
  std::error_code ec;
  if (!std::filesystem::exists(path, ec)) return FileJson::object();
  return read_json(path);
}

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer_json(const FileJson& file, const FileJson& config,
                                               const FileJson& special_map,
                                               const std::string& where) {
  return std::make_unique<JsonTokenizer>(
      JsonField{&file, where + "tokenizer.json:"},
      JsonField{&config, where + "tokenizer_config.json:"},
      JsonField{&special_map, where + "special_tokens_map.json:"});
}

FileJson read_tokenizer_config(const std::string& directory) {
  FileJson config = read_json_if_there(directory + "/tokenizer_config.json");
  if (!config.is_object())
    throw UserError(cat(directory, "/tokenizer_config.json: expected an object"));
  return config;
}

std::unique_ptr<Tokenizer> load_tokenizer_json(const std::string& directory) {
  return make_tokenizer_json(
      read_json(directory + "/tokenizer.json"), read_tokenizer_config(directory),
      read_json_if_there(directory + "/special_tokens_map.json"), directory + "/");
}

std::unique_ptr<Tokenizer> load_vocab_and_merges(const std::string& directory) {
  FileJson config = read_tokenizer_config(directory);
  const FileJson special_map = read_json_if_there(directory + "/special_tokens_map.json");
  FileJson vocab = read_json(directory + "/vocab.json");
  FileJson merges = FileJson::array();
  for_each_line(directory + "/merges.txt", [&](int64_t number, const std::string& line) {
    std::string text = line;
    if (text.ends_with('\r')) text.pop_back();
    if (text.empty() || (number == 1 && text.starts_with("#version"))) return;
    if (std::count(text.begin(), text.end(), ' ') != 1) {
      throw UserError(cat(directory, "/merges.txt:", number,
                          ": expected two tokens with a space between, found '", text, "'"));
    }
    merges.push_back(text);
  });
  const std::string kind =
      JsonField{&config, directory + "/tokenizer_config.json:"}.text_or("tokenizer_class", "");
  const bool prefix_space =
      config.is_object() && config.value("add_prefix_space", FileJson()) == true;
  FileJson byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", prefix_space}};
  FileJson file = {{"decoder", byte_level}};
  if (kind.starts_with("Qwen2")) {
    byte_level["use_regex"] = false;
    file["normalizer"] = {{"type", "NFC"}};
    file["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", kQwen2}}}, {"behavior", "Isolated"}},
          byte_level}}};
  } else {
    file["pre_tokenizer"] = byte_level;
  }
  // What GPT2Tokenizer and Qwen2Tokenizer fill in.
  const bool qwen = kind.starts_with("Qwen2");
  const std::string end = "<|endoftext|>";
  if (vocab.is_object() && vocab.contains(end)) {
    for (const char* name : {qwen ? "pad_token" : "bos_token", "eos_token", "unk_token"}) {
      if (!config.contains(name) && !special_map.contains(name)) config[name] = end;
    }
  }
  // Beside a tokenizer.json, whose post-processor says it, transformers does not heed these flags.
  FileJson single = FileJson::array({FileJson::object({{"Sequence", {{"id", "A"}}}})});
  FileJson ids = FileJson::object();
  for (const bool first : {true, false}) {
    if (config.value(first ? "add_bos_token" : "add_eos_token", FileJson()) != true) continue;
    const FileJson name = config.value(first ? "bos_token" : "eos_token", FileJson());
    if (!name.is_string() || !vocab.contains(name)) continue;
    ids[name] = {{"ids", FileJson::array({vocab[name]})}};
    single.insert(first ? single.begin() : single.end(),
                  FileJson::object({{"SpecialToken", {{"id", name}}}}));
  }
  file["post_processor"] = {
      {"type", "TemplateProcessing"}, {"single", single}, {"special_tokens", ids}};
  file["model"] = {{"type", "BPE"}, {"vocab", std::move(vocab)}, {"merges", std::move(merges)}};
  return make_tokenizer_json(file, config, special_map, directory + "/");
}

}  // namespace hone
