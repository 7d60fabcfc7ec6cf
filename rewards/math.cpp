// `math`: 1 if the answer says what the reference says.
//
// One candidate is graded (rewards/extraction.h), read as mathematics or text (math/parser.h) and
// compared (math/compare.h). What cannot be read is never replaced by a part of it: an unreadable
// answer is no_answer, an unreadable reference bad_reference.

#include <cmath>

#include "base/error.h"
#include "rewards/builtin.h"
#include "rewards/conclusion.h"
#include "rewards/extraction.h"
#include "rewards/math/compare.h"
#include "rewards/math/evaluate.h"
#include "rewards/math/words.h"

namespace hone {
namespace {

using math::Answer;
using math::MathOptions;

// The digits of most answers: [-]12,345.678 of at most 18 digits, value = digits / 10^decimals.
struct ShortNumber {
  bool negative = false;
  uint64_t digits = 0;
  int decimals = 0;
};

std::optional<ShortNumber> short_number(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  ShortNumber out;
  size_t i = 0;
  if (text[0] == '-') {
    out.negative = true;
    ++i;
  }
  bool point = false, any = false;
  for (int used = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c >= '0' && c <= '9') {
      if (++used > 18) return std::nullopt;
      out.digits = out.digits * 10 + static_cast<uint64_t>(c - '0');
      out.decimals += point;
      any = true;
    } else if (c == '.' && !point && any && i + 1 < text.size()) {
      point = true;
    } else {
      return std::nullopt;
    }
  }
  if (!any) return std::nullopt;
  while (out.decimals > 0 && out.digits % 10 == 0) {
    out.digits /= 10;
    --out.decimals;
  }
  if (out.digits == 0) out.negative = false;
  return out;
}
bool same(const ShortNumber& a, const ShortNumber& b) {
  return a.digits == b.digits && a.decimals == b.decimals && a.negative == b.negative;
}

struct Reference {
  std::string text;
  std::optional<ShortNumber> number;
  Answer answer;  // empty if `number` is enough so far
  bool read = false;
  bool usable = false;
};

class MathRewarder : public Rewarder {
 public:
  explicit MathRewarder(const MathOptions& options) : options_(options) {}

  bool thread_safe() const override { return true; }

  std::vector<Score> score(const std::vector<RewardItem>& items) override {
    std::vector<Score> scores;
    scores.reserve(items.size());
    const Problem* problem = nullptr;
    Reference reference;
    for (const RewardItem& item : items) {
      if (item.problem != problem) {  // a group shares its problem
        problem = item.problem;
        reference = read_reference(*problem);
      }
      if (reference.usable) {
        scores.push_back(judge(item, reference));
      } else {
        scores.push_back(
            null_score(Status::bad_reference, reference.text.empty() ? "missing" : "unreadable"));
        scores.back().details["reference"] = clipped(reference.text);
      }
    }
    return scores;
  }

 private:
  static Reference read_reference(const Problem& problem) {
    Reference out;
    out.text = reference_answer(problem);
    out.number = short_number(out.text);
    if (out.number) {
      out.usable = true;
    } else {
      read(out);
    }
    return out;
  }

  static void read(Reference& reference) {
    if (reference.read) return;
    reference.read = true;
    reference.answer = math::read_answer(reference.text);
    if (!reference.answer.tree && reference.text.size() > 10) {  // a solution instead of an answer
      const std::string_view stated = stated_answer(reference.text);
      if (!stated.empty()) {
        Answer answer = math::read_answer(stated);
        if (answer.readable()) reference.answer = std::move(answer);
      }
    }
    reference.usable = math::usable(reference.answer);
  }

