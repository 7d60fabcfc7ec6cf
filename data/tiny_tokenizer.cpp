#include "data/tiny_tokenizer.h"

#include "data/dataset.h"
#include "text/tokenizer.h"

namespace hone {

void make_tiny_tokenizer(const std::string& directory, uint64_t seed) {
  std::vector<DataSpec> specs;
  for (const TaskInfo& task : list_tasks()) {
    specs.emplace_back();
    specs.back().task = task.name;
  }
  const auto documents = open_documents(specs, seed);
  std::vector<std::string> texts;
  for (int64_t i = 0; i < 20000; ++i) texts.push_back(documents->at(i).text);
  SentencePieceTraining options;
  options.vocab_size = 512;
  // What the tasks write must be one token each and never part of another, so that a digit has
  // one form wherever it stands.
  options.user_pieces = {"\n", "<think>", "</think>", "<answer>", "</answer>", " ok", " wait", "Q:",
                         "A:", "0",       "1",        "2",        "3",         "4",   "5",     "6",
                         "7",  "8",       "9",        "+",        "-",         "*",   "/",     "="};
  train_sentencepiece(texts, options, directory);
}

}  // namespace hone
