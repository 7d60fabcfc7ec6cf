// hone data: files of others become rows of hone's own; bad rows are told; files are filtered.
#include <catch2/catch_test_macros.hpp>

#include "run_hone.h"

using namespace hone;
namespace fs = std::filesystem;

namespace {

std::vector<Json> rows_of(const std::string& path) {
  Outcome o;
  o.out = slurp(path);
  return o.rows();
}

// A Python with pyarrow: the one that is active, or that HONE_TEST_PYARROW names.
std::string python_with_pyarrow() {
  const char* given = std::getenv("HONE_TEST_PYARROW");
  const std::string python = given ? given : "python3";
  const bool has = std::system((python + " -c 'import pyarrow.parquet' 2>/dev/null").c_str()) == 0;
  return has ? python : "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("import writes hone's own rows, and reading them again changes nothing") {
  const TemporaryDirectory dir;
  spill(dir / "g.json",
        "[{\"question\": \"2+3?\", \"answer\": \"5.\\n#### 5\"},\n {\"question\": \"1+1?\",\n"
        "\"answer\": \"#### 2\", \"id\": \"b\"}]");
  const Outcome o =
      run_hone("data import " + (dir / "g.json") + " --as gsm8k --json --out " + (dir / "g.jsonl"));
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK(o.rows().back()["rows"] == 2);
  const auto rows = rows_of(dir / "g.jsonl");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["id"] == 1);
  CHECK(rows[0]["data_source"] == "gsm8k");
  CHECK(rows[0]["prompt"] == "2+3?");
  CHECK(rows[0]["answer"] == "5");
  CHECK(rows[1]["id"] == "b");
  CHECK(run_hone("data import " + (dir / "g.jsonl") + " --out " + (dir / "again")).code == 0);
  CHECK(slurp(dir / "again") == slurp(dir / "g.jsonl"));
  CHECK(run_hone("data check " + (dir / "g.jsonl") + " --reward math").code == 0);
  CHECK(run_hone("score --reward math --in -",
                 Json{{"completion", "It is \\boxed{5}"}, {"answer", rows[0]["answer"]}}.dump())
            .rows()[0]["reward"] == 1.0);
}

TEST_CASE("import tells malformed rows and does the rest") {
  const TemporaryDirectory dir;
  spill(dir / "in.csv", "question,answer\nQ,#### 1\nR,2\n\"S\nT\",#### 3\nU\n");
  const Outcome o =
      run_hone("data import " + (dir / "in.csv") + " --as gsm8k --quiet --out " + (dir / "out"));
  CHECK(o.code == 1);
  CHECK(one_line(o.err));
  CHECK(contains(o.err, "2 of 4 rows malformed; "));
  CHECK(contains(o.err, "in.csv:2: expected answer to end in"));
  const auto rows = rows_of(dir / "out");
  REQUIRE(rows.size() == 4);
  CHECK(rows[1]["id"] == 2);
  CHECK(contains(rows[1]["error"], "in.csv:2:"));
  CHECK(rows[2]["prompt"] == "S\nT");
  CHECK(contains(rows[3]["error"], "expected 2 fields"));
  spill(dir / "ids.jsonl", "{\"id\": \"q7\", \"question\": \"Q\"}\n{\"prompt\": \"a\"}\n");
  CHECK(run_hone("data import " + (dir / "ids.jsonl") + " --as trl --quiet --out -").code == 1);
  const auto kept = run_hone("data import " + (dir / "ids.jsonl") + " --as trl --out -").rows();
  REQUIRE(kept.size() == 2);
  CHECK(kept[0]["id"] == "q7");
  CHECK(kept[0].contains("error"));
  // A run over it stops there and says why.
  CHECK(contains(run_hone("data check " + (dir / "out")).out, "could not be imported"));
}

TEST_CASE("import refuses what it cannot read, and writes nothing") {
  const TemporaryDirectory dir;
  spill(dir / "none.jsonl", "{\"a\": 1}\n");
  spill(dir / "broken.parquet", "PAR1 is not all");
  fs::create_directories(dir / "mixed");
  spill(dir / "mixed/test-00000-of-00001.jsonl", "{\"prompt\": \"a\"}\n");
  spill(dir / "mixed/train-00000-of-00001.jsonl", "{\"prompt\": \"b\"}\n");
  fs::create_directories(dir / "empty");
  struct Call {
    std::string arguments, told;
  };
  for (const Call& call : std::vector<Call>{
           {(dir / "none.jsonl"), "no row could be read"},
           {(dir / "none.jsonl") + " --as gsm9k", "did you mean gsm8k?"},
           {(dir / "absent.jsonl"), "cannot be read"},
           {(dir / "mixed"), "expected the shards of one set, found those of test, train"},
           {(dir / "empty"), "expected .parquet, .jsonl, .json or .csv files"},
           {(dir / "broken.parquet") + " --python /nowhere/python", "/nowhere/python"},
       }) {
    INFO(call.arguments);
    const Outcome o = run_hone("data import " + call.arguments + " --quiet --out " + (dir / "out"));
    CHECK(o.code == 2);
    CHECK(one_line(o.err));
    INFO(o.err);
    CHECK(contains(o.err, call.told));
    CHECK_FALSE(fs::exists(dir / "out"));
  }
  CHECK(run_hone("data import " + (dir / "mixed/train-00000-of-00001.jsonl") + " " +
                 (dir / "mixed/test-00000-of-00001.jsonl") + " --out " + (dir / "out"))
            .code == 0);
  CHECK(rows_of(dir / "out").size() == 2);
}

