// JSONL in, JSONL out: one row for each, in order, ids carried over.
#include <catch2/catch_test_macros.hpp>

#include "run_hone.h"

using namespace hone;

TEST_CASE("rows keep their order and their ids, malformed ones are told") {
  const Outcome o = run_hone("score --reward math --in -",
                             "{\"completion\": \"\\\\boxed{4}\", \"answer\": \"4\"}\n"
                             "not json\n"
                             "\n"
                             "{\"id\": \"x\", \"completion\": \"\\\\boxed{5}\", \"answer\": 4}\n"
                             "{\"id\": [7], \"answer\": 4}\n");
  CHECK(o.code == 1);
  const auto rows = o.rows();
  REQUIRE(rows.size() == 4);
  CHECK(rows[0]["id"] == 1);
  CHECK(rows[0]["reward"] == 1.0);
  CHECK(rows[0]["status"]["math"] == "ok");
  CHECK(rows[1]["id"] == 2);
  CHECK(rows[1].contains("error"));
  CHECK(rows[2]["id"] == "x");
  CHECK(rows[2]["reward"] == 0.0);
  CHECK(rows[3]["id"] == Json::array({7}));
  CHECK(rows[3].contains("error"));
}

TEST_CASE("input of which no row can be read is exit code 2") {
  const Outcome o = run_hone("score --reward math --in -", "nonsense\n[1]\n");
  CHECK(o.code == 2);
  CHECK(o.rows().size() == 2);
  CHECK(one_line(o.err));
}

TEST_CASE("completions are scored as sample writes them") {
  const Outcome o = run_hone(
      "score --reward math --reward format:weight=0.5,as=shape --in - --json",
      "{\"prompt\": \"Q\", \"answer\": \"4\", \"completions\": [{\"text\": "
      "\"<think>a</think><answer>4</answer>\", \"ids\": [1], \"finish_reason\": \"stop\"}, "
      "{\"text\": \"4\", \"finish_reason\": \"length\"}]}\n");
  CHECK(o.code == 0);
  const auto rows = o.rows();
  REQUIRE(rows.size() == 2);
  const Json& list = rows[0]["completions"];
  REQUIRE(list.size() == 2);
  CHECK(list[0]["reward"] == 1.5);
  CHECK(list[0]["scores"]["shape"] == 1.0);
  CHECK(list[1]["scores"]["shape"] == 0.0);
  CHECK(rows[1] == Json({{"rows", 1}, {"errors", 0}}));
}

TEST_CASE("a reference that cannot be read gives null, not zero") {
  const auto rows =
      run_hone("score --reward math --in -", "{\"completion\": \"4\", \"answer\": \"four\"}\n")
          .rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0]["reward"].is_null());
  CHECK(rows[0]["status"]["math"] == "bad_reference");
}

TEST_CASE("tokenize takes text to ids and back") {
  const std::string text = "Q: 37+58\\nA: <think>\\n\\u00e9\\ud83d\\ude42 ok</think>";
  const auto ids =
      run_hone("tokenize data/models/tiny-base --in -", "{\"text\": \"" + text + "\"}\n").rows();
  REQUIRE(ids.size() == 1);
  const auto back =
      run_hone("tokenize data/models/tiny-base --in -", Json{{"ids", ids[0]["ids"]}}.dump() + "\n")
          .rows();
  CHECK(back[0]["text"] == Json::parse("\"" + text + "\""));
  const auto special = run_hone("tokenize data/models/tiny-base --in -",
                                "{\"text\": \"" + text + "\", \"add_special_tokens\": true}\n")
                           .rows();
  CHECK(special[0]["ids"].size() == ids[0]["ids"].size() + 1);
  CHECK(special[0]["ids"][0] == 1);
}

TEST_CASE("the same seed makes the same problems, held-out ones apart") {
  const TemporaryDirectory dir;
  const auto make = [&](const std::string& more, const std::string& file) {
    CHECK(run_hone("data make sum --n 200 " + more + " --out " + (dir / file)).code == 0);
    return slurp(dir / file);
  };
  const std::string train = make("--seed 3", "a");
  CHECK(train == make("--seed 3", "b"));
  CHECK(train != make("--seed 4", "c"));
  const std::string heldout = make("--split heldout", "d");
  std::istringstream lines(heldout);
  for (std::string line; std::getline(lines, line);) {
    CHECK(train.find(Json::parse(line)["prompt"].dump()) == std::string::npos);
  }
  CHECK(run_hone("data check " + (dir / "a")).code == 0);
}

TEST_CASE("check says which row is wrong") {
  const TemporaryDirectory dir;
  spill(dir / "f.jsonl", "{\"prompt\": \"1+1\", \"answer\": 2}\n{\"promt\": 1}\n");
  const Outcome o = run_hone("data check " + (dir / "f.jsonl"));
  CHECK(o.code == 1);
  CHECK(o.out.find("f.jsonl:2:") != std::string::npos);
}

TEST_CASE("loss prints the objective as JSON") {
  const Outcome o = run_hone(
      "loss --in -", "{\"logp\": [[-1, -2], [-3]], \"rewards\": [1, 0], \"group\": [0, 0]}");
  CHECK(o.code == 0);
  const auto rows = o.rows();
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].contains("loss"));
  CHECK(rows[0]["grad_logp"].size() == 2);
}
