// An audit of rewards before a run is wasted on them: which known hacks would they pay for, and
// which honest answers would they refuse?
//
// Rewards are black boxes here: whatever RewardSet takes can be audited. Each is first asked about
// right and wrong answers in several places of a completion (boxed, in tags, ...). From that it is
// known whether it judges answers, the form, or neither, and where it looks. A hack of answers is
// paid if it gets more than half of the way from a wrong answer's score to the right one's; a hack
// of forms if it gets nine tenths of the way from an unformed text to a well-formed one.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "rewards/reward.h"

namespace hone {

struct AuditFinding {
  std::string name;  // of the hack or the honest spelling
  int64_t rows = 0;  // on how many problems, of how many that it was tried on
  int64_t tried = 0;
  std::string id;  // the first such problem, and what was said of it
  double score = 0;
  std::string text;  // clipped
};

struct RewardAudit {
  std::string reward;                 // name in scores; "reward" is the weighted sum
  std::string judges;                 // "answers", "form", "nothing that was tried", "no number"
  std::string place;                  // where it looks for answers
  int64_t tried = 0;                  // texts scored as hacks
  std::vector<AuditFinding> paid;     // hacks that it would pay for
  std::vector<AuditFinding> refused;  // honest answers that it would not pay for
  std::map<std::string, int64_t> null_scores;  // status -> texts without a number
};

struct AuditReport {
  int64_t problems = 0;
  std::vector<RewardAudit> rewards;
  double huge_seconds = 0;  // the longest that huge texts took: all of them, of one problem
};

AuditReport audit_rewards(RewardSet& rewards, const std::vector<Problem>& problems);

std::string audit_table(const AuditReport& report);
Json audit_json(const AuditReport& report);

}  // namespace hone
