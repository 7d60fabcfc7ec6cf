// What the corpora of all tasks share: which kinds of documents there are, how often, and how a
// worked question is written down. A task only supplies its questions and the lines of its work.
//
// Kinds of documents: drills (lines of sub-skills), stories (plain words) and question documents.
// A question document has one of these modes:
//   bare      "Q: ...\nA: 259"                            right or wrong
//   tagged    " <think>\nWORK\n</think>\n<answer>259</answer>", the form that training rewards
//   broken    tagged work with a tag missing
//   untagged  " WORK\nso 259"                             all that is left; by far the most
// WORK is short (few big steps, often wrong), long (small steps) or check (small steps, each
// followed by ` ok` or corrected after ` wait`); tagged work may also be a mere guess.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/rng.h"
#include "data/tasks/task_options.h"

namespace hone {

enum class Work { guess, brief, steps, check };  // guess, short, long, check

// Shares of documents; the defaults make a base that has hardly seen the rewarded form.
struct CorpusMix {
  double drill = 0.10, story = 0.04;            // of all documents
  double bare_right = 0.15, bare_wrong = 0.08;  // of question documents
  double exposure = 0.045, broken = 0.0;        // of question documents
  double guess_right = 0.15;                    // of guesses
  double tagged[4] = {0.30, 0.20, 0.30, 0.20};  // guess, short, long, check; relative
  double untagged[3] = {0.30, 0.40, 0.30};      // short, long, check; relative
  double slip[3] = {0.25, 0.06, 0.15};          // chance of an error in a line of each
};

// Reads the shares from a task's options, `defaults` being the task's own. Throws UserError.
CorpusMix read_mix(TaskOptions& options, const CorpusMix& defaults);

// The work on one question and the answer to which it leads, right or not.
struct Worked {
  std::vector<std::string> lines;
  std::string answer;
};

// One question for write_question: how to work it out, and an answer without work.
class Question {
 public:
  virtual ~Question() = default;
  virtual std::string prompt() const = 0;  // "Q: ...\nA:"
  virtual std::string answer() const = 0;  // the right one
  virtual std::string wrong(Rng& rng) const = 0;
  virtual Worked work(Work kind, const CorpusMix& mix, Rng& rng) const = 0;
};

enum class DocumentKind { drill, story, question };
DocumentKind draw_kind(const CorpusMix& mix, Rng& rng);

std::string write_question(const Question& question, const CorpusMix& mix, Rng& rng);

// 6 to 16 words.
std::string write_story(Rng& rng);

// `value` with an error in one digit: plus or minus 1, 2, 10 or (from 100 on) 100; never negative
// and never `value`.
int64_t slip_of(int64_t value, Rng& rng);

// A line "LEFT=VALUE" as short, long and check work writes it, with the mix's slips: an unnoticed
// slip is carried on (the return value), a noticed one is corrected.
int64_t claim(std::string left, int64_t value, Work kind, const CorpusMix& mix, Rng& rng,
              std::vector<std::string>& lines);

// "a+b=" by tens and ones, e.g. "95+64=150+9" (without the total).
std::string split_sum(int64_t a, int64_t b);

// Whether a problem is held out: md5 of its canonical key, first 8 hexadecimal digits, mod 16.
bool held_out(const std::string& key);

size_t draw_weighted(const double* weights, size_t count, Rng& rng);

}  // namespace hone
