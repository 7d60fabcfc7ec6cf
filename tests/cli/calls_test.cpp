// Wrong calls and input: one clear line, exit code 2, nothing written.
#include <catch2/catch_test_macros.hpp>
#include <future>

#include "run_hone.h"

using namespace hone;

TEST_CASE("every verb explains itself", "[slow]") {
  for (const char* verb : {"",           "train",       "sample",      "chat",
                           "eval",       "score",       "tokenize",    "logprobs",
                           "loss",       "data",        "data make",   "data list",
                           "data check", "data import", "data filter", "data tokenizer",
                           "recipe",     "recipe show", "recipe keys", "export",
                           "report",     "show",        "bench",       "bench step",
                           "doctor"}) {
    INFO(verb);
    const Outcome help = run_hone(std::string(verb) + " --help");
    CHECK(help.code == 0);
    CHECK(help.out.find("--help") != std::string::npos);
    CHECK(help.err.empty());
  }
}

TEST_CASE("an unknown verb is told with the nearest one") {
  const Outcome o = run_hone("tran recipes/x.yaml");
  CHECK(o.code == 2);
  CHECK(one_line(o.err));
  CHECK(o.err.find("did you mean 'train'?") != std::string::npos);
  CHECK(run_hone("").code == 2);
  CHECK(run_hone("data mak").err.find("did you mean 'make'?") != std::string::npos);
}

TEST_CASE("wrong calls are one line and exit code 2") {
  const TemporaryDirectory dir;
  spill(dir / "typo.yaml", "name: a\nstages:\n- {name: b, kind: rl, modell: x}\n");
  spill(dir / "empty.jsonl", "");
  spill(dir / "prompts.jsonl", "{\"prompt\": \"x\"}\n");
  const struct {
    std::string call, told;
  } cases[] = {
      {"sample", "MODEL is required"},
      {"sample nowhere --in " + (dir / "prompts.jsonl"), "nowhere: expected a model directory"},
      {"sample nowhere --bogus 1 --in x", "--bogus"},
      {"train nowhere.yaml", "nowhere.yaml"},
      {"train " + (dir / "typo.yaml"), "did you mean 'model'?"},
      {"score --reward maths --in " + (dir / "prompts.jsonl"), "did you mean 'math'?"},
      {"score --reward math --in " + (dir / "empty.jsonl"), "found none"},
      {"score --reward math --in " + (dir / "nowhere.jsonl"), "cannot be read"},
      {"data make summ --out -", "did you mean sum?"},
      {"data make sum operants=5 --out -", "operands"},
      {"data make sum --n 0 --out -", "--n"},
      {"loss --in " + (dir / "empty.jsonl"), "expected one JSON object"},
      {"report " + (dir / "none"), "expected a run directory"},
      {"recipe show nowhere.yaml", "nowhere.yaml"},
      {"bench step --shape huge", "unknown shape"},
      {"eval nowhere --task sum", "nowhere"},
      {"eval nowhere", "--task"},
      {"export nowhere --out " + (dir / "e"), "nowhere"},
  };
  std::vector<std::future<Outcome>> outcomes;  // at once: starting the program takes most time
  for (const auto& c : cases) {
    outcomes.push_back(std::async(std::launch::async, [&c] { return run_hone(c.call); }));
  }
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const auto& c = cases[i];
    INFO(c.call);
    const Outcome o = outcomes[i].get();
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(one_line(o.err));
    CHECK(o.err.find(c.told) != std::string::npos);
    CHECK(o.out.empty());
  }
  CHECK_FALSE(std::filesystem::exists(dir / "e"));
}

TEST_CASE("a failing call leaves the file at --out as it was") {
  const TemporaryDirectory dir;
  spill(dir / "out.jsonl", "precious\n");
  CHECK(run_hone("score --reward math --in nowhere.jsonl --out " + (dir / "out.jsonl")).code == 2);
  CHECK(slurp(dir / "out.jsonl") == "precious\n");
}

TEST_CASE("a disk that is full is exit code 1") {
  if (!std::filesystem::exists("/dev/full")) SKIP("no /dev/full here");
  const Outcome o = run_hone("data make sum --n 2000 --out /dev/full");
  CHECK(o.code == 1);
  CHECK(one_line(o.err));
  const int status = std::system(
      (std::string(HONE_BINARY) + " data make sum --n 2000 --out - >/dev/full 2>/dev/null")
          .c_str());
  CHECK(WEXITSTATUS(status) == 1);
}

TEST_CASE("doctor and recipe keys end in one JSON object under --json") {
  for (const char* call : {"doctor --json", "recipe keys --json", "data list --json"}) {
    INFO(call);
    const Outcome o = run_hone(call);
    CHECK(o.code == 0);
    const size_t last = o.out.rfind('\n', o.out.size() - 2);
    CHECK(Json::parse(o.out.substr(last + 1)).is_object());
  }
}
