#include "data/tasks/corpus.h"

#include "base/error.h"
#include "base/hash.h"
#include "data/tasks/words.h"

namespace hone {
namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const std::string& line : lines) out += (out.empty() ? "" : "\n") + line;
  return out;
}

std::string tagged(const std::string& work, const std::string& answer) {
  return " <think>\n" + work + "\n</think>\n<answer>" + answer + "</answer>";
}

// The four ways in which a page has its tags wrong.
std::string broken(const std::string& work, const std::string& answer, Rng& rng) {
  switch (rng.below(4)) {
    case 0:
      return " <think>\n" + work + "\n<answer>" + answer + "</answer>";
    case 1:
      return " <think>\n" + work + "\n</think>\n" + answer;
    case 2:
      return " " + work + "\nso " + answer;
    default:
      return " <think>\n" + work + "\n</think>\n<answer>" + answer;
  }
}

}  // namespace

CorpusMix read_mix(TaskOptions& options, const CorpusMix& defaults) {
  CorpusMix m = defaults;
  const auto share = [&](const char* name, double& value, const char* meaning) {
    value = options.share(name, value, meaning);
  };
  share("drill", m.drill, "share of documents that are drills of sub-skills");
  share("story", m.story, "share of documents that are plain words");
  share("exposure", m.exposure, "share of question documents in the complete rewarded form");
  share("broken", m.broken, "share of question documents with a tag missing");
  share("bare_right", m.bare_right, "share of question documents with only the right answer");
  share("bare_wrong", m.bare_wrong, "share of question documents with only a wrong answer");
  share("guess_right", m.guess_right, "share of tagged guesses that are right");
  share("tagged_guess", m.tagged[0], "weight of guesses among tagged work");
  share("tagged_short", m.tagged[1], "weight of short work among tagged and broken work");
  share("tagged_long", m.tagged[2], "weight of long work among tagged and broken work");
  share("tagged_check", m.tagged[3], "weight of checked work among tagged and broken work");
  share("untagged_short", m.untagged[0], "weight of short work among untagged work");
  share("untagged_long", m.untagged[1], "weight of long work among untagged work");
  share("untagged_check", m.untagged[2], "weight of checked work among untagged work");
  share("slip_short", m.slip[0], "chance of an error in a line of short work");
  share("slip_long", m.slip[1], "chance of an error in a line of long work");
  share("slip_check", m.slip[2], "chance of an error, then corrected, in a line of checked work");
  const auto at_most_one = [&](double sum, const char* names) {
    if (sum > 1 + 1e-9) {
      throw UserError(
          cat("task ", options.task(), ": ", names, " add up to ", sum, ", expected at most 1"));
    }
  };
  at_most_one(m.drill + m.story, "drill and story");
  at_most_one(m.exposure + m.broken + m.bare_right + m.bare_wrong,
              "exposure, broken, bare_right and bare_wrong");
  if (m.tagged[1] + m.tagged[2] + m.tagged[3] <= 0 ||
      m.untagged[0] + m.untagged[1] + m.untagged[2] <= 0) {
    throw UserError(cat("task ", options.task(),
                        ": of the weights of short, long and check one must be above 0"));
  }
  return m;
}

size_t draw_weighted(const double* weights, size_t count, Rng& rng) {
  double total = 0;
  for (size_t i = 0; i < count; ++i) total += weights[i];
  double at = rng.uniform() * total;
  for (size_t i = 0; i + 1 < count; ++i) {
    if (at < weights[i]) return i;
    at -= weights[i];
  }
  return count - 1;
}

DocumentKind draw_kind(const CorpusMix& mix, Rng& rng) {
  const double at = rng.uniform();
  if (at < mix.drill) return DocumentKind::drill;
  return at < mix.drill + mix.story ? DocumentKind::story : DocumentKind::question;
}

std::string write_question(const Question& question, const CorpusMix& mix, Rng& rng) {
  const double shares[] = {mix.exposure, mix.broken, mix.bare_right, mix.bare_wrong,
                           1 - mix.exposure - mix.broken - mix.bare_right - mix.bare_wrong};
  const std::string prompt = question.prompt();
  switch (draw_weighted(shares, 5, rng)) {
    case 0: {
      const auto kind = static_cast<Work>(draw_weighted(mix.tagged, 4, rng));
      if (kind == Work::guess) {
        const bool right = rng.chance(mix.guess_right);
        const char* word = rng.chance(0.5) ? "easy" : "guess";
        return prompt + tagged(word, right ? question.answer() : question.wrong(rng));
      }
      const Worked w = question.work(kind, mix, rng);
      return prompt + tagged(joined(w.lines), w.answer);
    }
    case 1: {
      const auto kind = static_cast<Work>(1 + draw_weighted(mix.tagged + 1, 3, rng));
      const Worked w = question.work(kind, mix, rng);
      return prompt + broken(joined(w.lines), w.answer, rng);
    }
    case 2:
      return prompt + " " + question.answer();
    case 3:
      return prompt + " " + question.wrong(rng);
    default: {
      const auto kind = static_cast<Work>(1 + draw_weighted(mix.untagged, 3, rng));
      const Worked w = question.work(kind, mix, rng);
      return prompt + " " + joined(w.lines) + "\nso " + w.answer;
    }
  }
}

std::string write_story(Rng& rng) {
  std::string out;
  for (int64_t n = rng.between(6, 16); n > 0; --n) {
    out += (out.empty() ? "" : " ") + std::string(kWords[rng.below(kWordCount)]);
  }
  return out;
}

int64_t slip_of(int64_t value, Rng& rng) {
  static const int64_t sizes[] = {1, 2, 10, 100};
  const int64_t by = sizes[rng.below(value >= 100 ? 4 : 3)];
  return rng.chance(0.5) && value >= by ? value - by : value + by;
}

int64_t claim(std::string left, int64_t value, Work kind, const CorpusMix& mix, Rng& rng,
              std::vector<std::string>& lines) {
  const bool slipped = rng.chance(mix.slip[static_cast<int>(kind) - 1]);
  int64_t carried = value;
  left += "=";
  if (kind == Work::check) {
    left += slipped ? cat(slip_of(value, rng), " wait ", value) : cat(value, " ok");
  } else {
    if (slipped) carried = slip_of(value, rng);
    left += std::to_string(carried);
  }
  lines.push_back(std::move(left));
  return carried;
}

std::string split_sum(int64_t a, int64_t b) {
  return cat(a, "+", b, "=", a / 10 * 10 + b / 10 * 10, "+", a % 10 + b % 10);
}

bool held_out(const std::string& key) {
  return std::stoul(md5_hex(key).substr(0, 8), nullptr, 16) % 16 == 0;
}

}  // namespace hone
