// hone bench verify: verifications a second of one reward on one thread, over a workload of its
// own or a file of rows with references and completions. hone bench sandbox: verdicts a second of
// the code reward.
#include "cli/bench_rewards.h"

#include <algorithm>
#include <limits>
#include <map>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/rng.h"
#include "base/timer.h"
#include "cli/common.h"
#include "rewards/code/bench.h"
#include "rewards/reward.h"

namespace hone {
namespace {

constexpr int kWarmUp = 2, kRounds = 11;
constexpr double kRoundSeconds = 0.25;  // rows are repeated until a round takes so long
constexpr int kPasses = 5;              // of the rows one by one, for the slowest

struct Options {
  std::string reward = "math";
  std::string in;
  int64_t rows = 2000;
  OutputOptions output;
};

struct Row {
  Problem problem;
  Completion completion;
};

struct Pair {
  std::string gold, right, wrong;
};

// A reference and two answers, of the kinds that mathematics data sets have, in about their shares
// (of MATH-500's references three in four are plain numbers or fractions).
Pair random_answer(Rng& rng) {
  const auto n = [&](int64_t low, int64_t high) { return std::to_string(rng.between(low, high)); };
  const std::string a = n(2, 99), b = n(2, 99), c = n(100, 999);
  switch (rng.below(16)) {
    case 0:
      return {a + "," + c, a + c, a + c + "0"};
    case 1:
      return {"\\frac{" + a + "}{" + c + "}", a + "/" + c, c + "/" + a};
    case 2:
      return {"\\frac{" + a + "}{97}", "\\dfrac{" + a + "}{97}", "\\dfrac{1" + a + "}{97}"};
    case 3:
      return {a + "." + b, a + "." + b + "0", b + "." + a + "1"};
    case 4:
      return {a + "\\sqrt{2}", "\\sqrt{2} \\cdot " + a, a + "\\sqrt{3}"};
    case 5:
      return {"\\frac{" + a + "\\pi}{7}", a + "\\pi/7", "\\frac{\\pi}{" + a + "}"};
    case 6:
      return {"(" + a + ", " + b + ")", "(" + a + "," + b + ")", "(" + b + ", " + a + "1)"};
    case 7:
      return {"[-" + a + ", " + c + ")", "[-" + a + "," + c + ")", "(-" + a + ", " + c + "]"};
    case 8:
      return {"x^2+" + a + "x-" + b, "-" + b + " + " + a + "x + x^2", "x^2-" + a + "x+" + b};
    case 9:
      return {"\\text{Evelyn}", "Evelyn", "\\text{Briana}"};
    default:
      return {c, rng.chance(0.5) ? c : "$" + c + "$", c + "1"};
  }
}

std::vector<Row> random_rows(int64_t count) {
  Rng rng(make_key(1, count));
  std::vector<Row> rows;
  for (int64_t i = 0; i < count; ++i) {
    const Pair pair = random_answer(rng);
    Row row;
    row.problem.id = std::to_string(i + 1);
    row.problem.fields["answer"] = pair.gold;
    std::string text = "<think>\n";
    for (int64_t step = rng.between(5, 25); step > 0; --step) {
      text += cat("Next, $", rng.below(100), " \\times ", rng.below(100), "$ gives ",
                  rng.below(10000), ", so we go on with \\(x = ", rng.below(100), "\\).\n");
    }
    text += "</think>\nPutting these together, the answer is \\boxed{" +
            (rng.chance(0.7) ? pair.right : pair.wrong) + "}.";
    row.completion.text = text;
    row.completion.finish_reason = FinishReason::stop;
    rows.push_back(std::move(row));
  }
  return rows;
}

std::vector<Row> read_rows(const std::string& path) {
  std::vector<Row> rows;
  for_each_line(find_path(path), [&](int64_t line, const std::string& text) {
    const Json in = Json::parse(text, nullptr, false);
    for (const char* key : {"completion", "pred"}) {
      if (!in.is_object() || !in.contains(key) || !in[key].is_string()) continue;
      Row row;
      row.problem.id = std::to_string(line);
      row.problem.fields = in;
      if (in.contains("prompt") && in["prompt"].is_string()) row.problem.prompt = in["prompt"];
      row.completion.text = in[key];
      row.completion.finish_reason = FinishReason::stop;
      rows.push_back(std::move(row));
      return;
    }
  });
  if (rows.empty()) throw UserError(cat(path, ": expected rows with 'completion' or 'pred'"));
  return rows;
}

struct SandboxBench {
  int64_t threads = 0, verdicts = 500;
  OutputOptions output;
};

int verify(const Options& o) {
  Display display(begin_output(o.output));
  if (o.rows < 1) throw UserError(cat("--rows: expected at least 1, found ", o.rows));
  const auto rewarder = make_rewarder(parse_reward_spec(o.reward));
  const std::vector<Row> rows = o.in.empty() ? random_rows(o.rows) : read_rows(o.in);
  std::vector<RewardItem> items;
  for (const Row& row : rows) {
    items.push_back({&row.problem, &row.completion, row.problem.prompt, {}});
  }

  Timer first;
  const std::vector<Score> scores = rewarder->score(items);
  const int repeats = 1 + static_cast<int>(kRoundSeconds / std::max(first.seconds(), 1e-6));
  std::vector<double> rates;
  for (int i = 0; i < kWarmUp + kRounds; ++i) {
    const Timer timer;
    for (int k = 0; k < repeats; ++k) rewarder->score(items);
    const double rate = static_cast<double>(items.size()) * repeats / timer.seconds();
    display.note(cat(i < kWarmUp ? "warm-up  " : "measured ", static_cast<int64_t>(rate), " /s"));
    if (i >= kWarmUp) rates.push_back(rate);
  }
  std::sort(rates.begin(), rates.end());

  // One by one: the best of some passes, since the system's own interruptions are no verdict's.
  std::vector<double> times(items.size(), std::numeric_limits<double>::infinity());
  for (int pass = 0; pass < kPasses; ++pass) {
    for (size_t i = 0; i < items.size(); ++i) {
      const std::vector<RewardItem> one = {items[i]};
      const Timer timer;
      rewarder->score(one);
      times[i] = std::min(times[i], timer.seconds());
    }
  }
  const size_t slowest =
      static_cast<size_t>(std::max_element(times.begin(), times.end()) - times.begin());

  std::map<std::string, int64_t> statuses;
  int64_t right = 0;
  for (const Score& score : scores) {
    ++statuses[to_string(score.status)];
    right += score.value.value_or(0) == 1.0;
  }
  print_line(to_line({{"bench", "verify"},
                      {"reward", o.reward},
                      {"workload", o.in.empty() ? "own" : o.in},
                      {"rows", items.size()},
                      {"threads", 1},
                      {"repetitions", kRounds},
                      {"per_second", rates[rates.size() / 2]},
                      {"per_second_min", rates.front()},
                      {"per_second_max", rates.back()},
                      {"slowest_ms", times[slowest] * 1e3},
                      {"slowest_row", rows[slowest].problem.id},
                      {"right", right},
                      {"status", statuses}}));
  return 0;
}

}  // namespace

void add_bench_rewards(Command& bench) {
  static Options o;
  Command& c = bench.verb("verify", "verifications a second of a reward, on one thread");
  c.option("--reward", o.reward, "NAME[:option=value,...]");
  c.option("--in", o.in, "JSONL with {answer or gold, completion or pred}; default: own rows");
  c.option("--rows", o.rows, "rows of the own workload");
  add_output_options(c, o.output);
  c.action([] { return verify(o); });

  static SandboxBench s;
  Command& sandbox = bench.verb("sandbox", "verdicts a second on a trivial Python program");
  sandbox.option("--threads", s.threads, "workers; 0: all cores");
  sandbox.option("--verdicts", s.verdicts, "programs in each round");
  add_output_options(sandbox, s.output);
  sandbox.action([] {
    begin_output(s.output);
    if (s.threads < 0 || s.verdicts < 1) {
      throw UserError(
          "bench sandbox: expected --threads of at least 0 and --verdicts of at least 1");
    }
    const size_t threads = s.threads > 0 ? static_cast<size_t>(s.threads)
                                         : std::max(1u, std::thread::hardware_concurrency());
    print_line(to_line(bench_sandbox(threads, static_cast<size_t>(s.verdicts), kRounds)));
    return 0;
  });
}

}  // namespace hone
