// Verbs with a model: random weights, since what they say does not matter here.
#include <catch2/catch_test_macros.hpp>
#include <cmath>

#include "run_hone.h"

using namespace hone;

namespace {

const char* kPrompts =
    "{\"id\": \"a\", \"prompt\": \"Q: 1+2\\nA:\"}\n{\"prompt\": \"37\"}\n{\"prompt\": 5}\n"
    "{\"id\": \"d\", \"prompt\": \"37\"}\n";

std::string sample_call(const std::string& more) {
  return "sample " + random_model() + " --in - --device cpu --max-tokens 12 --n 3 " + more;
}

}  // namespace

TEST_CASE("sampling depends on the seed and not on the threads or the batch") {
  const Outcome o = run_hone(sample_call("--seed 5 --threads 1"), kPrompts);
  CHECK(o.code == 1);  // one row is malformed
  const auto rows = o.rows();
  REQUIRE(rows.size() == 4);
  CHECK(rows[2].contains("error"));
  for (const size_t i : {0, 1, 3}) {
    REQUIRE(rows[i]["completions"].size() == 3);
    for (const Json& c : rows[i]["completions"]) {
      CHECK(c["ids"].size() == c["logprobs"].size());
      CHECK(c["ids"].size() == c["sampled_logprobs"].size());
      CHECK(c["ids"].size() <= 12);
      CHECK((c["finish_reason"] == "stop" || c["finish_reason"] == "length"));
    }
  }
  CHECK(rows[1]["completions"] != rows[3]["completions"]);  // the same prompt again draws anew
  CHECK(run_hone(sample_call("--seed 5 --threads 2"), kPrompts).out == o.out);
  CHECK(run_hone(sample_call("--seed 6"), kPrompts).out != o.out);
  const auto alone = run_hone(sample_call("--seed 5"), "{\"id\": 2, \"prompt\": \"37\"}\n").rows();
  CHECK(alone[0]["completions"] == rows[1]["completions"]);
}

TEST_CASE("log-probabilities of a sample are those of the same ids teacher-forced") {
  const auto sampled = run_hone(sample_call("--temperature 0.7"), kPrompts).rows();
  const auto prompt = run_hone("tokenize " + random_model() + " --in -",
                               "{\"text\": \"37\", \"add_special_tokens\": true}\n")
                          .rows()[0]["ids"];
  for (const Json& c : sampled[1]["completions"]) {
    Json ids = prompt;
    for (const Json& id : c["ids"]) ids.push_back(id);
    const auto rows = run_hone("logprobs " + random_model() + " --in - --device cpu",
                               Json{{"ids", ids}}.dump() + "\n")
                          .rows();
    const Json& logprobs = rows[0]["logprobs"];
    REQUIRE(logprobs.size() == ids.size());
    CHECK(logprobs[0].is_null());
    for (size_t t = 0; t < c["ids"].size(); ++t) {
      CHECK(logprobs[prompt.size() + t] == c["logprobs"][t]);  // bit for bit on the CPU
    }
  }
}

TEST_CASE("logprobs refuses ids that the model does not have, row by row") {
  const Outcome o = run_hone("logprobs " + random_model() + " --in - --device cpu",
                             "{\"ids\": [1, 99999]}\n{\"ids\": [5]}\n{\"ids\": []}\n");
  CHECK(o.code == 1);
  const auto rows = o.rows();
  CHECK(rows[0]["error"].get<std::string>().find("99999") != std::string::npos);
  CHECK(rows[1]["logprobs"] == Json::array({nullptr}));
  CHECK(rows[2]["logprobs"] == Json::array());
}

TEST_CASE("logprobs are those of transformers") {
  const std::string model = std::string(HONE_TEST_DIR) + "/golden/llama-tiny";
  if (!std::filesystem::exists(model + "/expected.json")) SKIP("no golden model here");
  const Json expected = Json::parse(slurp(model + "/expected.json"));
  std::string input;
  for (const Json& s : expected["sequences"]) input += Json{{"ids", s["ids"]}}.dump() + "\n";
  const auto rows = run_hone("logprobs " + model + " --in - --device cpu", input).rows();
  REQUIRE(rows.size() == expected["sequences"].size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const Json& wanted = expected["sequences"][i]["logprobs"];
    REQUIRE(rows[i]["logprobs"].size() == wanted.size());
    for (size_t t = 0; t < wanted.size(); ++t) {
      if (wanted[t].is_null()) {
        CHECK(rows[i]["logprobs"][t].is_null());
      } else {
        CHECK(std::fabs(rows[i]["logprobs"][t].get<double>() - wanted[t].get<double>()) < 2e-5);
      }
    }
  }
}

