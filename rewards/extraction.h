// Where the answer stands in a completion. The one place that decides it, for every rewarder.
//
// Thinking comes first. Without thinking tags the whole text is looked at; otherwise only what
// follows the last thinking block. A block opens with <think> in the completion or at the end of
// the prompt; a completion whose first tag is </think> was opened by a prompt that we cannot see.
// A block that is not closed means that there is no answer. All scans are linear in the text.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "rewards/reward.h"

namespace hone {

enum class Extract { automatic, boxed, answer_tag, hash, last_number, whole };

// Spelling of the modes as options, in the order of Extract.
const std::vector<std::string>& extract_names();

struct Extraction {
  // Distinct answers (by text without spaces), views into the completion's text. One: the answer.
  // Several: the completion hedges, unless the rewarder finds all of them equal. Never more than
  // kMaxCandidates, which is enough to tell.
  std::vector<std::string_view> candidates;
  // The last so many candidates stand in boxes with nothing but "and", "or" and commas between
  // them, as \boxed{1} and \boxed{2} do: together they are one list.
  size_t run = 0;
  // The only candidate is a sentence or a whole text, not an answer that was marked as such.
  bool prose = false;
  bool stated = false;      // and the sentence was announced: "Answer: ..."
  const char* reason = "";  // why there is none
};
constexpr size_t kMaxCandidates = 16;

// boxed        \boxed{...} or \fbox{...}; an unclosed one means no answer
// answer_tag   <answer>...</answer>, and the box inside it if there is one
// hash         the rest of the last line with ####
// last_number  the last number in the text; lenient, for base models without any format
// whole        all of it
// automatic    boxes and answer tags; else #### and a number; else the sentence after the last
//              "answer:" or "answer is" near the end; else all of it. Of several boxes that are not
//              one list, a closing "the answer is ..." behind the last settles which one counts.
Extraction extract_answer(const RewardItem& item, Extract mode);

// All that follows the thinking, with its white space; nothing if a thinking block is not closed.
std::optional<std::string_view> answer_part(const RewardItem& item);

// Like std::string_view::find, and as fast where the word's first byte is frequent. REQUIRES: word
// is not empty.
size_t find_text(std::string_view text, std::string_view word, size_t from = 0);

std::string_view trimmed(std::string_view text);  // ASCII white space

// The text without one end-of-sequence marker that a sampler may have left on it.
std::string_view without_end_token(std::string_view text);

// Where a prompt opens the thinking block for the model: the offset of its final <think>, which
// only white space may follow; npos if it does not.
size_t prefilled_think(std::string_view prompt);

// Text for a score's details: at most 200 bytes, cut between characters.
std::string clipped(std::string_view text);

// The score of a completion without an answer: 0, with the reason.
Score no_answer(const std::string& reason);
Score null_score(Status status, const std::string& reason);

// The problem's reference answer as text: `answer`, else `gold`, `ground_truth` or `solution`;
// of a worked solution its last box or what follows its last ####. "" if there is none.
std::string reference_answer(const Problem& problem);

}  // namespace hone
