// Sentencepiece models through libhone_spm.so.
//
// The library is opened with RTLD_LOCAL | RTLD_DEEPBIND, so that sentencepiece's symbols neither
// replace nor are replaced by those of LibTorch in the same process (spm/hone_spm.cpp says which).
#include "text/sentencepiece.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "text/spm/hone_spm.h"
#include "text/utf8.h"

namespace hone {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSpace = "\xE2\x96\x81";  // U+2581, sentencepiece's sign for a space
constexpr std::string_view kUnknownId = "\xEF\xBF\xBD";

// AddressSanitizer refuses RTLD_DEEPBIND.
#if defined(HONE_SANITIZE) || defined(__SANITIZE_ADDRESS__)
constexpr int kOpenFlags = RTLD_NOW | RTLD_LOCAL;
#else
constexpr int kOpenFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif

#if defined(__aarch64__)
constexpr char kMultiarch[] = "aarch64-linux-gnu";
#else
constexpr char kMultiarch[] = "x86_64-linux-gnu";
#endif

struct Library {
  decltype(&hone_spm_load) load;
  decltype(&hone_spm_free) free;
  decltype(&hone_spm_size) size;
  decltype(&hone_spm_piece) piece;
  decltype(&hone_spm_score) score;
  decltype(&hone_spm_kind) kind;
  decltype(&hone_spm_special) special;
  decltype(&hone_spm_encode) encode;
  decltype(&hone_spm_train) train;
};

Library open_library() {
  std::error_code ec;
  const fs::path here = fs::read_symlink("/proc/self/exe", ec).parent_path();
  const fs::path lib = here.parent_path() / "lib";
  const std::vector<fs::path> places = {here, lib, lib / kMultiarch, here.parent_path() / "lib64"};
  std::string tried, reason;
  for (const fs::path& place : places) {
    const fs::path path = place / "libhone_spm.so";
    tried += (tried.empty() ? "" : ", ") + place.string();
    if (!fs::exists(path, ec)) continue;
    void* handle = dlopen(path.c_str(), kOpenFlags);
    if (handle == nullptr) {
      reason = cat(": ", dlerror());
      continue;
    }
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(handle, name));
      if (function == nullptr) {
        throw UserError(cat(path.string(), ": has no ", name,
                            "; it belongs to another version of hone: build both anew"));
      }
    };
    Library l;
    find(l.load, "hone_spm_load");
    find(l.free, "hone_spm_free");
    find(l.size, "hone_spm_size");
    find(l.piece, "hone_spm_piece");
    find(l.score, "hone_spm_score");
    find(l.kind, "hone_spm_kind");
    find(l.special, "hone_spm_special");
    find(l.encode, "hone_spm_encode");
    find(l.train, "hone_spm_train");
    return l;
  }
  throw UserError(cat("libhone_spm.so, which reads sentencepiece models, was not ",
                      reason.empty() ? "found" : "loaded", reason, "; looked in ", tried,
                      ". It is built with hone (target hone_spm): keep it beside the program or in "
                      "../lib, and install the package libsentencepiece0"));
}

const Library& library() {
  static const Library l = open_library();
  return l;
}

struct Model {
  explicit Model(const std::string& bytes, const std::string& path) {
    char error[512] = "";
    handle = library().load(bytes.data(), bytes.size(), error, sizeof(error));
    if (handle == nullptr) {
      throw UserError(cat(path, ": expected a sentencepiece model: ", error));
    }
  }
  ~Model() { library().free(handle); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  std::vector<Piece> pieces() const {
    std::vector<Piece> out(library().size(handle));
    for (size_t i = 0; i < out.size(); ++i) {
      const int id = static_cast<int>(i);
      out[i].text = library().piece(handle, id);
      out[i].score = library().score(handle, id);
      switch (library().kind(handle, id)) {
        case HONE_SPM_UNKNOWN:
          out[i].kind = PieceKind::unknown;
          break;
        case HONE_SPM_CONTROL:
          out[i].kind = PieceKind::control;
          break;
        case HONE_SPM_BYTE:
          out[i].kind = PieceKind::byte;
          break;
        case HONE_SPM_UNUSED:
          out[i].kind = PieceKind::unused;
          break;
        default:
          break;
      }
    }
    return out;
  }

  void* handle = nullptr;
};

// The serialised model is a protocol buffer; a message that occurs twice is merged, so appending
// normalizer_spec {add_dummy_prefix: false} (field 3, its field 3) overrides what is there.
constexpr std::string_view kNoDummyPrefix{"\x1A\x02\x18\x00", 4};

uint64_t read_varint(std::string_view& s) {
  uint64_t value = 0;
  for (int shift = 0; !s.empty() && shift < 64; shift += 7) {
    const auto byte = static_cast<unsigned char>(s.front());
    s.remove_prefix(1);
    value |= uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) break;
  }
  return value;
}

