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
  CHECK(rows[1]["rows"] == 1);
  CHECK(rows[1]["errors"] == 0);
  CHECK(rows[1]["completions"] == 2);
  CHECK(rows[1]["reward"] == 1.25);
  CHECK(rows[1]["scores"]["shape"] == 0.5);
  CHECK(rows[1]["status"]["math"]["ok"] == 2);
  CHECK(rows[1]["slowest"][0]["id"] == "1");
  CHECK(o.err.find("mean reward 1.25") != std::string::npos);
}

TEST_CASE("many rows are scored by threads and come out in order") {
  std::string input, expected;
  for (int i = 1; i <= 3000; ++i) {
    input +=
        Json({{"gold", std::to_string(i)}, {"pred", "\\boxed{" + std::to_string(i) + "}"}}).dump() +
        "\n";
    if (i % 1000 == 0) input += "{\"gold\": 1}\n";
  }
  const Outcome one = run_hone("score --reward math --reward repetition --threads 1 --in -", input);
  const Outcome four =
      run_hone("score --reward math --reward repetition --threads 4 --in -", input);
  CHECK(one.code == 1);  // three rows have no completion
  CHECK(one.out == four.out);
  const auto rows = one.rows();
  REQUIRE(rows.size() == 3003);
  for (size_t i = 0; i < rows.size(); ++i) CHECK(rows[i]["id"] == i + 1);
  CHECK(rows[2999 + 2]["reward"] == 1.0);
  CHECK(rows[1000].contains("error"));
}

TEST_CASE("quiet scoring says nothing but errors") {
  const std::string row = "{\"gold\": \"4\", \"pred\": \"4\"}\n";
  CHECK(run_hone("score --reward math --in - --quiet", row).err.empty());
}

TEST_CASE("an audit lists what a weak reward would pay for") {
  const std::string rows =
      "{\"id\": \"a\", \"prompt\": \"How many?\", \"answer\": \"42\"}\n"
      "{\"prompt\": \"How far?\", \"gold\": \"1250\", \"pred\": \"7\"}\n";
  const Outcome weak =
      run_hone("score --reward exact:extract=last_number --audit --in - --json", rows);
  CHECK(weak.code == 0);
  CHECK(weak.out.find("exact: judges answers") != std::string::npos);
  CHECK(weak.out.find("PAYS") != std::string::npos);
  const Json report = Json::parse(weak.out.substr(weak.out.rfind('\n', weak.out.size() - 2) + 1));
  CHECK(report["problems"] == 2);
  CHECK(report["rewards"]["exact"]["paid"].size() > 3);
  CHECK(report["rewards"]["exact"]["paid"][0]["id"] == "a");

  const Outcome strict = run_hone("score --reward math --audit --in - --quiet", rows);
  CHECK(strict.code == 0);
  CHECK(strict.out.find("PAYS") == std::string::npos);
  CHECK(strict.out.find("would pay for 0 kinds of hack") != std::string::npos);
  CHECK(strict.err.empty());
  CHECK(run_hone("score --reward math --audit --in -", "nonsense\n").code == 2);
}

TEST_CASE("a reference that cannot be read gives null, not zero") {
  const auto rows =
      run_hone("score --reward math --in -", "{\"completion\": \"4\", \"answer\": \"1/0\"}\n")
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
