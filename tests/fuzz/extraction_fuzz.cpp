// Fuzzes the extractor in all modes: candidates are never empty, never more than the limit, and lie
// within the completion; what a conclusion finds lies within its text.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "rewards/conclusion.h"
#include "rewards/extraction.h"

using namespace hone;

namespace {

bool within(std::string_view part, std::string_view text) {
  return part.data() >= text.data() && part.data() + part.size() <= text.data() + text.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Completion completion;
  completion.text.assign(reinterpret_cast<const char*>(data), size);
  RewardItem item;
  item.completion = &completion;
  if (size > 0 && (data[0] & 1) != 0) item.prompt = "solve <think>\n";
  for (size_t mode = 0; mode < extract_names().size(); ++mode) {
    const Extraction found = extract_answer(item, static_cast<Extract>(mode));
    if (found.candidates.empty() == (*found.reason == '\0')) std::abort();
    if (found.candidates.size() > kMaxCandidates || found.run > found.candidates.size()) {
      std::abort();
    }
    for (const std::string_view candidate : found.candidates) {
      if (candidate.empty() || !within(candidate, completion.text)) std::abort();
      const std::string_view end = conclusion(candidate, found.stated);
      if (!end.empty() && !within(end, candidate)) std::abort();
    }
  }
  Problem problem;
  problem.fields["answer"] = completion.text;
  reference_answer(problem);
  return 0;
}
