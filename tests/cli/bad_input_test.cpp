// Recipes, models, data and disks that are not as they should be: one line that names what, where
// and what was expected; exit code 2 for input, 1 for what fails under way; nothing overwritten.
#include <catch2/catch_test_macros.hpp>
#include <functional>
#include <future>

#include "run_hone.h"

using namespace hone;
namespace fs = std::filesystem;

namespace {

struct Call {
  std::string arguments, told;
};

// Four at once: starting the program takes most of the time.
std::vector<Outcome> run_all(const std::vector<Call>& calls) {
  constexpr size_t kAtOnce = 4;
  std::vector<Outcome> outcomes(calls.size());
  std::vector<std::future<void>> workers;
  for (size_t w = 0; w < kAtOnce; ++w) {
    workers.push_back(std::async(std::launch::async, [&, w] {
      for (size_t i = w; i < calls.size(); i += kAtOnce) outcomes[i] = run_hone(calls[i].arguments);
    }));
  }
  for (auto& worker : workers) worker.get();
  return outcomes;
}

void check_refused(const std::vector<Call>& calls) {
  const std::vector<Outcome> outcomes = run_all(calls);
  for (size_t i = 0; i < calls.size(); ++i) {
    INFO(calls[i].arguments << "\n" << outcomes[i].err);
    CHECK(outcomes[i].code == 2);
    CHECK(one_line(outcomes[i].err));
    CHECK(outcomes[i].err.find(calls[i].told) != std::string::npos);
    CHECK(outcomes[i].out.empty());
  }
}

std::string write_recipe(const TemporaryDirectory& dir) {
  const std::string path = dir / "r.yaml";
  spill(path, "kind: rl\nname: z\nmodel: " + random_model() +
                  "\ndata: [{task: sum}]\nrewards: [{name: format, pattern: tag_count}]\n"
                  "prompts_per_step: 2\ngroup_size: 2\nmax_tokens: 8\nsteps: 2\n"
                  "eval: {problems: 4}\ndevice: cpu\nthreads: 1\n");
  return path;
}

}  // namespace

TEST_CASE("recipes that do not fit are refused, and leave no run directory behind") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir);
  spill(dir / "empty.jsonl", "");
  spill(dir / "rows.jsonl", "{\"question\": \"1+1\", \"answer\": \"2\"}\n{\"promt\": 1}\n");
  spill(dir / "not.yaml", "kind: rl\n  model: [\n");
  spill(dir / "list.yaml", "- a\n");
  spill(dir / "twice.yaml", "kind: rl\nobjective:\n  epsilon: 0.1\n  epsilon: 0.2\n");
  fs::create_directories(dir / "runs");
  int number = 0;
  const auto out = [&] {
    return " --quiet --out " + (dir / "runs/") + std::to_string(number++) + " ";
  };
  const auto train = [&](const std::string& overrides) {
    return "train " + recipe + out() + overrides;
  };
  check_refused({
      {train("optimizer.lrr=1"), "unknown key 'optimizer.lrr'; did you mean 'lr'?"},
      {train("steps=many"), "steps: expected a whole number, found 'many'"},
      {train("steps=1.5"), "steps: expected a whole number, found '1.5'"},
      {train("'objective={kl: 3}'"), "objective.kl: expected a map of options, found '3'"},
      {train("group_size=0"), "group_size: expected at least 1, found 0"},
      {train("optimizer.lr=-1"), "optimizer.lr: expected at least 0, found -1"},
      {train("'optimizer.betas=[0.9, 1.5]'"), "optimizer.betas: expected numbers"},
      {train("optimizer.name=sgd"), "expected adamw or muon, found 'sgd'"},
      {train("objective.preset=gppo"), "did you mean"},
      {train("'eval.k=[5]' eval.n=2"), "eval.k: expected numbers from 1 to eval.n, which is 2"},
      {train("checkpoint.keep=0"), "checkpoint.keep: expected at least 1, found 0"},
      {train("threads=-3"), "threads: expected at least 0, found -3"},
      {train("device=gpu"), "device: expected auto, cpu or cuda[:N], found 'gpu'"},
      {train("max_tokens=128"), "max_tokens 128 leaves no room for a prompt: the model's context"},
      {train("max_prompt_tokens=3"), "no prompt of the step fits"},
      {train("model=nowhere"), "model 'nowhere'"},
      {train("model=" + recipe), "expected a model directory with config.json, found a file"},
      {train("'data=[{path: nowhere.jsonl}]'"), "nowhere.jsonl: cannot be read"},
      {train("'data=[{path: " + (dir / "empty.jsonl") + "}]'"), "expected rows, the file is empty"},
      {train("'data=[{path: " + (dir / "rows.jsonl") + "}]'"), "rows.jsonl:2: expected prompt"},
      {train("'rewards=[{name: maths}]'"), "did you mean 'math'?"},
      {train("kind=pretrain tokenizer=nowhere"), "nowhere"},
      {train("kind=pretrain tokenizer=x shape.kv_heads=0"), "shape.kv_heads: expected at least 1"},
      {train("kind=pretrain tokenizer=data/models/tiny-base shape.max_positions=1"),
       "documents leaves a token to learn within the model's context of 1"},
      {"train " + (dir / "not.yaml") + out(), "not.yaml: not valid YAML"},
      {"train " + (dir / "list.yaml") + out(), "list.yaml: expected a map of options"},
      {"train " + (dir / "twice.yaml") + out(), "twice.yaml:4: 'epsilon' is given twice"},
      {"train " + dir.path() + out(), "expected a file, found a directory"},
  });
  CHECK(fs::is_empty(dir / "runs"));
}

