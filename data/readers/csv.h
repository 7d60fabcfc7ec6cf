// CSV and TSV as RFC 4180 has it: a first line of names, fields in quotes where they hold the
// separator, a quote (doubled) or a line break.
#pragma once

#include <functional>
#include <string>

#include "base/json.h"

namespace hone {

// Calls row(number, object) for each row after the names; `number` is 1-based. A field is text; one
// that is a whole JSON list or object, as exports write nested columns, becomes that; an empty one
// is left out. Rows that do not fit are told through `wrong`. Throws UserError: the file cannot be
// opened, has no names or ends within quotes.
void for_each_csv_row(const std::string& path, char separator,
                      const std::function<void(int64_t, const Json&)>& row,
                      const std::function<void(int64_t, const std::string&)>& wrong);

}  // namespace hone
