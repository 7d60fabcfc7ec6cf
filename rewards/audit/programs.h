// The part of an audit that is Python: programs that want their tests' pay without solving them.
#pragma once

#include <string>
#include <vector>

#include "rewards/audit/cases.h"

namespace hone {

// The row's own solution; "" if it has none.
std::string right_program(const Problem& problem);
std::vector<std::string> wrong_programs(const Problem& problem);
std::vector<AuditCase> program_hacks(const Problem& problem);

}  // namespace hone
