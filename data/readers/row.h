// One row of a file: what it is as a problem, as a document, and to the filters.
#pragma once

#include <cstdint>
#include <string>

#include "data/dataset.h"

namespace hone {

struct Row {
  std::string where;   // "x.jsonl:17", begins every error
  std::string source;  // its data_source; else the format that was asked for; else the file's name
  std::string format;  // never auto
  Json id;             // its own, else its number in the file
  Json fields;         // hone's own row (readers/formats.h)
};

// `number` is 1-based. Throws UserError: not JSON, not an object, nested too deep, not what the
// format wants.
Row read_row(const std::string& text, const std::string& format, const std::string& file,
             int64_t number);

// Of a conversation the turns up to the last one that is not the assistant's are the prompt.
// Throws UserError if the row is no problem.
Problem problem_of(const Row& row);
// Throws UserError if there is nothing to learn in the row.
Document document_of(const Row& row);

enum class RowKind { problem, document };
// What a file of such rows is for, where nobody says: a row with an answer to learn is a document.
RowKind kind_of(const Row& row);

// What filters look at, white space and case as they are in the row.
struct RowTexts {
  std::string prompt;   // what decides on which side of a split the row is
  std::string content;  // all that is asked and answered, without system messages
};
RowTexts texts_of(const Row& row);

}  // namespace hone