TEST_CASE("Parquet without pyarrow is refused with the line that installs it") {
  const TemporaryDirectory dir;
  spill(dir / "x.parquet", "PAR1");
  // A Python that finds no packages: isolated, without site.
  spill(dir / "bare", "#!/bin/sh\nexec python3 -I -S \"$@\"\n");
  fs::permissions(dir / "bare", fs::perms::owner_all);
  const Outcome o = run_hone("data import " + (dir / "x.parquet") + " --quiet --python " +
                             (dir / "bare") + " --out " + (dir / "out"));
  INFO(o.err);
  CHECK(o.code == 2);
  CHECK(one_line(o.err));
  CHECK(contains(o.err, "-m pip install pyarrow"));
}

TEST_CASE("Parquet shards are read by pyarrow, nested columns and all") {
  const std::string python = python_with_pyarrow();
  if (python.empty()) SKIP("no Python with pyarrow (HONE_TEST_PYARROW names one)");
  const TemporaryDirectory dir;
  fs::create_directories(dir / "shards");
  spill(dir / "make.py",
        "import sys, datetime, pyarrow as pa, pyarrow.parquet as pq\n"
        "for s in range(2):\n"
        "  rows = [{'data_source': 'x', 'prompt': [{'role': 'user', 'content': f'{s} {i}'}],\n"
        "    'reward_model': {'style': 'rule', 'ground_truth': str(i)}, 'when':\n"
        "    datetime.date(2024, 1, 2), 'big': 2**62 + i, 'nan': float('nan'), 'none': None}\n"
        "    for i in range(3000)]\n"
        "  pq.write_table(pa.Table.from_pylist(rows),\n"
        "    f'{sys.argv[1]}/train-0000{s}-of-00002.parquet')\n");
  REQUIRE(std::system((python + " " + (dir / "make.py") + " " + (dir / "shards")).c_str()) == 0);
  const Outcome o = run_hone("data import " + (dir / "shards") + " --as verl --quiet --python " +
                             python + " --out " + (dir / "out"));
  INFO(o.err);
  CHECK(o.code == 0);
  const auto rows = rows_of(dir / "out");
  REQUIRE(rows.size() == 6000);
  CHECK(rows[4]["answer"] == "4");
  CHECK(rows[4]["prompt"] == "0 4");
  CHECK(rows[4]["messages"][0]["content"] == "0 4");
  CHECK(rows[4]["when"] == "2024-01-02");
  CHECK(rows[4]["big"] == (int64_t{1} << 62) + 4);
  CHECK(rows[4]["nan"].is_null());
  CHECK(rows[5999]["id"] == 6000);
  CHECK(rows[5999]["prompt"] == "1 2999");
  spill(dir / "cut.parquet", slurp(dir / "shards/train-00000-of-00002.parquet").substr(0, 4000));
  const Outcome cut = run_hone("data import " + (dir / "cut.parquet") + " --quiet --python " +
                               python + " --out " + (dir / "none"));
  CHECK(cut.code == 2);
  CHECK(one_line(cut.err));
  CHECK(contains(cut.err, "cut.parquet: not readable as Parquet"));
  CHECK_FALSE(fs::exists(dir / "none"));
}

TEST_CASE("check tells bad rows, repeated rows and rows that a reward cannot judge") {
  const TemporaryDirectory dir;
  spill(dir / "f.jsonl",
        "{\"prompt\": \"a\", \"answer\": 2}\n{\"promt\": 1}\n{\"id\": 9, \"prompt\": \"a\", "
        "\"answer\": 2}\n{\"prompt\": \"b\"}\nnonsense\n"
        "{\"prompt\": \"c\", \"tests\": {\"inputs\": [\"1\"], \"outputs\": []}}\n"
        "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"assistant\", "
        "\"content\": \"b\"}]}\n");
  const Outcome o = run_hone("data check " + (dir / "f.jsonl") + " --json");
  CHECK(o.code == 1);
  for (const char* line :
       {":2: expected prompt, messages or text, found promt", ":3: the same as row 1",
        ":4: no answer, tests, or numbers", ":5: expected one JSON object a line",
        ":6: tests that cannot be read", "7 rows: 4 problems, 1 documents, 5 as hone",
        "2 wrong, 1 repeated, 2 problems without what a reward needs"}) {
    INFO(line << "\n" << o.out);
    CHECK(contains(o.out, line));
  }
  const Json result = Json::parse(o.out.substr(o.out.rfind('\n', o.out.size() - 2) + 1));
  CHECK(result["wrong"] == 2);
  CHECK(result["formats"]["hone"] == 5);
  spill(dir / "g.jsonl", "{\"prompt\": \"a\", \"answer\": \"2\"}\n{\"prompt\": \"b\"}\n");
  CHECK(run_hone("data check " + (dir / "g.jsonl")).code == 0);  // the format reward needs none
  const Outcome math = run_hone("data check " + (dir / "g.jsonl") + " --reward math");
  CHECK(math.code == 1);
  CHECK(contains(math.out, "g.jsonl:2: math: bad reference"));
}

