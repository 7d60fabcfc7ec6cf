// The texts of an audit: right and wrong answers, known hacks and honest paraphrases, made from a
// problem's own reference. Nothing here knows what a reward would say of them.
#pragma once

#include <string>
#include <vector>

#include "base/types.h"

namespace hone {

// A place where a completion may put its answer. Rewards differ in where they look; an audit finds
// out which place a reward pays before it tries hacks there.
struct AnswerPlace {
  const char* name;
  const char* before;  // the answer; `before` has the thinking in front, if there is any
  const char* open;
  const char* close;
  bool thinks;
};

// The places for code if the problem has tests, else those for other answers.
const std::vector<AnswerPlace>& answer_places(const Problem& problem);
std::string put(const AnswerPlace& place, const std::string& answer);

// What the audit knows of a problem. Without a right answer (code without a solution, a game
// that cannot be won) paraphrases and some hacks are missing.
struct AuditAnswers {
  std::string right;
  std::vector<std::string> wrong;  // two or more
};
AuditAnswers audit_answers(const Problem& problem);

struct AuditCase {
  std::string name;
  std::string text;
};

// Texts that do not deserve a right answer's pay, with the answer in `place` where they have one.
std::vector<AuditCase> answer_hacks(const Problem& problem, const AuditAnswers& answers,
                                    const AnswerPlace& place);
// Other spellings of the right answer.
std::vector<AuditCase> honest_answers(const Problem& problem, const AuditAnswers& answers,
                                      const AnswerPlace& place);
// Broken forms of <think>...</think><answer>...</answer>.
std::vector<AuditCase> form_hacks(const AuditAnswers& answers);
// Texts of many kilobytes.
std::vector<AuditCase> huge_texts(const AuditAnswers& answers, const AnswerPlace& place);

}  // namespace hone
