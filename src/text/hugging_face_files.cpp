// tokenizer.json, tokenizer_config.json and special_tokens_map.json for a sentencepiece BPE model
// without dummy prefix, written so that Hugging Face's tokenizers give the ids that hone gives.
#include <algorithm>
#include <set>
#include <tuple>
#include <unordered_map>

#include "base/file.h"
#include "base/json.h"
#include "text/sentencepiece.h"
#include "text/utf8.h"

namespace hone {
namespace {

// Sentencepiece joins the neighbours whose union has the best score; Hugging Face wants the pairs
// in order. All ways to make a piece of two others count, the best piece first.
Json merges_of(const std::vector<Piece>& pieces, const std::set<std::string>& user) {
  std::unordered_map<std::string, int> ids;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (pieces[i].kind == PieceKind::text) ids[pieces[i].text] = static_cast<int>(i);
  }
  // (-score, id of the left part, id of the right part) orders them.
  std::vector<std::tuple<float, int, int, std::string, std::string>> merges;
  for (const Piece& piece : pieces) {
    if (piece.kind != PieceKind::text || user.count(piece.text)) continue;
    for (size_t cut = 0; cut < piece.text.size();) {
      cut += utf8_step(std::string_view(piece.text).substr(cut)).length;
      const std::string left = piece.text.substr(0, cut), right = piece.text.substr(cut);
      const auto l = ids.find(left), r = ids.find(right);
      if (right.empty() || l == ids.end() || r == ids.end()) continue;
      if (user.count(left) || user.count(right)) continue;
      merges.emplace_back(-piece.score, l->second, r->second, left, right);
    }
  }
  std::sort(merges.begin(), merges.end());
  Json out = Json::array();
  for (const auto& merge : merges) out.push_back({std::get<3>(merge), std::get<4>(merge)});
  return out;
}

Json added_token(int id, const std::string& text, bool special) {
  return {{"id", id},        {"content", text},        {"single_word", false}, {"lstrip", false},
          {"rstrip", false}, {"normalized", !special}, {"special", special}};
}

}  // namespace

void write_hugging_face_files(const std::vector<Piece>& pieces,
                              const std::vector<std::string>& user_pieces,
                              const std::string& directory) {
  const std::string space = "\xE2\x96\x81";
  std::set<std::string> user;
  for (const std::string& piece : user_pieces) {
    std::string text;
    for (char c : piece) text += c == ' ' ? space : std::string(1, c);
    user.insert(text);
  }

  Json vocab = Json::object(), added = Json::array();
  std::string names[4];  // unk, bos, eos, pad are ids 0 to 3
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const int id = static_cast<int>(i);
    vocab[piece.text] = id;
    if (i < 4) names[i] = piece.text;
    if (piece.kind == PieceKind::control || piece.kind == PieceKind::unknown) {
      added.push_back(added_token(id, piece.text, true));
    } else if (user.count(piece.text) && utf8_step(piece.text).length < piece.text.size()) {
      // A single character needs no entry: no merge contains it.
      added.push_back(added_token(id, piece.text, false));
    }
  }

  Json tokenizer = {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", added},
      {"normalizer", {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}}},
      {"pre_tokenizer", nullptr},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single",
         {{{"SpecialToken", {{"id", names[1]}, {"type_id", 0}}}},
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}},
        {"pair",
         {{{"SpecialToken", {{"id", names[1]}, {"type_id", 0}}}},
          {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
          {{"SpecialToken", {{"id", names[1]}, {"type_id", 1}}}},
          {{"Sequence", {{"id", "B"}, {"type_id", 1}}}}}},
        {"special_tokens",
         {{names[1], {{"id", names[1]}, {"ids", {1}}, {"tokens", {names[1]}}}}}}}},
      {"decoder",
       {{"type", "Sequence"},
        {"decoders",
         {{{"type", "Replace"}, {"pattern", {{"String", space}}}, {"content", " "}},
          {{"type", "ByteFallback"}},
          {{"type", "Fuse"}}}}}},
      {"model",
       {{"type", "BPE"},
        {"dropout", nullptr},
        {"unk_token", names[0]},
        {"continuing_subword_prefix", nullptr},
        {"end_of_word_suffix", nullptr},
        {"fuse_unk", true},
        {"byte_fallback", true},
        {"ignore_merges", false},
        {"vocab", vocab},
        {"merges", merges_of(pieces, user)}}},
  };
  const Json special = {{"bos_token", names[1]},
                        {"eos_token", names[2]},
                        {"unk_token", names[0]},
                        {"pad_token", names[3]}};
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"add_bos_token", true},
                 {"add_eos_token", false},
                 {"add_prefix_space", false},
                 {"legacy", false},
                 {"clean_up_tokenization_spaces", false},
                 {"model_max_length", 1000000}};
  config.update(special);
  write_file_atomic(directory + "/tokenizer.json", tokenizer.dump(1) + "\n");
  write_file_atomic(directory + "/tokenizer_config.json", config.dump(2) + "\n");
  write_file_atomic(directory + "/special_tokens_map.json", special.dump(2) + "\n");
}

}  // namespace hone
