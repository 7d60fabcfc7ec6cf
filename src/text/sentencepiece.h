// What the rest of src/text needs of a sentencepiece model.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace hone {

enum class PieceKind { text, unknown, control, byte, unused };

struct Piece {
  std::string text;  // as the model writes it: U+2581 for a space, "<0x0A>" for a byte
  float score = 0;
  PieceKind kind = PieceKind::text;
};

// `bytes` is the content of a tokenizer.model; `path` is for the errors. `add_bos`: whether the
// begin token is among special_ids_around().
std::unique_ptr<Tokenizer> make_sentencepiece(const std::string& bytes, const std::string& path,
                                              bool add_bos = true);

// The pieces by id, for writing the model in another form.
std::vector<Piece> sentencepiece_pieces(const std::string& bytes, const std::string& path);

// Whether the model puts a space before every text (Llama 2 does).
bool sentencepiece_adds_space(const std::string& bytes);

// The files beside tokenizer.model by which Hugging Face's libraries give the same ids.
void write_hugging_face_files(const std::vector<Piece>& pieces,
                              const std::vector<std::string>& user_pieces,
                              const std::string& directory);

}  // namespace hone