TEST_CASE("filter leaves rows out and says which; the others stay as they are") {
  const TemporaryDirectory dir;
  const std::string big = "{\"prompt\":  \"Keep me\", \"n\": 123456789012345678901234567890}";
  spill(dir / "f.jsonl",
        big + "\n{\"prompt\": \"keep  ME\"}\n{\"prompt\": \"of the test\"}\nbad\n");
  spill(dir / "test.jsonl", "{\"prompt\": \"Of the test!\", \"answer\": 1}\n");
  const Outcome o =
      run_hone("data filter " + (dir / "f.jsonl") + " --dedupe --against " + (dir / "test.jsonl") +
               " --bad-rows skip --json --out " + (dir / "out"));
  INFO(o.out << o.err);
  CHECK(o.code == 0);
  CHECK(slurp(dir / "out") == big + "\n");
  CHECK(contains(o.out, "f.jsonl:2: says the same as a row before it\n"));
  CHECK(contains(o.out, "f.jsonl:3: has all words of " + (dir / "test.jsonl") + ":1\n"));
  CHECK(contains(o.err, "left out 3 of 4 rows: 1 bad, 1 repeated, 1 in a test set"));
  CHECK(run_hone("data filter " + (dir / "f.jsonl") + " --out " + (dir / "none")).code == 2);
  CHECK_FALSE(fs::exists(dir / "none"));

  std::string rows;
  for (int i = 0; i < 200; ++i) rows += "{\"prompt\": \"p" + std::to_string(i) + "\"}\n";
  spill(dir / "g.jsonl", rows);
  std::string both;
  for (const std::string side : {"train", "heldout"}) {
    CHECK(run_hone("data filter " + (dir / "g.jsonl") + " --heldout 0.2 --split " + side +
                   " --out " + (dir / side))
              .code == 0);
    both += slurp(dir / side);
  }
  CHECK(both.size() == rows.size());
  CHECK(slurp(dir / "heldout").size() > rows.size() / 10);
  CHECK(slurp(dir / "heldout").size() < rows.size() / 3);
}

TEST_CASE("a run skips bad rows if the recipe says so, and tells how many", "[slow]") {
  const TemporaryDirectory dir;
  spill(dir / "rows.jsonl", "{\"question\": \"1+1\", \"answer\": \"2\"}\n{\"promt\": 1}\n");
  spill(dir / "r.yaml", "kind: rl\nname: z\nmodel: " + random_model() +
                            "\ndata: [{path: " + (dir / "rows.jsonl") +
                            ", bad_rows: skip}]\nrewards: [{name: format, pattern: tag_count}]\n"
                            "prompts_per_step: 2\ngroup_size: 2\nmax_tokens: 8\nsteps: 1\n"
                            "eval: {problems: 1}\ndevice: cpu\nthreads: 1\n");
  const Outcome o = run_hone("train " + (dir / "r.yaml") + " --out " + (dir / "run"));
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK(contains(o.err, "rows.jsonl: left out 1 of 2 rows: 1 bad"));
  CHECK(contains(o.err, "rows.jsonl:2: expected prompt, messages or text, found promt"));
  const Outcome stop =
      run_hone("train " + (dir / "r.yaml") + " data.0.bad_rows=stop --quiet --out " + (dir / "b"));
  CHECK(stop.code == 2);
  CHECK(contains(stop.err, "rows.jsonl:2: expected prompt"));
}

TEST_CASE("the rewards read the references of all real data sets", "[slow]") {
  const std::string shared = std::string(HONE_TEST_DIR) + "/../../shared/data/";
  if (!fs::exists(shared)) SKIP("no folder " << shared);
  struct Set {
    const char *file, *format, *reward;
  };
  for (const Set& set : std::vector<Set>{{"gsm8k/train.jsonl", "gsm8k", "math"},
                                         {"gsm8k/test.jsonl", "gsm8k", "math"},
                                         {"math500/test.jsonl", "math500", "math"},
                                         {"aime24/test.jsonl", "aime", "math"},
                                         {"aime25/test.jsonl", "aime", "math"},
                                         {"amc23/test.jsonl", "amc", "math"},
                                         {"humaneval/HumanEval.jsonl", "humaneval", "code"},
                                         {"mbpp/mbpp.jsonl", "mbpp", "code"},
                                         {"mbpp/sanitized-mbpp.json", "mbpp", "code"},
                                         {"rllm_code/codeforces_test.json", "codeforces", "code"},
                                         {"rllm_code/leetcode_test.json", "leetcode", "code"}}) {
    const Outcome o = run_hone("data check " + shared + set.file + " --format " + set.format +
                               " --reward " + set.reward + " --json");
    INFO(set.file << "\n" << o.out.substr(0, 1000) << o.err);
    CHECK(o.code == 0);
  }
}
