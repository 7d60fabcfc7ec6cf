#include "train/report/report.h"

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "tests/temporary.h"
#include "train/report/chart.h"
#include "train/report/html.h"

using Catch::Matchers::ContainsSubstring;

namespace hone {
namespace {

namespace fs = std::filesystem;

TEST_CASE("a model's text cannot become markup or hide characters") {
  CHECK(html_escape("<a href=\"x\">&'") == "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
  CHECK(html_visible("a\x1b[0m\n\tb") == "a<span class=\"cc\">\xE2\x90\x9B</span>[0m\n\tb");
  CHECK(html_visible("\x7f") == "<span class=\"cc\">\xE2\x90\xA1</span>");
  CHECK(html_visible(std::string(1, '\0')) == "<span class=\"cc\">\xE2\x90\x80</span>");
  CHECK(html_visible("\xE2\x80\xAE") ==
        "<span class=\"cc\">U+202E</span>");  // right-to-left override
  CHECK(html_visible("\xC2\x85") == "<span class=\"cc\">U+0085</span>");
  CHECK(html_visible("\xE4\xBD\xA0\xF0\x9F\x98\x80") == "\xE4\xBD\xA0\xF0\x9F\x98\x80");
  const std::string replaced = "<span class=\"cc\">\xEF\xBF\xBD</span>";
  CHECK(html_visible("\xff") == replaced);
  CHECK(html_visible("\xE4\xBD") == replaced + replaced);                 // cut short
  CHECK(html_visible("\xC0\xBC") == replaced + replaced);                 // overlong '<'
  CHECK(html_visible("\xED\xA0\x80") == replaced + replaced + replaced);  // surrogate
}

TEST_CASE("long texts keep both ends") {
  const std::string text = html_visible("begin" + std::string(5000, 'x') + "end", 300);
  CHECK_THAT(text, ContainsSubstring("begin") && ContainsSubstring("end") &&
                       ContainsSubstring("4,708 bytes left out"));
}

TEST_CASE("thinking is folded, however it was opened or closed") {
  const std::string folded = html_completion(" <think>\n1+1=2\n</think>\n<answer>2</answer>", "Q");
  CHECK_THAT(folded, ContainsSubstring("<div class=\"text\">1+1=2</div></details>") &&
                         ContainsSubstring("&lt;answer&gt;2&lt;/answer&gt;"));
  CHECK_THAT(html_completion("1+1=2</think>2", "A: <think>"), ContainsSubstring("<details"));
  CHECK_THAT(html_completion("so 2", "A: <think>\n"), ContainsSubstring("never closed"));
  CHECK_THAT(html_completion("<think>on and on", ""), ContainsSubstring("never closed"));
  CHECK_THAT(html_completion("plain 2", "A:"), !ContainsSubstring("<details"));
  CHECK_THAT(html_completion("</think>", ""), ContainsSubstring("<details"));
}

TEST_CASE("numbers read as people write them") {
  CHECK(format_count(1234567) == "1,234,567");
  CHECK(format_count(-999) == "-999");
  CHECK(format_number(0.03125) == "0.0312");
  CHECK(format_percent(0.9618) == "96.2%");
  CHECK(format_seconds(3725) == "1 h 02 min");
}

TEST_CASE("axis ticks are round and cover the data") {
  const std::vector<double> ticks = axis_ticks(0.13, 0.97, 4);
  CHECK(ticks.front() <= 0.13);
  CHECK(ticks.back() >= 0.97);
  CHECK(ticks.size() <= 7);
  CHECK(axis_ticks(51, 78, 4) == std::vector<double>{50, 60, 70, 80});
  CHECK(chart_html({"t", "m", false, false, {{"r", {}}}}).empty());
  CHECK_THAT(chart_html({"t", "m", false, false, {{"r", {{3, 0.0}}}}}), ContainsSubstring("<svg"));
  CHECK_THAT(chart_html({"<t>", "m", false, false, {{"\"r\"", {{0, -1.0}, {1, -1.0}}}}}),
             ContainsSubstring("&lt;t&gt;") && ContainsSubstring("&quot;r&quot;"));
}

struct Run {
  testing::TemporaryDirectory parent;
  std::string dir;
  explicit Run(const std::string& name) : dir(parent / name) {
    fs::create_directories(dir + "/stages/01-zero/rollouts");
  }
  void put(const std::string& name, const std::string& bytes) {
    write_file_atomic(dir + "/" + name, bytes);
  }
  std::string report(const std::vector<std::string>& others = {}) {
    std::vector<std::string> dirs{dir};
    dirs.insert(dirs.end(), others.begin(), others.end());
    write_report(dirs, dir + "/report.html");
    return read_file(dir + "/report.html");
  }
};

void fill(Run& run) {
  run.put("recipe.yaml",
          R"({"name": "tiny <zero>", "seed": 7, "stages": [{"name": "zero", "kind": "rl",
              "data": [{"task": "multiply"}], "objective": {"preset": "grpo"}, "steps": 2}]})");
  run.put("metrics.jsonl",
          R"({"stage":"zero","step":0,"eval/multiply/pass@1":0.0156}
{"stage":"zero","step":1,"reward":0.5,"entropy":null}
{"stage":"zero","step":2,"reward":0.75,"eval/multiply/pass@1":0.9618}
{"stage":"zero","st)");
  run.put("timing.jsonl", R"({"stage":"zero","step":1,"step_time":4,"time/sample":3})");
  for (const char* step : {"1", "2"}) {
    run.put(cat("stages/01-zero/rollouts/step-00000", step, ".jsonl"),
            R"({"id":"a","source":"multiply","prompt":"Q: 2*3","answer":"6","completions":[)"
            R"({"text":"<script>alert(1)</script> </div>","tokens":[1,2],"finish_reason":"stop",)"
            R"("reward":null,"scores":{"accuracy":null},"status":{"accuracy":"timeout"}}]})");
  }
  run.put("examples.jsonl", R"({"problem":"p","prompt":"Q: 4*5","base":{"text":"9","reward":0},)"
                            R"("trained":{"text":"20","reward":1}})");
  run.put("provenance.json", R"({"base": {"sha256": "abc"}})");
}

TEST_CASE("the page tells the run from its files and needs nothing else") {
  Run run("whole");
  fill(run);
  const std::string page = run.report();
  CHECK_THAT(page, ContainsSubstring("<h1>tiny &lt;zero&gt;</h1>"));
  CHECK_THAT(page, ContainsSubstring("Reinforcement learning on multiply"));
  CHECK_THAT(page, ContainsSubstring("1.6%") && ContainsSubstring("96.2%"));
  CHECK_THAT(page, ContainsSubstring("Q: 4*5") && ContainsSubstring("before"));
  CHECK_THAT(page, ContainsSubstring("The same problem, early and late"));
  CHECK_THAT(page, ContainsSubstring("timeout"));
  CHECK_THAT(page, ContainsSubstring("everything else"));
  CHECK_THAT(page, ContainsSubstring("base.sha256"));
  CHECK_THAT(page, ContainsSubstring("1 unreadable row(s) of metrics.jsonl"));
  CHECK_THAT(page, !ContainsSubstring("<script>alert"));
  CHECK_THAT(page, ContainsSubstring("&lt;script&gt;alert(1)&lt;/script&gt; &lt;/div&gt;"));
  CHECK_THAT(page, !ContainsSubstring("http://") && !ContainsSubstring("https://") &&
                       !ContainsSubstring(" src="));
  CHECK_THAT(page, ContainsSubstring("default-src 'none'"));
}

TEST_CASE("several runs share the charts and are told apart") {
  Run one("one"), two("two");
  fill(one);
  fill(two);
  const std::string page = one.report({two.dir});
  CHECK_THAT(page, ContainsSubstring("2 runs compared"));
  CHECK_THAT(page, ContainsSubstring("tiny &lt;zero&gt; (" + one.dir + ")"));
  CHECK_THAT(page, ContainsSubstring("--c:var(--s2)"));
}

TEST_CASE("an empty run gives a page that says what is missing") {
  Run run("empty");
  const std::string page = run.report();
  for (const char* name : {"recipe.yaml", "metrics.jsonl", "timing.jsonl", "provenance.json"}) {
    CHECK_THAT(page, ContainsSubstring(name));
  }
  run.put("recipe.yaml", "a: [");
  run.put("metrics.jsonl", "[1, 2]\nnull\n{}\n");
  run.put("provenance.json", "{");
  run.put("examples.jsonl", "{}\n{\"base\": 3, \"trained\": []}\n");
  run.put("stages/01-zero/rollouts/step-000001.jsonl",
          "{\"completions\":[]}\n{\"completions\":[{}, 3]}\n{\"id\":4,\"completions\":{}}\n");
  CHECK_THAT(run.report(), ContainsSubstring("recipe.yaml cannot be read"));
  CHECK_THROWS_AS(write_report({run.dir + "/none"}, run.dir + "/x.html"), UserError);
}

}  // namespace
}  // namespace hone
