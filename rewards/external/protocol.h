// What goes over the pipe between hone and the workers of external rewards. Both sides use this
// file: hone, and the worker that loads plug-ins; python_worker.py follows it.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "rewards/reward.h"

namespace hone {

// One call for several items: {"call", "run", "problems": [...], "items": [{"problem": 0, ...}]}.
// A problem stands once, however many completions of it follow.
Json batch_request(const std::vector<RewardItem>& items);
// One call for one item, flat: the prompt, the completion, and the fields of the problem's row.
Json item_request(const RewardItem& item);

// The other end of batch_request: the items point into it.
struct ReceivedBatch {
  std::deque<Problem> problems;
  std::deque<Completion> completions;
  std::vector<RewardItem> items;
};
void receive_batch(const Json& request, ReceivedBatch& batch);

// A number, null, true or false, or {"score": ..., "status", "details", "metrics", "spans"}.
// What is none of these is a verifier_error that says what was expected.
Score read_score(const Json& reply);
Json score_json(const Score& score);
Score failed_score(Status status, const std::string& error);

// A line of JSON from a process that may be broken or hostile; discarded if it is not JSON or
// deeper than any honest answer: nlohmann's library recurses when it writes or copies a value.
Json parse_reply(const std::string& line);

}  // namespace hone