TEST_CASE("a place that holds something else is left alone") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir);
  fs::create_directories(dir / "full");
  spill(dir / "full/precious", "x");
  check_refused({
      {"train " + recipe + " --out " + (dir / "full"), "something else is there"},
      {"train " + recipe + " --resume --out " + (dir / "full"), "something else is there"},
      {"train " + recipe + " --out " + (dir / "full/precious"), "something else is there"},
  });
  CHECK(slurp(dir / "full/precious") == "x");
  CHECK(std::distance(fs::directory_iterator(dir / "full"), {}) == 1);
  // An empty directory may be used, and stays when the recipe turns out not to fit.
  fs::create_directories(dir / "empty");
  CHECK(
      run_hone("train " + recipe + " --quiet max_prompt_tokens=3 --out " + (dir / "empty")).code ==
      2);
  CHECK(fs::exists(dir / "empty"));
  CHECK(fs::is_empty(dir / "empty"));
}

TEST_CASE("damaged models are refused by every verb that loads one") {
  const TemporaryDirectory dir;
  spill(dir / "p.jsonl", "{\"prompt\": \"1+1\"}\n");
  const std::string good = random_model();
  const std::string weights = slurp(good + "/model.safetensors"),
                    config = slurp(good + "/config.json");
  std::vector<Call> calls;
  const auto damaged = [&](const std::string& name, const std::string& told,
                           const std::function<void(const std::string&)>& damage) {
    const std::string model = dir / name;
    fs::copy(good, model);
    damage(model);
    calls.push_back({"sample " + model + " --device cpu --in " + (dir / "p.jsonl"), told});
    if (name == "cut") {
      calls.push_back({"eval " + model + " --device cpu --task sum --problems 2", told});
      calls.push_back({"logprobs " + model + " --device cpu --in " + (dir / "p.jsonl"), told});
      calls.push_back({"export " + model + " --out " + (dir / "out"), told});
      calls.push_back({"chat " + model + " --device cpu", told});
    }
  };
  damaged("cut", "model.safetensors: not a whole safetensors file", [&](const std::string& m) {
    spill(m + "/model.safetensors", weights.substr(0, weights.size() - 1));
  });
  damaged("garbage", "its header does not begin with {", [&](const std::string& m) {
    spill(m + "/model.safetensors", weights.substr(0, 8) + std::string(weights.size() - 8, '\xff'));
  });
  damaged("shape", "expected shape [512, 48], found [512, 32]", [&](const std::string& m) {
    Json j = Json::parse(config);
    j["hidden_size"] = 48;
    spill(m + "/config.json", j.dump());
  });
  damaged("giant", "config.json describes", [&](const std::string& m) {
    Json j = Json::parse(config);
    j["vocab_size"] = 16000000;
    j["hidden_size"] = 1000000;
    spill(m + "/config.json", j.dump());
  });
  damaged("config", "config.json: not valid JSON",
          [&](const std::string& m) { spill(m + "/config.json", "{nope"); });
  damaged("none", "no *.safetensors file",
          [&](const std::string& m) { fs::remove(m + "/model.safetensors"); });
  damaged("tokenizer", "no tokenizer found; looked for tokenizer.json", [&](const std::string& m) {
    for (const auto& entry : fs::directory_iterator(m)) {
      if (entry.path().filename().string().starts_with("tokenizer")) fs::remove(entry.path());
    }
  });
  damaged("pieces", "tokenizer.model: expected a sentencepiece model", [&](const std::string& m) {
    fs::remove(m + "/tokenizer.json");
    spill(m + "/tokenizer.model", "no protobuf");
  });
  damaged("tokens", "tokenizer.json: expected JSON",
          [&](const std::string& m) { spill(m + "/tokenizer.json", "{"); });
  check_refused(calls);
  CHECK_FALSE(fs::exists(dir / "out"));
}

