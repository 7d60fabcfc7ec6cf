#include "text/tokenizer.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "text/sentencepiece.h"

namespace hone {

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& directory) {
  namespace fs = std::filesystem;
  std::error_code ec;
  if (!fs::is_directory(directory, ec)) {
    throw UserError(cat(directory,
                        ": expected a model directory with tokenizer.model; there is no "
                        "such directory"));
  }
  const std::string model = directory + "/tokenizer.model";
  if (fs::exists(model, ec)) return make_sentencepiece(read_file(model), model);
  if (fs::exists(directory + "/tokenizer.json", ec)) {
    throw UserError(cat(directory,
                        ": has tokenizer.json but no tokenizer.model; tokenizers of this "
                        "kind (byte-level BPE) are not supported yet"));
  }
  throw UserError(
      cat(directory, ": no tokenizer found; looked for tokenizer.model (sentencepiece)"));
}

}  // namespace hone
