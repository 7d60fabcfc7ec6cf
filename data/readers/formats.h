// The layouts of rows that public data sets have, each turned into hone's own row.
//
// hone's own row has `prompt` (a text), or `messages`, or both (`prompt` is then the last thing
// that the user says); what the rewards need under the names that they read (`answer`, `tests`,
// `choices`, `numbers` and `target`); for SFT `completion`, or a conversation in `messages`, or
// `text`; and every other column as it was. Reading an own row again changes nothing.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"

namespace hone {

struct RowFormat {
  const char* name;
  const char* also;     // other spellings, separated by spaces
  const char* columns;  // what its rows have; what `auto` knows them by
  const char* result;   // what becomes of them
};
// All but `auto`.
const std::vector<RowFormat>& row_formats();

// The name as row_formats has it, or "auto". Throws UserError, offering the nearest.
std::string format_name(const std::string& name);

// The format whose columns the row has: `hone` if it is none of the special ones.
std::string recognised_format(const Json& row);

// `format` as format_name returns it. Throws UserError: `where`, what was expected and found.
Json own_row(const Json& row, const std::string& format, const std::string& where);

// "answer, prompt", for errors.
std::string keys_of(const Json& row);

}  // namespace hone