// Calls field(number, varint value, bytes) for the fields of one message.
template <class F>
void for_each_field(std::string_view message, F field) {
  while (!message.empty()) {
    const uint64_t tag = read_varint(message);
    uint64_t value = 0;
    size_t length = 0;
    switch (tag & 7) {
      case 0:
        value = read_varint(message);
        break;
      case 1:
        length = 8;
        break;
      case 2:
        length = read_varint(message);
        break;
      case 5:
        length = 4;
        break;
      default:
        return;
    }
    length = std::min(length, message.size());
    field(tag >> 3, value, message.substr(0, length));
    message.remove_prefix(length);
  }
}

// Takes away the space that the model put before the text.
class WithoutFirstSpace : public TokenStream {
 public:
  explicit WithoutFirstSpace(std::unique_ptr<TokenStream> all) : all_(std::move(all)) {}
  std::string push(int32_t id) override { return without(all_->push(id)); }
  std::string finish() override { return without(all_->finish()); }

 private:
  std::string without(std::string text) {
    if (!text.empty() && first_) {
      first_ = false;
      if (text[0] == ' ') text.erase(0, 1);
    }
    return text;
  }

  std::unique_ptr<TokenStream> all_;
  bool first_ = true;
};

class SentencePieceTokenizer : public Tokenizer {
 public:
  SentencePieceTokenizer(const std::string& bytes, const std::string& path, bool add_bos)
      : model_(bytes + std::string(kNoDummyPrefix), path),
        adds_space_(sentencepiece_adds_space(bytes)),
        add_bos_(add_bos) {
    const std::vector<Piece> pieces = model_.pieces();
    byte_ids_.assign(256, -1);
    for (size_t i = 0; i < pieces.size(); ++i) {
      const Piece& piece = pieces[i];
      const auto id = static_cast<int32_t>(i);
      if (piece.kind == PieceKind::byte) {
        const int byte = std::stoi(piece.text.substr(3, 2), nullptr, 16);
        bytes_.push_back(std::string(1, static_cast<char>(byte)));
        byte_ids_[byte] = id;
      } else if (piece.kind == PieceKind::control || piece.kind == PieceKind::unknown) {
        bytes_.push_back(piece.text);
        if (!piece.text.empty()) special_.push_back({piece.text, id});
      } else {
        bytes_.push_back(spaces_restored(piece.text));
      }
    }
    // The longest first: the first match at a place is then the longest.
    std::stable_sort(special_.begin(), special_.end(),
                     [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
    for (const auto& [text, id] : special_) special_starts_ += text[0];
    library().special(model_.handle, ids_);
  }

  std::vector<int32_t> encode(std::string_view raw) const override {
    const std::string valid = valid_utf8(raw);
    const std::string_view text = valid;
    const std::string starts = special_starts_ + kSpace[0];
    std::vector<int32_t> out;
    size_t begin = 0;  // of the plain text before position i
    const auto plain = [&](size_t end) {
      if (end > begin) encode_plain(text.substr(begin, end - begin), begin == 0, out);
    };
    for (size_t i = text.find_first_of(starts); i < text.size();
         i = text.find_first_of(starts, i)) {
      const std::string_view rest = text.substr(i);
      size_t length = 0;
      if (rest.starts_with(kSpace) && byte_ids_[0xE2] >= 0) {
        // Sentencepiece would read the sign itself as a space and the text would not come back.
        plain(i);
        length = kSpace.size();
        for (unsigned char c : kSpace) out.push_back(byte_ids_[c]);
      } else {
        for (const auto& [special, id] : special_) {
          if (!rest.starts_with(special)) continue;
          plain(i);
          length = special.size();
          out.push_back(id);
          break;
        }
      }
      i += std::max<size_t>(length, 1);
      if (length > 0) begin = i;
    }
    plain(text.size());
    return out;
  }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string out;
    for (int32_t id : ids) out += token_bytes(id);
    if (adds_space_ && out.starts_with(' ')) out.erase(0, 1);
    return valid_utf8(out);
  }

  std::unique_ptr<TokenStream> stream() const override {
    auto all = Tokenizer::stream();
    if (!adds_space_) return all;
    return std::make_unique<WithoutFirstSpace>(std::move(all));
  }

  SpecialIdsAround special_ids_around() const override {
    return add_bos_ ? Tokenizer::special_ids_around() : SpecialIdsAround();
  }

  std::string_view token_bytes(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) return kUnknownId;
    return bytes_[id];
  }