TEST_CASE("eval gives the keys of the contract as the last line") {
  const Outcome o = run_hone("eval " + random_model() +
                             " --task sum --problems 6 --n 2 --k 2 --max-tokens 8 --device cpu"
                             " --quiet --json");
  CHECK(o.code == 0);
  CHECK(o.err.empty());
  const auto rows = o.rows();
  REQUIRE(rows.size() == 1);
  for (const char* key : {"pass@1", "pass@1_se", "pass@2", "maj@2", "format", "truncated",
                          "mean_length", "n", "problems"}) {
    INFO(key);
    CHECK(rows[0].contains(key));
  }
  CHECK(rows[0]["problems"] == 6);
}

TEST_CASE("chat answers lines of standard input") {
  const Outcome o =
      run_hone("chat " + random_model() + " --device cpu --max-tokens 20 --json", "37+58\n\n64\n");
  CHECK(o.code == 0);
  CHECK(o.out.find('\x1b') == std::string::npos);  // colours are for terminals
  const size_t last = o.out.rfind('\n', o.out.size() - 2);
  CHECK(Json::parse(o.out.substr(last + 1))["tokens"].get<int>() <= 20);
}

TEST_CASE("an answer in chat is the one that sample gives for the model's own form") {
  const auto chat = run_hone(
      "chat " + random_model() + " --device cpu --max-tokens 40 --json --quiet --temperature 0",
      "37+58\n");
  const size_t last = chat.out.rfind('\n', chat.out.size() - 2);
  const Json result = Json::parse(chat.out.substr(last + 1));
  CHECK(result["prompt"] == "Q: 37+58\nA:");  // hone.json of the tiny base
  const auto rows =
      run_hone("sample " + random_model() + " --in - --device cpu --max-tokens 40 --temperature 0",
               Json{{"prompt", result["prompt"]}}.dump() + "\n")
          .rows();
  CHECK(result["text"] == rows[0]["completions"][0]["text"]);
}

TEST_CASE("export makes a directory that gives the same samples") {
  const TemporaryDirectory dir;
  const std::string out = dir / "exported";
  CHECK(run_hone("export " + random_model() + " --out " + out).code == 0);
  for (const char* name :
       {"config.json", "model.safetensors", "generation_config.json", "tokenizer.model",
        "tokenizer.json", "tokenizer_config.json", "README.md"}) {
    INFO(name);
    CHECK(std::filesystem::exists(out + "/" + name));
  }
  const Outcome first = run_hone(sample_call(""), kPrompts);
  const Outcome second =
      run_hone("sample " + out + " --in - --device cpu --max-tokens 12 --n 3", kPrompts);
  CHECK(first.out == second.out);
  CHECK(run_hone("export " + random_model() + " --out " + out).code == 2);
}

TEST_CASE("a damaged model is one line and exit code 2") {
  const TemporaryDirectory dir;
  std::filesystem::copy(random_model(), dir / "m", std::filesystem::copy_options::recursive);
  std::filesystem::resize_file(dir / "m/model.safetensors", 1000);
  const Outcome o = run_hone("sample " + (dir / "m") + " --in -", "{\"prompt\": \"x\"}\n");
  CHECK(o.code == 2);
  CHECK(one_line(o.err));
  CHECK(o.err.find("model.safetensors") != std::string::npos);
}

TEST_CASE("a dry run prints recipe and plan and writes nothing") {
  const TemporaryDirectory dir;
  spill(dir / "r.yaml",
        "kind: rl\nname: z\nmodel: " + random_model() +
            "\ndata: [{task: sum}]\nrewards: [{name: math}]\nsteps: 3\nmax_tokens: 16\n");
  const Outcome o =
      run_hone("train " + (dir / "r.yaml") + " group_size=4 --dry-run --out " + (dir / "run"));
  CHECK(o.code == 0);
  CHECK(o.out.find("64 completions a step (16 prompts x 4)") != std::string::npos);
  CHECK(o.out.find("writes to") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(dir / "run"));
  spill(dir / "again.yaml", o.out);  // the plan is comment: the output is a recipe again
  CHECK(run_hone("recipe show " + (dir / "again.yaml")).code == 0);
}
