// Sources and their mixtures.
#include "data/dataset.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "base/error.h"
#include "data/readers/row_file.h"

namespace hone {
namespace {

// Keys of the streams, so that problems and documents of one seed have nothing in common.
constexpr uint64_t kProblems = 1, kDocuments = 2, kHeldout = 3, kShuffle = 4;

// A permutation of 0..n-1 without a table: a Feistel network on the next even number of bits,
// applied until the result falls below n.
uint64_t permuted(uint64_t index, uint64_t n, uint64_t key) {
  int half = 1;
  while ((uint64_t{1} << (2 * half)) < n) ++half;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = index >> half, right = index & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t next = left ^ (make_key(key, round, right) & mask);
      left = right;
      right = next;
    }
    index = (left << half) | right;
  } while (index >= n);
  return index;
}

// What one spec names: a task or a file.
struct Part {
  DataSpec spec;
  std::unique_ptr<Task> task;
  std::unique_ptr<RowFile> file;
};

std::vector<Part> open_parts(const std::vector<DataSpec>& specs, RowKind kind, Split side) {
  if (specs.empty()) throw UserError("data: expected at least one entry with task or path");
  std::vector<Part> parts;
  for (const DataSpec& spec : specs) {
    if (spec.task.empty() == spec.path.empty()) {
      throw UserError(
          cat("data: each entry needs either task or path, found ",
              spec.task.empty() ? "neither" : "task " + spec.task + " and path " + spec.path));
    }
    if (!(spec.weight > 0)) {
      throw UserError(
          cat("data: ", spec.task, spec.path, ": expected a weight above 0, found ", spec.weight));
    }
    Part part;
    part.spec = spec;
    if (!spec.task.empty()) {
      if (OptionWriter::write(spec.rows) != OptionWriter::write(RowOptions())) {
        throw UserError(cat("data: ", spec.task,
                            ": split, max_chars, dedupe, against, ngram and "
                            "bad_rows are for files; a task's problems are apart by themselves"));
      }
      part.task = make_task(spec.task, spec.options);
    } else {
      if (!spec.options.empty()) {
        std::vector<std::string> known;
        for (const OptionKey& key : OptionLister::keys<RowOptions>()) known.push_back(key.path);
        const std::string& option = spec.options.begin()->first;
        const std::string near = nearest_word(option, known);
        throw UserError(cat("data: ", spec.path, ": unknown option ", option,
                            near.empty() ? "" : "; did you mean " + near + "?"));
      }
      part.file = std::make_unique<RowFile>(spec, kind, side);
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

std::string report_of(const std::vector<Part>& parts) {
  std::string out;
  for (const Part& part : parts) {
    if (!part.file || part.file->report().empty()) continue;
    out += (out.empty() ? "" : "\n") + part.file->report();
  }
  return out;
}

// What problem and document mixtures share: how item i finds its part.
class Mixture {
 public:
  Mixture(std::vector<Part> parts, uint64_t key) : parts_(std::move(parts)), key_(key) {
    for (const Part& part : parts_) total_ += part.spec.weight;
  }

  std::string report() const { return report_of(parts_); }
  int64_t size() const {
    return parts_.size() == 1 && parts_[0].file ? parts_[0].file->size() : -1;
  }

  // Calls task(task, rng) or row(file, row number).
  template <class TaskCall, class RowCall>
  auto pick(int64_t index, TaskCall task, RowCall row) const {
    const auto i = static_cast<uint64_t>(index);
    if (size() > 0) {
      const auto n = static_cast<uint64_t>(size());
      const uint64_t order = make_key(key_, kShuffle, i / n);
      return row(*parts_[0].file, static_cast<int64_t>(permuted(i % n, n, order)));
    }
    Rng rng(make_key(key_, i));
    double at = rng.uniform() * total_;
    size_t p = 0;
    while (p + 1 < parts_.size() && at >= parts_[p].spec.weight) at -= parts_[p++].spec.weight;
    if (parts_[p].task) return task(*parts_[p].task, rng);
    const RowFile& file = *parts_[p].file;
    return row(file, static_cast<int64_t>(rng.below(static_cast<uint64_t>(file.size()))));
  }

 private:
  std::vector<Part> parts_;
  uint64_t key_;
  double total_ = 0;
};

class TrainProblems : public ProblemSource {
 public:
  explicit TrainProblems(Mixture mixture) : mixture_(std::move(mixture)) {}
  int64_t size() const override { return mixture_.size(); }
  std::string report() const override { return mixture_.report(); }
  Problem at(int64_t index) const override {
    HONE_CHECK(index >= 0);
    return mixture_.pick(
        index, [](const Task& task, Rng& rng) { return task.problem(Split::train, rng); },
        [](const RowFile& file, int64_t row) { return file.problem(row); });
  }

 private:
  Mixture mixture_;
};

class MixedDocuments : public DocumentSource {
 public:
  explicit MixedDocuments(Mixture mixture) : mixture_(std::move(mixture)) {}
  int64_t size() const override { return mixture_.size(); }
  std::string report() const override { return mixture_.report(); }
  Document at(int64_t index) const override {
    HONE_CHECK(index >= 0);
    return mixture_.pick(
        index, [](const Task& task, Rng& rng) { return task.document(rng); },
        [](const RowFile& file, int64_t row) { return file.document(row); });
  }

 private:
  Mixture mixture_;
};

// The distinct held-out problems of a task. It may have fewer than asked for (all 2 x 2 digit
// products): after so many draws without a new one none is left to find.
std::vector<Problem> draw_heldout(const Task& task, uint64_t key) {
  constexpr int kLastDraws = 5000;
  std::vector<Problem> out;
  std::set<std::string> seen;
  Rng rng(key);
  for (int old = 0; old < kLastDraws && static_cast<int64_t>(out.size()) < task.heldout_size();) {
    Problem p = task.problem(Split::heldout, rng);
    if (seen.insert(p.id).second) {
      out.push_back(std::move(p));
      old = 0;
    } else {
      ++old;
    }
  }
  return out;
}

class HeldoutProblems : public ProblemSource {
 public:
  HeldoutProblems(std::vector<Part> parts, uint64_t seed) : parts_(std::move(parts)) {
    std::vector<std::tuple<double, size_t, int64_t>> order;  // place in its part, part, row
    for (size_t p = 0; p < parts_.size(); ++p) {
      drawn_.emplace_back();
      if (parts_[p].task) {
        drawn_[p] = draw_heldout(*parts_[p].task, make_key(seed, kHeldout));
      }
      const int64_t n =
          parts_[p].task ? static_cast<int64_t>(drawn_[p].size()) : parts_[p].file->size();
      for (int64_t row = 0; row < n; ++row) {
        order.emplace_back((static_cast<double>(row) + 0.5) / static_cast<double>(n), p, row);
      }
    }
    std::sort(order.begin(), order.end());
    for (const auto& [place, part, row] : order) items_.emplace_back(part, row);
  }

  int64_t size() const override { return static_cast<int64_t>(items_.size()); }
  std::string report() const override { return report_of(parts_); }
  Problem at(int64_t index) const override {
    HONE_CHECK(index >= 0);
    const auto& [part, row] = items_[static_cast<size_t>(index) % items_.size()];
    return parts_[part].task ? drawn_[part][static_cast<size_t>(row)]
                             : parts_[part].file->problem(row);
  }

 private:
  std::vector<Part> parts_;
  std::vector<std::vector<Problem>> drawn_;
  std::vector<std::pair<size_t, int64_t>> items_;
};

}  // namespace

std::unique_ptr<ProblemSource> open_problems(const std::vector<DataSpec>& specs, Split split,
                                             uint64_t seed) {
  std::vector<Part> parts = open_parts(specs, RowKind::problem, split);
  if (split == Split::heldout) return std::make_unique<HeldoutProblems>(std::move(parts), seed);
  return std::make_unique<TrainProblems>(Mixture(std::move(parts), make_key(seed, kProblems)));
}

std::unique_ptr<DocumentSource> open_documents(const std::vector<DataSpec>& specs, uint64_t seed) {
  return std::make_unique<MixedDocuments>(
      Mixture(open_parts(specs, RowKind::document, Split::train), make_key(seed, kDocuments)));
}

}  // namespace hone