TEST_CASE("a prompt longer than the context is told in its row") {
  std::string prompt;
  for (int i = 0; i < 200; ++i) prompt += "1+1 ";
  const std::string call = "sample " + random_model() + " --in - --device cpu --max-tokens 4";
  const std::string row = Json{{"prompt", prompt}}.dump() + "\n";
  const Outcome alone = run_hone(call, row);
  CHECK(alone.code == 2);
  CHECK(one_line(alone.err));
  CHECK(alone.err.find("the model's context is 128") != std::string::npos);
  const Outcome among = run_hone(call, row + "{\"prompt\": \"1+1\"}\n");
  CHECK(among.code == 1);
  REQUIRE(among.rows().size() == 2);
  CHECK(among.rows()[0].contains("error"));
  CHECK(among.rows()[1]["completions"].size() == 1);
}

TEST_CASE("a disk that is full ends a run in one line, and with room it goes on", "[slow]") {
  const TemporaryDirectory dir;
  const std::string recipe = write_recipe(dir);
  const std::string call = "train " + recipe + " --quiet --out ";
  REQUIRE(run_hone(call + (dir / "whole")).code == 0);
  for (const int blocks : {4, 60}) {  // of 1024 bytes: the first file, and a checkpoint's
    const std::string run = dir / ("limited" + std::to_string(blocks));
    const int status = std::system(("bash -c 'ulimit -f " + std::to_string(blocks) + "; exec " +
                                    HONE_BINARY + " " + call + run + "' 2>" + (dir / "err"))
                                       .c_str());
    INFO(slurp(dir / "err"));
    CHECK(WEXITSTATUS(status) == 1);
    CHECK(one_line(slurp(dir / "err")));
    CHECK(slurp(dir / "err").find(run) != std::string::npos);
    const Outcome on = run_hone(call + run + " --resume");
    INFO(on.err);
    CHECK(on.code == 0);
    for (const char* file : {"/metrics.jsonl", "/model/model.safetensors", "/examples.jsonl"}) {
      CHECK(slurp(run + file) == slurp(dir / (std::string("whole") + file)));
    }
  }
}