  // The answer that a candidate gives; of a sentence, what it concludes.
  static Answer read_candidate(std::string_view text, const Extraction& found,
                               const Reference& reference) {
    Answer answer = math::read_answer(text);
    const bool mathematical =
        answer.tree && (*answer.tree)[answer.tree->root].kind != math::Kind::words;
    if (!found.prose || mathematical) return answer;
    if (reference.answer.choice != 0) {
      if (answer.choice == 0) answer.choice = math::choice_letter(text, true);
      return answer;
    }
    if (reference.answer.tree &&
        (*reference.answer.tree)[reference.answer.tree->root].kind == math::Kind::words) {
      return answer;
    }
    const std::string_view end = conclusion(text, found.stated);
    if (!end.empty()) {
      Answer concluded = math::read_answer(end);
      if (concluded.tree) return concluded;
    }
    return answer;
  }

  Score judge(const RewardItem& item, Reference& reference) const {
    const Extraction found = extract_answer(item, options_.extract);
    if (found.candidates.empty()) return no_answer(found.reason);
    const std::string_view last = found.candidates.back();
    Score score;
    if (found.candidates.size() == 1 && reference.number && options_.tolerance == 0) {
      if (const auto number = short_number(last)) {
        score.value = same(*number, *reference.number) ? 1.0 : 0.0;
        score.details["answer"] = std::string(last);
        return score;
      }
    }
    read(reference);
    const math::WorkScope scope;
    std::string text(last);
    bool hedged = found.candidates.size() > 1 && options_.boxes != math::Boxes::last;
    if (hedged) hedged = !all_same(found);
    const bool list = hedged && found.run == found.candidates.size();
    if (list) {
      text.clear();
      for (const std::string_view candidate : found.candidates) {
        text += (text.empty() ? "" : "; ") + std::string(candidate);
      }
    }
    if (!hedged || list) {
      const Answer answer = read_candidate(text, found, reference);
      if (!answer.readable()) {
        score = no_answer("unreadable");
      } else {
        score.value = math::same_answer(reference.answer, answer, options_) ? 1.0 : 0.0;
      }
    }
    if (hedged && score.value != 1.0) score = no_answer("hedged");
    if (found.candidates.size() > 1 && score.value != 1.0) score.details["hedged"] = true;
    score.details["answer"] = clipped(text);
    return score;
  }

  // Several spellings of one value are one answer.
  bool all_same(const Extraction& found) const {
    const Answer last = math::read_answer(found.candidates.back());
    for (size_t k = 0; k + 1 < found.candidates.size(); ++k) {
      if (!math::same_answer(last, math::read_answer(found.candidates[k]), options_)) return false;
    }
    return true;
  }

  MathOptions options_;
};

}  // namespace

std::unique_ptr<Rewarder> make_math(const RewardSpec& spec) {
  const auto choice = [&](const char* key, const std::vector<std::string>& values) {
    return choice_option(spec, key, values, values[0]);
  };
  MathOptions options;
  options.extract = static_cast<Extract>(choice("extract", extract_names()));
  const double digits = number_option(spec, "digits", options.digits);
  options.tolerance = number_option(spec, "tolerance", options.tolerance);
  if (digits < 0 || digits > 50 || digits != std::floor(digits)) {
    throw UserError("math: digits: expected a whole number from 0 to 50");
  }
  if (options.tolerance < 0 || options.tolerance > 0.5) {
    throw UserError("math: tolerance: expected a number from 0 to 0.5");
  }
  options.digits = static_cast<int>(digits);
  options.percent = static_cast<math::Percent>(choice("percent", {"either", "value"}));
  options.units = static_cast<math::Units>(choice("units", {"lenient", "strict", "ignore"}));
  options.order = static_cast<math::Order>(choice("order", {"any", "given"}));
  options.fractions = static_cast<math::Fractions>(choice("fractions", {"any", "reduced"}));
  options.forms = static_cast<math::Forms>(choice("forms", {"closed", "literal"}));
  options.boxes = static_cast<math::Boxes>(choice("boxes", {"list", "last"}));
  return std::make_unique<MathRewarder>(options);
}

}  // namespace hone
