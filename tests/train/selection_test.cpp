#include "train/selection.h"

#include <algorithm>
#include <catch2/catch_test_macros.hpp>
#include <set>

namespace hone {
namespace {

// Problems "0", "1", ... "n-1", over and over.
class Numbers : public ProblemSource {
 public:
  explicit Numbers(int64_t n) : n_(n) {}
  int64_t size() const override { return n_; }
  Problem at(int64_t index) const override {
    return {std::to_string(index % n_), "numbers", "", {}};
  }
  std::string report() const override { return ""; }

 private:
  int64_t n_;
};

std::vector<std::string> ids(const std::vector<Problem>& problems) {
  std::vector<std::string> found;
  for (const Problem& p : problems) found.push_back(p.id);
  return found;
}

// A group of four completions of which so many passed.
Group answered(const std::string& id, int passed) {
  Group g;
  g.problem = {id, "numbers", "", {}};
  g.completions.resize(4);
  std::vector<Score> scores(4);
  for (int i = 0; i < 4; ++i) scores[static_cast<size_t>(i)].value = i < passed ? 1.0 : 0.0;
  g.scores = {{"accuracy", scores}};
  return g;
}

using Ids = std::vector<std::string>;

TEST_CASE("problems come in the data's order where nothing is chosen") {
  const Numbers source(3);
  ProblemSelector selector(source, {});
  CHECK(ids(selector.next(2)) == Ids{"0", "1"});
  selector.record({answered("2", 4)});
  CHECK(ids(selector.next(4)) == Ids{"2", "0", "1", "2"});
  CHECK(selector.state()["pass_rates"].empty());  // nothing reads them
}

TEST_CASE("a problem that is solved often enough is not asked again") {
  const Numbers source(4);
  SelectionOptions o;
  o.retire_at = 0.75;
  ProblemSelector selector(source, o);
  selector.record({answered("1", 3), answered("2", 2)});
  CHECK(selector.retired() == 1);
  CHECK(ids(selector.next(6)) == Ids{"0", "2", "3", "0", "2", "3"});
  selector.record({answered("1", 4)});
  CHECK(selector.retired() == 1);  // counted once
}

TEST_CASE("when all are retired nothing comes, instead of looking for ever") {
  const Numbers source(2);
  SelectionOptions o;
  o.retire_at = 1;
  ProblemSelector selector(source, o);
  selector.record({answered("0", 4), answered("1", 4)});
  CHECK(selector.next(1).empty());

  class Endless : public Numbers {  // a task with two problems
   public:
    Endless() : Numbers(2) {}
    int64_t size() const override { return -1; }
  };
  const Endless task;
  ProblemSelector of_task(task, o);
  of_task.record({answered("0", 4), answered("1", 4)});
  CHECK(of_task.next(1).empty());
}

TEST_CASE("failed verifiers and problems that no reward fits say nothing about the pass rate") {
  const Numbers source(3);
  SelectionOptions o;
  o.retire_at = 1;
  ProblemSelector selector(source, o);
  Group failed = answered("0", 4), half = answered("1", 2), unjudged = answered("2", 4);
  for (Score& s : failed.scores[0].second) s.value.reset();
  for (size_t i = 2; i < 4; ++i) half.scores[0].second[i].value.reset();
  unjudged.scores.clear();
  selector.record({failed, half, unjudged});
  CHECK(ids(selector.next(3)) == Ids{"0", "2", "0"});  // 2 of the 2 that were graded passed
}

TEST_CASE("of the candidates those nearest to the aimed pass rate are asked, unseen ones first") {
  const Numbers source(6);
  SelectionOptions o;
  o.candidates = 3;
  ProblemSelector selector(source, o);
  selector.record(
      {answered("0", 0), answered("1", 3), answered("2", 2), answered("3", 4), answered("4", 1)});
  CHECK(ids(selector.next(2)) == Ids{"2", "5"});
  o.aim = 1;
  ProblemSelector easy(source, o);
  easy.record({answered("0", 0), answered("1", 3), answered("2", 4), answered("3", 4),
               answered("4", 1), answered("5", 0)});
  CHECK(ids(easy.next(2)) == Ids{"2", "3"});
}

TEST_CASE("the selection goes on where a checkpoint left it") {
  const Numbers source(7);
  SelectionOptions o;
  o.retire_at = 0.5;
  o.candidates = 2;
  ProblemSelector a(source, o), b(source, o);
  a.next(2);
  a.record({answered("0", 1), answered("1", 2)});
  b.set_state(Json::parse(a.state().dump()));
  CHECK(b.retired() == 1);
  CHECK(ids(a.next(5)) == ids(b.next(5)));
}

}  // namespace
}  // namespace hone