  int32_t vocab_size() const override { return static_cast<int32_t>(bytes_.size()); }
  std::optional<int32_t> unk() const override { return id_or_none(0); }
  std::optional<int32_t> bos() const override { return id_or_none(1); }
  std::optional<int32_t> eos() const override { return id_or_none(2); }
  std::optional<int32_t> pad() const override { return id_or_none(3); }

 private:
  static std::string spaces_restored(std::string_view piece) {
    std::string out;
    while (!piece.empty()) {
      const bool space = piece.starts_with(kSpace);
      out += space ? ' ' : piece.front();
      piece.remove_prefix(space ? kSpace.size() : 1);
    }
    return out;
  }

  void encode_plain(std::string_view text, bool first, std::vector<int32_t>& out) const {
    const auto emit = [](void* context, int id) {
      static_cast<std::vector<int32_t>*>(context)->push_back(id);
    };
    const std::string with_space = first && adds_space_ ? " " + std::string(text) : "";
    if (!with_space.empty()) text = with_space;
    HONE_CHECK(library().encode(model_.handle, text.data(), text.size(), emit, &out) == 0);
  }

  std::optional<int32_t> id_or_none(int which) const {
    return ids_[which] < 0 ? std::nullopt : std::optional<int32_t>(ids_[which]);
  }

  Model model_;
  bool adds_space_, add_bos_;
  std::vector<std::string> bytes_;  // by id
  std::vector<int32_t> byte_ids_;   // [256]
  std::vector<std::pair<std::string, int32_t>> special_;
  std::string special_starts_;
  int ids_[4] = {-1, -1, -1, -1};
};

}  // namespace

bool sentencepiece_adds_space(const std::string& bytes) {
  bool adds = true;  // the protocol buffer's default
  for_each_field(bytes, [&](uint64_t number, uint64_t, std::string_view normalizer) {
    if (number != 3) return;
    for_each_field(normalizer, [&](uint64_t field, uint64_t value, std::string_view) {
      if (field == 3) adds = value != 0;
    });
  });
  return adds;
}

std::unique_ptr<Tokenizer> make_sentencepiece(const std::string& bytes, const std::string& path,
                                              bool add_bos) {
  return std::make_unique<SentencePieceTokenizer>(bytes, path, add_bos);
}

std::vector<Piece> sentencepiece_pieces(const std::string& bytes, const std::string& path) {
  return Model(bytes, path).pieces();
}

void train_sentencepiece(const std::vector<std::string>& texts,
                         const SentencePieceTraining& options, const std::string& directory) {
  std::string user;
  for (const std::string& piece : options.user_pieces) {
    if (piece.find_first_of(",\"") != std::string::npos) {
      throw UserError(cat("tokenizer: a user piece cannot contain a comma or a quote: ", piece));
    }
    std::string escaped;
    for (char c : piece) {
      if (c == ' ')
        escaped += kSpace;
      else
        escaped += c;
    }
    user += (user.empty() ? "" : ",") + escaped;
  }
  const std::vector<std::pair<std::string, std::string>> arguments = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"byte_fallback", "true"},
      {"split_digits", "true"},
      {"split_by_unicode_script", "false"},
      {"normalization_rule_name", "identity"},
      {"add_dummy_prefix", "false"},
      {"remove_extra_whitespaces", "false"},
      {"character_coverage", "1.0"},
      {"unk_id", "0"},
      {"bos_id", "1"},
      {"eos_id", "2"},
      {"pad_id", "3"},
      {"num_threads", "1"},  // the result is then a function of the texts alone
      {"shuffle_input_sentence", "false"},
      {"max_sentence_length", "1000000"},
      {"minloglevel", "2"},
      {"user_defined_symbols", user},
  };
  std::vector<const char*> starts, keys, values;
  std::vector<size_t> sizes;
  for (const std::string& text : texts) {
    starts.push_back(text.data());
    sizes.push_back(text.size());
  }
  for (const auto& [key, value] : arguments) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  const auto emit = [](void* context, const char* bytes, size_t size) {
    static_cast<std::string*>(context)->assign(bytes, size);
  };
  std::string model;
  char error[512] = "";
  if (library().train(starts.data(), sizes.data(), texts.size(), keys.data(), values.data(),
                      keys.size(), emit, &model, error, sizeof(error)) != 0) {
    throw UserError(cat("tokenizer: training failed on ", texts.size(), " texts with vocabulary ",
                        options.vocab_size, ": ", error));
  }
  std::error_code ec;
  fs::create_directories(directory, ec);
  write_file_atomic(directory + "/tokenizer.model", model);
  write_hugging_face_files(sentencepiece_pieces(model, directory), options.user_pieces, directory);
}

}  // namespace hone
